"""Sigmoids, hyperbolic tangents and gates that are spelled by hand."""

from __future__ import annotations

import math

from gvm.graph import Value
from gvm.importers.spelled_values import NEAR, ONE, Emit, Line, Make, Power, Values, is_near

GELU_LINE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715
LARGEST_GATE = 6.0
"""Beyond this the gate of gelu is within 2^-36 of 0 or 1."""


class Gates(Values):
    """Finds them."""

    def ratio(self, v: Value) -> Make | None:
        """(c e^p + a) / (e^p + d) with d > 0: a sigmoid or a hyperbolic tangent of p."""
        node = self.producer[v]
        if node.op == "unary":
            return self._quotient(v, {ONE: 1.0}, self.powers(node.inputs[0]))
        for above, r in (node.inputs, node.inputs[::-1]):
            if self.function(r) == "reciprocal":
                made = self._quotient(v, self.powers(above), self.powers(self.operand(r)))
                if made is not None:
                    return made
        return None

    def _quotient(
        self, v: Value, above: dict[Power, float] | None, below: dict[Power, float] | None
    ) -> Make | None:
        if above is None or below is None or len(below) != 2 or min(below.values()) <= 0:
            return None
        if not set(above) <= set(below):
            return None
        (p, d), (q, e) = sorted(below.items(), key=lambda x: x[0] == ONE)
        base = p[0]
        if base is None or (q != ONE and q[0] != base):
            return None
        if self.graph.types[base].shape != self.graph.types[v].shape:
            return None
        inner = Line(base, p[1] - q[1], math.log(d / e))
        least, most = above.get(q, 0.0) / e, above.get(p, 0.0) / d
        if inner.scale == 0 or is_near(least, most):
            return None
        if is_near(least, -most):
            return _tanh(inner.times(0.5), most)
        if abs(most) < abs(least):
            inner, least, most = inner.times(-1.0), most, least
        return lambda to: to.shifted(
            to.scaled(to.unary("logistic", to.line(inner)), most - least), least
        )

    def tangent(self, v: Value) -> Make | None:
        """2 s(x) - 1 of the sigmoid s."""
        line = self.line(v)
        if self.function(line.base) != "logistic" or not is_near(2 * line.shift, -line.scale):
            return None
        return _tanh(self.line(self.operand(line.base)).times(0.5), -line.shift)

    # -- gates

    def gate(self, v: Value) -> Make | None:
        """x times the sigmoid of x, or times the normal distribution, by erf."""
        node = self.producer[v]
        for x, gate in (node.inputs, node.inputs[::-1]):
            if self.graph.types[x].shape != self.graph.types[v].shape or x in self.numbers:
                continue
            line = self.line(gate)
            kind = self.function(line.base)
            if kind not in ("logistic", "erf", "tanh"):
                continue
            if kind == "logistic" and line.shift != 0:
                continue
            if kind != "logistic" and not is_near(line.scale, line.shift):
                continue
            outer = self.line(x)
            if kind == "tanh":
                made = self._by_cube(outer, self.operand(line.base), line.scale)
                if made is None:
                    continue
                return made
            inner = self.line(self.operand(line.base))
            ratio = inner.scale / outer.scale
            if outer.base != inner.base or abs(inner.shift - ratio * outer.shift) > NEAR:
                continue
            return self._gated(kind, outer, ratio, line.scale)
        return None

    def _gated(self, kind: str, x: Line, ratio: float, factor: float) -> Make:
        # x s(rx) = silu(rx) / r; x (1 + erf(rx)) = 2 gelu(kx) / k with k = r sqrt(2).
        k = ratio if kind == "logistic" else ratio * math.sqrt(2)
        k = 1.0 if is_near(k, 1.0) else k
        function = "silu" if kind == "logistic" else "gelu"
        whole = factor / k * (1.0 if kind == "logistic" else 2.0)
        if x.shift == 0.0:
            return lambda to: to.scaled(
                to.unary(function, to.line(Line(x.base, _snapped(k * x.scale)))), whole
            )
        return lambda to: to.scaled(to.unary(function, to.line(x.times(k))), whole)

    def _by_cube(self, x: Line, inner: Value, factor: float) -> Make | None:
        """x (1 + tanh(k (x + c x^3))), the other gelu: x beyond LARGEST_GATE has the gate of that,
        which is 0 or 1, so that cubes have a format."""
        terms = self.polynomial(inner, x.base, 8)
        if terms is None or x.shift != 0 or not {1, 3} <= {p for p, c in terms.items() if c}:
            return None
        ratio = terms[1] / GELU_LINE
        if any(c for p, c in terms.items() if p not in (1, 3)):
            return None
        if not is_near(terms[3], GELU_LINE * GELU_CUBE * ratio**3):
            return None
        given, whole = Line(x.base, _snapped(ratio)), 2 * factor * x.scale / ratio

        def make(to: Emit) -> Value:
            z = to.line(given)
            near = to.g.minimum(to.number(LARGEST_GATE), z)
            near = to.g.maximum(to.number(-LARGEST_GATE), near)
            slope = to.g.mul(to.g.mul(near, near), to.number(2 * GELU_LINE * GELU_CUBE))
            slope = to.g.add(slope, to.number(2 * GELU_LINE))
            gate = to.unary("logistic", int(to.g.mul(near, slope)))
            return to.scaled(int(to.g.mul(z, gate, name=to.name)), whole)

        return make


def _snapped(number: float) -> float:
    return 1.0 if is_near(number, 1.0) else number


def _tanh(inner: Line, factor: float) -> Make:
    if factor < 0:
        return _tanh(inner.times(-1.0), -factor)
    return lambda to: to.scaled(to.unary("tanh", to.line(inner)), factor)
