"""Pooling as the references see it: plain loops over the pixels that each window covers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.operator import Attribute, Attributes, AttributeValue, Invalid
from gvm.reads import Box, Part, Shape, plane
from gvm.types import Type
from gvm.window import (
    Window,
    dilation_attribute,
    integer,
    integers,
    padding_attribute,
    strides_attribute,
    window_attribute,
)

Pixels = list[tuple[int, int]]


def pooling_attributes() -> tuple[Attribute, ...]:
    """window, strides, padding and dilation."""
    return (window_attribute(), strides_attribute(), padding_attribute(), dilation_attribute())


def count_attribute() -> Attribute:
    """What an average divides by."""
    doc = "1: divide by all elements of the window; 0: only by those that are not padding"
    return Attribute("count_include_pad", 0, 1, doc, default=0)


def windows_of(attributes: Attributes, size: tuple[int, ...]) -> Window:
    """The windows of a pooling operator over images of this height and width."""
    return Window.of(attributes, size, integers(attributes, "window"))


def covered(window: Window) -> Iterator[tuple[int, int, Pixels]]:
    """Output row, output column and the covered pixels in row-major order; padding is left out."""
    height, width = window.out
    for y in range(height):
        rows = [window.reads(0, y, k) for k in range(window.window[0])]
        for x in range(width):
            columns = [window.reads(1, x, k) for k in range(window.window[1])]
            yield y, x, [(h, w) for h in rows for w in columns if h is not None and w is not None]


def divisor(attributes: Attributes, pixels: Pixels) -> int:
    """What the sum of a window that covers these pixels is divided by."""
    kh, kw = integers(attributes, "window")
    return kh * kw if integer(attributes, "count_include_pad") else len(pixels)


def common_divisor(attributes: Attributes, window: Window) -> int:
    """The least common multiple of all divisors in use."""
    return math.lcm(*(divisor(attributes, pixels) for _, _, pixels in covered(window)))


def max_pool(attributes: Attributes, x: NDArray[Any]) -> NDArray[Any]:
    """The maximum of each window of [B, H, W, C]."""
    window = windows_of(attributes, x.shape[1:3])
    out = np.empty((len(x), *window.out, x.shape[3]), x.dtype)
    for row, column, pixels in covered(window):
        out[:, row, column] = np.max([x[:, h, w] for h, w in pixels], axis=0)
    return out


def max_pool_grad(attributes: Attributes, x: NDArray[Any], delta: NDArray[Any]) -> NDArray[Any]:
    """Each delta added at the first maximum of its window."""
    out = np.zeros(x.shape, delta.dtype)
    for row, column, pixels in covered(windows_of(attributes, x.shape[1:3])):
        first = np.argmax([x[:, h, w] for h, w in pixels], axis=0)
        for i, (h, w) in enumerate(pixels):
            out[:, h, w] += np.where(first == i, delta[:, row, column], 0)
    return out


def pooling_cases() -> Iterator[tuple[str, tuple[int, ...], dict[str, AttributeValue]]]:
    """Name, shape of x, attributes: odd sizes, overlap, padding, dilation, widths of vectors."""
    same: dict[str, AttributeValue]
    same = {"window": (3, 3), "strides": (2, 2), "padding": (0, 1, 0, 1)}
    yield "halves", (-1, 6, 6, 16), {"window": (2, 2), "strides": (2, 2)}
    yield "left_over", (-1, 5, 7, 3), {"window": (2, 2), "strides": (2, 2)}
    yield "overlap", (-1, 7, 6, 17), same
    yield "wide_channels", (-1, 4, 3, 70), same
    yield "around", (-1, 3, 3, 2), {"window": (3, 3), "padding": (1, 1, 1, 1)}
    yield "dilated", (-1, 6, 7, 5), {"window": (2, 3), "strides": (1, 2), "dilation": (3, 2)}
    yield "whole", (-1, 4, 5, 33), {"window": (4, 5)}
    yield "gaps", (-1, 7, 7, 1), {"window": (1, 2), "strides": (3, 4)}
    yield "shared", (2, 4, 4, 3), {"window": (2, 2), "strides": (2, 1)}


def pooling_shape(attributes: Attributes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the result for [B, H, W, C] and attributes that may lack defaults."""
    complete = {a.name: a.default for a in pooling_attributes()} | dict(attributes)
    given = {name: value for name, value in complete.items() if value is not None}
    return (shape[0], *windows_of(given, shape[1:3]).out, shape[3])


