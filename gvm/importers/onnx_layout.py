"""ONNX's changes of shape. Images are [N, C, H, W] there."""

from __future__ import annotations

import math

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, constant_or, handles
from gvm.importers.parts import cut, join, pick, repeat, take
from gvm.importers.shapes import (
    Batch,
    Operand,
    Tensor,
    integers_of,
    objects_of,
    text_of,
)

# Shapes of values


@handles("Reshape")
def _reshape(t: Translator, node: Node, x: Tensor, shape: Operand) -> Tensor:
    wanted = [d if isinstance(d, Batch) else int(d) for d in objects_of(shape).reshape(-1)]
    if not node.integer("allowzero", 0):
        dims = t.dims(x)
        wanted = [dims[i] if d == 0 else d for i, d in enumerate(wanted)]
    return t.reshape(x, wanted)


@handles("Flatten")
def _flatten(t: Translator, node: Node, x: Tensor) -> Tensor:
    dims = t.dims(x)
    axis = node.integer("axis", 1)
    axis = axis + len(dims) if axis < 0 else axis
    if axis == 0 and t.batch_axis(x.value) is not None:
        raise Refusal("merges the batch with all else; nearest supported form: axis 1")
    before = 1
    for d in dims[:axis]:
        before = d * before
    return t.reshape(x, [before, math.prod(dims[axis:])])


@handles("Squeeze")
def _squeeze(t: Translator, node: Node, x: Tensor, axes: Operand | None = None) -> Tensor:
    dims = t.dims(x)
    if axes is None:
        dropped = [i for i, d in enumerate(dims) if d == 1]
    else:
        dropped = [a % len(dims) for a in integers_of(axes)]
        wrong = [i for i in dropped if dims[i] != 1]
        if wrong:
            raise Refusal(f"drops axis {wrong[0]} of {text_of(dims)}, which is not 1")
    return t.reshape(x, [d for i, d in enumerate(dims) if i not in dropped])


@handles("Unsqueeze")
def _unsqueeze(t: Translator, node: Node, x: Tensor, axes: Operand) -> Tensor:
    rest = t.dims(x)
    given = integers_of(axes)
    rank = len(rest) + len(given)
    added = {a % rank for a in given}
    return t.reshape(x, [1 if i in added else rest.pop(0) for i in range(rank)])


@handles("Transpose")
def _transpose(t: Translator, node: Node, x: Tensor) -> Tensor:
    rank = t.rank(x)
    order = node.integers("perm", list(reversed(range(rank))))
    if order == list(range(rank)):
        return x
    return t.permute(x, order)


@handles("Concat")
def _concat(t: Translator, node: Node, *operands: Operand) -> Tensor:
    tensors = [x for x in operands if isinstance(x, Tensor)]
    operands = tuple(x for x in operands if not isinstance(x, Constant) or x.data.size)
    shape = t.g.shape(t.whole(tensors[0]))
    axis = node.integer("axis", 1) % len(shape)
    parts = []
    for x in operands:
        if isinstance(x, Constant):
            value = t.low.parameter(x)
            batch = t.batch_axis(t.whole(tensors[0]))
            if batch is None:
                parts.append(value)
                continue
            if len(t.g.shape(value)) != len(shape) or t.g.shape(value)[batch] != 1:
                raise Refusal("joins a constant that would differ between examples")
            wide = tuple(-1 if i == batch else d for i, d in enumerate(t.g.shape(value)))
            parts.append(int(t.g.broadcast_to(value, shape=wide)))
        else:
            parts.append(t.whole(x))
    return Tensor(join(t, t.low.alike(parts), axis, node.name))


