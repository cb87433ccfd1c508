"""How full the formats of a run are: elements that rounding clamped, by tensor and epoch, and what
is said when they are too many."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gvm import _core
from gvm.ops import BY_OPCODE
from gvm.types import Type

if TYPE_CHECKING:
    from gvm.program import Function, Program
    from gvm.train import TrainingState

GRAD, APPLY = 2, 3
FUNCTIONS = {GRAD: "grad", APPLY: "apply"}
LABELS, TOTALS = 1, 5
MOST_UPDATES, MOST_VALUES = 0.25, 0.02
"""The shares of clamped elements in an epoch from which a run is warned: of the updates of a
parameter, which then no longer learns, and of a value, whose format is too narrow."""


@dataclass
class Tensor:
    """A result that is rounded to a format, and what was clamped of it in each epoch."""

    function: str
    node: int
    operator: str
    name: str
    """The source's name, that of the parameter for an update, or empty."""
    dtype: str
    fraction_bits: int
    clamped: list[int] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)
    """In each epoch of this run, those that were rounded."""

    @property
    def title(self) -> str:
        """As clamp reports name it."""
        return f"{self.function}, node {self.node} ({self.operator}) {self.name}".rstrip()

    @property
    def shares(self) -> list[float]:
        """Of clamped elements, by epoch."""
        pairs = zip(self.clamped, self.elements, strict=True)
        return [clamped / max(1, elements) for clamped, elements in pairs]

    def row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dict(vars(self))


Clamped = tuple[tuple[int, int, int], ...]
"""(function, node, elements) where there were any."""


@dataclass(frozen=True)
class Counts:
    """What was clamped in each epoch of a run, and so far in one that is not finished: beside a
    checkpoint, in no id."""

    epochs: tuple[Clamped, ...] = ()
    partial: Clamped = ()

    def encoded(self) -> dict[str, Any]:
        """As the info of a .dmodel has it."""
        return {
            "epochs": [[list(row) for row in epoch] for epoch in self.epochs],
            "partial": [list(row) for row in self.partial],
        }

    @staticmethod
    def decoded(body: Any) -> Counts:
        """The inverse of ``encoded``; a ValueError for what is not one."""
        epochs, partial = body["epochs"], body["partial"]
        for f, node, count in (row for epoch in (*epochs, partial) for row in epoch):
            whole = all(type(v) is int and v >= 0 for v in (f, node, count))
            if not whole or f not in FUNCTIONS:
                raise ValueError("saturation")
        made = [tuple((f, node, n) for f, node, n in epoch) for epoch in (*epochs, partial)]
        return Counts(tuple(made[:-1]), made[-1])


@dataclass(frozen=True)
class _Site:
    tensor: Tensor
    fixed: int
    """Elements in a step."""
    each: int
    """Elements for an example."""
    updates: bool

    @property
    def share(self) -> float:
        """Of clamped elements in the last epoch."""
        return self.tensor.shares[-1]


