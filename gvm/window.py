"""Geometry of two-dimensional windows in Python: the attributes that convolution and pooling share, and where a window reads.

The twin of ``_core/ops/window.h``: window element k of position o reads the input at ``o * stride - before + k * dilation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.operator import Attribute, AttributeValue

MAX_WINDOW = 4096
"""Elements of a window along one axis."""
MAX_SIZE = 2**31 - 1
"""Largest height or width that an attribute states."""


def window_attribute(name: str = "window", doc: str = "elements of the window: height, width") -> Attribute:
    """The size of a window."""
    return Attribute(name, 1, MAX_WINDOW, doc, length=(2, 2))


def size_attribute() -> Attribute:
    """The size of an image that a gradient goes back to."""
    return Attribute("size", 1, MAX_SIZE, "height and width of the result", length=(2, 2))


def strides_attribute() -> Attribute:
    """The step from one window to the next."""
    return Attribute("strides", 1, 64, "step of the window: height, width", (1, 1), length=(2, 2))


def padding_attribute() -> Attribute:
    """The border around the image."""
    return Attribute("padding", 0, 4096, "border: top, bottom, left, right", (0, 0, 0, 0), length=(4, 4))


def dilation_attribute() -> Attribute:
    """The step from one element of a window to the next."""
    return Attribute("dilation", 1, 64, "step inside the window: height, width", (1, 1), length=(2, 2))


def integers(attributes: Mapping[str, AttributeValue], name: str) -> tuple[int, ...]:
    """An attribute that is a list."""
    value = attributes[name]
    if isinstance(value, int):
        raise TypeError(f"{name}: a list is needed, received {value}")
    return value


def integer(attributes: Mapping[str, AttributeValue], name: str) -> int:
    """An attribute that is one integer."""
    value = attributes[name]
    if not isinstance(value, int):
        raise TypeError(f"{name}: one integer is needed, received {value}")
    return value


@dataclass(frozen=True)
class Window:
    """Windows over height and width; pairs are (height, width)."""

    size: tuple[int, int]
    """Height and width of the image."""
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]

    @staticmethod
    def of(attributes: Mapping[str, AttributeValue], size: tuple[int, ...], window: tuple[int, ...]) -> Window:
        """From the attributes strides, padding and dilation."""
        strides, padding, dilation = (integers(attributes, n) for n in ("strides", "padding", "dilation"))
        return Window(
            (size[0], size[1]),
            (window[0], window[1]),
            (strides[0], strides[1]),
            (padding[0], padding[1], padding[2], padding[3]),
            (dilation[0], dilation[1]),
        )

    @property
    def out(self) -> tuple[int, int]:
        """Number of positions along height and width."""
        h, w = (
            (self.size[i] + self.padding[2 * i] + self.padding[2 * i + 1] - (self.window[i] - 1) * self.dilation[i] - 1)
            // self.strides[i]
            + 1
            for i in (0, 1)
        )
        return h, w

    def reads(self, axis: int, position: int, element: int) -> int | None:
        """Where along the axis (0 height, 1 width) an element of a window reads; None in the padding."""
        at = position * self.strides[axis] - self.padding[2 * axis] + element * self.dilation[axis]
        return at if 0 <= at < self.size[axis] else None

    def pad(self, images: NDArray[Any], value: Any = 0) -> NDArray[Any]:
        """Images [N, H, W, C] with their border."""
        top, bottom, left, right = self.padding
        return np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)

    def views(self, padded: NDArray[Any]) -> NDArray[Any]:
        """All windows of padded images, without a copy: [N, Ho, Wo, C, window height, window width]."""
        extent = tuple((self.window[i] - 1) * self.dilation[i] + 1 for i in (0, 1))
        windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(1, 2))
        return windows[:, :: self.strides[0], :: self.strides[1], :, :: self.dilation[0], :: self.dilation[1]]
