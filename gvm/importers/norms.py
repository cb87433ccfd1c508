"""The p-norm over the last axis, for every importer."""

from __future__ import annotations

import math

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import absolute
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.normalization import normalized
from gvm.importers.shapes import Shapes


def norm(t: Shapes, x: Value, p: int, name: str) -> Value:
    """(sum of |x|^p)^(1/p) over the last axis, which is left out.

    Powers and roots are taken of u = x / root mean square, whose powers neither vanish nor grow
    out of 16 bits: n * root mean square = sum of x * u, an exact product.
    """
    *outer, count = t.g.shape(x)
    if p < 1:
        raise Refusal(f"p must be at least 1, received {p}")
    if p == 1:
        return t.low.sum(absolute(t, x), [len(outer)], False)
    unit = normalized(t.g, x, [len(outer)], 1e-12, False, f"{name}/unit")
    whole = _dot(t, x, unit)
    if p == 2:
        return t.low.scale(whole, Constant(np.asarray([1 / math.sqrt(count)]), f"{name}/root"))
    ahead = _dot(t, _power(t, unit, p - p // 2), _power(t, unit, p // 2))
    made = int(t.g.mul(whole, _root(t, ahead, p, name)))
    return t.low.scale_by(made, 1 / count, f"{name}/count")


def _dot(t: Shapes, a: Value, b: Value) -> Value:
    """The sum of products over the last axis."""
    *outer, count = t.g.shape(a)
    row, column = t.low.reshape(a, [*outer, 1, count]), t.low.reshape(b, [*outer, count, 1])
    return t.low.reshape(int(t.g.matmul(row, column)), outer)


def _power(t: Shapes, x: Value, p: int) -> Value:
    """|x| to the power of a whole number >= 1."""
    if p == 1:
        return absolute(t, x)
    square = int(t.g.mul(x, x))
    made = int(t.g.mul(absolute(t, x), square)) if p % 2 else square
    for _ in range((p - 2) // 2):
        made = int(t.g.mul(made, square))
    return made


def _root(t: Shapes, x: Value, p: int, name: str) -> Value:
    """The p-th root of x >= 0: square roots, and for the odd part of p a logarithm."""
    while p % 2 == 0:
        x, p = t.low.unary("sqrt", x), p // 2
    if p == 1:
        return x
    one, zero = t.low.number(1.0, f"{name}/one"), t.low.number(0.0, f"{name}/zero")
    none = int(t.g.compare(x, zero, relation=0))
    power = t.low.unary("log", int(t.g.select(none, one, x)))
    made = t.low.unary("exp", t.low.scale(power, Constant(np.asarray([1 / p]), f"{name}/root")))
    return int(t.g.mask(none, made, value=0))
