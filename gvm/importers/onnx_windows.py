"""ONNX's convolutions and pooling. Images are [N, C, spatial...] there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import absolute
from gvm.importers.lowering import Constant, Refusal, same_padding
from gvm.importers.norms import norm
from gvm.importers.onnx_math import per_channel
from gvm.importers.onnx_nodes import HINTS, Node, Translator, handles
from gvm.importers.onnx_scatter import MOST_COMPARED
from gvm.importers.shapes import Opaque, Operand, Tensor, integers_of
from gvm.importers.windows import (
    Geometry,
    Kernel,
    average_pool,
    convolve,
    elements,
    framed,
    max_pool,
    spread,
    sum_pool,
)

HINTS["ConvInteger"] = HINTS["QLinearConv"] = "nearest supported form: Conv of real values"
HINTS["DeformConv"] = HINTS["Col2Im"] = "nearest supported form: Conv"


def _geometry(node: Node, size: Sequence[int], window: Sequence[int]) -> Geometry:
    rank = len(size)

    def each(name: str, default: int) -> tuple[int, ...]:
        given = node.integers(name, [default] * rank)
        if len(given) != rank:
            raise Refusal(f"{name} must hold {rank} numbers, received {given}")
        return tuple(given)

    if len(window) != rank:
        raise Refusal(f"kernel_shape must hold {rank} numbers, received {list(window)}")
    strides, dilation = each("strides", 1), each("dilations", 1)
    borders = _borders(node, size, window, strides, dilation)
    return Geometry(tuple(window), strides, dilation, tuple(borders))


def _borders(
    node: Node,
    size: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """What is added before and after each spatial axis."""
    kind = _auto_pad(node)
    if kind == "VALID":
        return [(0, 0)] * len(size)
    if kind != "NOTSET":
        same = [same_padding(*axis) for axis in zip(size, window, strides, dilation, strict=True)]
        return same if kind == "SAME_UPPER" else [(after, before) for before, after in same]
    return _pads(node, len(size))


def _auto_pad(node: Node) -> str:
    kind = str(node.attributes.get("auto_pad", "NOTSET"))
    if kind not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Refusal(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, received {kind}")
    return kind


def _pads(node: Node, rank: int) -> list[tuple[int, int]]:
    pads = node.integers("pads", [0] * (2 * rank))
    if len(pads) != 2 * rank:
        raise Refusal(f"pads must hold {2 * rank} numbers, received {len(pads)}")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _spatial(t: Translator, value: Value) -> tuple[int, ...]:
    """Of an image with channels last."""
    return t.g.shape(value)[1:-1]


def _kernel(t: Translator, w: Operand, rank: int) -> Kernel:
    """[window..., channels of a group, filters] of a weight with both in front of the window."""
    kernel = Kernel.of(t, w)
    if len(kernel.shape) != rank + 2:
        raise Refusal(f"the weight must have {rank + 2} axes, it has {len(kernel.shape)}")
    return kernel.transpose(t, *range(2, rank + 2), 1, 0)


@handles("Conv")
def _conv(t: Translator, node: Node, x: Operand, w: Operand, b: Operand | None = None) -> Tensor:
    def make(value: Value) -> Value:
        size = _spatial(t, value)
        kernel = _kernel(t, w, len(size))
        geometry = _geometry(node, size, kernel.shape[:-2])
        return convolve(t, value, kernel, geometry, node.integer("group", 1), b, node.name)

    return per_channel(t, x, make)


@handles("ConvTranspose")
def _conv_transpose(
    t: Translator, node: Node, x: Operand, w: Operand, b: Operand | None = None
) -> Tensor:
    def make(value: Value) -> Value:
        size = _spatial(t, value)
        kernel = _kernel(t, w, len(size))
        geometry = _geometry(replace(node, attributes=_unpadded(node)), size, kernel.shape[:-2])
        begin, wanted = _result(node, size, geometry)
        geometry = replace(geometry, borders=tuple((n, 0) for n in begin))
        return spread(t, value, kernel, geometry, wanted, node.integer("group", 1), b, node.name)

    return per_channel(t, x, make)


def _unpadded(node: Node) -> dict[str, object]:
    return {k: v for k, v in node.attributes.items() if k not in ("auto_pad", "pads")}


def _result(node: Node, size: Sequence[int], geometry: Geometry) -> tuple[list[int], list[int]]:
    """Where the result of a ConvTranspose begins in the whole, and how large it is."""
    kind, rank = _auto_pad(node), len(size)
    added = node.integers("output_padding", [0] * rank)
    wanted = node.integers("output_shape")[-rank:]
    whole = [
        (n - 1) * s + e + a
        for n, s, e, a in zip(size, geometry.strides, geometry.extent, added, strict=True)
    ]
    if not wanted and kind in ("NOTSET", "VALID"):
        pads = _pads(node, rank) if kind == "NOTSET" else [(0, 0)] * rank
        made = [n - b - a for n, (b, a) in zip(whole, pads, strict=True)]
        return [b for b, _ in pads], made
    if not wanted:
        wanted = [n * s for n, s in zip(size, geometry.strides, strict=True)]
    cut = [max(0, n - d) for n, d in zip(whole, wanted, strict=True)]
    return [c // 2 if kind == "SAME_UPPER" else c - c // 2 for c in cut], wanted


# Pooling


@dataclass(frozen=True)
class _Maxima(Opaque):
    """Where MaxPool found its maxima: what MaxUnpool is given."""

    image: Value = -1
    geometry: Geometry = field(default_factory=lambda: Geometry((), (), (), ()))


_COUNTED = "the indices of MaxPool count across examples; MaxUnpool reads them"


def _pooled(node: Node, size: Sequence[int]) -> Geometry:
    """Windows of a pooling operator, with the borders of ``ceil_mode``."""
    geometry = _geometry(node, size, node.integers("kernel_shape"))
    if not node.integer("ceil_mode", 0):
        return geometry
    axes = zip(size, geometry.extent, geometry.strides, geometry.borders, strict=True)
    return replace(geometry, borders=tuple(_rounded_up(*axis) for axis in axes))


def _rounded_up(size: int, extent: int, stride: int, border: tuple[int, int]) -> tuple[int, int]:
    """The border with which the number of positions is rounded up; none starts behind the input."""
    before, after = border
    positions = -(-(size + before + after - extent) // stride) + 1
    if (positions - 1) * stride >= size + before:
        positions -= 1
    return before, max(after, (positions - 1) * stride + extent - size - before)


@handles("MaxPool")
def _max_pool(t: Translator, node: Node, x: Operand) -> list[Tensor | Opaque]:
    found: list[tuple[Value, Geometry, Value]] = []

    def make(value: Value) -> Value:
        geometry = _pooled(node, _spatial(t, value))
        found.append((value, geometry, max_pool(t, value, geometry, node.name)))
        return found[0][2]

    made = per_channel(t, x, make)
    (image, geometry, most) = found[0]

    def positions() -> Tensor:
        return per_channel(t, x, lambda value: _positions(t, node, image, geometry, most))

    return [made, _Maxima(("MaxUnpool",), _COUNTED, positions, image, geometry)]


def _positions(t: Translator, node: Node, image: Value, geometry: Geometry, most: Value) -> Value:
    """The number of the first maximum of each window among the elements of [N, C, spatial...].

    It is the first element of the window that equals the maximum, looked up in what the elements
    of a window are ahead of its first.
    """
    batch, *size, channels = t.g.shape(image)
    if batch == -1 and t.stored_batch != 1:
        raise Refusal(_COUNTED)
    made, rank = geometry.positions(size), geometry.rank
    steps = np.cumprod([1, *size[:0:-1]])[::-1]
    if node.integer("storage_order", 0):
        steps = np.cumprod([1, *size[:-1]])
    # The first element of each window, in numbers that lie outside of the image in the border.
    first = [
        np.arange(n) * s - b
        for n, s, (b, _) in zip(made, geometry.strides, geometry.borders, strict=True)
    ]
    taps = list(np.ndindex(*geometry.window))
    ahead = [
        sum(i * d * s for i, d, s in zip(tap, geometry.dilation, steps, strict=True))
        for tap in taps
    ]
    inside = np.ones((*made, len(taps)), bool)
    for n, tap in enumerate(taps):
        for axis, (f, i, d) in enumerate(zip(first, tap, geometry.dilation, strict=True)):
            ok = (f + i * d >= 0) & (f + i * d < size[axis])
            inside[..., n] &= ok.reshape([-1 if a == axis else 1 for a in range(rank)])
    seen = elements(t, image, geometry)
    best = t.low.reshape(most, [batch, *made, channels, 1])
    counts = Constant(inside[..., None, :].astype(np.float64), f"{node.name}/inside")
    zero = t.low.number(0.0, f"{node.name}/zero")
    equal = t.g.compare(seen, best, relation=0)
    tap_of = t.g.argmax(t.g.select(equal, t.low.parameter(counts), zero), axis=rank + 2)
    table = _whole(t, node, ahead)
    base = sum(
        (f * s).reshape([-1 if i == axis else 1 for i in range(rank)])
        for axis, (f, s) in enumerate(zip(first, steps, strict=True))
    )
    area, count = int(np.prod(size)), 1 if batch == -1 else batch
    outer = np.arange(count).reshape([-1] + [1] * (rank + 1)) * channels * area
    start = _whole(t, node, outer + np.asarray(base)[None, ..., None] + np.arange(channels) * area)
    return t.low.exact(int(t.g.add(t.g.gather(table, tap_of), start)))


def _whole(t: Translator, node: Node, array: Any) -> Value:
    name = t.low.unique(f"{node.name}/positions")
    return int(t.g.parameter(name, array, "i32", 0, False))


@handles("AveragePool")
def _average_pool(t: Translator, node: Node, x: Operand) -> Tensor:
    def make(value: Value) -> Value:
        size = _spatial(t, value)
        geometry = _pooled(node, size)
        counted = None
        if node.integer("count_include_pad", 0) == 1:
            counted = _geometry(node, size, geometry.window).borders
        return average_pool(t, value, geometry, counted, node.name)

    return per_channel(t, x, make)


@handles("LpPool")
def _norm_pool(t: Translator, node: Node, x: Operand) -> Tensor:
    def make(value: Value) -> Value:
        geometry, p = _pooled(node, _spatial(t, value)), node.integer("p", 2)
        if p == 1:
            return sum_pool(t, absolute(t, value), geometry, node.name)
        return norm(t, elements(t, value, geometry), p, node.name)

    return per_channel(t, x, make)


@handles("MaxUnpool", known=(2,))
def _max_unpool(
    t: Translator, node: Node, x: Operand, positions: Any, shape: Operand | None = None
) -> Tensor:
    """Each value where its maximum was: what the gradient of MaxPool does with it."""
    if not isinstance(positions, _Maxima):
        return _unpooled(t, node, x, positions, shape)
    geometry, image = positions.geometry, positions.image
    if geometry.rank > 2:
        raise Refusal("works over 3 spatial axes; nearest supported form: one or two")
    if any(s < e for s, e in zip(geometry.strides, geometry.extent, strict=True)):
        raise Refusal("windows overlap; nearest supported form: strides as large as the kernel")
    size = _spatial(t, image)
    own = _geometry(node, size, node.integers("kernel_shape"))
    if shape is not None:
        made = tuple(integers_of(shape)[2:])
    else:
        made = tuple(
            (n - 1) * s + k - b - a
            for n, s, k, (b, a) in zip(
                geometry.positions(size), own.strides, own.window, own.borders, strict=True
            )
        )
    if made != size:
        raise Refusal(f"makes an image of {list(made)}, its MaxPool read one of {list(size)}")

    def make(value: Value) -> Value:
        flat, read, given = geometry, image, value
        if geometry.rank == 1:
            flat = geometry.of(-1, 0)
            read, given = (
                t.low.reshape(v, [t.g.shape(v)[0], 1, *t.g.shape(v)[1:]]) for v in (image, value)
            )
        back = t.g.max_pool2d_grad(
            read, given, window=flat.window, **flat.attributes(), name=node.name
        )
        return t.low.reshape(back, t.g.shape(image))

    return per_channel(t, x, make)


def _unpooled(
    t: Translator, node: Node, x: Operand, positions: Operand, shape: Operand | None
) -> Tensor:
    """Values where the numbers of elements say: in a model without a batch."""
    value = t.whole(x)
    given = t.g.shape(value)
    if not isinstance(positions, Tensor) or -1 in given or not t.low.is_whole(positions.value):
        raise Refusal("the indices must be those of a MaxPool, which count across examples")
    own = _geometry(node, given[2:], node.integers("kernel_shape"))
    size = [
        (n - 1) * s + k - b - a
        for n, s, k, (b, a) in zip(given[2:], own.strides, own.window, own.borders, strict=True)
    ]
    whole, count = int(np.prod([*given[:2], *size])), int(np.prod(given))
    if whole * count > MOST_COMPARED:
        raise Refusal(f"compares {count} indices with {whole} numbers each; too many")
    numbers = t.low.reshape(t.low.wide(positions.value), [count, 1])
    places = _whole(t, node, np.arange(whole))
    column = t.low.reshape(value, [count, 1])
    wide = int(t.g.broadcast_to(column, shape=(count, whole)))
    kept = t.g.mask(t.g.compare(numbers, places, relation=0), wide)
    made = t.low.reshape(int(t.g.reduce_sum(kept, axes=(0,))), [*given[:2], *size])
    wanted = size if shape is None else integers_of(shape)[2:]
    after = tuple((0, w - d) for w, d in zip(wanted, size, strict=True))
    return Tensor(framed(t, made, after, first=2))


def _globally(make: Callable[[Translator, Node, Value, range], Value]) -> Callable[..., Tensor]:
    def handle(t: Translator, node: Node, x: Operand) -> Tensor:
        value = t.whole(x)
        return Tensor(make(t, node, value, range(2, len(t.g.shape(value)))))

    return handle


def _global_norm(t: Translator, node: Node, value: Value, axes: range) -> Value:
    outer, size = t.g.shape(value)[:2], t.g.shape(value)[2:]
    flat = t.low.reshape(value, [*outer, int(np.prod(size))])
    made = norm(t, flat, node.integer("p", 2), node.name)
    return t.low.reshape(made, [*outer, *[1] * len(size)])


handles("GlobalAveragePool")(_globally(lambda t, node, v, axes: t.low.mean(v, axes, True)))
handles("GlobalMaxPool")(_globally(lambda t, node, v, axes: t.low.max(v, axes, True)))
handles("GlobalLpPool")(_globally(_global_norm))
