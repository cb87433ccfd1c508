"""TensorFlow's reductions, normalisation and changes of shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gvm.importers.lowering import Refusal
from gvm.importers.parts import cut, pick, repeat, take
from gvm.importers.shapes import (
    POISON,
    Batch,
    Operand,
    Tensor,
    integers_of,
    must_be_constant,
    objects_of,
)
from gvm.importers.tensorflow_nodes import (
    Translator,
    handles,
    indices_of,
    layout_of,
)


@handles("Pad", "PadV2")
def _pad(
    t: Translator, op: Any, x: Operand, paddings: Operand, value: Operand | None = None
) -> Operand:
    borders = must_be_constant(paddings, "paddings").data.reshape(-1, 2)
    fill = 0.0 if value is None else must_be_constant(value, "padding value").scalar()
    if not borders.any():
        return x
    if fill is None or not math.isfinite(fill) or np.any(borders < 0):
        raise Refusal("nearest supported form: borders >= 0 of a finite value")
    inner = t.whole(x)
    if fill:
        inner = t.low.shift_by(inner, -fill, f"{op.name}/value")
    inner = int(
        t.g.pad(
            inner,
            before=tuple(borders[:, 0].tolist()),
            after=tuple(borders[:, 1].tolist()),
            name=op.name,
        )
    )
    return Tensor(t.low.shift_by(inner, fill, f"{op.name}/value") if fill else inner)


@handles("FusedBatchNormV3", "FusedBatchNormV2", "FusedBatchNorm")
def _batch_norm(t: Translator, op: Any, x: Operand, *statistics: Operand) -> list[Any]:
    if op.get_attr("is_training"):
        raise Refusal("is_training must be False")
    gamma, beta, mean, variance = (must_be_constant(s, "statistics") for s in statistics)
    scale = gamma.data.astype(np.float64) / np.sqrt(
        variance.data.astype(np.float64) + float(op.get_attr("epsilon"))
    )
    shift = beta.data.astype(np.float64) - mean.data.astype(np.float64) * scale
    value = t.whole(x)
    rank, channels_first = len(t.g.shape(value)), layout_of(op)[1] == "C"
    if channels_first:
        value = t.low.transpose(value, (0, *range(2, rank), 1))
    value = t.low.bias(t.low.scale(value, gamma.derive(scale)), beta.derive(shift))
    if channels_first:
        value = t.low.transpose(value, (0, rank - 1, *range(1, rank - 1)))
    made = Tensor(value)
    return [made] + [POISON] * (len(op.outputs) - 1)


# Reductions and shapes of values


@handles("Mean", "Sum", "Max", "Min")
def _reduce(t: Translator, op: Any, x: Operand, axes: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    over = t.axes(x, axes)
    keep = bool(op.get_attr("keep_dims"))
    if op.type == "Min":
        return Tensor(t.low.negative(t.low.max(t.low.negative(x.value), over, keep)), x.merged)
    make = {"Mean": t.low.mean, "Sum": t.low.sum, "Max": t.low.max}[op.type]
    return Tensor(make(x.value, over, keep), x.merged)


@handles("Reshape")
def _reshape(t: Translator, op: Any, x: Operand, shape: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    return t.reshape(
        x, [d if isinstance(d, Batch) else int(d) for d in objects_of(shape).reshape(-1)]
    )


@handles("Squeeze")
def _squeeze(t: Translator, op: Any, x: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    dims = t.dims(x)
    axes = [int(a) % len(dims) for a in op.get_attr("squeeze_dims")] or [
        i for i, d in enumerate(dims) if d == 1
    ]
    return t.reshape(x, [d for i, d in enumerate(dims) if i not in axes])


@handles("ExpandDims")
def _expand_dims(t: Translator, op: Any, x: Operand, axis: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    dims = t.dims(x)
    (at,) = integers_of(axis)
    dims.insert(at if at >= 0 else at + len(dims) + 1, 1)
    return t.reshape(x, dims)


@handles("Transpose")
def _transpose(t: Translator, op: Any, x: Operand, permutation: Operand) -> Tensor:
    order = integers_of(permutation)
    if order == list(range(len(order))):
        assert isinstance(x, Tensor)
        return x
    assert isinstance(x, Tensor)
    return t.permute(x, order)


@handles("ConcatV2")
def _concat(t: Translator, op: Any, *operands: Operand) -> Tensor:
    values = [t.whole(x) for x in operands[:-1]]
    (axis,) = integers_of(operands[-1])
    if len(values) == 1:
        return Tensor(values[0])
    return Tensor(t.g.concat(*values, axis=axis % len(t.g.shape(values[0])), name=op.name))


@handles("Pack")
def _stack(t: Translator, op: Any, *operands: Operand) -> Tensor:
    values = [t.whole(x) for x in operands]
    shape = list(t.g.shape(values[0]))
    axis = int(op.get_attr("axis")) % (len(shape) + 1)
    parts = [t.low.reshape(v, [*shape[:axis], 1, *shape[axis:]]) for v in values]
    return Tensor(parts[0] if len(parts) == 1 else t.g.concat(*parts, axis=axis, name=op.name))


@handles("Unpack")
def _unstack(t: Translator, op: Any, x: Operand) -> list[Tensor]:
    value = t.whole(x)
    shape = t.g.shape(value)
    axis = int(op.get_attr("axis")) % len(shape)
    rest = [d for i, d in enumerate(shape) if i != axis]
    return [
        Tensor(t.low.reshape(cut(t, value, axis, i, i + 1), rest)) for i in range(len(op.outputs))
    ]


@handles("Split")
def _split(t: Translator, op: Any, axis: Operand, x: Operand) -> list[Tensor]:
    value = t.whole(x)
    at = integers_of(axis)[0] % len(t.g.shape(value))
    size = t.g.shape(value)[at] // len(op.outputs)
    return [Tensor(cut(t, value, at, i * size, (i + 1) * size)) for i in range(len(op.outputs))]


@handles("SplitV")
def _split_sizes(t: Translator, op: Any, x: Operand, sizes: Operand, axis: Operand) -> list[Tensor]:
    value = t.whole(x)
    at = integers_of(axis)[0] % len(t.g.shape(value))
    given = integers_of(sizes)
    if -1 in given:
        given[given.index(-1)] = t.g.shape(value)[at] - sum(given) - 1
    ends = np.cumsum(given).tolist()
    return [
        Tensor(cut(t, value, at, end - size, end)) for size, end in zip(given, ends, strict=True)
    ]


@handles("Slice")
def _slice_by_size(t: Translator, op: Any, x: Operand, begin: Operand, size: Operand) -> Tensor:
    value = t.whole(x)
    shape = t.g.shape(value)
    sizes = objects_of(size).reshape(-1).tolist()
    parts = {}
    for i, (b, s, d) in enumerate(zip(integers_of(begin), sizes, shape, strict=True)):
        if d == -1:
            if b != 0 or s not in (-1, Batch(1), t.stored_batch):
                raise Refusal("takes a part of the batch")
        else:
            parts[i] = (b, d if s == -1 else b + int(s), 1)
    return Tensor(take(t, value, parts))


@handles("StridedSlice")
def _strided(
    t: Translator, op: Any, x: Operand, begin: Operand, end: Operand, step: Operand
) -> Tensor:
    value = t.whole(x)
    index = list(indices_of(op, integers_of(begin), objects_of(end).reshape(-1), integers_of(step)))
    shape = t.g.shape(value)
    taken = sum(i is not None and i is not Ellipsis for i in index)
    if Ellipsis not in index:
        index.append(Ellipsis)
    at = index.index(Ellipsis)
    index[at : at + 1] = [slice(None)] * (len(shape) - taken)
    parts: dict[int, tuple[int, int, int]] = {}
    made: list[int] = []
    turned: list[int] = []
    axis = 0
    for item in index:
        if item is None:
            made.append(1)
            continue
        size = shape[axis]
        if size == -1:
            stops = (None, Batch(1), t.stored_batch)
            if (
                not isinstance(item, slice)
                or item.start not in (None, 0)
                or item.stop not in stops
                or item.step not in (None, 1)
            ):
                raise Refusal("takes a part of the batch")
            made.append(-1)
        elif isinstance(item, slice):
            taken_ones = range(size)[item]
            if not taken_ones:
                raise Refusal(f"takes {item.start}:{item.stop}:{item.step}, which is nothing")
            least, most = min(taken_ones), max(taken_ones)
            parts[axis] = (least, most + 1, abs(taken_ones.step))
            if taken_ones.step < 0:
                turned.append(axis)
            made.append(len(taken_ones))
        else:
            start = item % size
            parts[axis] = (start, start + 1, 1)
        axis += 1
    value = take(t, value, parts)
    for at in turned:
        value = pick(t, value, at, range(t.g.shape(value)[at] - 1, -1, -1))
    return Tensor(t.low.reshape(value, made))


@handles("BroadcastTo")
def _broadcast(t: Translator, op: Any, x: Operand, shape: Operand) -> Tensor:
    value = t.whole(x)
    wanted = [-1 if isinstance(d, Batch) else int(d) for d in objects_of(shape).reshape(-1)]
    if tuple(wanted) == t.g.shape(value):
        return Tensor(value)
    return Tensor(t.g.broadcast_to(value, shape=tuple(wanted)))


@handles("Tile")
def _tile(t: Translator, op: Any, x: Operand, multiples: Operand) -> Tensor:
    value = t.whole(x)
    times = integers_of(multiples)
    if times[t.g.shape(value).index(-1)] != 1 or min(times) < 1:
        raise Refusal(f"multiples must be >= 1 and repeat no example, received {times}")
    return Tensor(repeat(t, value, times, outer=True))
