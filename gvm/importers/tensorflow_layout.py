"""TensorFlow's windows, reductions and changes of shape."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal, same_padding
from gvm.importers.parts import cut, repeat, take
from gvm.importers.shapes import (
    POISON,
    Batch,
    Operand,
    Tensor,
    integers_of,
    must_be_constant,
    objects_of,
    text_of,
)
from gvm.importers.tensorflow_nodes import (
    HANDLERS,
    HINTS,
    PATTERNS,
    POSITIVE,
    WINDOWS,
    Plan,
    Translator,
    attribute_of,
    behind,
    handles,
    indices_of,
    known_constant,
    layout_of,
    spatial_of,
)

# Windows

_Pads = tuple[int, int, int, int]
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def _padding(
    op: Any,
    size: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
) -> _Pads:
    kind = attribute_of(op, "padding")
    if kind == "VALID":
        return (0, 0, 0, 0)
    if kind == "SAME":
        (top, bottom), (left, right) = (
            same_padding(*axis) for axis in zip(size, window, strides, dilation, strict=True)
        )
        return (top, bottom, left, right)
    explicit = [int(v) for v in attribute_of(op, "explicit_paddings")]
    first = 2 * layout_of(op).index("H")
    if any(explicit[:first] + explicit[first + 4 :]):
        raise Refusal(f"pads outside of height and width, received {explicit}")
    top, bottom, left, right = explicit[first : first + 4]
    return (top, bottom, left, right)


def _window(
    t: Translator,
    op: Any,
    pads: _Pads,
    dilation: tuple[int, int] | None,
    x: Operand,
    *weights: Operand,
) -> Tensor:
    """A convolution or pooling after ``pads`` of zeros, with ``dilation`` in place of its own."""
    layout = layout_of(op)
    value = t.whole(x)
    if len(t.g.shape(value)) != 4:
        raise Refusal(f"the input must have 4 axes, received {text_of(t.dims(Tensor(value)))}")
    if layout == "NCHW":
        value = t.low.transpose(value, _TO_LAST)
    if op.type in ("Conv2D", "DepthwiseConv2dNative"):
        made = _convolution(t, op, pads, dilation, value, must_be_constant(weights[0], "filter"))
    else:
        made = _pooling(t, op, pads, value)
    return Tensor(t.low.transpose(made, _TO_FIRST) if layout == "NCHW" else made)


def _padded_size(t: Translator, value: Value, pads: _Pads) -> tuple[int, int]:
    _, height, width, _ = t.g.shape(value)
    return height + pads[0] + pads[1], width + pads[2] + pads[3]


def _sum_of(a: _Pads, b: _Pads) -> _Pads:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _convolution(
    t: Translator,
    op: Any,
    pads: _Pads,
    dilation: tuple[int, int] | None,
    value: Value,
    weight: Constant,
) -> Value:
    strides = spatial_of(op, "strides")
    dilation = dilation or spatial_of(op, "dilations")
    kh, kw, inner, outer = weight.data.shape
    channels = t.g.shape(value)[3]
    data = weight.data
    if op.type == "DepthwiseConv2dNative":
        data, inner = data.reshape(kh, kw, 1, inner * outer), 1
    if channels % inner:
        raise Refusal(
            f"the filter takes {inner} channels of {channels}, which is no whole number of groups"
        )
    own = _padding(op, _padded_size(t, value, pads), (kh, kw), strides, dilation)
    made = t.g.conv2d(
        value,
        t.low.parameter(weight, data),
        strides=strides,
        padding=_sum_of(pads, own),
        dilation=dilation,
        groups=channels // inner,
        name=op.name,
    )
    return int(made)


def _pooling(t: Translator, op: Any, pads: _Pads, value: Value) -> Value:
    window, strides = spatial_of(op, "ksize"), spatial_of(op, "strides")
    own = _padding(op, _padded_size(t, value, pads), window, strides, (1, 1))
    geometry = {"window": window, "strides": strides, "padding": _sum_of(pads, own)}
    if op.type == "MaxPool":
        return int(t.g.max_pool2d(value, name=op.name, **geometry))
    return int(t.g.avg_pool2d(value, count_include_pad=int(any(pads)), name=op.name, **geometry))


HANDLERS.update(
    {
        kind: (lambda t, op, *operands: _window(t, op, (0, 0, 0, 0), None, *operands))
        for kind in WINDOWS
    }
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


def _window_after_pad(t: Translator, op: Any) -> Plan | None:
    """Pad with zeros before a window becomes padding of the window."""
    pad = behind(op.inputs[0]).op
    if pad.type not in ("Pad", "PadV2"):
        return None
    paddings = known_constant(t, pad.inputs[1])
    fill = (
        known_constant(t, pad.inputs[2]) if pad.type == "PadV2" else Constant(np.zeros(1), "zero")
    )
    layout = attribute_of(op, "data_format", "NHWC")
    if (
        paddings is None
        or fill is None
        or fill.scalar() != 0.0
        or layout not in ("NHWC", "NCHW")
        or paddings.data.shape != (4, 2)
    ):
        return None
    first = layout.index("H")
    if np.any(np.delete(paddings.data, [first, first + 1], axis=0)) or np.any(paddings.data < 0):
        return None
    if op.type == "MaxPool" and not _never_negative(pad.inputs[0]):
        return None
    if op.type == "AvgPool" and attribute_of(op, "padding") != "VALID":
        return None  # SAME averages over less than the window, zeros of Pad count
    top, bottom, left, right = (int(v) for v in paddings.data[first : first + 2].reshape(-1))
    return Plan(
        (pad.inputs[0], *op.inputs[1:]), partial(_window, t, op, (top, bottom, left, right), None)
    )


def _never_negative(tensor: Any) -> bool:
    op = behind(tensor).op
    while op.type in ("MaxPool", "AvgPool", "Reshape", "Squeeze", "ExpandDims", "Transpose"):
        op = behind(op.inputs[0]).op
    return op.type in POSITIVE


PATTERNS.update(dict.fromkeys(WINDOWS, _window_after_pad))


def _dilated(t: Translator, op: Any) -> Plan | None:
    """SpaceToBatchND, convolution, BatchToSpaceND: a dilated convolution over two axes, or one."""
    conv = behind(op.inputs[0]).op
    squeeze = conv if conv.type == "Squeeze" else None
    conv = behind(squeeze.inputs[0]).op if squeeze else conv
    if (
        conv.type not in ("Conv2D", "DepthwiseConv2dNative")
        or attribute_of(conv, "padding") != "VALID"
    ):
        return None
    spread = behind(conv.inputs[0]).op
    if squeeze:
        if spread.type != "ExpandDims":
            return None
        spread = behind(spread.inputs[0]).op
    if spread.type != "SpaceToBatchND":
        return None
    block, pads = known_constant(t, spread.inputs[1]), known_constant(t, spread.inputs[2])
    other, crops = known_constant(t, op.inputs[1]), known_constant(t, op.inputs[2])
    if (
        block is None
        or pads is None
        or other is None
        or crops is None
        or not np.array_equal(block.data, other.data)
    ):
        return None
    borders = pads.data - crops.data
    axes = block.data.size
    if axes != (1 if squeeze else 2) or np.any(borders < 0):
        return None

    def emit(x: Operand, weight: Operand) -> Tensor:
        if not squeeze:
            (top, bottom), (left, right) = borders.tolist()
            return _window(
                t, conv, (top, bottom, left, right), tuple(block.data.tolist()), x, weight
            )
        value = t.whole(x)
        batch, length, channels = t.g.shape(value)
        flat = Tensor(t.low.reshape(value, [batch, 1, length, channels]))
        (left, right), (step,) = borders.tolist()[0], block.data.tolist()
        made = _window(t, conv, (0, 0, left, right), (1, step), flat, weight).value
        _, _, length, channels = t.g.shape(made)
        return Tensor(t.low.reshape(made, [batch, length, channels]))

    return Plan((spread.inputs[0], conv.inputs[1]), emit)


PATTERNS["BatchToSpaceND"] = _dilated
HINTS["BatchToSpaceND"] = HINTS["SpaceToBatchND"] = "nearest supported form: Conv2D with dilations"


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
    first = layout_of(op) == "NCHW"
    if first:
        value = t.low.transpose(value, _TO_LAST)
    value = t.low.bias(t.low.scale(value, gamma.derive(scale)), beta.derive(shift))
    made = Tensor(t.low.transpose(value, _TO_FIRST) if first else value)
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
    return Tensor(t.low.transpose(t.whole(x), order))


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
            start, stop, stride = slice(item.start, item.stop, item.step).indices(size)
            if stride < 1 or stop <= start:
                raise Refusal(
                    f"takes {start}:{stop}:{stride}; the step must be >= 1 and the part not empty"
                )
            parts[axis] = (start, stop, stride)
            made.append(-(-(stop - start) // stride))
        else:
            start = item % size
            parts[axis] = (start, start + 1, 1)
        axis += 1
    return Tensor(t.low.reshape(take(t, value, parts), made))


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


@handles("ResizeNearestNeighbor")
def _resize(t: Translator, op: Any, x: Operand, size: Operand) -> Tensor:
    value = t.whole(x)
    _, height, width, _ = t.g.shape(value)
    wanted = integers_of(size)
    if wanted[0] % height or wanted[1] % width or attribute_of(op, "align_corners"):
        raise Refusal(
            f"resizes {height} x {width} to {wanted}; nearest supported form: a whole factor"
        )
    return Tensor(repeat(t, value, [1, wanted[0] // height, wanted[1] // width, 1], outer=False))
