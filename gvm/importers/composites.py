"""Functions of tensors that are built from several operators, for every importer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import cut
from gvm.importers.shapes import Shapes

SMALLEST_BASE = 2.0**-15
"""Below this a power is that of this number: where logarithms would have no format."""
MOST_FACTORS = 64
"""Of a product over axes."""
EQUAL, LESS, LESS_OR_EQUAL = range(3)
"""Relations of ``compare``."""
NOT = 3


def constant_condition(t: Shapes, condition: Constant) -> Value:
    """Truth values known at import, as a value."""
    name = t.low.unique(condition.name)
    return int(t.g.parameter(name, condition.data.astype(bool), "bool", 0, False))


def negation(t: Shapes, condition: Value) -> Value:
    """Not."""
    return int(t.g.logical(condition, function=3))


def choose(t: Shapes, condition: Value, a: Value, b: Value, name: str = "") -> Value:
    """a where the condition holds, else b."""
    if t.g.types[a].dtype == "bool":
        either = t.g.logical(condition, a, function=0)
        other = t.g.logical(negation(t, condition), b, function=0)
        return int(t.g.logical(either, other, function=1, name=name))
    return int(t.g.select(condition, *t.low.alike([a, b]), name=name))


def is_above(t: Shapes, x: Value, limit: float) -> Value:
    """Where x > limit."""
    return int(t.g.compare(t.low.number(limit, f"number_{limit:g}"), x, relation=LESS))


def whole_power(t: Shapes, x: Value, exponent: int) -> Value:
    """x to the power of an integer >= 1, by squares."""
    made: Value | None = None
    square, rest = x, exponent
    while True:
        if rest & 1:
            made = square if made is None else int(t.g.mul(made, square))
        rest >>= 1
        if not rest:
            return made if made is not None else x
        square = int(t.g.mul(square, square))


def power_of_number(t: Shapes, x: Value, exponent: float, name: str) -> Value | None:
    """x to the power of a number; None stands for 1, of the power 0."""
    if exponent == 0.0:
        return None
    if exponent < 0:
        if exponent == -0.5:
            return t.low.unary("rsqrt", x)
        below = power_of_number(t, x, -exponent, name)
        return None if below is None else t.low.unary("reciprocal", below)
    if exponent.is_integer() and exponent <= 16:
        return whole_power(t, x, int(exponent))
    if (2 * exponent).is_integer() and exponent <= 4:
        root = t.low.unary("sqrt", x)
        return root if exponent == 0.5 else int(t.g.mul(whole_power(t, x, int(exponent)), root))
    logarithm = t.low.unary("log", _not_small(t, x, name))
    made = t.low.unary("exp", t.low.scale_by(logarithm, exponent, f"{name}/exponent"))
    return int(t.g.mask(is_above(t, x, 0.0), made, value=1))


def _not_small(t: Shapes, x: Value, name: str) -> Value:
    return t.low.maximum(x, Constant(np.asarray([SMALLEST_BASE]), f"{name}/smallest"))


def power_of_each(t: Shapes, x: Value, exponents: Constant, name: str) -> Value:
    """x to the power of a constant for each element."""
    distinct = sorted({float(v) for v in exponents.data.reshape(-1)})
    if len(distinct) > 8:
        logarithm = t.low.unary("log", _not_small(t, x, name))
        made = t.low.unary("exp", t.low.scale(logarithm, exponents))
        return int(t.g.mask(is_above(t, x, 0.0), made, value=1))
    made = int(t.g.broadcast_to(t.low.number(1.0, "one"), shape=t.g.shape(x)))
    for exponent in distinct:
        found = power_of_number(t, x, exponent, name)
        if found is None:
            continue
        chosen = constant_condition(
            t, exponents.derive(exponents.data == exponent, f"/{exponent:g}")
        )
        made = int(t.g.select(chosen, found, made))
    return made


def power_of_tensor(t: Shapes, x: Value, exponent: Value, name: str) -> Value:
    """exp(exponent * log(x)) of x > 0, elsewhere 0."""
    logarithm = t.low.unary("log", _not_small(t, x, name))
    made = t.low.unary("exp", int(t.g.mul(exponent, logarithm)))
    return int(t.g.mask(is_above(t, x, 0.0), made, value=1))


def sign(t: Shapes, x: Value) -> Value:
    """-1, 0 or 1."""
    zero, one, minus = (t.low.number(v, f"number_{v:g}") for v in (0.0, 1.0, -1.0))
    above = t.g.select(t.g.compare(zero, x, relation=LESS), one, zero)
    return int(t.g.select(t.g.compare(x, zero, relation=LESS), minus, above))


def divide_or_zero(t: Shapes, divisor: Value, divide: Callable[[Value], Value]) -> Value:
    """A quotient, 0 where the divisor is; ``divide`` makes it by the divisor it is given."""
    zero = t.g.compare(divisor, t.low.number(0.0, "number_0"), relation=EQUAL)
    safe = int(t.g.select(zero, t.low.number(1.0, "number_1"), divisor))
    return int(t.g.mask(zero, divide(safe), value=0))


def log_softmax(t: Shapes, x: Value, name: str = "") -> Value:
    """Over the last axis: x - max - log(sum of exp(x - max))."""
    last = (len(t.g.shape(x)) - 1,)
    shifted = int(t.g.sub(x, t.low.max(x, last, True)))
    total = t.low.sum(t.low.unary("exp", shifted), last, True)
    return int(t.g.sub(shifted, t.low.unary("log", total), name=name))


def product(t: Shapes, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """The product over axes, as a tree of products of halves."""
    for axis in sorted(axes, reverse=True):
        parts = t.g.shape(x)[axis]
        if parts > MOST_FACTORS:
            raise Refusal(f"multiplies {parts} elements; at most {MOST_FACTORS} are")
        factors = [cut(t, x, axis, i, i + 1) for i in range(parts)]
        while len(factors) > 1:
            pairs = list(zip(factors[::2], factors[1::2], strict=False))
            rest = factors[-1:] if len(factors) % 2 else []
            factors = [int(t.g.mul(a, b)) for a, b in pairs] + rest
        x = factors[0]
        if not keepdims:
            shape = t.g.shape(x)
            x = t.low.reshape(x, [*shape[:axis], *shape[axis + 1 :]])
    return x


def axis_of_example(t: Shapes, x: Value, axis: int) -> int:
    """The number of an axis, which is not the batch."""
    shape = t.g.shape(x)
    if shape[axis % len(shape)] == -1:
        raise Refusal("works over the batch; nearest supported form: the same over another axis")
    return axis % len(shape)


def cumulative_sum(
    t: Shapes, x: Value, axis: int, exclusive: bool, reverse: bool, name: str = ""
) -> Value:
    """The sums of the elements up to each."""
    flags = {"exclusive": int(exclusive), "reverse": int(reverse)}
    along = axis_of_example(t, x, axis)
    return t.low.exact(int(t.g.cumsum(x, axis=along, name=name, **flags)))


def least_position(t: Shapes, x: Value, axis: int, name: str = "") -> Value:
    """Where along the axis the smallest element is, the first of equals; without the axis."""
    axis = axis_of_example(t, x, axis)
    _, found = t.g.top_k(x, k=1, axis=axis, largest=0, name=name)
    shape = t.g.shape(x)
    return t.low.reshape(found, [*shape[:axis], *shape[axis + 1 :]])


def local_response(
    t: Shapes, x: Value, before: int, after: int, alpha: float, beta: float, bias: float, name: str
) -> Value:
    """x / (bias + alpha * the squares of the channels near by)^beta; channels are the last axis.

    ``before``, ``after``: how many of them beside each.
    """
    at = np.arange(t.g.shape(x)[-1])
    distance = at[:, None] - at[None, :]  # of the channel read from the one made
    near: NDArray[Any] = (distance >= -before) & (distance <= after)
    band = Constant(near * alpha, f"{name}/band")
    total = int(t.g.matmul(int(t.g.mul(x, x)), t.low.parameter(band)))
    total = t.low.shift_by(total, bias, f"{name}/bias")
    if beta == 0.75:
        root = t.low.unary("rsqrt", total)
        return int(t.g.mul(x, t.g.mul(root, t.low.unary("sqrt", root))))
    power = power_of_number(t, total, -beta, name)
    return x if power is None else int(t.g.mul(x, power))


def exponential_of_base(t: Shapes, base: Constant, x: Value, name: str) -> Value:
    """base^x = exp(x * ln base) of constants > 0."""
    if not (base.data > 0).all():
        raise Refusal(f"a constant base must be > 0, received {float(base.data.min()):g}")
    factor = Constant(np.log(base.data.astype(np.float64)), f"{name}/base")
    if (factor.data == 1.0).all() or math.prod(factor.data.shape) == 1:
        return t.low.unary("exp", t.low.scale_by(x, float(factor.data.reshape(-1)[0]), factor.name))
    return t.low.unary("exp", t.low.scale(x, factor))
