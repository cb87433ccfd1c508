"""Parts of tensors, and repetitions of them, for every importer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import Shapes, Tensor, Uniform
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


def element(t: Shapes, value: Value, axis: int, index: int) -> Value:
    """One element of an axis, without the axis; of what is only transposed, from before that."""
    shape = t.g.shape(value)
    if shape[axis] == -1:
        raise Refusal("takes the examples of a batch apart; nearest supported form: other axes")
    rest = [d for i, d in enumerate(shape) if i != axis]
    turned = t.g.maker.get(value)
    if turned is not None and turned.op == "transpose":
        order = turned.attributes["permutation"]
        assert isinstance(order, tuple)
        others = [a for i, a in enumerate(order) if i != axis]
        if others == sorted(others):
            value, axis = turned.inputs[0], order[axis]
    return t.low.reshape(cut(t, value, axis, index, index + 1), rest)


def elements(t: Shapes, x: Any, axis: int) -> list[Any]:
    """What an axis of an operand counts, each without that axis."""
    if isinstance(x, Constant):
        rows = np.moveaxis(x.data, axis, 0)
        return [x.derive(row, f"/{i}") for i, row in enumerate(rows)]
    if isinstance(x, Uniform):
        at = axis % len(x.dims)
        if not isinstance(x.dims[at], int):
            raise Refusal("takes the examples of a batch apart")
        return [Uniform(x.number, x.dims[:at] + x.dims[at + 1 :])] * x.dims[at]
    value = t.whole(x)
    at = axis % len(t.g.shape(value))
    return [Tensor(element(t, value, at, i)) for i in range(max(1, t.g.shape(value)[at]))]


def stack(t: Shapes, given: Sequence[Any], axis: int, name: str = "") -> Tensor | Constant:
    """Operands of one shape along a new axis."""
    if not given:
        raise Refusal("stacks an empty list")
    constants = [x for x in given if isinstance(x, Constant)]
    if len(constants) == len(given):
        trained = any(c.trainable for c in constants)
        return Constant(np.stack([c.data for c in constants], axis), name, trained)
    tensors = [t.spread(x) if isinstance(x, Uniform) else x for x in given]
    shape = t.g.shape(t.whole(next(x for x in tensors if isinstance(x, Tensor))))
    at = axis % (len(shape) + 1)
    parts = []
    for x in tensors:
        if isinstance(x, Constant):
            value = int(t.g.broadcast_to(t.low.parameter(x), shape=shape))
        else:
            value = t.whole(x)
        parts.append(t.low.reshape(value, [*shape[:at], 1, *shape[at:]]))
    return Tensor(join(t, parts, at, name))


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


MOST_STEPS = 4096
"""Of one loop. More make a program that nobody would run."""
MOST_JOINED = 64
"""Operands of one concat."""


def join(t: Shapes, parts: Sequence[Value], axis: int, name: str = "") -> Value:
    """One after the other along an axis, however many."""
    while len(parts) > MOST_JOINED:
        groups = [parts[i : i + MOST_JOINED] for i in range(0, len(parts), MOST_JOINED)]
        parts = [g[0] if len(g) == 1 else int(t.g.concat(*g, axis=axis)) for g in groups]
    return parts[0] if len(parts) == 1 else int(t.g.concat(*parts, axis=axis, name=name))
