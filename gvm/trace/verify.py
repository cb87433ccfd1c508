"""Executing parts of a recorded run again, and what differs."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gvm import _core
from gvm.errors import GvmError, ProgramError
from gvm.model import Model
from gvm.trace.evaluate import tensors_of
from gvm.trace.file import Trace
from gvm.trace.listing import LITTLE, Listing
from gvm.trace.recorder import PARAMETERS, STATE, checkpoint_path, checkpoint_steps
from gvm.trace.replay import Machine, Replay
from gvm.trace.tree import CHUNK, SIZE


@dataclass(frozen=True)
class Element:
    """Where two tensors part: the first differing tile of 1024 bytes, and in it the first
    element."""

    tile: int
    element: int
    """Row-major index in the tensor."""
    values: tuple[int, int]


@dataclass(frozen=True)
class Difference:
    """Two runs part behind the state before step ``after``, and have by step ``by`` other
    tensors."""

    after: int
    by: int
    tensor: int
    """Number among parameters, then state."""
    name: str
    node: int
    """The node of grad and apply that made it in the step before ``by``; -1: none, it is given."""
    operator: str
    element: Element | None
    """None where only hashes are known."""

    def __str__(self) -> str:
        at = f"step {self.after}" if self.by == self.after + 1 else f"steps {self.after}..{self.by}"
        made = f"node {self.node} ({self.operator}), " if self.node >= 0 else ""
        text = f"{at}, {made}{self.name}"
        if self.element is None:
            return text
        left, right = self.element.values
        return f"{text}, tile {self.element.tile}, element {self.element.element}: {left}, {right}"


@dataclass(frozen=True)
class Verification:
    """What was executed again, and the first difference from the trace, recorded value first."""

    steps: int
    states: int
    """States that were compared."""
    difference: Difference | None


def first_element(left: bytes, right: bytes, dtype: str) -> Element | None:
    """The first element in which two tensors of a type differ."""
    a, b = np.frombuffer(left, LITTLE[dtype]), np.frombuffer(right, LITTLE[dtype])
    where = np.flatnonzero(a != b) if len(a) == len(b) else np.zeros(0)
    if not len(where):
        return None
    i = int(where[0])
    return Element(i * a.itemsize // CHUNK, i, (int(a[i]), int(b[i])))


def difference(
    listing: Listing,
    names: Sequence[str],
    after: int,
    by: int,
    roots: tuple[bytes, bytes],
    tensors: tuple[Sequence[bytes], Sequence[bytes]] | None = None,
) -> Difference:
    """The first tensor with another hash in two states at step ``by`` of runs that were equal at
    ``after``; ``tensors``: their bytes, where they are known."""
    left, right = roots
    tensor = next(
        i for i in range(len(left) // SIZE) if left[i * SIZE :][:SIZE] != right[i * SIZE :][:SIZE]
    )
    value = listing.results[tensor]
    entry = listing.entries[value]
    node = entry.index if entry.kind == "node" else -1
    element = None
    if tensors is not None:
        element = first_element(tensors[0][tensor], tensors[1][tensor], entry.type.dtype)
    operator = listing.nodes[node].operator.name if node >= 0 else ""
    return Difference(after, by, tensor, names[tensor], node, operator, element)


def tensor_names(model: Model) -> list[str]:
    """Names of parameters and state for people."""
    names = [f"parameter {p.name}" for p in model.program.info]
    return names + [f"state {i}" for i in range(len(model.program.state))]


def verify(
    folder: str | os.PathLike[str],
    steps: tuple[int, int] | None = None,
    sample: int | None = None,
    seed: int = 0,
    machine: Machine | None = None,
    root: bytes | None = None,
) -> Verification:
    """Executes steps ``first..last`` (all by default) of a recorded run again and compares the
    recorded states: from the last checkpoint before them on, so that all states between are
    compared too. ``sample``: only so many of these steps, drawn by ``seed``.

    ``root``: the trace must be the one with this root, which was published before; without it only
    the folder at hand is verified.

    A run that was interrupted, or goes on, can be verified where ``steps`` names what is recorded.
    """
    with Replay(folder, machine, unfinished=steps is not None) as replay:
        trace = replay.trace
        require_root(trace, root)
        recorded = list(trace.records)
        done, states, at = 0, 0, -1
        for a, b in intervals(trace, steps, sample, seed):
            begin = replay.checkpoint(a)
            if begin > at:
                replay.state(begin)
                at = begin
            for r in (r for r in recorded if at < r <= b):
                computed = replay.executed(r)
                states, done = states + 1, done + r - at
                if computed != trace.records[r]:
                    return Verification(done, states, _found(replay, at, r, computed))
                at = r
        return Verification(done, states, None)


def require_root(trace: Trace, root: bytes | None) -> None:
    """Raises GvmError where a trace is not the one with a root that was published; None: any."""
    if root is None:
        return
    if not trace.ended:
        raise GvmError(f"{trace.path}: the run has not ended: it has no root")
    if trace.root != root:
        raise GvmError(f"{trace.path}: another run: its root is {trace.root.hex()}")


def verify_checkpoints(folder: str | os.PathLike[str], root: bytes | None = None) -> Verification:
    """Compares the checkpoints of a run with its trace, which must have this ``root``; nothing is
    executed."""
    with Replay(folder, unfinished=True) as replay:
        require_root(replay.trace, root)
        checked = 0
        for step in checkpoint_steps(replay.folder):
            replay.state(step)
            checked += 1
        return Verification(0, checked, None)


def intervals(
    trace: Trace, steps: tuple[int, int] | None, sample: int | None = None, seed: int = 0
) -> list[tuple[int, int]]:
    """The recorded states before and behind what is asked for: all steps, ``first..last``, or a
    sample of them."""
    recorded = list(trace.records)
    begins = {bisect_right(recorded, s) - 1 for s in _wanted(trace, steps, sample, seed)}
    return [(recorded[i], recorded[i + 1]) for i in sorted(begins)]


def _wanted(
    trace: Trace, steps: tuple[int, int] | None, sample: int | None, seed: int
) -> Iterable[int]:
    first, last = trace.header.step, trace.last - 1
    if steps is not None:
        if not first <= steps[0] <= steps[1] <= last:
            raise GvmError(
                f"{trace.path}: steps must be in {first}..{last}, received {steps[0]}..{steps[1]}"
            )
        first, last = steps
    if sample is None:
        return range(first, last + 1)
    if sample < 1:
        raise GvmError(f"sample must be at least 1, received {sample}")
    # In the order of a hash: the same steps on every machine, unknown before the trace is.
    prefix = b"gvm.trace.sample.v2\n" + trace.root + seed.to_bytes(8, "little")
    drawn = sorted(
        range(first, last + 1), key=lambda s: _core.blake3(prefix + s.to_bytes(8, "little"))
    )
    return sorted(drawn[:sample])


def _found(replay: Replay, after: int, by: int, computed: bytes) -> Difference:
    """What differs from the trace; both values where a checkpoint has what was recorded."""
    path, tensors = checkpoint_path(replay.folder, by), None
    recorded = replay.trace.records[by]
    if path.exists():
        kept = checkpoint_tensors(path, replay)
        if b"".join(_core.blake3(t) for t in kept) == recorded:
            tensors = (kept, state_tensors(replay, *replay.state(by)))
    names = tensor_names(replay.model)
    return difference(replay.listing, names, after, by, (recorded, computed), tensors)


def state_tensors(replay: Replay, parameters: bytes, state: bytes) -> list[bytes]:
    """The tensors of a state in the order of its hashes."""
    tensors = tensors_of(replay.native.tensors(PARAMETERS), parameters)
    return tensors + tensors_of(replay.native.tensors(STATE), state)


def checkpoint_tensors(path: Path, replay: Replay) -> list[bytes]:
    """The tensors of a checkpoint, [] where it is not one of the run."""
    try:
        model = Model.load(path)
    except ProgramError:
        return []
    if model.bytes != replay.model.bytes:
        return []
    return state_tensors(replay, model.parameters, model.state)
