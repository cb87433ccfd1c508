"""Verifying recorded steps without computing their products: the sums that the prover has written
(``products.py``) are checked by Freivalds' method, and all else is executed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gvm import _core
from gvm.errors import GvmError
from gvm.execution import backend_level, thread_count
from gvm.model import Model
from gvm.progress import progress_bar
from gvm.trace.products import Reader
from gvm.trace.recorder import PARAMETERS, STATE, checkpoint_path, tensor_roots
from gvm.trace.replay import Machine, Replay
from gvm.trace.verify import (
    Difference,
    checkpoint_tensors,
    difference,
    intervals,
    state_tensors,
    tensor_names,
)

ERROR_BITS = 80
"""A wrong claim passes with a probability below 2 to minus this (decision 0029)."""


@dataclass(frozen=True)
class WrongSum:
    """The first sum that is not what was claimed: it was computed, so this is certain."""

    step: int
    node: int
    operator: str
    element: int
    """Row-major index in the node's result."""
    values: tuple[int, int]
    """What was claimed, and what is true."""

    def __str__(self) -> str:
        said, true = self.values
        where = f"step {self.step}, node {self.node} ({self.operator})"
        return f"{where}, element {self.element}: {said}, {true}"


@dataclass(frozen=True)
class FastVerification:
    """What was checked, and the first thing that differs."""

    steps: int
    states: int
    """Recorded states that were compared."""
    products: int
    """Products that were checked in place of being computed."""
    executed: int
    """Products that were computed, since nothing was claimed of them or it cannot be checked."""
    wrong: WrongSum | None = None
    difference: Difference | None = None

    @property
    def equal(self) -> bool:
        """Whether all is as it was recorded."""
        return self.wrong is None and self.difference is None

    def __str__(self) -> str:
        error = f", each wrong with probability below 2^-{ERROR_BITS}" if self.products else ""
        return (
            f"{self.states} states, {self.steps} steps; {self.products} products checked{error}, "
            f"{self.executed} executed like all other nodes"
        )


def verify_fast(
    folder: str | os.PathLike[str],
    steps: tuple[int, int] | None = None,
    sample: int | None = None,
    seed: int = 0,
    machine: Machine | None = None,
    progress: bool | None = None,
    secret: bytes | None = None,
) -> FastVerification:
    """Checks steps ``first..last`` (all by default) of a recorded run, from the recorded state
    before them to that behind them; ``sample``: only so many, drawn by ``seed``. Their sums must
    have been written (``write_products``).

    Weights follow from 32 bytes that the operating system gives once the sums of a step are in
    memory; ``secret`` replaces them in tests: who knows it can deceive. ``progress``: a bar;
    None: where stderr is a terminal."""
    with Replay(folder, machine, unfinished=steps is not None) as replay:
        wanted = intervals(replay.trace, steps, sample, seed)
        with progress_bar(sum(b - a for a, b in wanted), "verifying", progress) as advance:
            return _Check(replay, secret, advance).run(wanted)


class _Check:
    """A session that goes through intervals between recorded states."""

    def __init__(
        self, replay: Replay, secret: bytes | None, advance: Callable[[str], None]
    ) -> None:
        self.replay, self.secret, self.advance = replay, secret, advance
        level = backend_level(replay.machine.backend)
        threads = thread_count(replay.machine.threads)
        self.session: Any = _core.Session(replay.native, threads, level)
        self.all_products = sum(
            n.operator.name.startswith(("matmul", "conv2d")) for n in replay.listing.nodes
        )
        self.root = replay.trace.root
        self.reader = Reader(replay)
        self.at = -1
        self.done = self.states = self.products = 0

    def run(self, wanted: list[tuple[int, int]]) -> FastVerification:
        for first, last in wanted:
            for step in range(first, last):
                wrong = self.step(step, step == first)
                if wrong is not None:
                    return self.found(wrong=wrong)
            self.states += 1
            computed = self.roots()
            if computed != self.replay.trace.records[last]:
                return self.found(difference=self.differs(first, last, computed))
        return self.found()

    def found(
        self, wrong: WrongSum | None = None, difference: Difference | None = None
    ) -> FastVerification:
        executed = self.done * self.all_products - self.products
        return FastVerification(self.done, self.states, self.products, executed, wrong, difference)

    def roots(self) -> bytes:
        read = self.session.read
        return tensor_roots(self.replay.native, read(PARAMETERS), read(STATE))

    def begin(self, step: int, state: tuple[bytes, bytes] | None) -> None:
        """Puts the recorded state before a step into the session, unless it is there."""
        if self.at == step:
            return
        path = checkpoint_path(self.replay.folder, step)
        if path.exists():
            model = Model.load(path)
            if model.bytes != self.replay.model.bytes:
                raise GvmError(f"{path}: not the program of the trace")
            state = (model.parameters, model.state)
        if state is None:
            raise GvmError(f"{self.replay.folder}: neither checkpoint nor sums hold state {step}")
        if tensor_roots(self.replay.native, *state) != self.replay.trace.records[step]:
            raise GvmError(
                f"{self.replay.folder}: holds not the state that the trace has at step {step}"
            )
        self.session.write(PARAMETERS, state[0])
        self.session.write(STATE, state[1])
        self.at = step

    def step(self, step: int, begins: bool) -> WrongSum | None:
        replay = self.replay
        sums = self.reader.read(step, state=begins and self.at != step)
        if begins:
            self.begin(step, sums.state)
        picked = replay.indices(step)
        # Only now, with the claims in memory, is drawn what they are checked with.
        secret = secrets.token_bytes(32) if self.secret is None else self.secret
        key = _core.blake3(b"gvm.trace.fast.v1\n" + self.root + step.to_bytes(8, "little") + secret)
        checked, node, element, said, true = self.session.check_step(
            [array[picked] for array in replay.inputs],
            [array[picked] for array in replay.labels],
            replay.header.seed,
            step,
            list(sums.products),
            key,
        )
        self.products += checked
        if node >= 0:
            name = replay.listing.nodes[node].operator.name
            return WrongSum(step, node, name, element, (said, true))
        self.done += 1
        self.at = step + 1
        self.advance(f"step {step}")
        return None

    def differs(self, after: int, by: int, computed: bytes) -> Difference:
        replay = self.replay
        recorded, tensors = replay.trace.records[by], None
        path = checkpoint_path(replay.folder, by)
        if path.exists():
            kept = checkpoint_tensors(path, replay)
            if b"".join(_core.blake3(t) for t in kept) == recorded:
                read = self.session.read
                tensors = (kept, state_tensors(replay, read(PARAMETERS), read(STATE)))
        names = tensor_names(replay.model)
        return difference(replay.listing, names, after, by, (recorded, computed), tensors)
