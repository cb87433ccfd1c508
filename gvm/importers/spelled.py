"""Functions that models spell by hand: quotients of exponentials, logarithms of what has one
without an exponential, gates. Each becomes the operator that it is, rounded once.

A rewriting is an identity of real numbers for any operand; where it is not met exactly (the same
tensor, the very constants), what was written stays. So does an intermediate that others read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from gvm.gradients import kept_dims
from gvm.graph import Builder, Graph, Node, Value
from gvm.importers.rebuild import rebuilt
from gvm.importers.spelled_gates import Gates
from gvm.importers.spelled_values import Emit, Line, Make, is_near

__all__ = ["settle_spelled"]

MOST_PASSES = 8
"""Of a graph: what one finds another may need, as a quotient and then the logarithm of it."""
SMALL = 1e-6
"""A number beside a sum that is at least 1, which no format shows."""
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


def _replacement(
    made: Mapping[Value, Make],
) -> Callable[[Builder, Node, Mapping[Value, Value]], Value | None]:
    def replacement(g: Builder, node: Node, values: Mapping[Value, Value]) -> Value | None:
        make = made.get(node.outputs[0])
        return None if make is None else make(Emit(g, values, node.name or node.op))

    return replacement


class _Spelled(Gates):
    """A graph, and the ends of functions in it."""

    def of(self, node: Node) -> list[tuple[Value, Make]]:
        """What to make in the place of a node's result, where it is the end of a function."""
        v = node.outputs[0]
        if self.graph.types[v].dtype != "real":
            return []
        made: Make | None = None
        if node.op == "mul":
            made = self._softmax(v) or self.ratio(v) or self.gate(v)
        elif node.op in ("add", "bias_add", "sub"):
            made = self.tangent(v)
        elif node.op == "unary":
            function = self.function(v)
            if function == "reciprocal":
                made = self.ratio(v)
            elif function == "log":
                made = self._logarithm(node.inputs[0])
            elif function == "sqrt":
                made = self._size(v)
        return [] if made is None else [(v, made)]

    # -- softmax

    def _softmax(self, v: Value) -> Make | None:
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

    def _logarithm(self, v: Value) -> Make | None:
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

    def _limited(self, node: Node) -> Make | None:
        """log of the greater or the lesser of something and a number > 0."""
        shape = self.graph.types[node.outputs[0]].shape
        for x, n in (node.inputs, node.inputs[::-1]):
            number = self.numbers.get(n, 0.0)
            if number > 0 and self.graph.types[x].shape == shape:
                return _then(self._logarithm(x), partial(_limit, node.op, math.log(number)))
        return None

    def _minus_softplus(self, line: Line) -> Make:
        return lambda to: to.scaled(to.unary("softplus", to.line(line)), -1.0)

    def _of_line(self, v: Value) -> Make | None:
        """log(a w + b) = log b + softplus(log w + log(a / b)) of a, b > 0."""
        line = self.line(v)
        a, b = line.scale, line.shift
        if line.base == self.now(v):
            return None
        if a < 0 and self.function(line.base) == "logistic" and is_near(b, -a):
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

            def of_exponential(to: Emit) -> Value:
                return to.shifted(to.unary("softplus", to.line(inner)), math.log(b))

            return of_exponential
        return _then(
            make,
            lambda to, x: to.shifted(to.unary("softplus", to.shifted(x, by)), math.log(b)),
        )

    # -- sizes

    def _size(self, v: Value) -> Make | None:
        """sqrt(x * x) = |x|."""
        square = self.producer.get(self.operand(v))
        if square is None or square.op != "mul":
            return None
        a, b = square.inputs
        if self.now(a) != self.now(b):
            return None

        def size(to: Emit) -> Value:
            x = to.made[a]
            return int(to.g.add(to.g.relu(x), to.g.relu(to.scaled(x, -1.0)), name=to.name))

        return size


def _then(make: Make | None, after: Callable[[Emit, Value], Value]) -> Make | None:
    return None if make is None else lambda to: after(to, make(to))


def _limit(op: str, number: float, to: Emit, x: Value) -> Value:
    return int(to.g.node(op, [to.number(number), x], {})[0])


def _softmax_over(x: Value, axis: int, rank: int) -> Make:
    def make(to: Emit) -> Value:
        if axis == rank - 1:
            return int(to.g.softmax(to.made[x], name=to.name))
        order = [*(i for i in range(rank) if i != axis), axis]
        made = to.g.softmax(to.g.transpose(to.made[x], permutation=tuple(order)), name=to.name)
        back = tuple(order.index(i) for i in range(rank))
        return int(to.g.transpose(made, permutation=back))

    return make


def _log_softmax(to: Emit, x: Value) -> Value:
    """x - max - log(sum of exp(x - max)), over the last axis."""
    last = (len(to.g.shape(x)) - 1,)
    shifted = to.g.sub(x, to.g.reduce_max(x, axes=last, keepdims=1))
    total = to.g.reduce_sum(to.unary("exp", shifted), axes=last, keepdims=1)
    return int(to.g.sub(shifted, to.unary("log", total), name=to.name))
