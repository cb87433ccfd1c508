"""Where the time of ``predict`` goes: per step of the plan its nodes, time, multiply-adds per
second and the routes that its matrix products took.

A measurement of one machine at one moment: no result depends on it.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gvm.files import write_bytes
from gvm.inspection import inspect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gvm.model import Model

PREDICT = 0
ROUTES = ("32-bit sums", "64-bit sums", "bytes", "few rows")
"""How tiles of products were summed (docs/inspecting.md): proved to fit 32 bits, in parts that do,
split into bytes, or row by row without packing."""


@dataclass(frozen=True)
class StepProfile:
    """One step: a node and those that run in its kernel."""

    nodes: tuple[int, ...]
    operators: str
    """Joined by +, in the order of execution."""
    name: str
    seconds: float
    """Median over the runs."""
    multiply_adds: int
    """Of the batch."""
    route: str
    """The route of most tiles, with their share in percent where there are others; or empty."""

    @property
    def rate(self) -> float:
        """Multiply-adds per second."""
        return self.multiply_adds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """The steps of ``predict`` for one batch, in the order of execution."""

    steps: tuple[StepProfile, ...]
    batch: int
    runs: int
    events: tuple[tuple[str, int, int], ...]
    """Every step executed: its name, begin and end in nanoseconds."""

    @property
    def seconds(self) -> float:
        """The sum over the steps."""
        return sum(s.seconds for s in self.steps)

    def rows(self) -> list[dict[str, Any]]:
        """One row per step, for tables: milliseconds, percent, 10^9 multiply-adds per second."""
        whole = self.seconds or 1.0
        return [
            {
                "node": s.nodes[0],
                "operators": s.operators,
                "name": s.name,
                "ms": round(1e3 * s.seconds, 3),
                "percent": round(100 * s.seconds / whole, 1),
                "gmac_per_s": round(1e-9 * s.rate, 1),
                "route": s.route,
            }
            for s in self.steps
        ]

    def save_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes the steps as a Chrome trace (JSON; open it in Perfetto or chrome://tracing)."""
        origin = min((begin for _, begin, _ in self.events), default=0)
        events = [
            {
                "name": name,
                "ph": "X",
                "pid": 0,
                "tid": 0,
                "ts": (begin - origin) / 1e3,
                "dur": (end - begin) / 1e3,
            }
            for name, begin, end in self.events
        ]
        write_bytes(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode())


def profile(
    model: Model,
    x: NDArray[Any] | Sequence[NDArray[Any]],
    *,
    runs: int = 5,
    batch_size: int | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Profile:
    """Times the steps of ``predict`` on the first ``batch_size`` examples (all, by default), in
    ``runs`` runs after one that is not counted."""
    if runs < 1:
        raise ValueError(f"runs must be at least 1, received {runs}")
    inputs = model.quantized_inputs(x)
    if batch_size is not None:
        inputs = [a[:batch_size] for a in inputs]
    session = model.session(backend, threads)
    session.predict(inputs)
    session.set_profile(True)
    try:
        for _ in range(runs):
            session.predict(inputs)
        recorded = session.profile()
    finally:
        session.set_profile(False)
    nodes = inspect(model).nodes
    steps, events = [], []
    for i in range(len(recorded) // runs):
        of_step = recorded[i :: len(recorded) // runs]
        _, members, _, _, _ = of_step[0]
        tiles = [sum(t) for t in zip(*(tiles for *_, tiles in of_step), strict=True)]
        steps.append(
            StepProfile(
                tuple(members),
                "+".join(nodes[m].operator for m in members),
                next((nodes[m].name for m in reversed(members) if nodes[m].name), ""),
                statistics.median(end - begin for _, _, begin, end, _ in of_step) / 1e9,
                sum(nodes[m].multiply_adds for m in members) * len(inputs[0]),
                _route(tiles),
            )
        )
    for i, (_, _, begin, end, _) in enumerate(recorded):
        s = steps[i % len(steps)]
        events.append((f"{s.nodes[0]} {s.operators} {s.name}".rstrip(), begin, end))
    return Profile(tuple(steps), len(inputs[0]), runs, tuple(events))


def _route(tiles: Sequence[int]) -> str:
    if not any(tiles):
        return ""
    most = max(range(len(tiles)), key=tiles.__getitem__)
    share = round(100 * tiles[most] / sum(tiles))
    return ROUTES[most] + ("" if tiles[most] == sum(tiles) else f" {share} %")
