"""Functions that models spell by hand: quotients of exponentials, logarithms of what has one
without an exponential, gates. Each becomes the operator that it is, rounded once.

A rewriting is an identity of real numbers for any operand; where it is not met exactly (the same
tensor, the very constants), what was written stays. So does an intermediate that others read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from gvm.functions import BY_NAME, by_number
from gvm.gradients import kept_dims
from gvm.graph import Builder, Graph, Node, Value
from gvm.importers.rebuild import rebuilt
from gvm.operator import integer

__all__ = ["settle_spelled"]

MOST_PASSES = 8
"""Of a graph: what one finds another may need, as a quotient and then the logarithm of it."""
NEAR = 1e-5
"""How far constants in float32 may be from those of an identity, as a part of them."""
SMALL = 1e-6
"""A number beside a sum that is at least 1, which no format shows."""
LARGEST_EXPONENT = 80.0
"""Of a constant factor e^c."""
_SHAPING = ("reshape", "transpose")


def settle_spelled(graph: Graph) -> Graph:
    """The same function, with operators in place of functions that are spelled out."""
    for _ in range(MOST_PASSES):
        found = _Spelled(graph)
        made = {v: make for node in graph.nodes for v, make in found.of(node)}
        if not made:
            break
        graph = rebuilt(graph, _replacement(made))
    return graph


@dataclass(frozen=True)
class _Line:
    """scale * base + shift."""

    base: Value
    scale: float = 1.0
    shift: float = 0.0

    def times(self, factor: float) -> _Line:
        return _Line(self.base, factor * self.scale, factor * self.shift)

    def plus(self, amount: float) -> _Line:
        return _Line(self.base, self.scale, self.shift + amount)


_Power = tuple[Value | None, float]
"""exp(scale * base), or 1 of no base."""
_ONE: _Power = (None, 0.0)


@dataclass(frozen=True)
class _Emit:
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
        if _is_near(factor, 1.0):
            return x
        part = 1 / factor
        if 1 < part <= 2**31 and part.is_integer():
            return int(self.g.divide(x, divisor=int(part)))
        return int(self.g.mul(x, self.number(factor)))

    def shifted(self, x: Value, amount: float) -> Value:
        return x if amount == 0.0 else int(self.g.add(x, self.number(amount)))

    def line(self, of: _Line) -> Value:
        return self.shifted(self.scaled(self.made[of.base], of.scale), of.shift)

    def unary(self, function: str, x: Value) -> Value:
        return int(self.g.unary(x, function=BY_NAME[function].number))


_Make = Callable[[_Emit], Value]


def _replacement(
    made: Mapping[Value, _Make],
) -> Callable[[Builder, Node, Mapping[Value, Value]], Value | None]:
    def replacement(g: Builder, node: Node, values: Mapping[Value, Value]) -> Value | None:
        make = made.get(node.outputs[0])
        return None if make is None else make(_Emit(g, values, node.name or node.op))

    return replacement


def _is_near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * abs(b)


class _Spelled:
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

    def of(self, node: Node) -> list[tuple[Value, _Make]]:
        """What to make in the place of a node's result, where it is the end of a function."""
        v = node.outputs[0]
        if self.graph.types[v].dtype != "real":
            return []
        made: _Make | None = None
        if node.op == "mul":
            made = self._softmax(v) or self._ratio(v) or self._gate(v)
        elif node.op in ("add", "bias_add", "sub"):
            made = self._tangent(v)
        elif node.op == "unary":
            function = self.function(v)
            if function == "reciprocal":
                made = self._ratio(v)
            elif function == "log":
                made = self._logarithm(node.inputs[0])
            elif function == "sqrt":
                made = self._size(v)
        return [] if made is None else [(v, made)]

    # -- what values are

    def function(self, v: Value) -> str:
        """The name of the table that makes a value, else nothing."""
        node = self.producer.get(v)
        if node is None or node.op != "unary":
            return ""
        return by_number(integer(node.attributes, "function")).name

    def operand(self, v: Value) -> Value:
        return self.producer[v].inputs[0]

    def line(self, v: Value) -> _Line:
        """A value as a number times another, and a number."""
        scale, shift = 1.0, 0.0  # v is scale * (what is peeled off) + shift
        while True:
            v = self.now(v)
            node = self.producer.get(v)
            step = None if node is None else self._step(node)
            if step is None:
                return _Line(v, scale, shift)
            scale, shift, v = scale * step.scale, scale * step.shift + shift, step.base

    def _step(self, node: Node) -> _Line | None:
        """One sum, product or quotient with a number that leaves the shape as it is."""
        if node.op == "divide":
            return _Line(node.inputs[0], 1 / integer(node.attributes, "divisor"))
        if node.op not in ("mul", "add", "bias_add", "sub"):
            return None
        shape = self.graph.types[node.outputs[0]].shape
        a, b = node.inputs
        for x, n in ((a, b), (b, a)):
            number = self.numbers.get(n)
            if number is None or x in self.numbers or self.graph.types[x].shape != shape:
                continue
            if node.op == "mul":
                return None if number == 0 else _Line(x, number)
            if node.op == "sub":
                return _Line(x, 1.0, -number) if x == a else _Line(x, -1.0, number)
            return _Line(x, 1.0, number)
        return None

    def powers(self, v: Value) -> dict[_Power, float] | None:
        """A value as a sum of numbers times exponentials, None where it is none."""
        if v in self.numbers:
            return {_ONE: self.numbers[v]}
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
            return _times(self.powers(node.inputs[0]), {_ONE: part})
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

    # -- quotients of exponentials

    def _ratio(self, v: Value) -> _Make | None:
        """(c e^p + a) / (e^p + d) with d > 0: a sigmoid or a hyperbolic tangent of p."""
        node = self.producer[v]
        if node.op == "unary":
            return self._quotient(v, {_ONE: 1.0}, self.powers(node.inputs[0]))
        for above, r in (node.inputs, node.inputs[::-1]):
            if self.function(r) == "reciprocal":
                made = self._quotient(v, self.powers(above), self.powers(self.operand(r)))
                if made is not None:
                    return made
        return None

    def _quotient(
        self, v: Value, above: dict[_Power, float] | None, below: dict[_Power, float] | None
    ) -> _Make | None:
        if above is None or below is None or len(below) != 2 or min(below.values()) <= 0:
            return None
        if not set(above) <= set(below):
            return None
        (p, d), (q, e) = sorted(below.items(), key=lambda x: x[0] == _ONE)
        base = p[0]
        if base is None or (q != _ONE and q[0] != base):
            return None
        if self.graph.types[base].shape != self.graph.types[v].shape:
            return None
        inner = _Line(base, p[1] - q[1], math.log(d / e))
        least, most = above.get(q, 0.0) / e, above.get(p, 0.0) / d
        if inner.scale == 0 or _is_near(least, most):
            return None
        if _is_near(least, -most):
            return _tanh(inner.times(0.5), most)
        if abs(most) < abs(least):
            inner, least, most = inner.times(-1.0), most, least
        return lambda to: to.shifted(
            to.scaled(to.unary("logistic", to.line(inner)), most - least), least
        )

    def _tangent(self, v: Value) -> _Make | None:
        """2 s(x) - 1 of the sigmoid s."""
        line = self.line(v)
        if self.function(line.base) != "logistic" or not _is_near(2 * line.shift, -line.scale):
            return None
        return _tanh(self.line(self.operand(line.base)).times(0.5), -line.shift)

    # -- gates

    def _gate(self, v: Value) -> _Make | None:
        """x times the sigmoid of x, or times the normal distribution, by erf."""
        node = self.producer[v]
        for x, gate in (node.inputs, node.inputs[::-1]):
            if self.graph.types[x].shape != self.graph.types[v].shape or x in self.numbers:
                continue
            line = self.line(gate)
            kind = self.function(line.base)
            if kind not in ("logistic", "erf"):
                continue
            if kind == "logistic" and line.shift != 0:
                continue
            if kind == "erf" and not _is_near(line.scale, line.shift):
                continue
            outer, inner = self.line(x), self.line(self.operand(line.base))
            ratio = inner.scale / outer.scale
            if outer.base != inner.base or abs(inner.shift - ratio * outer.shift) > NEAR:
                continue
            return self._gated(kind, outer, ratio, line.scale)
        return None

    def _gated(self, kind: str, x: _Line, ratio: float, factor: float) -> _Make:
        # x s(rx) = silu(rx) / r; x (1 + erf(rx)) = 2 gelu(kx) / k with k = r sqrt(2).
        k = ratio if kind == "logistic" else ratio * math.sqrt(2)
        k = 1.0 if _is_near(k, 1.0) else k
        function = "silu" if kind == "logistic" else "gelu"
        whole = factor / k * (1.0 if kind == "logistic" else 2.0)
        if x.shift == 0.0:
            return lambda to: to.scaled(
                to.unary(function, to.line(_Line(x.base, _snapped(k * x.scale)))), whole
            )
        return lambda to: to.scaled(to.unary(function, to.line(x.times(k))), whole)

    # -- softmax

    def _softmax(self, v: Value) -> _Make | None:
        """exp(u) / sum(exp(u)), u perhaps x less its maximum."""
        node = self.producer[v]
        for above, r in (node.inputs, node.inputs[::-1]):
            if self.function(above) != "exp":
                continue
            total, added = self._total(r)
            if total is None or self.now(total.inputs[0]) != self.now(above):
                continue
            axes = total.attributes["axes"]
            assert isinstance(axes, tuple)
            given = self.graph.types[above]
            if len(axes) != 1 or given.batch_axis in axes:
                continue
            if self.graph.types[r].shape != kept_dims(given.shape, axes):
                continue
            u = self.operand(above)
            x = self._unshifted(u, axes)
            if added == 0 or (x is not None and 0 < added <= SMALL):
                return _softmax_over(u if x is None else x, axes[0], len(given.shape))
        return None

    def _total(self, v: Value) -> tuple[Node | None, float]:
        """The sum that a value is the reciprocal of, but for its shape and a number added to it."""
        inverted, added = False, 0.0
        while (node := self.producer.get(v)) is not None:
            step = self._step(node)
            if node.op == "reduce_sum":
                return (node if inverted else None), added
            if node.op == "unary" and self.function(v) == "reciprocal" and not inverted:
                inverted = True
            elif step is not None and inverted and step.scale == 1.0:
                added += step.shift
                v = step.base
                continue
            elif node.op != "reshape":
                break
            v = node.inputs[0]
        return None, 0.0

    def _unshifted(self, v: Value, axes: tuple[int, ...]) -> Value | None:
        """x of x - max(x) over the axes."""
        node = self.producer.get(v)
        if node is None or node.op != "sub":
            return None
        x, most = node.inputs
        shape = self.graph.types[x].shape
        if self.graph.types[most].shape != kept_dims(shape, axes):
            return None
        inner = self.producer.get(most)
        while inner is not None and inner.op == "reshape":
            inner = self.producer.get(inner.inputs[0])
        if inner is None or inner.op != "reduce_max" or inner.attributes["axes"] != axes:
            return None
        return x if self.now(inner.inputs[0]) == self.now(x) else None

    # -- logarithms

    def _logarithm(self, v: Value) -> _Make | None:
        """log(v), where it has a form without log(exp)."""
        node = self.producer.get(v)
        if node is None:
            return None
        function = self.function(v)
        if function == "exp":
            u = node.inputs[0]
            return lambda to: to.made[u]
        if function == "logistic":
            return self._minus_softplus(self.line(node.inputs[0]).times(-1.0))
        if function == "reciprocal":
            return _then(self._logarithm(node.inputs[0]), lambda to, x: to.scaled(x, -1.0))
        if node.op == "softmax":
            u = node.inputs[0]
            return lambda to: _log_softmax(to, to.made[u])
        if node.op in _SHAPING:
            shaping = node
            return _then(
                self._logarithm(node.inputs[0]),
                lambda to, x: int(to.g.node(shaping.op, [x], shaping.attributes, "")[0]),
            )
        if node.op in ("maximum", "minimum"):
            return self._limited(node)
        return self._of_line(v)

    def _limited(self, node: Node) -> _Make | None:
        """log of the greater or the lesser of something and a number > 0."""
        shape = self.graph.types[node.outputs[0]].shape
        for x, n in (node.inputs, node.inputs[::-1]):
            number = self.numbers.get(n, 0.0)
            if number > 0 and self.graph.types[x].shape == shape:
                return _then(self._logarithm(x), partial(_limit, node.op, math.log(number)))
        return None

    def _minus_softplus(self, line: _Line) -> _Make:
        return lambda to: to.scaled(to.unary("softplus", to.line(line)), -1.0)

    def _of_line(self, v: Value) -> _Make | None:
        """log(a w + b) = log b + softplus(log w + log(a / b)) of a, b > 0."""
        line = self.line(v)
        a, b = line.scale, line.shift
        if line.base == self.now(v):
            return None
        if a < 0 and self.function(line.base) == "logistic" and _is_near(b, -a):
            inner = self.line(self.operand(line.base))  # 1 - s(x) is s(-x)
            make, a, b = self._minus_softplus(inner), -a, 0.0
        else:
            found = self._logarithm(line.base)
            if found is None or a <= 0 or b < 0:
                return None
            make = found
        if b == 0:
            return _then(make, lambda to, x: to.shifted(x, math.log(a)))
        by = math.log(a / b)
        if self.function(line.base) == "exp":
            inner = self.line(self.operand(line.base)).plus(by)

            def of_exponential(to: _Emit) -> Value:
                return to.shifted(to.unary("softplus", to.line(inner)), math.log(b))

            return of_exponential
        return _then(
            make,
            lambda to, x: to.shifted(to.unary("softplus", to.shifted(x, by)), math.log(b)),
        )

    # -- sizes

    def _size(self, v: Value) -> _Make | None:
        """sqrt(x * x) = |x|."""
        square = self.producer.get(self.operand(v))
        if square is None or square.op != "mul":
            return None
        a, b = square.inputs
        if self.now(a) != self.now(b):
            return None

        def size(to: _Emit) -> Value:
            x = to.made[a]
            return int(to.g.add(to.g.relu(x), to.g.relu(to.scaled(x, -1.0)), name=to.name))

        return size


