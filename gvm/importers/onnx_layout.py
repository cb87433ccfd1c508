"""ONNX's windows and changes of shape. Images are [N, C, H, W] there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal, same_padding
from gvm.importers.onnx_math import per_channel
from gvm.importers.onnx_nodes import HINTS, Node, Translator, constant_or, handles
from gvm.importers.parts import cut, join, pick, repeat, take
from gvm.importers.shapes import (
    Batch,
    Operand,
    Tensor,
    integers_of,
    must_be_constant,
    objects_of,
    text_of,
)

# Windows


def _borders(
    node: Node,
    size: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """What is added before and after each spatial axis."""
    kind = node.attributes.get("auto_pad", "NOTSET")
    if kind == "VALID":
        return [(0, 0)] * len(size)
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        same = [same_padding(*axis) for axis in zip(size, window, strides, dilation, strict=True)]
        return same if kind == "SAME_UPPER" else [(after, before) for before, after in same]
    if kind != "NOTSET":
        raise Refusal(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, received {kind}")
    pads = node.integers("pads", [0] * (2 * len(size)))
    if len(pads) != 2 * len(size):
        raise Refusal(f"pads must hold {2 * len(size)} numbers, received {len(pads)}")
    return list(zip(pads[: len(size)], pads[len(size) :], strict=True))


def _image(t: Translator, value: Value) -> tuple[Value, int]:
    """Channels last, as [N, H, W, C]; one spatial axis becomes a row. And the spatial axes."""
    shape = t.g.shape(value)
    if len(shape) == 4:
        return value, 2
    if len(shape) == 3:
        return t.low.reshape(value, [shape[0], 1, *shape[1:]]), 1
    raise Refusal(
        f"works over {len(shape) - 2} spatial axes; nearest supported form: one or two of them"
    )


def _from_image(t: Translator, value: Value, spatial: int) -> Value:
    shape = t.g.shape(value)
    return value if spatial == 2 else t.low.reshape(value, [shape[0], *shape[2:]])


def _two(values: Sequence[int], filler: int) -> tuple[int, int]:
    if len(values) == 2:
        return int(values[0]), int(values[1])
    return filler, int(values[0])


def _four(borders: Sequence[tuple[int, int]]) -> tuple[int, int, int, int]:
    (top, bottom), (left, right) = [(0, 0)] * (2 - len(borders)) + list(borders)
    return top, bottom, left, right


@handles("Conv")
def _conv(t: Translator, node: Node, x: Operand, w: Operand, b: Operand | None = None) -> Tensor:
    weight = must_be_constant(w, "weight")
    bias = None if b is None else must_be_constant(b, "bias")

    def make(value: Value) -> Value:
        image, spatial = _image(t, value)
        if weight.data.ndim != spatial + 2:
            raise Refusal(f"the weight must have {spatial + 2} axes, it has {weight.data.ndim}")
        window = weight.data.shape[2:]
        strides = node.integers("strides", [1] * spatial)
        dilation = node.integers("dilations", [1] * spatial)
        size = t.g.shape(image)[3 - spatial : 3]
        borders = _borders(node, size, window, strides, dilation)
        kernel = weight.data.transpose((*range(2, spatial + 2), 1, 0))
        if spatial == 1:
            kernel = kernel[None]
        made = int(
            t.g.conv2d(
                image,
                t.low.parameter(weight, kernel),
                strides=_two(strides, 1),
                padding=_four(borders),
                dilation=_two(dilation, 1),
                groups=node.integer("group", 1),
                name=node.name,
            )
        )
        made = _from_image(t, made, spatial)
        return made if bias is None else t.low.bias(made, bias)

    return per_channel(t, x, make)


HINTS["ConvInteger"] = HINTS["QLinearConv"] = "nearest supported form: Conv of real values"
HINTS["QLinearMatMul"] = HINTS["MatMulInteger"] = "nearest supported form: MatMul of real values"
HINTS["QuantizeLinear"] = HINTS["DequantizeLinear"] = (
    "nearest supported form: the model before its quantisation"
)


@handles("MaxPool", "AveragePool")
def _pool(t: Translator, node: Node, x: Operand) -> Tensor:
    def make(value: Value) -> Value:
        image, spatial = _image(t, value)
        window = node.integers("kernel_shape")
        if len(window) != spatial:
            raise Refusal(f"kernel_shape must hold {spatial} numbers, received {window}")
        strides = node.integers("strides", [1] * spatial)
        dilation = node.integers("dilations", [1] * spatial)
        size = t.g.shape(image)[3 - spatial : 3]
        borders = _borders(node, size, window, strides, dilation)
        counted = node.integer("count_include_pad", 0) == 1 and any(map(any, borders))
        if node.integer("ceil_mode", 0):
            wider = [
                _rounded_up(*axis)
                for axis in zip(size, window, strides, dilation, borders, strict=True)
            ]
            if counted and wider != borders:
                raise Refusal("count_include_pad and ceil_mode meet in a window over the edge")
            borders = wider
        attributes = {
            "window": _two(window, 1),
            "strides": _two(strides, 1),
            "padding": _four(borders),
            "dilation": _two(dilation, 1),
        }
        if node.type == "MaxPool":
            made = int(t.g.max_pool2d(image, name=node.name, **attributes))
        else:
            made = int(
                t.g.avg_pool2d(image, count_include_pad=int(counted), name=node.name, **attributes)
            )
        return _from_image(t, made, spatial)

    return per_channel(t, x, make)


def _rounded_up(
    size: int, window: int, stride: int, dilation: int, border: tuple[int, int]
) -> tuple[int, int]:
    """The border with which the number of positions is rounded up; none starts behind the input."""
    before, after = border
    extent = (window - 1) * dilation + 1
    positions = -(-(size + before + after - extent) // stride) + 1
    if (positions - 1) * stride >= size + before:
        positions -= 1
    return before, max(after, (positions - 1) * stride + extent - size - before)


@handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(t: Translator, node: Node, x: Operand) -> Tensor:
    value = t.whole(x)
    axes = range(2, len(t.g.shape(value)))
    make = t.low.mean if node.type == "GlobalAveragePool" else t.low.max
    return Tensor(make(value, axes, True))


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
    if axis == 0:
        raise Refusal("merges the batch with all else; nearest supported form: axis 1")
    before = dims[0]
    for d in dims[1:axis]:
        before = before * d
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
    shape = t.g.shape(x.value)
    batch = shape.index(-1)
    axes = [[i] for i in range(len(shape))]
    groups = [*axes[:batch], sum(axes[batch : batch + x.merged], []), *axes[batch + x.merged :]]
    whole = [i for axis in order for i in groups[axis]]
    return Tensor(t.low.transpose(x.value, whole), x.merged)


@handles("Concat")
def _concat(t: Translator, node: Node, *operands: Operand) -> Tensor:
    tensors = [x for x in operands if isinstance(x, Tensor)]
    shape = t.g.shape(t.whole(tensors[0]))
    axis = node.integer("axis", 1) % len(shape)
    parts = []
    for x in operands:
        if isinstance(x, Constant):
            value = t.low.parameter(x)
            batch = shape.index(-1)
            if len(t.g.shape(value)) != len(shape) or t.g.shape(value)[batch] != 1:
                raise Refusal("joins a constant that would differ between examples")
            wide = tuple(-1 if i == batch else d for i, d in enumerate(t.g.shape(value)))
            parts.append(int(t.g.broadcast_to(value, shape=wide)))
        else:
            parts.append(t.whole(x))
    return Tensor(join(t, parts, axis, node.name))


@handles("Split")
def _split(t: Translator, node: Node, x: Operand, sizes: Operand | None = None) -> list[Tensor]:
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
        Tensor(cut(t, value, axis, end - part, end)) for part, end in zip(given, ends, strict=True)
    ]


@handles("Slice")
def _slice(
    t: Translator,
    node: Node,
    x: Operand,
    starts: Operand,
    ends: Operand,
    axes: Operand | None = None,
    steps: Operand | None = None,
) -> Tensor:
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
            raise Refusal(f"takes {b}:{e}:{s} of an axis of {shape[axis]}, which is empty")
        if s > 0:
            value = take(t, value, {axis: (taken[0], taken[-1] + 1, s)})
        else:
            value = pick(t, value, axis, taken)
    return Tensor(value)


@handles("Gather")
def _gather(t: Translator, node: Node, x: Operand, indices: Operand) -> Tensor:
    if not isinstance(x, Tensor) or not isinstance(indices, Constant):
        raise Refusal("the indices must be constant; nearest supported form: one-hot and MatMul")
    value = t.whole(x)
    shape = list(t.g.shape(value))
    axis = node.integer("axis", 0) % len(shape)
    picked = pick(t, value, axis, integers_of(indices))
    return Tensor(t.low.reshape(picked, [*shape[:axis], *indices.data.shape, *shape[axis + 1 :]]))


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
    if times[t.g.shape(value).index(-1)] != 1 or min(times) < 1:
        raise Refusal(f"repeats must be >= 1 and repeat no example, received {times}")
    return Tensor(repeat(t, value, times, outer=True))


@handles("DepthToSpace")
def _depth_to_space(t: Translator, node: Node, x: Operand) -> Tensor:
    value, block = t.whole(x), node.integer("blocksize", 1)
    n, c, h, w = t.g.shape(value)
    if node.attributes.get("mode", "DCR") == "DCR":
        split, order = [n, block, block, c // block**2, h, w], (0, 3, 4, 1, 5, 2)
    else:
        split, order = [n, c // block**2, block, block, h, w], (0, 1, 4, 2, 5, 3)
    turned = t.low.transpose(t.low.reshape(value, split), order)
    return Tensor(t.low.reshape(turned, [n, c // block**2, h * block, w * block]))


@handles("SpaceToDepth")
def _space_to_depth(t: Translator, node: Node, x: Operand) -> Tensor:
    value, block = t.whole(x), node.integer("blocksize", 1)
    n, c, h, w = t.g.shape(value)
    split = t.low.reshape(value, [n, c, h // block, block, w // block, block])
    blocks_first = node.attributes.get("mode", "DCR") == "DCR"
    turned = t.low.transpose(split, (0, 3, 5, 1, 2, 4) if blocks_first else (0, 1, 3, 5, 2, 4))
    return Tensor(t.low.reshape(turned, [n, c * block**2, h // block, w // block]))


_CENTRES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")


@handles("Resize", "Upsample")
def _resize(t: Translator, node: Node, x: Operand, *operands: Operand | None) -> Tensor:
    value = t.whole(x)
    shape = t.g.shape(value)
    mode = node.attributes.get("mode", "nearest")
    way = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    # By a whole factor these take each pixel so many times; others are shifted.
    exact = (way in _CENTRES and rounding.startswith("round")) or (
        way == "asymmetric" and rounding == "floor"
    )
    scales = operands[0] if len(operands) == 1 else operands[1] if len(operands) > 1 else None
    sizes = operands[2] if len(operands) > 2 else None
    axes = [a % len(shape) for a in node.integers("axes", range(len(shape)))]
    sides = [shape[a] for a in axes]
    if node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refusal("keep_aspect_ratio_policy must be stretch")
    if "scales" in node.attributes:
        factors = [float(v) for v in node.attributes["scales"]]
    elif sizes is not None:
        wanted = objects_of(sizes).reshape(-1).tolist()
        factors = [1.0 if d == -1 else int(v) / d for v, d in zip(wanted, sides, strict=True)]
    else:
        data = must_be_constant(scales, "scales").data if scales is not None else np.ones(0)
        factors = [float(v) for v in data.reshape(-1)]
    if len(factors) == len(axes):
        factors = [factors[axes.index(i)] if i in axes else 1.0 for i in range(len(shape))]
    whole = len(factors) == len(shape) and all(f >= 1 and f.is_integer() for f in factors)
    if (
        mode != "nearest"
        or not whole
        or factors[0] != 1
        or not (exact or node.type == "Upsample" or node.version < 11)
    ):
        raise Refusal(
            f"resizes by {factors}, mode {mode}; nearest supported form: nearest by whole factors"
        )
    return Tensor(repeat(t, value, [int(f) for f in factors], outer=False))
