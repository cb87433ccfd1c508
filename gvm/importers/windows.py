"""Convolutions and pooling over one, two or three spatial axes, channels last, for every importer.

The operators of the graph have two spatial axes. One axis is a row of an image. Of three, the
slices of the first axis that a window sees become channels, and the slices of the result lie one
below the other in an image: a single exact convolution, hence one rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import join, take
from gvm.importers.shapes import Operand, Shapes

Borders = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Geometry:
    """Windows: a number for each spatial axis, borders before and after it (cut off where < 0)."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    borders: Borders

    def __post_init__(self) -> None:
        sizes = {"window": self.window, "strides": self.strides, "dilation": self.dilation}
        for name, given in sizes.items():
            if min(given, default=1) < 1:
                raise Refusal(f"{name} must be at least 1, received {list(given)}")

    @property
    def rank(self) -> int:
        return len(self.window)

    @property
    def extent(self) -> tuple[int, ...]:
        """Elements from the first to the last of a window."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.window, self.dilation, strict=True))

    def of(self, *axes: int) -> Geometry:
        """That of some of the axes; -1 stands for one of windows of 1."""
        pick = [(1, 1, 1, (0, 0)) if a < 0 else self._axis(a) for a in axes]
        window, strides, dilation, borders = zip(*pick, strict=True)
        return Geometry(window, strides, dilation, borders)

    def _axis(self, a: int) -> tuple[int, int, int, tuple[int, int]]:
        return self.window[a], self.strides[a], self.dilation[a], self.borders[a]

    def positions(self, size: Sequence[int]) -> tuple[int, ...]:
        """Windows along each axis of an image of this size."""
        made = tuple(
            (d + b + a - e) // s + 1
            for d, (b, a), e, s in zip(size, self.borders, self.extent, self.strides, strict=True)
        )
        if min(made) < 1:
            raise Refusal(
                f"a window extends over {list(self.extent)}, the image with its border over "
                f"{[d + b + a for d, (b, a) in zip(size, self.borders, strict=True)]}"
            )
        return made

    def is_trivial(self) -> bool:
        return set(self.window) == set(self.strides) == {1} and not any(map(any, self.borders))

    def attributes(self) -> dict[str, tuple[int, ...]]:
        """Of an operator with two axes."""
        return {
            "strides": self.strides,
            "padding": tuple(b for pair in self.borders for b in pair),
            "dilation": self.dilation,
        }


def _require_rank(rank: int) -> None:
    if rank not in (1, 2, 3):
        raise Refusal(f"works over {rank} spatial axes; nearest supported form: one to three")


def framed(t: Shapes, value: Value, borders: Borders, first: int = 1) -> Value:
    """With zeros before and after the axes from ``first`` on; negative borders cut off."""
    shape = t.g.shape(value)
    parts = {
        first + i: (max(0, -b), shape[first + i] - max(0, -a), 1)
        for i, (b, a) in enumerate(borders)
        if b < 0 or a < 0
    }
    value = take(t, value, parts)
    before, after = [0] * len(shape), [0] * len(shape)
    for i, (b, a) in enumerate(borders):
        before[first + i], after[first + i] = max(0, b), max(0, a)
    if not any(before) and not any(after):
        return value
    return int(t.g.pad(value, before=tuple(before), after=tuple(after)))


def _cropped(t: Shapes, value: Value, geometry: Geometry) -> tuple[Value, Geometry]:
    """The image cut off where borders are negative, and the other borders."""
    negative = tuple((min(0, b), min(0, a)) for b, a in geometry.borders)
    kept = tuple((max(0, b), max(0, a)) for b, a in geometry.borders)
    return framed(t, value, negative), replace(geometry, borders=kept)


def row(t: Shapes, value: Value) -> Value:
    """[B, L, C] as an image of one row."""
    batch, length, channels = t.g.shape(value)
    return t.low.reshape(value, [batch, 1, length, channels])


def _from_row(t: Shapes, value: Value) -> Value:
    batch, _, length, channels = t.g.shape(value)
    return t.low.reshape(value, [batch, length, channels])


# Convolution


@dataclass(frozen=True)
class Kernel:
    """A constant, or a value that all examples share, with its axes in another order."""

    source: Constant | Value
    data: NDArray[Any] | None
    shape: tuple[int, ...]

    @staticmethod
    def of(t: Shapes, x: Operand) -> Kernel:
        if isinstance(x, Constant):
            return Kernel(x, x.data, tuple(x.data.shape))
        value = t.whole(x)
        shape = t.g.shape(value)
        if -1 in shape:
            raise Refusal("the weight must not differ between examples")
        return Kernel(value, None, shape)

    def transpose(self, t: Shapes, *order: int) -> Kernel:
        shape = tuple(self.shape[i] for i in order)
        if self.data is not None:
            return Kernel(self.source, self.data.transpose(order), shape)
        assert isinstance(self.source, int)
        return Kernel(t.low.transpose(self.source, order), None, shape)

    def reshape(self, t: Shapes, *shape: int) -> Kernel:
        known = math.prod(d for d in shape if d != -1)
        shape = tuple(math.prod(self.shape) // known if d == -1 else d for d in shape)
        if self.data is not None:
            return Kernel(self.source, self.data.reshape(shape), shape)
        assert isinstance(self.source, int)
        return Kernel(t.low.reshape(self.source, shape), None, shape)

    def value(self, t: Shapes) -> Value:
        if isinstance(self.source, Constant):
            return t.low.parameter(self.source, self.data)
        return self.source


def add_bias(t: Shapes, value: Value, bias: Operand | None) -> Value:
    """Per channel, the last axis."""
    if bias is None:
        return value
    if isinstance(bias, Constant):
        return t.low.bias(value, bias)
    shared = Kernel.of(t, bias)
    if shared.shape != t.g.shape(value)[-1:]:
        raise Refusal(f"the bias must have {t.g.shape(value)[-1]} elements")
    return int(t.g.bias_add(value, shared.value(t)))


def convolve(
    t: Shapes,
    value: Value,
    kernel: Kernel,
    geometry: Geometry,
    groups: int = 1,
    bias: Operand | None = None,
    name: str = "",
) -> Value:
    """The convolution of [B, spatial..., C] with a kernel [window..., C / groups, O]."""
    _require_rank(geometry.rank)
    value, geometry = _cropped(t, value, geometry)
    geometry.positions(t.g.shape(value)[1:-1])

    def plane(image: Value, turned: Kernel, flat: Geometry) -> Value:
        weight = turned.value(t)
        made = int(t.g.conv2d(image, weight, **flat.attributes(), groups=groups, name=name))
        return add_bias(t, made, bias)

    if geometry.rank == 2:
        return plane(value, kernel, geometry)
    if geometry.rank == 1:
        return _from_row(
            t, plane(row(t, value), kernel.reshape(t, 1, *kernel.shape), geometry.of(-1, 0))
        )
    return _convolve_volume(t, value, kernel, geometry, groups, plane)


def _convolve_volume(
    t: Shapes, value: Value, kernel: Kernel, geometry: Geometry, groups: int, plane: Any
) -> Value:
    batch, depth, height, width, channels = t.g.shape(value)
    slices, rows, _ = geometry.positions((depth, height, width))
    stride, (top, bottom) = geometry.strides[1], geometry.borders[1]
    flat = geometry.of(1, 2)
    # Each slice has rows enough that no window of one that is kept reads the next.
    block = -(-(height + top + bottom) // stride) * stride if slices > 1 else height
    if slices > 1:
        value = framed(t, value, (geometry.borders[0], (top, block - height - top)))
        overhang = max(0, geometry.extent[1] - stride)
        flat = replace(flat, borders=((0, overhang), flat.borders[1]))
    else:
        value = framed(t, value, geometry.borders[:1])
    begin = [r * geometry.dilation[0] for r in range(geometry.window[0])]
    image = _taps(t, value, begin, slices, geometry.strides[0], groups)
    inner = kernel.transpose(t, 1, 2, 0, 3, 4)
    inner = inner.reshape(t, *inner.shape[:2], -1, inner.shape[4])
    image = t.low.reshape(image, [batch, slices * block, width, channels * geometry.window[0]])
    made = plane(image, inner, flat)
    _, _, columns, filters = t.g.shape(made)
    each = block // stride if slices > 1 else rows
    made = t.low.reshape(made, [batch, slices, each, columns, filters])
    return take(t, made, {2: (0, rows, 1)})


def _taps(
    t: Shapes, value: Value, begin: Sequence[int], slices: int, stride: int, groups: int
) -> Value:
    """``slices`` slices of [B, D, H, W, C] for each element of a window, which become channels:
    those of a group stay together."""
    batch, _, height, width, channels = t.g.shape(value)
    parts = [
        t.low.reshape(
            take(t, value, {1: (at, at + (slices - 1) * stride + 1, stride)}),
            [batch, slices, height, width, groups, channels // groups],
        )
        for at in begin
    ]
    made = join(t, parts, 5)
    return t.low.reshape(made, [batch, slices, height, width, channels * len(begin)])


# Transposed convolution


@dataclass(frozen=True)
class _Reach:
    """One axis of a transposed convolution: the part that the operator makes, and zeros around."""

    size: int
    borders: tuple[int, int]
    zeros: tuple[int, int]

    @staticmethod
    def of(length: int, stride: int, extent: int, before: int, size: int) -> _Reach:
        """``size`` elements of the whole, from its element ``before`` on."""
        whole = stride * (length - 1) + extent
        border, ahead = max(0, before), max(0, -before)
        wanted = size - ahead
        if border >= whole or wanted < 1:
            raise Refusal(f"keeps {size} of {whole} elements from {before} on")
        made = min(wanted, whole - border + stride - 1)
        return _Reach(made, (border, max(0, whole - border - made)), (ahead, wanted - made))


def spread(
    t: Shapes,
    value: Value,
    kernel: Kernel,
    geometry: Geometry,
    size: Sequence[int],
    groups: int = 1,
    bias: Operand | None = None,
    name: str = "",
) -> Value:
    """The transposed convolution of [B, spatial..., O] with a kernel [window..., C / groups, O].

    ``size`` is that of the result; borders before each axis say where in the whole it begins.
    """
    _require_rank(geometry.rank)
    shape = t.g.shape(value)
    if shape[-1] != kernel.shape[-1]:
        raise Refusal(f"the weight takes {kernel.shape[-1]} channels, received {shape[-1]}")
    if geometry.rank == 3:
        made = _spread_volume(t, value, kernel, geometry, size, groups, name)
    elif geometry.rank == 1:
        flat = geometry.of(-1, 0)
        made = _spread_plane(
            t, row(t, value), kernel.reshape(t, 1, *kernel.shape), flat, (1, *size), groups, name
        )
        made = _from_row(t, made)
    else:
        made = _spread_plane(t, value, kernel, geometry, size, groups, name)
    return add_bias(t, made, bias)


def _spread_plane(
    t: Shapes,
    value: Value,
    kernel: Kernel,
    geometry: Geometry,
    size: Sequence[int],
    groups: int,
    name: str,
) -> Value:
    reach = [
        _Reach.of(n, s, e, b, d)
        for n, s, e, (b, _), d in zip(
            t.g.shape(value)[1:3],
            geometry.strides,
            geometry.extent,
            geometry.borders,
            size,
            strict=True,
        )
    ]
    flat = replace(geometry, borders=tuple(r.borders for r in reach))
    made = t.g.conv2d_grad_input(
        value,
        kernel.value(t),
        **flat.attributes(),
        groups=groups,
        size=tuple(r.size for r in reach),
        name=name,
    )
    return framed(t, int(made), tuple(r.zeros for r in reach))


def _spread_volume(
    t: Shapes,
    value: Value,
    kernel: Kernel,
    geometry: Geometry,
    size: Sequence[int],
    groups: int,
    name: str,
) -> Value:
    """Along the first axis a convolution of slices between which zeros stand."""
    stride, step, taps = geometry.strides[0], geometry.dilation[0], geometry.window[0]
    batch, depth, height, width, channels = t.g.shape(value)
    slices, rows, columns = size
    front = geometry.borders[0][0]
    if stride > 1:
        value = t.low.reshape(value, [batch, depth, 1, height, width, channels])
        value = framed(t, value, ((0, stride - 1),), first=2)
        depth *= stride
        value = t.low.reshape(value, [batch, depth, height, width, channels])
    # Element r of the window at slice o of the result reads slice o + front - r * step.
    ahead = max(0, (taps - 1) * step - front)
    behind = max(0, slices + front - depth)
    value = framed(t, value, ((ahead, behind),))
    begin = [ahead + front - r * step for r in range(taps)]
    image = _taps(t, value, begin, slices, 1, groups)
    # Slices lie one below the other, each with rows enough for its result.
    across, extent = geometry.strides[1], geometry.extent[1]
    top = geometry.borders[1][0]
    reach = _Reach.of(height, across, extent, top, rows)
    need = max(reach.borders[0] + reach.size, across * (height - 1) + extent)
    block = -(-need // across)
    image = framed(t, image, ((0, block - height),), first=2)
    image = t.low.reshape(image, [batch, slices * block, width, channels * taps])
    o = channels // groups
    inner = kernel.reshape(t, *kernel.shape[:4], groups, o).transpose(t, 1, 2, 3, 4, 0, 5)
    inner = inner.reshape(t, *inner.shape[:3], channels * taps)
    whole = across * (slices * block - 1) + max(across, extent)
    made = _spread_plane(
        t,
        image,
        inner,
        replace(geometry.of(1, 2), borders=((0, 0), geometry.borders[2])),
        (whole, columns),
        groups,
        name,
    )
    filters = t.g.shape(made)[3]
    made = take(t, made, {1: (0, slices * block * across, 1)})
    made = t.low.reshape(made, [batch, slices, block * across, columns, filters])
    first = reach.borders[0]
    made = take(t, made, {2: (first, first + reach.size, 1)})
    return framed(t, made, (reach.zeros,), first=2)


# Pooling


def max_pool(t: Shapes, value: Value, geometry: Geometry, name: str = "") -> Value:
    """The maximum of each window of [B, spatial..., C]; borders never win."""
    _require_rank(geometry.rank)
    value, geometry = _cropped(t, value, geometry)

    def plane(image: Value, flat: Geometry) -> Value:
        if flat.is_trivial():
            return image
        made = t.g.max_pool2d(image, window=flat.window, **flat.attributes(), name=name)
        return int(made)

    return _separately(t, value, geometry, plane)


def _separately(t: Shapes, value: Value, geometry: Geometry, plane: Any) -> Value:
    """Over images; of three axes over the last one first, then over the other two."""
    if geometry.rank == 2:
        return int(plane(value, geometry))
    if geometry.rank == 1:
        return _from_row(t, plane(row(t, value), geometry.of(-1, 0)))
    batch, depth, height, width, channels = t.g.shape(value)
    image = t.low.reshape(value, [batch, depth * height, width, channels])
    image = plane(image, geometry.of(-1, 2))
    columns = t.g.shape(image)[2]
    image = t.low.reshape(image, [batch, depth, height, columns * channels])
    image = plane(image, geometry.of(0, 1))
    _, slices, rows, _ = t.g.shape(image)
    return t.low.reshape(image, [batch, slices, rows, columns, channels])


def average_pool(
    t: Shapes, value: Value, geometry: Geometry, counted: Borders | None = None, name: str = ""
) -> Value:
    """The mean of each window of [B, spatial..., C] without its borders.

    ``counted``: borders of zeros that are counted, inside of those of the geometry. Over three
    axes it is rounded once where all windows have as many elements, else twice.
    """
    _require_rank(geometry.rank)
    all_count = counted is not None and counted == geometry.borders and geometry.rank < 3
    if counted is not None and not all_count:
        value = framed(t, value, counted)
        inside = tuple(
            (b - x, a - y) for (b, a), (x, y) in zip(geometry.borders, counted, strict=True)
        )
        geometry = replace(geometry, borders=inside)
    value, geometry = _cropped(t, value, geometry)

    def plane(image: Value, flat: Geometry) -> Value:
        if flat.is_trivial():
            return image
        made = t.g.avg_pool2d(
            image,
            window=flat.window,
            **flat.attributes(),
            count_include_pad=int(all_count),
            name=name,
        )
        return int(made)

    if geometry.rank == 3 and not any(map(any, geometry.borders)):
        total = sum_pool(t, value, geometry, name)
        return int(t.g.divide(total, divisor=math.prod(geometry.window)))
    return _separately(t, value, geometry, plane)


def sum_pool(t: Shapes, value: Value, geometry: Geometry, name: str) -> Value:
    """The sum of each window of [B, spatial..., C], exact; borders are zeros."""
    shape = t.g.shape(value)
    whole = geometry.strides == geometry.window and set(geometry.dilation) == {1}
    if whole and not any(map(any, geometry.borders)):
        made = geometry.positions(shape[1:-1])
        pairs = list(zip(made, geometry.window, strict=True))
        kept = {i + 1: (0, n * k, 1) for i, (n, k) in enumerate(pairs)}
        split = [d for pair in pairs for d in pair]
        blocks = t.low.reshape(take(t, value, kept), [shape[0], *split, shape[-1]])
        return t.low.sum(blocks, [2 * (i + 1) for i in range(geometry.rank)], False)
    ones = Constant(np.ones((*geometry.window, 1, shape[-1])), f"{name}/ones")
    return convolve(t, value, Kernel.of(t, ones), geometry, groups=shape[-1], name=name)


def elements(t: Shapes, value: Value, geometry: Geometry) -> Value:
    """What each window of [B, spatial..., C] sees, on a last axis of its own; zeros in borders."""
    batch, *size, channels = t.g.shape(value)
    made = geometry.positions(size)
    padded = framed(t, value, geometry.borders)
    parts = []
    for tap in np.ndindex(*geometry.window):
        ahead = [i * d for i, d in zip(tap, geometry.dilation, strict=True)]
        spans = {
            i + 1: (a, a + (n - 1) * s + 1, s)
            for i, (a, n, s) in enumerate(zip(ahead, made, geometry.strides, strict=True))
        }
        parts.append(t.low.reshape(take(t, padded, spans), [batch, *made, channels, 1]))
    return join(t, parts, geometry.rank + 2)
