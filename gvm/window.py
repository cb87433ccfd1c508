"""Geometry of two-dimensional windows: the attributes that convolution and pooling share.

The twin of ``_core/ops/window.h``: element k of the window at position o reads the input at
``o * stride - before + k * dilation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gvm.operator import Attribute, AttributeValue

MAX_WINDOW = 4096
"""Elements of a window along one axis."""
MAX_SIZE = 2**31 - 1
"""Largest height or width that an attribute states."""


def window_attribute(
    name: str = "window", doc: str = "elements of the window: height, width"
) -> Attribute:
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
    return Attribute(
        "padding", 0, 4096, "border: top, bottom, left, right", (0, 0, 0, 0), length=(4, 4)
    )


def dilation_attribute() -> Attribute:
    """The step from one element of a window to the next."""
    return Attribute(
        "dilation", 1, 64, "step inside the window: height, width", (1, 1), length=(2, 2)
    )


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
    def of(
        attributes: Mapping[str, AttributeValue], size: tuple[int, ...], window: tuple[int, ...]
    ) -> Window:
        """From the attributes strides, padding and dilation."""
        strides, padding, dilation = (
            integers(attributes, n) for n in ("strides", "padding", "dilation")
        )
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
        return self._positions(0), self._positions(1)

    def _positions(self, axis: int) -> int:
        padded = self.size[axis] + self.padding[2 * axis] + self.padding[2 * axis + 1]
        extent = (self.window[axis] - 1) * self.dilation[axis] + 1
        return (padded - extent) // self.strides[axis] + 1

    def reads(self, axis: int, position: int, element: int) -> int | None:
        """Where an element of a window reads, along axis 0 (height) or 1; None in the padding."""
        at = position * self.strides[axis] - self.padding[2 * axis] + element * self.dilation[axis]
        return at if 0 <= at < self.size[axis] else None

    def inside(self, axis: int, position: int) -> range:
        """The elements of a window that lie in the image."""
        first = position * self.strides[axis] - self.padding[2 * axis]
        step, size = self.dilation[axis], self.size[axis]
        return range(max(0, -(first // step)), min(self.window[axis], -((first - size) // step)))

    def positions(self, axis: int, element: int) -> range:
        """The windows of which an element lies in the image."""
        first = element * self.dilation[axis] - self.padding[2 * axis]
        step, size = self.strides[axis], self.size[axis]
        return range(max(0, -(first // step)), min(self.out[axis], -((first - size) // step)))

    def covering(self, axis: int, index: int) -> list[tuple[int, int]]:
        """The (window, element) that read an index of the image, by ascending element: both go up
        or down in equal steps."""
        found = []
        for k in range(self.window[axis]):
            o, rest = divmod(
                index + self.padding[2 * axis] - k * self.dilation[axis], self.strides[axis]
            )
            if rest == 0 and 0 <= o < self.out[axis]:
                found.append((o, k))
        return found
