"""TensorFlow's convolutions and pooling over one to three axes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal, same_padding
from gvm.importers.shapes import (
    POISON,
    Operand,
    Tensor,
    objects_of,
    text_of,
)
from gvm.importers.tensorflow_nodes import (
    HANDLERS,
    PATTERNS,
    POSITIVE,
    Plan,
    Translator,
    attribute_of,
    behind,
    handles,
    known_constant,
    layout_of,
    spatial_of,
)
from gvm.importers.windows import (
    Borders,
    Geometry,
    Kernel,
    average_pool,
    convolve,
    max_pool,
    spread,
)

CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
POOLS = ("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D")


def _padding(
    op: Any,
    size: tuple[int, ...],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Borders:
    kind, rank = attribute_of(op, "padding"), len(size)
    if kind == "VALID":
        return ((0, 0),) * rank
    if kind == "SAME":
        axes = zip(size, window, strides, dilation, strict=True)
        return tuple(same_padding(*axis) for axis in axes)
    explicit = [int(v) for v in attribute_of(op, "explicit_paddings")]
    first = 2 * _first(op, rank)
    if any(explicit[:first] + explicit[first + 2 * rank :]):
        raise Refusal(f"pads outside of the spatial axes, received {explicit}")
    return tuple((explicit[i], explicit[i + 1]) for i in range(first, first + 2 * rank, 2))


def _first(op: Any, rank: int) -> int:
    """The first spatial axis."""
    return layout_of(op).index("D" if rank == 3 else "H")


def _geometry(
    op: Any,
    size: tuple[int, ...],
    window: tuple[int, ...],
    pads: Borders | None = None,
    dilation: tuple[int, ...] | None = None,
) -> Geometry:
    """Of windows over an image with ``pads`` around it, with ``dilation`` in place of its own."""
    rank = len(size)
    if len(window) != rank:
        raise Refusal(f"the window has {len(window)} axes, the image {rank}")
    strides = spatial_of(op, "strides", rank)
    dilation = dilation or spatial_of(op, "dilations", rank)
    pads = pads or ((0, 0),) * rank
    padded = tuple(d + b + a for d, (b, a) in zip(size, pads, strict=True))
    own = _padding(op, padded, window, strides, dilation)
    borders = tuple((b + x, a + y) for (b, a), (x, y) in zip(pads, own, strict=True))
    return Geometry(window, strides, dilation, borders)


def _turned(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels to the last axis, and back to the second."""
    return (0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))


def _window(
    t: Translator,
    op: Any,
    pads: Borders | None,
    dilation: tuple[int, ...] | None,
    x: Operand,
    *weights: Operand,
) -> Any:
    """A convolution or pooling after ``pads`` of zeros, with ``dilation`` in place of its own."""
    value = t.whole(x)
    rank = len(layout_of(op))
    if len(t.g.shape(value)) != rank:
        shape = text_of(t.dims(Tensor(value)))
        raise Refusal(f"the input must have {rank} axes, received {shape}")
    to_last, to_first = _turned(rank)
    channels_first = layout_of(op)[1] == "C"
    if channels_first:
        value = t.low.transpose(value, to_last)
    if op.type in CONVOLUTIONS:
        made = _convolution(t, op, pads, dilation, value, _kernel(t, op, weights[0]))
    else:
        made = _pooling(t, op, pads, value)
    result = Tensor(t.low.transpose(made, to_first) if channels_first else made)
    return [result] + [POISON] * (len(op.outputs) - 1)


def _kernel(t: Translator, op: Any, w: Operand) -> Kernel:
    kernel = Kernel.of(t, w)
    depthwise = op.type.startswith("DepthwiseConv2dNative")
    return kernel.reshape(t, *kernel.shape[:2], 1, -1) if depthwise else kernel


