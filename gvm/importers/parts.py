"""Parts of tensors, and repetitions of them, for every importer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gvm.graph import Value
from gvm.importers.lowering import Refusal
from gvm.importers.shapes import Shapes
from gvm.operator import integer


def cut(t: Shapes, value: Value, axis: int, begin: int, end: int) -> Value:
    """Elements begin ... end - 1 of an axis."""
    shape = t.g.shape(value)
    if shape[axis] == -1:
        raise Refusal("takes a part of the batch")
    return take(t, value, {axis: (begin, end, 1)})


def take(t: Shapes, value: Value, parts: Mapping[int, tuple[int, int, int]]) -> Value:
    """The part (begin, end, step) of each axis named; the others whole.

    A part that lies within one operand of a concat is taken of that operand.
    """
    shape = t.g.shape(value)
    whole = [parts.get(i, (0, d, 1)) for i, d in enumerate(shape)]
    if all(part == (0, d, 1) for part, d in zip(whole, shape, strict=True)):
        return value
    joined = t.g.maker.get(value)
    if joined is not None and joined.op == "concat":
        axis, at = integer(joined.attributes, "axis"), 0
        first, last, step = whole[axis]
        for operand in joined.inputs:
            size = t.g.shape(operand)[axis]
            if at <= first and last <= at + size:
                return take(t, operand, {**parts, axis: (first - at, last - at, step)})
            at += size
    begin, end, strides = zip(*whole, strict=True)
    return int(t.g.slice(value, begin=begin, end=end, strides=strides))


def repeat(t: Shapes, value: Value, times: Sequence[int], outer: bool) -> Value:
    """Each axis repeated: as a whole (``outer``), or each element in place."""
    shape = t.g.shape(value)
    split: list[int] = []
    wide: list[int] = []
    made: list[int] = []
    for size, count in zip(shape, times, strict=True):
        if count != 1:
            split += [1, size] if outer else [size, 1]
            wide += [count, size] if outer else [size, count]
            made.append(size * count)
        else:
            split.append(size)
            wide.append(size)
            made.append(size)
    if tuple(made) == shape:
        return value
    return t.low.reshape(
        int(t.g.broadcast_to(t.low.reshape(value, split), shape=tuple(wide))), made
    )


def pick(t: Shapes, value: Value, axis: int, indices: Sequence[int]) -> Value:
    """Elements of an axis by number: runs of them are slices, joined."""
    size = t.g.shape(value)[axis]
    if size == -1:
        raise Refusal("takes a part of the batch")
    wanted = [i + size if i < 0 else i for i in indices]
    if not wanted or min(wanted) < 0 or max(wanted) >= size:
        raise Refusal(f"takes elements {list(indices)} of an axis of {size}")
    parts, at = [], 0
    while at < len(wanted):
        step = wanted[at + 1] - wanted[at] if at + 1 < len(wanted) else 1
        end = at + 1
        while step >= 1 and end < len(wanted) and wanted[end] - wanted[end - 1] == step:
            end += 1
        parts.append(take(t, value, {axis: (wanted[at], wanted[end - 1] + 1, max(step, 1))}))
        at = end
    return join(t, parts, axis)


MOST_JOINED = 64
"""Operands of one concat."""


def join(t: Shapes, parts: Sequence[Value], axis: int, name: str = "") -> Value:
    """One after the other along an axis, however many."""
    while len(parts) > MOST_JOINED:
        groups = [parts[i : i + MOST_JOINED] for i in range(0, len(parts), MOST_JOINED)]
        parts = [g[0] if len(g) == 1 else int(t.g.concat(*g, axis=axis)) for g in groups]
    return parts[0] if len(parts) == 1 else int(t.g.concat(*parts, axis=axis, name=name))
