"""What values of a graph are to those who look for functions that are spelled by hand: numbers,
numbers times others, sums of exponentials, polynomials. And what makes the function in their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from gvm.functions import BY_NAME, by_number
from gvm.graph import Builder, Graph, Node, Value
from gvm.operator import integer

NEAR = 1e-5
"""How far constants in float32 may be from those of an identity, as a part of them."""
LARGEST_EXPONENT = 80.0
"""Of a constant factor e^c."""


@dataclass(frozen=True)
class Line:
    """scale * base + shift."""

    base: Value
    scale: float = 1.0
    shift: float = 0.0

    def times(self, factor: float) -> Line:
        return Line(self.base, factor * self.scale, factor * self.shift)

    def plus(self, amount: float) -> Line:
        return Line(self.base, self.scale, self.shift + amount)


Power = tuple[Value | None, float]
"""exp(scale * base), or 1 of no base."""
ONE: Power = (None, 0.0)


@dataclass(frozen=True)
class Emit:
    """What makes a replacement: the new graph, where old values are, and the name of the node."""

    g: Builder
    made: Mapping[Value, Value]
    name: str

    def number(self, value: float) -> Value:
        taken = {p.name for p in self.g.parameters}
        name, count = f"{self.name}/number", 0
        while name in taken:
            count += 1
            name = f"{self.name}/number_{count}"
        return int(self.g.parameter(name, np.asarray([value]), "real", 0, False))

    def scaled(self, x: Value, factor: float) -> Value:
        if is_near(factor, 1.0):
            return x
        part = 1 / factor
        if 1 < part <= 2**31 and part.is_integer():
            return int(self.g.divide(x, divisor=int(part)))
        return int(self.g.mul(x, self.number(factor)))

    def shifted(self, x: Value, amount: float) -> Value:
        return x if amount == 0.0 else int(self.g.add(x, self.number(amount)))

    def line(self, of: Line) -> Value:
        return self.shifted(self.scaled(self.made[of.base], of.scale), of.shift)

    def unary(self, function: str, x: Value) -> Value:
        return int(self.g.unary(x, function=BY_NAME[function].number))


Make = Callable[[Emit], Value]


def is_near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * abs(b)


class Values:
    """A graph, read backwards from its values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producer = graph.producer()
        self.numbers: dict[Value, float] = {}
        """Parameters that are one number, and stay it."""
        self.same: dict[Value, Value] = {}
        """The first of the values that are computed alike."""
        first: dict[Hashable, Value] = {}
        for p in graph.parameters:
            if p.trainable or graph.types[p.value].dtype != "real" or not p.data.size:
                continue
            if (p.data == p.data.reshape(-1)[0]).all():
                self.numbers[p.value] = float(p.data.reshape(-1)[0])
                key = ("number", p.data.shape, self.numbers[p.value])
                self.same[p.value] = first.setdefault(key, p.value)
        for node in graph.nodes:
            inputs = tuple(self.now(v) for v in node.inputs)
            given = tuple(sorted(node.attributes.items()))
            for i, v in enumerate(node.outputs):
                self.same[v] = first.setdefault((node.op, i, given, inputs), v)

    def now(self, v: Value) -> Value:
        return self.same.get(v, v)

    def function(self, v: Value) -> str:
        """The name of the table that makes a value, else nothing."""
        node = self.producer.get(v)
        if node is None or node.op != "unary":
            return ""
        return by_number(integer(node.attributes, "function")).name

    def operand(self, v: Value) -> Value:
        return self.producer[v].inputs[0]

    def line(self, v: Value) -> Line:
        """A value as a number times another, and a number."""
        scale, shift = 1.0, 0.0  # v is scale * (what is peeled off) + shift
        while True:
            v = self.now(v)
            node = self.producer.get(v)
            step = None if node is None else self._step(node)
            if step is None:
                return Line(v, scale, shift)
            scale, shift, v = scale * step.scale, scale * step.shift + shift, step.base

    def _step(self, node: Node) -> Line | None:
        """One sum, product or quotient with a number that leaves the shape as it is."""
        if node.op == "divide":
            return Line(node.inputs[0], 1 / integer(node.attributes, "divisor"))
        if node.op not in ("mul", "add", "bias_add", "sub"):
            return None
        shape = self.graph.types[node.outputs[0]].shape
        a, b = node.inputs
        for x, n in ((a, b), (b, a)):
            number = self.numbers.get(n)
            if number is None or x in self.numbers or self.graph.types[x].shape != shape:
                continue
            if node.op == "mul":
                return None if number == 0 else Line(x, number)
            if node.op == "sub":
                return Line(x, 1.0, -number) if x == a else Line(x, -1.0, number)
            return Line(x, 1.0, number)
        return None

    def powers(self, v: Value) -> dict[Power, float] | None:
        """A value as a sum of numbers times exponentials, None where it is none."""
        if v in self.numbers:
            return {ONE: self.numbers[v]}
        node = self.producer.get(v)
        if node is None:
            return None
        if self.function(v) == "exp":
            line = self.line(node.inputs[0])
            if abs(line.shift) > LARGEST_EXPONENT:
                return None
            return {(line.base, line.scale): math.exp(line.shift)}
        if self.function(v) == "reciprocal":
            return _reciprocal(self.powers(node.inputs[0]))
        if node.op == "divide":
            part = 1 / integer(node.attributes, "divisor")
            return _times(self.powers(node.inputs[0]), {ONE: part})
        if node.op not in ("mul", "add", "bias_add", "sub"):
            return None
        shape = self.graph.types[v].shape
        if any(x not in self.numbers and self.graph.types[x].shape != shape for x in node.inputs):
            return None
        a = self.powers(node.inputs[0])
        b = None if a is None else self.powers(node.inputs[1])
        if a is None or b is None:
            return None
        if node.op == "mul":
            return _times(a, b)
        sign = -1.0 if node.op == "sub" else 1.0
        return {p: a.get(p, 0.0) + sign * b.get(p, 0.0) for p in {**a, **b}}

    def polynomial(self, v: Value, x: Value, deep: int) -> dict[int, float] | None:
        """A value as numbers times powers of x, up to the third."""
        v = self.now(v)
        if v == x:
            return {1: 1.0}
        if v in self.numbers:
            return {0: self.numbers[v]}
        node = self.producer.get(v)
        if node is None or deep == 0:
            return None
        if node.op == "divide":
            below = self.polynomial(node.inputs[0], x, deep - 1)
            part = 1 / integer(node.attributes, "divisor")
            return None if below is None else {p: c * part for p, c in below.items()}
        if node.op not in ("mul", "add", "bias_add", "sub"):
            return None
        a, b = (self.polynomial(u, x, deep - 1) for u in node.inputs)
        if a is None or b is None:
            return None
        if node.op != "mul":
            sign = -1.0 if node.op == "sub" else 1.0
            return {p: a.get(p, 0.0) + sign * b.get(p, 0.0) for p in {**a, **b}}
        made: dict[int, float] = {}
        for p, c in a.items():
            for q, d in b.items():
                made[p + q] = made.get(p + q, 0.0) + c * d
        return made if max(made) <= 3 else None


def _reciprocal(powers: dict[Power, float] | None) -> dict[Power, float] | None:
    if powers is None or len(powers) != 1:
        return None
    (((base, scale), factor),) = powers.items()
    return {(base, -scale): 1 / factor} if factor != 0 else None


def _times(a: dict[Power, float] | None, b: dict[Power, float] | None) -> dict[Power, float] | None:
    """The product, one factor a number."""
    if a is None or b is None:
        return None
    for many, one in ((a, b), (b, a)):
        if set(one) == {ONE}:
            return {p: one[ONE] * c for p, c in many.items()}
    return None
