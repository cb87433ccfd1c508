"""Tensors that hold one number, a row of it for every example: the states that loops begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gvm.importers.lowering import Constant
from gvm.importers.shapes import Batch, Operand, Shapes, Tensor, Uniform

__all__ = ["settle"]

_SUMS = ("Add", "AddV2", "Sum")


def settle(t: Shapes, kind: str, operands: Sequence[Any]) -> Operand | Uniform | list[Any]:
    """What is known at once of an operator that reads a :class:`Uniform`, or its operands with
    tensors in place of those.

    Zero times anything is zero, and a sum with zero is the other operand.
    """
    if len(operands) == 2:
        a, b = operands
        if kind == "MatMul" and _is_zero(a) and isinstance(b, Constant) and b.data.ndim == 2:
            return _product(a, b)
        if kind == "Mul" and (_is_zero(a) or _is_zero(b)):
            dims = _together(_dims(t, a), _dims(t, b))
            if dims is not None:
                return Uniform(0.0, dims)
        if kind in _SUMS and (_is_zero(a) or _is_zero(b)):
            zero, other = (a, b) if _is_zero(a) else (b, a)
            if isinstance(other, Tensor | Uniform) and _dims(t, other) == _dims(t, zero):
                return other
    return [t.spread(x) if isinstance(x, Uniform) else x for x in operands]


def _is_zero(x: Any) -> bool:
    return isinstance(x, Uniform) and x.number == 0


def _product(a: Uniform, b: Constant) -> Uniform:
    inner, outer = b.data.shape
    columns = outer if a.dims[-1] == inner else inner
    return Uniform(0.0, (*a.dims[:-1], columns))


def _dims(t: Shapes, x: Any) -> tuple[Any, ...]:
    if isinstance(x, Tensor):
        return tuple(t.dims(x))
    return tuple(x.dims) if isinstance(x, Uniform) else tuple(x.data.shape)


def _together(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...] | None:
    """The shape that two broadcast to; None where they do not."""
    rank = max(len(a), len(b))
    left, right = [1] * (rank - len(a)) + list(a), [1] * (rank - len(b)) + list(b)
    made: list[Any] = []
    for x, y in zip(left, right, strict=True):
        if x != y and not (_is_one(x) or _is_one(y)):
            return None
        made.append(y if _is_one(x) else x)
    return tuple(made)


def _is_one(d: Any) -> bool:
    return not isinstance(d, Batch) and int(d) == 1