def pooling_invalid(types: Callable[..., tuple[Type, ...]]) -> Iterator[Invalid]:
    """Refused geometry; ``types`` makes the operands from a shape."""
    yield Invalid("rank", types(-1, 4, 4), {"window": (2, 2)}, "bad_shape", "rank")
    yield Invalid("too_large", types(-1, 4, 4, 3), {"window": (5, 2)}, "bad_shape", "height")
    yield Invalid(
        "wholly_in_padding",
        types(-1, 4, 4, 3),
        {"window": (2, 2), "padding": (0, 0, 2, 0)},
        "bad_shape",
        "padding",
    )
    yield Invalid("batch_axis", types(4, -1, 4, 3), {"window": (2, 2)}, "bad_batch", "batch")


def average_pool(attributes: Attributes, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The sum of each window of [B, H, W, C], and what it is divided by."""
    window = windows_of(attributes, x.shape[1:3])
    sums = np.zeros((len(x), *window.out, x.shape[3]), x.dtype)
    counts = np.zeros(sums.shape, dtype=object if x.dtype == object else np.int64)
    for row, column, pixels in covered(window):
        sums[:, row, column] = sum(x[:, h, w] for h, w in pixels)
        counts[:, row, column] = divisor(attributes, pixels)
    return sums, counts


def average_pool_grad(attributes: Attributes, delta: NDArray[Any]) -> NDArray[Any]:
    """The gradient of [B, H, W, C] times the common divisor."""
    window = windows_of(attributes, integers(attributes, "size"))
    common = common_divisor(attributes, window)
    out = np.zeros((len(delta), *window.size, delta.shape[3]), delta.dtype)
    for row, column, pixels in covered(window):
        for h, w in pixels:
            out[:, h, w] += delta[:, row, column] * (common // divisor(attributes, pixels))
    return out


def pooled(window: Window, at: Shape, image: Shape, result: Shape) -> Part:
    """One element of a pooling of [B, H, W, C]: its window, in the plane of its channel."""
    needed = [range(at[0], at[0] + 1)]
    for axis in (0, 1):
        inside = window.inside(axis, at[1 + axis])
        first = at[1 + axis] * window.strides[axis] - window.padding[2 * axis]
        step = window.dilation[axis]
        needed.append(range(first + inside.start * step, first + inside.stop * step, step))
    needed.append(range(at[3], at[3] + 1))
    return Part((plane(at, image),), plane(at, result), (tuple(needed),))


def reaching(window: Window, at: Shape, result: Shape, image: Shape) -> tuple[Box, Box]:
    """The windows that cover a pixel of [B, H, W, C], as a box of the pooled, and a box of all the
    pixels that they cover."""
    windows, pixels = [range(at[0], at[0] + 1)], [range(at[0], at[0] + 1)]
    for axis in (0, 1):
        found = [o for o, _ in window.covering(axis, at[1 + axis])]
        over = range(min(found, default=0), max(found, default=-1) + 1)
        reads = [window.reads(axis, o, k) for o in over for k in range(window.window[axis])]
        inside = [i for i in reads if i is not None]
        windows.append(over)
        pixels.append(range(min(inside, default=0), max(inside, default=-1) + 1))
    channel = range(at[3], at[3] + 1)
    return (*windows, channel), (*pixels, channel)


def cropped(window: Window, windows: Box, pixels: Box) -> tuple[int, ...]:
    """The padding with which an image of these pixels alone has these windows alone."""
    padding = []
    for axis in (0, 1):
        over, inside = windows[1 + axis], pixels[1 + axis]
        stride = window.strides[axis]
        first = over.start * stride - window.padding[2 * axis]
        extent = (window.window[axis] - 1) * window.dilation[axis] + 1
        end = first + (len(over) - 1) * stride + extent
        padding += [inside.start - first, end - inside.stop]
    return tuple(padding)