@handles("Split")
def _split(t: Translator, node: Node, x: Operand, sizes: Operand | None = None) -> list[Operand]:
    value = t.whole(x)
    axis = node.integer("axis", 0) % len(t.g.shape(value))
    size = t.g.shape(value)[axis]
    if sizes is None:
        count = len(node.outputs)
        each = -(-size // count)
        given = [min(each, size - i * each) for i in range(count)]
    else:
        given = integers_of(sizes)
    ends = np.cumsum(given).tolist()
    return [
        Tensor(cut(t, value, axis, end - part, end)) if part else _nothing(t, value, axis)
        for part, end in zip(given, ends, strict=True)
    ]


def _nothing(t: Translator, value: Value, axis: int) -> Constant:
    """A part without elements; a model with a batch has none."""
    if t.batch_axis(value) is not None:
        raise Refusal("takes a part without elements")
    kind = {"real": "float32", "bool": "bool"}.get(t.g.types[value].dtype, "int64")
    shape = [0 if i == axis else d for i, d in enumerate(t.g.shape(value))]
    return Constant(np.zeros(shape, kind), "nothing")


@handles("Slice")
def _slice(
    t: Translator,
    node: Node,
    x: Operand,
    starts: Operand,
    ends: Operand,
    axes: Operand | None = None,
    steps: Operand | None = None,
) -> Operand:
    value = t.whole(x)
    shape = t.g.shape(value)
    begin, end = integers_of(starts), objects_of(ends).reshape(-1).tolist()
    over = list(range(len(begin))) if axes is None else integers_of(axes)
    stride = [1] * len(begin) if steps is None else integers_of(steps)
    for a, b, e, s in zip(over, begin, end, stride, strict=True):
        axis = a % len(shape)
        if shape[axis] == -1:
            reaches = isinstance(e, Batch) or e >= 2**31 - 1 or e == t.stored_batch
            if b != 0 or s != 1 or not reaches:
                raise Refusal("takes a part of the batch")
            continue
        if isinstance(e, Batch):
            raise Refusal("works out a part from the batch size")
        taken = range(*slice(b, e, s).indices(shape[axis]))
        if not taken:
            return _nothing(t, value, axis)
        if s > 0:
            value = take(t, value, {axis: (taken[0], taken[-1] + 1, s)})
        else:
            value = pick(t, value, axis, taken)
    return Tensor(value)


@handles("Gather")
def _gather(t: Translator, node: Node, x: Operand, indices: Operand) -> Tensor:
    if isinstance(indices, Tensor):
        return _rows(t, node, x, indices)
    if not isinstance(x, Tensor) or not isinstance(indices, Constant):
        raise Refusal("the indices must be constant; nearest supported form: one-hot and MatMul")
    value = t.whole(x)
    shape = list(t.g.shape(value))
    axis = node.integer("axis", 0) % len(shape)
    picked = pick(t, value, axis, integers_of(indices))
    return Tensor(t.low.reshape(picked, [*shape[:axis], *indices.data.shape, *shape[axis + 1 :]]))


def _rows(t: Translator, node: Node, x: Operand, indices: Tensor) -> Tensor:
    """Parts of a tensor that every example shares, by numbers that are computed."""
    if not t.low.is_whole(indices.value):
        raise Refusal("the indices must be constant; nearest supported form: one-hot and MatMul")
    table = t.low.parameter(x) if isinstance(x, Constant) else t.whole(x)
    shape = t.g.shape(table)
    if -1 in shape:
        raise Refusal("the indices must be constant; nearest supported form: one-hot and MatMul")
    axis = node.integer("axis", 0) % len(shape)
    numbers = t.low.wide(indices.value)
    size = t.low.whole(shape[axis], "size")
    below = t.g.compare(numbers, t.low.whole(0), relation=1)
    numbers = int(t.g.select(below, t.low.exact(t.g.add(numbers, size)), numbers))
    rows = t.low.transpose(table, [axis, *(i for i in range(len(shape)) if i != axis)])
    made = int(t.g.gather(rows, numbers, name=node.name))
    given = len(t.g.shape(numbers))
    rest = list(range(given, given + len(shape) - 1))
    order = [*rest[:axis], *range(given), *rest[axis:]]
    return Tensor(t.low.transpose(made, order) if order else made)


@handles("Pad")
def _pad(
    t: Translator,
    node: Node,
    x: Operand,
    pads: Operand,
    fill: Operand | None = None,
    axes: Operand | None = None,
) -> Tensor:
    value = t.whole(x)
    rank = len(t.g.shape(value))
    given = integers_of(pads)
    over = list(range(rank)) if axes is None else [a % rank for a in integers_of(axes)]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(over):
        before[axis], after[axis] = given[i], given[i + len(over)]
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        if b < 0 or a < 0:
            size = t.g.shape(value)[axis]
            value = cut(t, value, axis, max(0, -b), size - max(0, -a))
    before, after = [max(0, b) for b in before], [max(0, a) for a in after]
    if not any(before) and not any(after):
        return Tensor(value)
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        return Tensor(_bordered(t, node, value, before, after, constant_or(fill, "value", 0.0)))
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        if b or a:
            size = t.g.shape(value)[axis]
            value = pick(t, value, axis, np.pad(np.arange(size), (b, a), mode=mode).tolist())
    return Tensor(value)


def _bordered(
    t: Translator, node: Node, value: Value, before: list[int], after: list[int], fill: float
) -> Value:
    if not math.isfinite(fill):
        raise Refusal("pads with infinity; nearest supported form: pads of MaxPool")
    if fill:
        value = t.low.shift_by(value, -fill, f"{node.name}/value")
    value = int(t.g.pad(value, before=tuple(before), after=tuple(after), name=node.name))
    return t.low.shift_by(value, fill, f"{node.name}/value") if fill else value


@handles("Expand")
def _expand(t: Translator, node: Node, x: Operand, shape: Operand) -> Tensor:
    value = t.whole(x)
    wanted = objects_of(shape).reshape(-1).tolist()
    dims = t.dims(Tensor(value))
    rank = max(len(wanted), len(dims))
    dims = [1] * (rank - len(dims)) + dims
    wanted = [1] * (rank - len(wanted)) + wanted
    if t.batch_axis(value) is None:
        target = tuple(
            int(max(d, w)) if 1 in (d, w) else int(d) for d, w in zip(dims, wanted, strict=True)
        )
        if 0 in wanted:
            raise Refusal(f"expands {text_of(dims)} to {text_of(wanted)}, which is empty")
        if not target:
            return Tensor(value)
        same = t.g.shape(value) == target
        return Tensor(value if same else t.g.broadcast_to(value, shape=target))
    at = next(i for i, d in enumerate(dims) if isinstance(d, Batch))
    if not (isinstance(wanted[at], Batch) or wanted[at] in (1, t.stored_batch)):
        raise Refusal(f"expands {text_of(dims)} to {text_of(wanted)}: repeats the batch")
    wanted[at] = dims[at]
    made = [
        int(d) if not isinstance(d, Batch) and w == 1 else w
        for d, w in zip(dims, wanted, strict=True)
    ]
    if any(isinstance(d, Batch) for i, d in enumerate(made) if i != at):
        raise Refusal(f"expands {text_of(dims)} to {text_of(wanted)}: repeats the batch")
    target = tuple(-1 if isinstance(d, Batch) else int(d) for d in made)
    value = t.low.reshape(value, [-1 if isinstance(d, Batch) else int(d) for d in dims])
    return Tensor(value if t.g.shape(value) == target else t.g.broadcast_to(value, shape=target))


@handles("Tile")
def _tile(
    t: Translator, node: Node, x: Operand, repeats: Operand, axis: Operand | None = None
) -> Tensor:
    value = t.whole(x)
    times = integers_of(repeats)
    if axis is not None:
        (at,) = integers_of(axis)
        times = [times[0] if i == at else 1 for i in range(len(t.g.shape(value)))]
    batch = t.batch_axis(value)
    if (batch is not None and times[batch] != 1) or min(times) < 1:
        raise Refusal(f"repeats must be >= 1 and repeat no example, received {times}")
    return Tensor(repeat(t, value, times, outer=True))
