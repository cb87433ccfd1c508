"""Where two recorded runs part."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gvm import _core
from gvm.errors import GvmError
from gvm.trace.file import Header, Trace, read_trace
from gvm.trace.recorder import checkpoint_path
from gvm.trace.replay import Machine, Replay
from gvm.trace.verify import (
    Difference,
    checkpoint_tensors,
    difference,
    state_tensors,
    tensor_names,
)

_WHAT = {
    "train": "program",
    "listing": "program",
    "data": "data",
    "count": "number of examples",
    "batch_size": "batch size",
    "seed": "seed",
    "step": "first step",
    "epoch": "first epoch",
    "taken": "first example",
}


@dataclass(frozen=True)
class Comparison:
    """Two runs: equal up to the last step that both have, or the first difference, and what this
    machine computes there."""

    last: int
    difference: Difference | None
    right: tuple[bool, bool] | None = None
    """Whether each of the two is what this machine computes from the last equal state."""


def diff(
    left: str | os.PathLike[str], right: str | os.PathLike[str], machine: Machine | None = None
) -> Comparison:
    """The first recorded state in which two runs of one program on one data set differ, and which
    of them this machine computes. Runs of other programs, data or options are a GvmError."""
    traces = read_trace(left, unfinished=True), read_trace(right, unfinished=True)
    comparable(*(t.header for t in traces))
    both = sorted(set(traces[0].records) & set(traces[1].records))
    by = next((s for s in both if traces[0].records[s] != traces[1].records[s]), None)
    if by is None:
        return Comparison(both[-1], None)
    after = max((s for s in both if s < by), default=by)
    return _parted(Path(left), Path(right), traces, after, by, machine)


def comparable(a: Header, b: Header) -> None:
    """Raises GvmError, naming what differs, for two runs that are not of one request."""
    for name, what in _WHAT.items():
        if getattr(a, name) != getattr(b, name):
            raise GvmError(f"two different runs: another {what}")


def _parted(
    left: Path,
    right: Path,
    traces: tuple[Trace, Trace],
    after: int,
    by: int,
    machine: Machine | None,
) -> Comparison:
    roots = traces[0].records[by], traces[1].records[by]
    with Replay(left, machine, unfinished=True) as replay:
        names, listing = tensor_names(replay.model), replay.listing
        if after == by:  # other initial states
            return Comparison(by, difference(listing, names, after, by, roots))
        replay.state(after)
        computed = replay.executed(by)
        known = {computed: state_tensors(replay, *replay.state(by))}
        for folder in (left, right):
            path = checkpoint_path(folder, by)
            if path.exists():
                tensors = checkpoint_tensors(path, replay)
                known[b"".join(_core.blake3(t) for t in tensors)] = tensors
        pair = None
        if roots[0] in known and roots[1] in known:
            pair = known[roots[0]], known[roots[1]]
        found = difference(listing, names, after, by, roots, pair)
        return Comparison(after, found, (computed == roots[0], computed == roots[1]))
