"""Very low numbers that leave out: what masks put in the place of scores, or add to them.

Calibration tells them from the numbers beside them by a gap (:class:`Histogram`). Where all readers
of a value make the same of such a number as of any other far below the rest (softmax, a maximum,
an exponential), it needs no place in the format: it is clamped (:class:`LeftOut`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.functions import BY_NAME
from gvm.graph import TOTAL, Graph, Node, Value

__all__ = ["Histogram", "LeftOut", "Low", "may_be_low"]

LARGE = 64.0
"""Constants and inputs of this magnitude may be, or become, numbers that leave out."""
OUT_OF_REACH = 44.0
"""How far below twice the range of scores a number lies that leaves out: softmax makes 0 of what is
22 below the largest, and scores may double."""
SHAPING = ("reshape", "transpose", "broadcast_to", "slice", "concat", "pad", "gather", "mask")
SCALING = ("mul", "divide", "div")
ADDING = ("add", "sub", "bias_add")
MAXIMA = ("reduce_max", "max_pool2d", "top_k", "argmax", "maximum", "minimum")
PASSING = (*SHAPING, *SCALING, *ADDING, *MAXIMA, "select", "relu", "convert")
VANISHING = {
    BY_NAME[name].number: bound
    for name, bound in (
        *((name, 32.0) for name in ("exp", "logistic", "softplus", "silu", "gelu")),
        *((name, 16.0) for name in ("tanh", "erf")),
    )
}
"""Functions that come to a limit at minus infinity, and from where on they are at it."""


@dataclass(frozen=True)
class Low:
    """Numbers of a value that lie far below the others."""

    kept: float
    """The largest magnitude of the others."""
    least: float
    """The smallest magnitude among those far below."""
    share: float
    """Of the elements that are far below."""


def may_be_low(graph: Graph, inputs: Sequence[NDArray[Any]]) -> set[Value]:
    """Values that constants or inputs of large magnitude have a part in."""
    trains = "grad" in graph.outputs
    found = {
        p.value
        for p in graph.parameters
        if not (p.trainable and trains) and p.data.size and np.abs(p.data).max() >= LARGE
    }
    found |= {
        v
        for v, x in zip(graph.inputs, inputs, strict=True)
        if graph.types[v].dtype == "real" and x.size and x.min() <= -LARGE
    }
    for node in graph.nodes:
        if node.op in PASSING and node.stage == "forward" and found.intersection(node.inputs):
            found.update(node.outputs)
    return {v for v in found if graph.types[v].dtype in ("real", "i64")}


class Histogram:
    """Of the magnitudes of negative numbers, by their binary exponents."""

    LEAST, COUNT = -1080, 2112

    def __init__(self) -> None:
        self.counts = np.zeros(self.COUNT, np.int64)
        self.smallest = np.full(self.COUNT, np.inf)
        self.largest = np.zeros(self.COUNT)
        self.above = 0.0
        """The largest number."""
        self.elements = 0

    def add(self, array: NDArray[Any]) -> None:
        """More elements."""
        self.elements += array.size
        if not array.size:
            return
        self.above = max(self.above, float(array.max()))
        size = -array[(array < 0) & np.isfinite(array)].astype(np.float64)
        at = np.frexp(size)[1] - self.LEAST
        self.counts += np.bincount(at, minlength=self.COUNT)
        np.minimum.at(self.smallest, at, size)
        np.maximum.at(self.largest, at, size)

    def low(self) -> Low | None:
        """The numbers below the highest gap that leaves out, if there are any."""
        for e in np.flatnonzero(self.counts):
            kept = max(self.above, float(self.largest[:e].max()))
            if self.smallest[e] >= 2 * kept + OUT_OF_REACH:
                share = int(self.counts[e:].sum()) / self.elements
                return Low(kept, float(self.smallest[e]), share)
        return None


class LeftOut:
    """The values whose low numbers may be clamped, and how far below zero the clamp must be."""

    def __init__(
        self, graph: Graph, ranges: Mapping[Value, float], low: Mapping[Value, Low]
    ) -> None:
        self.ranges = ranges
        self.low = low
        self.types = graph.types
        self.results = {v for outputs in graph.outputs.values() for v in outputs}
        self.consumers = graph.consumers()
        self.needed: dict[Value, float] = {}
        """Values to the magnitude that their formats must hold."""
        made = [v for node in reversed(graph.nodes) for v in node.outputs]
        for v in (*made, *(p.value for p in graph.parameters), *graph.inputs):
            if v in low and (needed := self._needed(v)) is not None:
                self.needed[v] = needed

    def kept(self, v: Value) -> float:
        """The largest magnitude of the numbers that are not low."""
        return self.low[v].kept if v in self.low else self.ranges.get(v, 0.0)

    def _needed(self, v: Value) -> float | None:
        readers = [n for n in self.consumers.get(v, []) if n.op == TOTAL or n.stage == "forward"]
        if v in self.results or not readers:
            return None
        each = [self._of_reader(v, node) for node in readers]
        if any(needed is None or needed > self.low[v].least for needed in each):
            return None
        return max(needed for needed in each if needed is not None)

    def _of_reader(self, v: Value, node: Node) -> float | None:
        """What one reader needs, None where it needs the low numbers themselves."""
        if node.op == "softmax":
            return 2 * self.kept(v) + OUT_OF_REACH
        if node.op == "relu":
            return 0.0
        if node.op == "unary":
            return VANISHING.get(int(str(node.attributes["function"])))
        if node.op == "compare":
            others = [x for x in node.inputs if x != v]
            if any(x in self.low for x in others):
                return None
            return max((self.kept(x) for x in others), default=0.0) + self.kept(v)
        if node.op not in PASSING:
            return None
        (made, *more) = node.outputs
        if node.op in MAXIMA:
            beside = max(self.kept(x) for x in node.inputs)
            if node.op == "argmax" or made not in self.low:
                return beside
            if any(x in self.consumers or x in self.results for x in more):
                return None  # the order of what is left out
            return max(self.needed[made], beside) if made in self.needed else None
        if made not in self.low:
            return 0.0 if node.op in (*SHAPING, "select") else None
        if made not in self.needed:
            return None
        if node.op in (*SHAPING, "select", "convert"):
            return self.needed[made]
        if (
            self.low[made].share < self.low[v].share * (1 - 1e-9)
            or v != node.inputs[0]
            and (node.op in ("sub", "div"))
        ):
            return None
        if node.op in ADDING:
            others = [x for x in node.inputs if x != v]
            return self.needed[made] + max((self.kept(x) for x in others), default=0.0)
        return self.needed[made] * self.low[v].least / self.low[made].least
