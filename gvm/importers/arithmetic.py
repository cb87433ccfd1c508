"""Arithmetic between tensors and constants, for every importer: broadcasting as in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import ALONE, Merged, Operand, Shapes, Tensor
from gvm.types import RANGE

SELU_ALPHA, SELU_FACTOR = 1.6732632423543772, 1.0507009873554805


def fitting(t: Shapes, x: Tensor, c: Operand) -> Constant:
    """A constant operand, which must leave the shape of x before its last axes alone."""
    if not isinstance(c, Constant):
        raise Refusal("computes with the batch size")
    shape = list(c.data.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    if t.batch_axis(x.value) is None:
        return c
    inner = len(t.g.shape(x.value)) - t.span(x)[1]
    if len(shape) > inner:
        outer = shape[: len(shape) - inner]
        if x.merged != ALONE or outer[-1] != 1 or len(shape) > len(t.dims(x)):
            raise Refusal(f"a constant of shape {list(c.data.shape)} would differ between examples")
    return c


def _pair(t: Shapes, a: Tensor, b: Tensor) -> tuple[Value, Value, Merged]:
    if a.merged == b.merged:
        return a.value, b.value, a.merged
    if t.dims(a) != t.dims(b):
        raise Refusal("the batch is merged with another axis in one operand only")
    shape = t.g.shape(a.value)
    return a.value, t.low.reshape(b.value, shape), a.merged


def add(t: Shapes, name: str, a: Operand, b: Operand) -> Tensor:
    """a + b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        left, right, merged = _pair(t, a, b)
        return Tensor(t.low.exact(t.g.add(left, right, name=name)), merged)
    x, c = (a, b) if isinstance(a, Tensor) else (b, a)
    assert isinstance(x, Tensor)
    return Tensor(t.low.bias(x.value, fitting(t, x, c), name), x.merged)


def add_all(t: Shapes, name: str, operands: Sequence[Operand]) -> Operand:
    """The sum of several, of which one is a tensor."""
    result, *others = sorted(operands, key=lambda x: not isinstance(x, Tensor))
    for other in others:
        result = add(t, name, result, other)
    return result


def subtract(t: Shapes, name: str, a: Operand, b: Operand) -> Tensor:
    """a - b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        left, right, merged = _pair(t, a, b)
        return Tensor(t.low.exact(t.g.sub(left, right, name=name)), merged)
    if isinstance(a, Tensor):
        c = fitting(t, a, b)
        return Tensor(t.low.bias(a.value, c.derive(_negative(c.data))), a.merged)
    assert isinstance(b, Tensor)
    return Tensor(t.low.subtract_from(fitting(t, b, a), b.value), b.merged)


def _negative(data: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(-(data.astype(np.int64) if data.dtype.kind in "iu" else data))


def multiply(t: Shapes, name: str, a: Operand, b: Operand) -> Tensor:
    """a * b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        left, right, merged = _pair(t, a, b)
        return Tensor(t.low.exact(t.g.mul(left, right, name=name)), merged)
    x, c = (a, b) if isinstance(a, Tensor) else (b, a)
    assert isinstance(x, Tensor)
    return Tensor(t.low.scale(x.value, fitting(t, x, c), name), x.merged)


def divide(t: Shapes, name: str, a: Operand, b: Operand) -> Tensor:
    """a / b: exact by an integer, else times a reciprocal; sinh / cosh is tanh."""
    if isinstance(b, Tensor):
        (kind, of), (below, of_below) = (
            t.hyperbolic.get(x.value if isinstance(x, Tensor) else -1, ("", -1)) for x in (a, b)
        )
        if (kind, below) == ("sinh", "cosh") and of == of_below:
            return Tensor(t.low.unary("tanh", of), b.merged)
        return multiply(t, name, a, Tensor(t.low.unary("reciprocal", b.value), b.merged))
    assert isinstance(a, Tensor)
    c = fitting(t, a, b)
    number = c.scalar()
    if (
        number is not None
        and number >= 1
        and number.is_integer()
        and number <= 2**31
        and not c.trainable
    ):
        return Tensor(t.g.divide(a.value, divisor=int(number)) if number > 1 else a.value, a.merged)
    if np.any(c.data == 0):
        raise Refusal(f"divides by the constant {c.name!r}, which holds 0")
    return Tensor(
        t.low.scale(a.value, c.derive(1.0 / c.data.astype(np.float64), "/reciprocal")), a.merged
    )


def _within_32_bits(bound: Constant) -> Constant:
    """A bound of whole numbers of 32 bits, as good as one that lies beyond them."""
    least, most = RANGE["i32"]
    if not bound.data.size or (bound.data.min() >= least and bound.data.max() <= most):
        return bound
    return bound.derive(np.clip(bound.data, least, most))


def maximum(t: Shapes, a: Operand, b: Operand) -> Tensor:
    """The greater of a and b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        left, right, merged = _pair(t, a, b)
        return Tensor(t.g.maximum(*t.low.alike([left, right])), merged)
    x, c = (a, b) if isinstance(a, Tensor) else (b, a)
    assert isinstance(x, Tensor)
    if t.low.is_whole(x.value):
        other = t.low.parameter(_within_32_bits(fitting(t, x, c)))
        return Tensor(t.g.maximum(*t.low.alike([x.value, other])), x.merged)
    return Tensor(t.low.maximum(x.value, fitting(t, x, c)), x.merged)


def minimum(t: Shapes, a: Operand, b: Operand) -> Tensor:
    """The smaller of a and b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        left, right, merged = _pair(t, a, b)
        return Tensor(t.g.minimum(*t.low.alike([left, right])), merged)
    x, c = (a, b) if isinstance(a, Tensor) else (b, a)
    assert isinstance(x, Tensor)
    if t.low.is_whole(x.value):
        other = t.low.parameter(_within_32_bits(fitting(t, x, c)))
        return Tensor(t.g.minimum(*t.low.alike([x.value, other])), x.merged)
    return Tensor(t.low.minimum(x.value, fitting(t, x, c)), x.merged)


def power(t: Shapes, x: Operand, exponent: Operand) -> Tensor:
    """x to the power of a constant, by products and tables."""
    number = exponent.scalar() if isinstance(exponent, Constant) else None
    if not isinstance(x, Tensor) or number not in (-1.0, -0.5, 0.5, 1.0, 2.0, 3.0):
        raise Refusal("the exponent must be a constant -1, -0.5, 0.5, 1, 2 or 3")
    roots = {-1.0: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt"}
    if number in roots:
        return Tensor(t.low.unary(roots[number], x.value), x.merged)
    value = x.value
    for _ in range(int(number) - 1):
        value = t.g.mul(value, x.value)
    return Tensor(value, x.merged)


def softsign(t: Shapes, x: Value, name: str) -> Value:
    """x / (1 + |x|)."""
    size = t.low.shift_by(absolute(t, x), 1.0, f"{name}/one")
    return int(t.g.mul(x, t.low.unary("reciprocal", size)))


def absolute(t: Shapes, x: Value) -> Value:
    """|x|."""
    return int(t.g.add(t.g.relu(x), t.g.relu(t.low.negative(x))))
