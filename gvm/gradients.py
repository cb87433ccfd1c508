"""What gradient rules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


def unbroadcast(g: Builder, delta: Value, shape: Sequence[int]) -> Value:
    """The gradient of an operand of this shape, given that of the result it was broadcast to.

    Sums over the axes along which the operand was repeated; over the batch axis that is a partial.
    """
    have = g.shape(delta)
    missing = len(have) - len(shape)
    repeated = [missing + i for i, d in enumerate(shape) if d == 1 and have[missing + i] != 1]
    if repeated:
        delta = g.reduce_sum(delta, axes=tuple(repeated), keepdims=1)
    if missing:
        delta = g.reduce_sum(delta, axes=tuple(range(missing)), keepdims=0)
    return delta


def kept_dims(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape after reducing these axes to 1."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape))


def restore_axes(g: Builder, delta: Value, shape: Sequence[int], axes: Sequence[int]) -> Value:
    """The gradient of a reduction without keepdims, as one with keepdims; ``shape`` was reduced."""
    whole = kept_dims(shape, axes)
    return delta if g.shape(delta) == whole else g.reshape(delta, shape=whole)


def negate(g: Builder, delta: Value) -> Value:
    """-delta, also of a partial, without a constant: delta - (delta + delta)."""
    out: Value = g.sub(delta, g.add(delta, delta))
    return out
