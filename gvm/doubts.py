"""Nodes that fixed point computes badly: each of them beside real numbers on a few of the
calibration examples, given the real values of its inputs.

Its operands are rounded to the formats that it reads and its result to the one it has. What is
lost of very low numbers that leave out (``left_out.py``) is no loss.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm.batch import cut_examples, examples_of
from gvm.functions import by_number
from gvm.graph import TOTAL, Graph, Node, Value, real_values
from gvm.ops import OPERATORS
from gvm.types import RANGE, Type

if TYPE_CHECKING:
    from gvm.quantize import Quantizer

Array = NDArray[Any]

WORST = 1e-2
"""The part of a result's norm from which its error is reported."""
SAFE = 0.25
"""The part of ``WORST`` up to which the estimate of a product's error is enough."""
MOST_ELEMENTS, FEWEST, MOST = 2**22, 2, 16
"""The examples that are looked at have so many elements in all; how few and how many they are."""
SHOWN = 8
SPREAD = 2.0**10
"""How many times larger than others channels, or the largest number than the rest, are named."""
PRODUCTS = ("matmul", "conv2d")
PASSED = ("argmax", "compare", "logical", "reshape", "transpose", "broadcast_to", "slice")
"""Operators whose results are not real numbers, or their operand's: what reads them tells."""
BEYOND = 2.0**46
"""From here on numbers are no values but masks: formats hold none larger."""


class QualityWarning(RuntimeWarning):
    """Nodes of an imported model differ much from real numbers."""


@dataclass(frozen=True)
class Doubt:
    """A node whose result is far from what real numbers give."""

    name: str
    """The source's name of the node, or of the nearest before it that has one."""
    operator: str
    error: float
    """||fixed point - real|| / ||real||."""
    clamped: float
    """The largest share of elements clamped, of an operand or of the result."""
    advice: str

    def __str__(self) -> str:
        share = f", {100 * self.clamped:.2g} % clamped" if self.clamped else ""
        title = f"{self.operator}, node {self.name!r}" if self.name else self.operator
        return f"{title}: error {100 * self.error:.2g} %{share}; {self.advice}"


