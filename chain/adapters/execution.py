"""gvm behind the callables of the chain, and what participants compute with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gvm
from chain import merkle
from chain.codec import CodecError, decode, encode, encode_value
from chain.context import Claim, Execution, Inspection, Verdict, Verify
from chain.hashes import plain
from chain.keys import verify_signed
from chain.records import UNAVAILABLE, Entry
from gvm.errors import HostError
from gvm.facts import program_facts
from gvm.model import Model
from gvm.program import decode as decode_program

CHUNK = 64
"""Examples in a leaf of a trace."""
MAX_FOLD = 1 << 14


@dataclass(frozen=True)
class Fold:
    """Labelled test data as bytes: inputs are q/256. Its root is the hash of its encoding."""

    count: int
    width: int
    inputs: bytes
    labels: bytes

    @staticmethod
    def of(inputs: NDArray[Any], labels: NDArray[Any]) -> Fold:
        """From u8 arrays [count, width] and [count]."""
        count, width = inputs.shape
        return Fold(count, width, inputs.tobytes(), labels.astype(np.uint8).tobytes())

    @property
    def encoded(self) -> bytes:
        """What its root names."""
        return encode(self)

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs as real values in [0, 1) and labels as class numbers."""
        inputs = np.frombuffer(self.inputs, np.uint8).reshape(self.count, self.width)
        return inputs / np.float64(256), np.frombuffer(self.labels, np.uint8).astype(np.int64)


def read_fold(data: bytes) -> Fold:
    """A fold from its bytes; raises ValueError."""
    fold = decode(Fold, data)
    sizes = (len(fold.inputs), len(fold.labels))
    if not 0 < fold.count <= MAX_FOLD or sizes != (fold.count * fold.width, fold.count):
        raise CodecError("fold: sizes do not fit")
    return fold


def inspect(program: bytes) -> Inspection:
    """What gvm's core knows of a program; raises ValueError for what is none. The work is that of
    the largest fold that a referee reads."""
    try:
        facts = program_facts(program)
    except gvm.ProgramError as error:
        raise ValueError(str(error)) from None
    return Inspection(facts.graph_id, facts.loss_multiply_adds * MAX_FOLD, facts.parameter_bytes)


class Evaluator:
    """Exact evaluation: of one program for a participant, of any program for the referee, whose
    verdict must not depend on the files that a node has."""

    def __init__(self, path: Path) -> None:
        self.base = gvm.load(path)
        self.program: bytes = self.base.bytes
        self.graph = inspect(self.program).graph
        self._known: dict[tuple[bytes, bytes, bytes], Entry] = {}

    def model(self, parameters: bytes, program: bytes | None = None) -> Model:
        """A program, the participant's if none is given, with parameters; raises
        :class:`gvm.GvmError` where they do not fit."""
        if program is None or program == self.program:
            return Model(self.base.program, parameters)
        # What a file says besides, for training, moves no bit of a loss.
        return Model(decode_program(program, (), 1), parameters)

    def evaluate(self, parameters: bytes, fold: bytes, program: bytes | None = None) -> Entry:
        """The exact loss on a fold, and the root over what every example came to: the integers
        before the loss, in chunks. Nobody knows the root who did not compute them."""
        key = (plain(program or self.program), plain(parameters), plain(fold))
        if key not in self._known:
            model = self.model(parameters, program)
            self._known[key] = self._evaluate(model, read_fold(fold))
        return self._known[key]

    def _evaluate(self, model: Model, fold: Fold) -> Entry:
        inputs, labels = fold.arrays
        leaves, total, correct = [], 0, 0
        for start in range(0, fold.count, CHUNK):
            part = slice(start, start + CHUNK)
            out = model.run_integers(inputs[part], threads=1, progress=False)
            loss = model.evaluate(inputs[part], labels[part], threads=1, progress=False)
            total, correct = total + loss.total, correct + loss.correct
            integers = np.ascontiguousarray(out.integers).astype("<i8").tobytes()
            leaves.append(encode_value([start, integers, loss.total]))
        if not 0 <= total < 1 << 63:
            raise CodecError(f"the loss must be in [0, 2^63), received {total}")
        leaves.append(encode_value([total, fold.count, correct]))
        return Entry(True, total, merkle.root(leaves))

    def finding(self, parameters: bytes, fold: bytes, program: bytes | None = None) -> Entry:
        """What an honest verifier says of bytes that it has: :data:`UNAVAILABLE` where they are no
        parameters or no test data of this program, so that there is no loss. Raises
        :class:`gvm.errors.HostError` or MemoryError where this machine cannot tell."""
        try:
            return self.evaluate(parameters, fold, program)
        except HostError:
            raise
        except (ValueError, gvm.GvmError):
            return UNAVAILABLE

    def referee(self, claim: Claim, opening: bytes) -> Verdict:
        """What is wrong with a claim, from an opening that holds everything: program, parameters
        and fold, each under the hash that the claim names. Bytes without a loss refute whatever is
        claimed of them. For models small enough to be opened whole. Raises as
        :meth:`finding`: a verdict that depends on the machine would divide the chain."""
        try:
            found = decode(Opening, opening)
            is_program = inspect(found.program).graph == claim.graph
        except ValueError:
            return Verdict.NOTHING
        if not is_program or plain(found.parameters) != claim.parameters:
            return Verdict.NOTHING
        if plain(found.fold) != claim.fold:
            return Verdict.NOTHING
        entry = self.finding(found.parameters, found.fold, found.program)
        if not entry.available or entry.loss != claim.loss:
            return Verdict.FALSE_LOSS
        return Verdict.NOTHING if entry.trace == claim.trace else Verdict.FALSE_TRACE

    def opening(self, parameters: bytes, fold: bytes) -> bytes:
        """What a dispute shows :meth:`referee`."""
        return encode(Opening(self.program, parameters, fold))

    def execution(self, verify: Verify = verify_signed) -> Execution:
        """The callables of the chain."""
        return Execution(inspect, self.referee, verify)


@dataclass(frozen=True)
class Opening:
    """What a dispute shows: all that an evaluation needs."""

    program: bytes
    parameters: bytes
    fold: bytes


class Remembering:
    """A signature check that remembers what it has found valid."""

    def __init__(self, most: int = 100_000) -> None:
        self._valid: dict[tuple[bytes, ...], None] = {}
        self._most = most

    def __call__(
        self, public: bytes, purpose: str, chain: str, payload: bytes, signature: bytes
    ) -> bool:
        if self.knows(public, purpose, chain, payload, signature):
            return True
        if not verify_signed(public, purpose, chain, payload, signature):
            return False
        self.keep(public, purpose, chain, payload, signature)
        return True

    def knows(
        self, public: bytes, purpose: str, chain: str, payload: bytes, signature: bytes
    ) -> bool:
        """Whether a signature was found valid before."""
        return (public, purpose.encode(), chain.encode(), payload, signature) in self._valid

    def keep(
        self, public: bytes, purpose: str, chain: str, payload: bytes, signature: bytes
    ) -> None:
        """Remembers a valid signature."""
        if len(self._valid) >= self._most:
            self._valid.clear()
        self._valid[(public, purpose.encode(), chain.encode(), payload, signature)] = None
