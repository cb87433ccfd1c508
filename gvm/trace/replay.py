"""A run executed again from its folder: the state before any step, and every value of a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core, cbor
from gvm import data as datasets
from gvm.errors import GvmError
from gvm.execution import backend_level, thread_count
from gvm.model import Model
from gvm.random import permutation
from gvm.trace.evaluate import Alter, Array, Where, canonical, step_values, tensors_of
from gvm.trace.file import read_trace
from gvm.trace.listing import LITTLE, Listing
from gvm.trace.recorder import (
    PARAMETERS,
    STATE,
    checkpoint_path,
    checkpoint_steps,
    data_path,
    data_roots,
    tensor_roots,
)
from gvm.train import Plan, open_workers
from gvm.types import NUMPY, Type


@dataclass(frozen=True)
class Machine:
    """What executes a run again; none of it moves a bit."""

    backend: str | None = None
    threads: int | None = None
    workers: int = 1


class Replay:
    """The run of a folder. Its data, and the states from which it starts, are checked against the
    trace: a GvmError names the file that does not belong to it.

    ``alter`` puts faults into single steps: what becomes of the values of a step.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        machine: Machine | None = None,
        unfinished: bool = False,
        alter: Callable[[int], Alter | None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise GvmError(f"{self.folder}: no such folder")
        self.trace = read_trace(self.folder, unfinished)
        self.header = self.trace.header
        self.machine = machine or Machine()
        self.alter = alter
        first = checkpoint_path(self.folder, self.header.step)
        self.model = Model.load(first)
        self.program = self.model.program
        self.native = _core.Program(self.model.bytes)
        if self.native.info()["train_id"] != self.header.train:
            raise GvmError(f"{first}: not the program of the trace")
        self.listing = Listing.of(self.program)
        if self.listing.id != self.header.listing:
            raise GvmError(f"{self.trace.path}: not the nodes of its program")
        parameters, state = len(self.program.parameters), len(self.program.state)
        tensors = parameters + state
        counts = (len(self.listing.entries), len(self.program.inputs), parameters, tensors)
        said = (self.header.values, self.header.inputs, self.header.parameters, self.header.tensors)
        if said != counts:
            raise GvmError(
                f"{self.trace.path}: values, inputs, parameters and tensors must be those of its "
                f"program, {counts}, received {said}"
            )
        self.inputs = self._data("input", self.program.inputs)
        self.labels = self._data("label", self.program.labels)
        roots = data_roots(self.program.inputs, self.inputs)
        roots += data_roots(self.program.labels, self.labels)
        if roots != self.header.data or len(self.inputs[0]) != self.header.count:
            raise GvmError(f"{self.folder}: its data is not that of the trace")
        self._stack = ExitStack()
        self._workers: Any = None
        self._step = -1
        self._order = lru_cache(maxsize=2)(self._permutation)

    def close(self) -> None:
        """Ends worker processes."""
        self._stack.close()
        self._workers = None

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def indices(self, step: int) -> NDArray[Any]:
        """The examples of a step."""
        epoch, taken = self.header.place(step)
        return self._order(epoch)[taken : taken + self.header.batch(step)]

    def state(self, step: int) -> tuple[bytes, bytes]:
        """Parameters and state before a step."""
        self._go_to(step)
        return self._workers.session.read(PARAMETERS), self._workers.session.read(STATE)

    def roots(self, step: int) -> bytes:
        """The hashes of the tensors of that state."""
        return tensor_roots(self.native, *self.state(step))

    def executed(self, step: int) -> bytes:
        """The same, computed from the state at which the run stands, not read from a
        checkpoint."""
        while self._step < step:
            self._advance()
        return self.roots(step)

    def given(self, step: int) -> dict[int, Array]:
        """What a step starts from, by number of the value."""
        parameters, state = self.state(step)
        picked = self.indices(step)
        made: dict[int, Array] = {}
        for kind, arrays in (("input", self.inputs), ("label", self.labels)):
            for v, array in zip(self.listing.given(kind), arrays, strict=True):
                made[v] = array[picked]
        for kind, section, data in (
            ("parameter", PARAMETERS, parameters),
            ("state", STATE, state),
        ):
            tensors = tensors_of(self.native.tensors(section), data)
            for v, tensor in zip(self.listing.given(kind), tensors, strict=True):
                type_ = self.listing.entries[v].type
                array = np.frombuffer(tensor, LITTLE[type_.dtype]).reshape(type_.shape)
                made[v] = array.astype(NUMPY[type_.dtype])
        return made

    def where(self, step: int) -> Where:
        """Which step it is, and what executes it here."""
        level, threads = backend_level(self.machine.backend), thread_count(self.machine.threads)
        return Where(self.header.batch(step), self.header.seed, step, level, threads)

    def values(self, step: int, wanted: Container[int] | None = None) -> dict[int, bytes]:
        """The canonical bytes of values of a step by number: of all, or of those wanted."""
        return {
            v: canonical(array, self.listing.entries[v].type.dtype)
            for v, array in self._execute(step)
            if wanted is None or v in wanted
        }

    def value_roots(self, step: int) -> bytes:
        """The hashes of every value of a step; their hash is the step's root."""
        return b"".join(
            _core.blake3(canonical(array, self.listing.entries[v].type.dtype))
            for v, array in self._execute(step)
        )

    def arrays(self, step: int) -> Iterator[tuple[int, Array]]:
        """Every value of a step by number, in order."""
        return self._execute(step)

    def _execute(self, step: int) -> Iterator[tuple[int, Array]]:
        alter = None if self.alter is None else self.alter(step)
        return step_values(self.listing, self.where(step), self.given(step), alter)

    def _permutation(self, epoch: int) -> NDArray[Any]:
        return permutation(self.header.seed, epoch, self.header.count)

    def _data(self, kind: str, types: tuple[Type, ...]) -> list[Array]:
        made = []
        for i, wanted in enumerate(types):
            path = data_path(self.folder, kind, i)
            try:
                array = datasets.load(path).integers
            except (ValueError, cbor.CborError) as error:
                raise GvmError(str(error)) from None
            except OSError as error:
                raise GvmError(f"{path}: {error.strerror}") from error
            # Hashes are of bytes: the same bytes may be another array.
            shape = wanted.concrete(self.header.count)
            if array.shape != shape or array.dtype != NUMPY[wanted.dtype]:
                raise GvmError(
                    f"{path}: must be {NUMPY[wanted.dtype]} {shape}, received {array.dtype} "
                    f"{array.shape}"
                )
            made.append(array)
        return made

    def _go_to(self, step: int) -> None:
        if step == self._step:
            return
        nearest = self.checkpoint(step)
        if step < self._step or nearest > self._step:
            self._start(nearest)
        while self._step < step:
            self._advance()

    def checkpoint(self, step: int) -> int:
        """The last step up to this one that has a checkpoint."""
        before = [s for s in checkpoint_steps(self.folder) if s <= step]
        if not before:
            raise GvmError(f"{self.folder}: no checkpoint at step {step} or before it")
        return max(before)

    def _start(self, step: int) -> None:
        """Begins at a checkpoint, which must be what the trace says."""
        self.close()
        path = checkpoint_path(self.folder, step)
        model = Model.load(path)
        if model.bytes != self.model.bytes:
            raise GvmError(f"{path}: not the program of the trace")
        recorded = self.trace.records.get(step)
        if recorded is None or tensor_roots(self.native, model.parameters, model.state) != recorded:
            raise GvmError(f"{path}: not the state that the trace has at step {step}")
        where = self.where(step)
        plan = Plan(
            0,
            self.header.batch_size,
            self.header.seed,
            self.machine.workers,
            None,
            where.threads,
            where.level,
        )
        self._workers = self._stack.enter_context(
            open_workers(model.bytes, plan, self.inputs, self.labels, model.parameters, model.state)
        )
        self._step = step

    def _advance(self) -> None:
        alter = None if self.alter is None else self.alter(self._step)
        if alter is None:
            self._workers.step(self.indices(self._step), self._step)
        else:
            self._write(self._altered())
        self._step += 1

    def _altered(self) -> list[bytes]:
        """The next parameters and state by a step with a fault, node by node."""
        values = self.values(self._step, self.listing.results)
        return [values[v] for v in self.listing.results]

    def _write(self, tensors: list[bytes]) -> None:
        at = 0
        for section in (PARAMETERS, STATE):
            buffer = bytearray(self._workers.session.read(section))
            for _, offset, _ in self.native.tensors(section):
                buffer[offset : offset + len(tensors[at])] = tensors[at]
                at += 1
            self._workers.session.write(section, bytes(buffer))