def doubts_of(graph: Graph, quantizer: Quantizer, inputs: Sequence[Array]) -> list[Doubt]:
    """The nodes of ``predict`` whose error is at least ``WORST``, the largest first."""
    if not inputs:
        return []
    types = [graph.types[v] for v in graph.inputs]
    size = sum(math.prod(t.concrete(1)) for t in graph.types if t.batch_axis is not None)
    most = max(FEWEST, min(MOST, MOST_ELEMENTS // max(1, size)))
    few = cut_examples(inputs, types, slice(0, min(most, examples_of(inputs, types))))
    with np.errstate(all="ignore"):
        found = _Measuring(graph, quantizer, few).run()
    return sorted(found, key=lambda d: -d.error)


def described(doubts: Sequence[Doubt]) -> str:
    """One block of text; empty where there are none."""
    if not doubts:
        return ""
    one, rest = len(doubts) == 1, len(doubts) - SHOWN
    lines = [
        f"{len(doubts)} node{'' if one else 's'} of the fixed-point model "
        f"differ{'s' if one else ''} much from real numbers on the calibration inputs:",
        *(f"  {d}" for d in doubts[:SHOWN]),
        *([f"  and {rest} more"] if rest > 0 else []),
    ]
    return "\n".join(lines)


def told(graph: Graph, quantizer: Quantizer, inputs: Sequence[Array]) -> dict[str, str]:
    """Warns of the doubts, which are what a model's information says of them, if there are any."""
    text = described(doubts_of(graph, quantizer, inputs))
    if text:
        warnings.warn(text, QualityWarning, stacklevel=4)
    return {"doubts": text} if text else {}


class _Measuring:
    def __init__(self, graph: Graph, quantizer: Quantizer, inputs: Sequence[Array]) -> None:
        def cast(array: Array, v: Value) -> Array:
            real = graph.types[v].dtype == "real"
            return np.asarray(array, dtype=np.float32 if real else np.float64)

        cut = tuple(replace(p, data=cast(p.data, p.value)) for p in graph.parameters)
        self.graph = replace(graph, parameters=cut)
        self.forms = quantizer.forms
        self.left_out = quantizer.chosen.left_out
        self.ranges: Mapping[Value, float] = quantizer.ranges
        self.rms: dict[Value, float] = dict(getattr(quantizer.ranges, "rms", {}))
        self.inputs = [cast(x, v) for v, x in zip(graph.inputs, inputs, strict=True)]
        self.producer = graph.producer()
        given = zip(self.inputs, graph.inputs, strict=True)
        batches = ((x.shape, graph.types[v].batch_axis) for x, v in given)
        self.batch = next((shape[axis] for shape, axis in batches if axis is not None), 1)

    def run(self) -> list[Doubt]:
        """Node after node, as real numbers come out of each."""
        wanted = self.graph.outputs["predict"]
        nodes = self.graph.reaching(wanted)
        last = {v: i for i, node in enumerate(nodes) for v in node.inputs}
        stream = real_values(self.graph, self.inputs, (), wanted, np.float32)
        held: dict[Value, Array] = {}
        found = []
        for i, node in enumerate(nodes):
            while not held.keys() >= {*node.inputs, *node.outputs}:
                v, array = next(stream)
                held[v] = array
            doubt = self._doubt(node, held)
            if doubt is not None:
                found.append(doubt)
            for v in (*node.inputs, *node.outputs):
                if last.get(v, i) <= i:
                    held.pop(v, None)
        return found

    def _doubt(self, node: Node, held: Mapping[Value, Array]) -> Doubt | None:
        (made, *_) = node.outputs
        if not node.inputs or node.op == TOTAL or node.op in PASSED:
            return None  # a count is no function of tensors
        if self.graph.types[made].dtype == "bool":
            return None
        operator = OPERATORS[node.op]
        expected, worst, lost, full = held[made], 0.0, 0.0, 0.0
        for reads, makes in self.forms.get(made, ()):
            if node.attributes.get("direction", 0) or self._is_safe(node, reads, held):
                continue
            pairs = list(zip(node.inputs, reads, strict=True))
            read = [self._rounded(v, held[v], t) for v, t in pairs]
            attributes = operator.at_batch(node.attributes, self.batch)
            result = operator.real(attributes, *(r for r, _ in read))
            first = np.asarray(result[0] if isinstance(result, tuple) else result)
            found, beyond = self._rounded(made, first, makes[0])
            error = self._error(made, found, expected)
            if error > worst:
                worst, full, lost = error, max(share for _, share in read), beyond
        if worst < WORST:
            return None
        advice = self._advice(node, held, full)
        return Doubt(self._near(node), node.op, worst, max(full, lost), advice)

    def _rounded(self, v: Value, array: Array, type_: Type) -> tuple[Array, float]:
        """A value at a format, and the share of it that is clamped."""
        if type_.dtype not in ("i16", "i32") or self.graph.types[v].dtype != "real":
            return array, 0.0
        low, high = RANGE[type_.dtype]
        scaled = np.rint(np.ldexp(array, type_.fraction_bits))
        counted = scaled[self._counts(v, array)]
        beyond = np.count_nonzero((counted < low) | (counted > high)) / max(1, counted.size)
        return np.ldexp(np.clip(scaled, low, high), -type_.fraction_bits), float(beyond)

    def _error(self, v: Value, found: Array, expected: Array) -> float:
        kept = self._counts(v, expected)
        found, expected = np.broadcast_to(found, expected.shape)[kept], expected[kept]
        size = max(_norm(expected), self._typical(v) * math.sqrt(expected.size))
        apart = _norm(found - expected)
        return apart / size if size and math.isfinite(apart) and math.isfinite(size) else 0.0

    def _counts(self, v: Value, array: Array) -> Any:
        """Where the numbers of a value are none that leave out."""
        if v in self.left_out.needed:
            return array >= -self.left_out.kept(v)
        if self.ranges.get(v, 0.0) >= BEYOND:
            return np.abs(array) < BEYOND
        return ...

    def _typical(self, v: Value) -> float:
        """The root mean square that calibration saw of a value; 0 where low numbers are in it."""
        return 0.0 if v in self.left_out.low else self.rms.get(v, 0.0)

    def _is_safe(self, node: Node, reads: Sequence[Type], held: Mapping[Value, Array]) -> bool:
        """Whether rounding the operands of a product cannot matter, by their root mean squares."""
        if node.op not in PRODUCTS:
            return False
        noise, size = 0.0, 1.0
        for v, type_ in zip(node.inputs, reads, strict=True):
            if v not in self.rms:
                self.rms[v] = _norm(held[v]) / math.sqrt(max(1, held[v].size))
            if not self.rms[v] or math.ldexp(self.ranges[v], type_.fraction_bits) > 2**15:
                return False
            noise += (math.ldexp(1.0, -type_.fraction_bits) / self.rms[v]) ** 2 / 12
            size *= self.rms[v]
        a, b = (held[v] for v in node.inputs)
        depth = math.prod(b.shape[:-1])
        if node.op == "matmul":
            depth = a.shape[-2 if node.attributes["transpose_a"] else -1]
        typical = self.rms.get(node.outputs[0], 0.0)
        return math.sqrt(depth * noise) * size < SAFE * WORST * typical

    # -- what is said

    def _near(self, node: Node | None) -> str:
        """The name of a node, or of the nearest before it that has one."""
        for _ in range(8):
            if node is None or node.name:
                break
            node = next((self.producer[v] for v in node.inputs if v in self.producer), None)
        return "" if node is None else node.name

    def _operand(self, v: Value) -> str:
        name = self.graph.names.get(v) or self._near(self.producer.get(v))
        return repr(name) if name else "its operand"

    def _advice(self, node: Node, held: Mapping[Value, Array], full: float) -> str:
        if full > 1e-3:
            return "a format is too narrow: give it fewer fraction bits (formats=)"
        for v in node.inputs:
            array = held[v]
            if self.graph.types[v].dtype != "real" or array.ndim < 2 or array.shape[-1] < 2:
                continue
            each = np.sqrt(np.mean(np.square(array.reshape(-1, array.shape[-1])), axis=0))
            each = each[each > 0]
            if each.size and each.max() > SPREAD * each.min():
                return (
                    f"channels of {self._operand(v)} differ {each.max() / each.min():.0e} times in "
                    "size and share its format: scale them alike"
                )
        if node.op == "unary":
            name = by_number(int(str(node.attributes["function"]))).name
            return f"{name} of numbers that span many magnitudes: scale them, keep them from 0"
        for v in node.inputs:
            size, most = self._typical(v), self.ranges.get(v, 0.0)
            if size and most > SPREAD * size:
                return (
                    f"the largest number of {self._operand(v)} is {most:.2g}, its typical size "
                    f"{size:.2g}: 16 bits do not hold both"
                )
        if node.op in ("add", "sub", "bias_add"):
            return "large numbers that nearly cancel lose their digits"
        return "its operands need more than 16 bits: scale them alike, or set formats"


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.astype(np.float64, copy=False).reshape(-1)))