def _snapped(number: float) -> float:
    return 1.0 if _is_near(number, 1.0) else number


def _reciprocal(powers: dict[_Power, float] | None) -> dict[_Power, float] | None:
    if powers is None or len(powers) != 1:
        return None
    (((base, scale), factor),) = powers.items()
    return {(base, -scale): 1 / factor} if factor != 0 else None


def _times(
    a: dict[_Power, float] | None, b: dict[_Power, float] | None
) -> dict[_Power, float] | None:
    """The product, one factor a number."""
    if a is None or b is None:
        return None
    for many, one in ((a, b), (b, a)):
        if set(one) == {_ONE}:
            return {p: one[_ONE] * c for p, c in many.items()}
    return None


def _then(make: _Make | None, after: Callable[[_Emit, Value], Value]) -> _Make | None:
    return None if make is None else lambda to: after(to, make(to))


def _tanh(inner: _Line, factor: float) -> _Make:
    if factor < 0:
        return _tanh(inner.times(-1.0), -factor)
    return lambda to: to.scaled(to.unary("tanh", to.line(inner)), factor)


def _limit(op: str, number: float, to: _Emit, x: Value) -> Value:
    return int(to.g.node(op, [to.number(number), x], {})[0])


def _softmax_over(x: Value, axis: int, rank: int) -> _Make:
    def make(to: _Emit) -> Value:
        if axis == rank - 1:
            return int(to.g.softmax(to.made[x], name=to.name))
        order = [*(i for i in range(rank) if i != axis), axis]
        made = to.g.softmax(to.g.transpose(to.made[x], permutation=tuple(order)), name=to.name)
        back = tuple(order.index(i) for i in range(rank))
        return int(to.g.transpose(made, permutation=back))

    return make


def _log_softmax(to: _Emit, x: Value) -> Value:
    """x - max - log(sum of exp(x - max)), over the last axis."""
    last = (len(to.g.shape(x)) - 1,)
    shifted = to.g.sub(x, to.g.reduce_max(x, axes=last, keepdims=1))
    total = to.g.reduce_sum(to.unary("exp", shifted), axes=last, keepdims=1)
    return int(to.g.sub(shifted, to.unary("log", total), name=to.name))
