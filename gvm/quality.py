"""How good the integers are: each node of a model beside real arithmetic on the same data.

A node is compared twice: with its real value given the integers it read (its own rounding and
clamping), and with a run of the whole model in real numbers (what has added up).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm import _core
from gvm.inspection import NodeInfo, inspect
from gvm.ops import BY_OPCODE
from gvm.program import steps_of
from gvm.progress import progress_bar
from gvm.tensors import Array, unpack
from gvm.types import RANGE, Type

if TYPE_CHECKING:
    from gvm.model import Model

CHUNK = 16
"""Examples at a time: every value of a few is held at once."""


@dataclass(frozen=True)
class Quality:
    """What was seen of a value."""

    node: NodeInfo | None
    """None for an input of the model."""
    name: str
    type: Type
    largest: float
    """The largest magnitude, a real value."""
    clamped: int
    """Elements that had to be clamped to the element type."""
    own: float
    """Signal-to-noise ratio in dB given what the node read; infinite where it is exact."""
    whole: float
    """Signal-to-noise ratio in dB beside the whole model in real numbers."""

    @property
    def used_bits(self) -> int:
        """Bits of the largest integer seen, its sign included."""
        return math.ceil(math.ldexp(self.largest, self.type.fraction_bits)).bit_length() + 1

    def row(self) -> dict[str, str | int | float | None]:
        """What a table says of the value; a ratio of what is exact, or of nothing, is None."""
        return {
            "node": "" if self.node is None else self.node.number,
            "operator": "input" if self.node is None else self.node.operator,
            "name": self.name,
            "result": str(self.type),
            "largest": self.largest,
            "bits_used": self.used_bits,
            "clamped": self.clamped,
            "snr_db": round(self.own, 1) if math.isfinite(self.own) else None,
            "snr_whole_db": round(self.whole, 1) if math.isfinite(self.whole) else None,
        }


class _Sums:
    """Of squares: signals and the two differences."""

    def __init__(self) -> None:
        self.largest = self.clamped = 0.0
        self.signal, self.noise = [0.0, 0.0], [0.0, 0.0]

    def add(self, value: Array, references: Sequence[Array]) -> None:
        self.largest = max(self.largest, float(np.max(np.abs(value), initial=0.0)))
        for i, reference in enumerate(references):
            self.signal[i] += float(np.sum(np.square(reference)))
            self.noise[i] += float(np.sum(np.square(value - reference)))

    def ratio(self, i: int) -> float:
        if self.noise[i] == 0.0:
            return math.inf
        return 10 * math.log10(self.signal[i] / self.noise[i]) if self.signal[i] else -math.inf


def measure(
    model: Model, x: Array | Sequence[Array], progress: bool | None = None
) -> list[Quality]:
    """The quality of every input and of the first output of every node of ``predict``, for inputs
    of real values (batch first).

    Node after node is executed by the core, to nearest as ``run`` does. Real arithmetic starts from
    the parameters as they are stored and from the inputs as given. Raises as :meth:`Model.run` does
    for inputs that do not fit.
    """
    integers = model.quantized_inputs(x)
    arrays = x if isinstance(x, list | tuple) and np.ndim(x[0]) == integers[0].ndim else [x]
    given = [np.asarray(a, dtype=np.float64) for a in arrays]
    measuring = _Measuring(model)
    count = len(integers[0])
    with progress_bar(-(-count // CHUNK), "measuring", progress) as advance:
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            measuring.add([a[part] for a in integers], [a[part] for a in given])
            advance(f"{min(part.stop, count)} of {count} examples")
    return measuring.results()


class _Measuring:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes = inspect(model)
        self.steps = list(steps_of(model.program.predict))
        self.sums: dict[int, _Sums] = {}
        self.shared: dict[int, tuple[Array, Array]] = {}
        """Integers and real value of each parameter and of what depends on parameters alone."""
        for v, (type_, offset, _) in enumerate(model._native.tensors(2), self.nodes.inputs):
            stored = unpack(model.parameters, type_, offset)
            self.shared[v] = stored, _real(stored, type_)
        last = {v: i for i, s in enumerate(self.steps) for v in s.inputs}
        self.unused_after = [
            [v for v in s.inputs if last[v] == i] for i, s in enumerate(self.steps)
        ]

    def add(self, integers: Sequence[Array], given: Sequence[Array]) -> None:
        """One chunk of examples."""
        values = dict(self.shared)
        for v, (q, real) in enumerate(zip(integers, given, strict=True)):
            type_ = self.nodes.types[v]
            sums = self.sums.setdefault(v, _Sums())
            low, high = (math.ldexp(n, -type_.fraction_bits) for n in RANGE[type_.dtype])
            sums.clamped += int(np.count_nonzero((real < low) | (real > high)))
            sums.add(_real(q, type_), (real, real))
            values[v] = q, real
        batch = len(integers[0])
        for i, info in enumerate(self.nodes.nodes):
            if info.outputs[0] not in values:
                self._run(i, info, values, batch)
            for v in self.unused_after[i]:
                values.pop(v, None)

    def _run(
        self, i: int, info: NodeInfo, values: dict[int, tuple[Array, Array]], batch: int
    ) -> None:
        step = self.steps[i]
        operator = BY_OPCODE[step.opcode]
        types = [self.nodes.types[v] for v in step.inputs]
        read = [values[v] for v in step.inputs]
        outputs, clamped = _core.run_operator(
            step.opcode,
            list(step.attributes),
            [(t, q) for t, (q, _) in zip(types, read, strict=True)],
            batch, 0, batch, 0, 0, 0, -1, 0,
        )  # fmt: skip
        names = [a.name for a in operator.attributes]
        attributes = operator.at_batch(dict(zip(names, step.attributes, strict=True)), batch)
        near = [_real(q, t) for t, (q, _) in zip(types, read, strict=True)]
        own = _listed(operator.real(attributes, *near))
        whole = _listed(operator.real(attributes, *(real for _, real in read)))
        sums = self.sums.setdefault(info.outputs[0], _Sums())
        sums.clamped += clamped
        sums.add(_real(outputs[0], info.types[0]), (own[0], whole[0]))
        for v, q, real in zip(info.outputs, outputs, whole, strict=True):
            values[v] = q, real
            if self.nodes.is_view(info):
                self.shared[v] = q, real

    def results(self) -> list[Quality]:
        """Inputs, then nodes."""
        rows: list[tuple[int, NodeInfo | None]] = [(v, None) for v in range(self.nodes.inputs)]
        rows += [(info.outputs[0], info) for info in self.nodes.nodes]
        return [
            Quality(
                info,
                self.nodes.names[v],
                self.nodes.types[v],
                self.sums[v].largest,
                int(self.sums[v].clamped),
                self.sums[v].ratio(0),
                self.sums[v].ratio(1),
            )
            for v, info in rows
        ]


def _real(q: Array, type_: Type) -> Array:
    return np.asarray(np.ldexp(q.astype(np.float64), -type_.fraction_bits))


def _listed(made: Any) -> tuple[Array, ...]:
    return tuple(map(np.asarray, made)) if isinstance(made, tuple) else (np.asarray(made),)