class Saturation:
    """Watches the clamp counts of a run. ``known``: those of before, where it goes on from
    ``start``."""

    def __init__(
        self, program: Program, workers: Any, start: TrainingState, known: Counts | None = None
    ) -> None:
        assert program.grad is not None and program.apply is not None
        native = _core.Program(program.encode())
        totals = [t for t, _, _ in native.tensors(TOTALS)]
        given = [*program.inputs, *program.labels, *program.parameters]
        self.sites = {
            GRAD: _sites(program, program.grad, GRAD, given, totals),
            APPLY: _sites(
                program, program.apply, APPLY, [*program.parameters, *program.state, *totals], ()
            ),
        }
        self.workers = workers
        self.before = {f: workers.clamps(f) for f in FUNCTIONS}
        self.diverged = False
        self.warned = False
        whole = known is not None and len(known.epochs) == len(start.epochs)
        self.known = Counts() if start.step == 0 else known if whole else None
        self.carried: dict[tuple[int, int], int] = {}
        if self.known is not None:
            for epoch, rows in zip(start.epochs, self.known.epochs, strict=True):
                self._count({(f, n): c for f, n, c in rows}, epoch.steps, epoch.count)
            self.carried = {(f, n): c for f, n, c in self.known.partial}

    def counts(self, training: TrainingState) -> Counts | None:
        """What a checkpoint of ``training`` says; None where earlier epochs are not known."""
        if self.known is None:
            return None
        epochs = []
        for e in range(training.epoch):
            sites = [(f, n, s) for f, of in self.sites.items() for n, s in of.items()]
            counted = ((f, n, s.tensor.clamped[e]) for f, n, s in sites)
            epochs.append(tuple(row for row in counted if row[2]))
        partial = self._since() if training.partial is not None else {}
        return Counts(tuple(epochs), tuple((f, n, c) for (f, n), c in partial.items() if c))

    def total(self) -> dict[str, int]:
        """Elements clamped in all epochs, by title."""
        every = [s.tensor for sites in self.sites.values() for s in sites.values()]
        return {t.title: sum(t.clamped) for t in every if any(t.clamped)}

    def _since(self) -> dict[tuple[int, int], int]:
        """Clamped since the last epoch ended."""
        found = {}
        for function, sites in self.sites.items():
            now, before = self.workers.clamps(function), self.before[function]
            for node in sites:
                carried = self.carried.get((function, node), 0)
                found[function, node] = now[node] - before[node] + carried
        return found

    def _count(self, clamped: dict[tuple[int, int], int], steps: int, examples: int) -> None:
        """Counts an epoch."""
        for function, sites in self.sites.items():
            for node, site in sites.items():
                site.tensor.clamped.append(clamped.get((function, node), 0))
                site.tensor.elements.append(site.fixed * steps + site.each * examples)

    @property
    def tensors(self) -> list[Tensor]:
        """Those of parameters, and those of which anything was clamped."""
        every = [s.tensor for sites in self.sites.values() for s in sites.values()]
        return [t for t in every if t.function == "apply" or any(t.clamped)]

    def look(self, training: TrainingState, steps: int, examples: int) -> None:
        """Counts an epoch. Warns once in a run when it diverges, and once when the format of a
        value clamps too much, of the value that it clamps most."""
        self._count(self._since(), steps, examples)
        self.before, self.carried = {f: self.workers.clamps(f) for f in FUNCTIONS}, {}
        if self.diverged:
            return
        every = [site for sites in self.sites.values() for site in sites.values()]
        updates = next((s.tensor for s in every if s.updates and s.share >= MOST_UPDATES), None)
        if updates is not None:
            self.diverged = True
            _warn(
                f"training diverges: parameter {updates.name!r}, {_when(updates, training)} of its "
                "updates were clamped; no checkpoint is written from here on. Lower the learning "
                "rate, or clip gradients"
            )
            return
        worst = max((s for s in every if not s.updates), key=lambda s: s.share, default=None)
        if worst is not None and worst.share >= MOST_VALUES and not self.warned:
            self.warned = True
            t = worst.tensor
            _warn(
                f"a format is too narrow: {t.title}, {t.dtype} with {t.fraction_bits} fraction "
                f"bits, {_when(t, training)} of its elements were clamped. Give it fewer fraction "
                "bits, or lower the learning rate"
            )


def _when(tensor: Tensor, training: TrainingState) -> str:
    return f"epoch {training.epoch}, step {training.step}: {tensor.shares[-1]:.0%}"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=6)


def _sites(
    program: Program,
    function: Function,
    number: int,
    given: Sequence[Type],
    totals: Sequence[Type],
) -> dict[int, _Site]:
    """The nodes of a function that round, by their number."""
    types, following = list(given), iter(totals)
    outputs = function.outputs[: len(program.parameters)]
    made: dict[int, _Site] = {}
    node = 0
    for segment in function.segments:
        for step in segment.steps:
            operator = BY_OPCODE[step.opcode]
            read = [types[v] for v in step.inputs]
            results = _core.infer(step.opcode, read, list(step.attributes), program.max_batch, node)
            first = results[0]
            if operator.sites:
                updated = next(
                    (
                        program.info[outputs.index(v)].name
                        for v in range(len(types), len(types) + len(results))
                        if number == APPLY and v in outputs
                    ),
                    None,
                )
                rounded = [r for r in results if r.dtype != "i64"]
                sizes = [(math.prod(r.concrete(1)), r.batch_axis is not None) for r in rounded]
                tensor = Tensor(
                    FUNCTIONS[number],
                    node,
                    operator.name,
                    step.label if updated is None else updated,
                    first.dtype,
                    first.fraction_bits,
                )
                made[node] = _Site(
                    tensor,
                    sum(n for n, batched in sizes if not batched),
                    sum(n for n, batched in sizes if batched),
                    updated is not None,
                )
            types += results
            node += 1
        types += [replace(next(following), partial=False) for _ in segment.reduce]
    return made
