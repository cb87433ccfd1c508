"""Inverse and hyperbolic functions, for every importer: near 0 by a series in x^2, so that small
numbers keep their digits; beyond by logarithms of numbers that 16 bits hold beside any others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import absolute
from gvm.importers.lowering import Constant
from gvm.importers.shapes import Shapes

__all__ = ["INVERSES"]

# f(x) / x of an odd function as a polynomial in x^2 up to a limit, within 1e-7: the least largest
# error at Chebyshev's points.
ATAN = (
    *(0.999999984, -0.333330668, 0.199924836, -0.142025705, 0.106367541, -0.0749544544),
    *(0.0425876075, -0.0160050305, 0.0028340643),
)  # up to 1
ASINH = (0.999999922, -0.166656352, 0.0747748281, -0.0427948406, 0.0231356275, -0.00742955347)
ASINH_LIMIT = 0.75
SINH = (0.999999978, 0.166667369, 0.00832982943, 0.000203995176)
SINH_LIMIT = 1.0
ATANH = (0.99999998, 0.333338979, 0.199744114, 0.147040305, 0.0810419886, 0.183766196)
ATANH_LIMIT = 0.5


def _series(t: Shapes, x: Value, limit: float, terms: Sequence[float]) -> Value:
    """An odd function of |x| <= limit; beyond, that of the limit."""
    near = t.low.minimum(x, Constant(np.asarray([limit]), "limit"))
    near = t.low.maximum(near, Constant(np.asarray([-limit]), "minus_limit"))
    square = int(t.g.mul(near, near))
    made = t.low.number(terms[-1], "term")
    for term in reversed(terms[:-1]):
        made = t.low.shift_by(int(t.g.mul(square, made)), term, "term")
    return int(t.g.mul(near, made))


def _signed(t: Shapes, x: Value, size: Value) -> Value:
    """A magnitude with the sign of x."""
    below = t.g.compare(x, t.low.number(0.0, "zero"), relation=1)
    return int(t.g.select(below, t.low.negative(size), size))


def _beyond(t: Shapes, size: Value, limit: float, far: Value, near: Value) -> Value:
    """One value where a magnitude is above the limit, else the other."""
    return int(
        t.g.select(t.g.compare(t.low.number(limit, "threshold"), size, relation=1), far, near)
    )


def _at_least(t: Shapes, x: Value, limit: float) -> Value:
    return t.low.maximum(x, Constant(np.asarray([limit]), "limit"))


def _logarithm_of_sum(t: Shapes, x: Value, beside: float) -> Value:
    """log(x + sqrt(x^2 + beside)) = log 2 + log x + log((1 + sqrt(1 + beside / x^2)) / 2)."""
    part = t.low.unary("reciprocal", x)
    inner = t.low.scale_by(int(t.g.mul(part, part)), beside, "beside")
    root = t.low.unary("sqrt", t.low.shift_by(inner, 1.0, "one"))
    half = int(t.g.divide(t.low.shift_by(root, 1.0, "one"), divisor=2))
    whole = int(t.g.add(t.low.unary("log", x), t.low.unary("log", half)))
    return t.low.shift_by(whole, math.log(2), "log_two")


def asinh(t: Shapes, x: Value) -> Value:
    size = absolute(t, x)
    far = _logarithm_of_sum(t, _at_least(t, size, ASINH_LIMIT), 1.0)
    return _beyond(t, size, ASINH_LIMIT, _signed(t, x, far), _series(t, x, ASINH_LIMIT, ASINH))


def acosh(t: Shapes, x: Value) -> Value:
    """Of x >= 1; near 1 asinh of sqrt(x^2 - 1), which keeps the digits of x - 1."""
    limit = math.sqrt(1 + ASINH_LIMIT**2)
    most = Constant(np.asarray([limit - 1]), "most")
    more = t.low.minimum(t.low.shift_by(x, -1.0, "minus_one"), most)
    square = int(t.g.mul(more, t.low.shift_by(more, 2.0, "two")))
    near = _series(t, t.low.unary("sqrt", square), ASINH_LIMIT, ASINH)
    far = _logarithm_of_sum(t, _at_least(t, x, 1.0), -1.0)
    return _beyond(t, x, limit, far, near)


def atanh(t: Shapes, x: Value) -> Value:
    """(log(1 + x) - log(1 - x)) / 2 of |x| < 1."""
    above = t.low.unary("log", t.low.shift_by(x, 1.0, "one"))
    below = t.low.unary("log", t.low.shift_by(t.low.negative(x), 1.0, "one"))
    far = int(t.g.divide(t.g.sub(above, below), divisor=2))
    near = _series(t, x, ATANH_LIMIT, ATANH)
    return _beyond(t, absolute(t, x), ATANH_LIMIT, far, near)


def sinh(t: Shapes, x: Value) -> Value:
    up, down = t.low.unary("exp", x), t.low.unary("exp", t.low.negative(x))
    far = int(t.g.divide(t.g.sub(up, down), divisor=2))
    made = _beyond(t, absolute(t, x), SINH_LIMIT, far, _series(t, x, SINH_LIMIT, SINH))
    t.hyperbolic[made] = ("sinh", x)
    return made


def atan(t: Shapes, x: Value) -> Value:
    """Beyond 1, a quarter turn less that of 1 / x."""
    size = absolute(t, x)
    inverse = t.low.unary("reciprocal", _at_least(t, size, 1.0))
    beside = t.low.negative(_series(t, inverse, 1.0, ATAN))
    rest = _signed(t, x, t.low.shift_by(beside, math.pi / 2, "quarter"))
    return _beyond(t, size, 1.0, rest, _series(t, x, 1.0, ATAN))


def asin(t: Shapes, x: Value) -> Value:
    """2 atan(x / (1 + sqrt(1 - x^2))) of |x| <= 1."""
    one = Constant(np.asarray([1.0]), "one")
    root = t.low.unary("sqrt", t.low.subtract_from(one, int(t.g.mul(x, x))))
    part = t.g.mul(x, t.low.unary("reciprocal", t.low.shift_by(root, 1.0, "one")))
    return t.low.scale_by(_series(t, int(part), 1.0, ATAN), 2.0, "two")


def acos(t: Shapes, x: Value) -> Value:
    """A quarter turn less the arc of the sine."""
    return t.low.shift_by(t.low.negative(asin(t, x)), math.pi / 2, "quarter")


INVERSES: dict[str, Callable[[Shapes, Value], Value]] = {
    "Acos": acos,
    "Acosh": acosh,
    "Asin": asin,
    "Asinh": asinh,
    "Atan": atan,
    "Atanh": atanh,
    "Sinh": sinh,
}
"""By the names that ONNX and TensorFlow have for them."""