def _convolution(
    t: Translator,
    op: Any,
    pads: Borders | None,
    dilation: tuple[int, ...] | None,
    value: Value,
    kernel: Kernel,
) -> Value:
    _, *size, channels = t.g.shape(value)
    inner = kernel.shape[-2]
    if channels % inner:
        raise Refusal(
            f"the filter takes {inner} channels of {channels}, which is no whole number of groups"
        )
    geometry = _geometry(op, tuple(size), kernel.shape[:-2], pads, dilation)
    return convolve(t, value, kernel, geometry, channels // inner, name=op.name)


def _pooling(t: Translator, op: Any, pads: Borders | None, value: Value) -> Value:
    _, *size, _ = t.g.shape(value)
    geometry = _geometry(op, tuple(size), spatial_of(op, "ksize", len(size)), pads)
    if op.type in ("MaxPool", "MaxPool3D", "MaxPoolWithArgmax"):
        return max_pool(t, value, geometry, op.name)
    return average_pool(t, value, geometry, pads, op.name)


HANDLERS.update(
    {
        kind: (lambda t, op, *operands: _window(t, op, None, None, *operands))
        for kind in (*CONVOLUTIONS, *POOLS, "MaxPoolWithArgmax")
    }
)


@handles("Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput")
def _transposed(t: Translator, op: Any, sizes: Operand, w: Operand, x: Operand) -> Tensor:
    """The gradient of a convolution: what its transposed layer is written as."""
    value = t.whole(x)
    layout = layout_of(op)
    to_last, to_first = _turned(len(layout))
    if layout[1] == "C":
        value = t.low.transpose(value, to_last)
    rank = len(layout) - 2
    given = objects_of(sizes).reshape(-1).tolist()
    first = _first(op, rank) if len(given) == len(layout) else 0
    size = tuple(int(d) for d in given[first : first + rank])
    kernel = _kernel(t, op, w)
    geometry = _geometry(op, size, kernel.shape[:-2])
    if geometry.positions(size) != t.g.shape(value)[1:-1]:
        raise Refusal(f"makes {list(size)} of {list(t.g.shape(value)[1:-1])}, which does not fit")
    channels = given[layout.index("C")] if len(given) == len(layout) else kernel.shape[-2]
    groups = int(channels) // kernel.shape[-2]
    made = spread(t, value, kernel, geometry, size, groups, name=op.name)
    return Tensor(t.low.transpose(made, to_first) if layout[1] == "C" else made)


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
        or paddings.data.shape != (len(layout), 2)
    ):
        return None
    spatial = [i for i, c in enumerate(layout) if c in "DHW"]
    if np.any(np.delete(paddings.data, spatial, axis=0)) or np.any(paddings.data < 0):
        return None
    if op.type.startswith("MaxPool") and not _never_negative(pad.inputs[0]):
        return None
    if op.type.startswith("AvgPool") and attribute_of(op, "padding") != "VALID":
        return None  # SAME averages over less than the window, zeros of Pad count
    pads = tuple((int(b), int(a)) for b, a in paddings.data[spatial])
    return Plan((pad.inputs[0], *op.inputs[1:]), partial(_window, t, op, pads, None))


def _never_negative(tensor: Any) -> bool:
    passes = (*POOLS, "Reshape", "Squeeze", "ExpandDims", "Transpose")
    op = behind(tensor).op
    while op.type in passes:
        op = behind(op.inputs[0]).op
    return op.type in POSITIVE


PATTERNS.update(dict.fromkeys((*CONVOLUTIONS, *POOLS), _window_after_pad))


def _dilated(t: Translator, op: Any) -> Plan | None:
    """SpaceToBatchND, convolution, BatchToSpaceND: a dilated convolution; over one axis between
    an ExpandDims and a Squeeze."""
    conv = behind(op.inputs[0]).op
    squeeze = conv if conv.type == "Squeeze" else None
    conv = behind(squeeze.inputs[0]).op if squeeze else conv
    if conv.type not in CONVOLUTIONS or attribute_of(conv, "padding") != "VALID":
        return None
    spread_op = behind(conv.inputs[0]).op
    if squeeze:
        if spread_op.type != "ExpandDims":
            return None
        spread_op = behind(spread_op.inputs[0]).op
    if spread_op.type != "SpaceToBatchND":
        return None
    block, pads = known_constant(t, spread_op.inputs[1]), known_constant(t, spread_op.inputs[2])
    other, crops = known_constant(t, op.inputs[1]), known_constant(t, op.inputs[2])
    if (
        block is None
        or pads is None
        or other is None
        or crops is None
        or not np.array_equal(block.data, other.data)
    ):
        return None
    borders = tuple((int(b), int(a)) for b, a in pads.data - crops.data)
    axes = 1 if squeeze else len(layout_of(conv)) - 2
    if block.data.size != axes or min(map(min, borders)) < 0:
        return None

    def emit(x: Operand, weight: Operand) -> Any:
        steps = tuple(int(d) for d in block.data)
        if not squeeze:
            return _window(t, conv, borders, steps, x, weight)[0]
        value = t.whole(x)
        batch, length, channels = t.g.shape(value)
        flat = Tensor(t.low.reshape(value, [batch, 1, length, channels]))
        made = _window(t, conv, ((0, 0), *borders), (1, *steps), flat, weight)[0].value
        _, _, length, channels = t.g.shape(made)
        return Tensor(t.low.reshape(made, [batch, length, channels]))

    return Plan((spread_op.inputs[0], conv.inputs[1]), emit)


PATTERNS["BatchToSpaceND"] = _dilated
