"""Two-dimensional convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gvm.convolution import conv_exact, conv_real, convolution_attributes, taps
from gvm.operator import (
    Attributes,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
)
from gvm.reads import Peek, Reads, Shapes
from gvm.types import i16, i32
from gvm.window import Window

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Conv2d(Operator):
    """``y[b, o, p, f] = sum over r, s, c of x[b, i, j, c] * w[r, s, c, f]``, exact, where
    ``i = o*sh - top + r*dh`` and ``j = p*sw - left + s*dw``.

    x is [B, H, W, C], w is [kh, kw, C / groups, O], y is [B, Ho, Wo, O] with Fx + Fw fraction bits
    and Ho = floor((H + top + bottom - (kh - 1)*dh - 1) / sh) + 1, Wo alike. Outside the image x is
    zero. Filters g*O/groups ... of group g see channels g*C/groups ... only.
    """

    name = "conv2d"
    opcode = 5
    inputs = (
        Input("x", ("i16",), "images, [B, H, W, C]"),
        Input("w", ("i16",), "kernel, shared, [kh, kw, C / groups, O]"),
    )
    attributes = convolution_attributes()
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return conv_real(attributes, *inputs)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return conv_exact(attributes, *inputs)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (x, w), (image, *place, channel) = node.inputs, at
        window = Window.of(node.attributes, x[1:3], w[:2])
        return taps(window, x, w, image, (place[0], place[1]), channel, node.integer("groups"))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        x, w = node_inputs
        return (
            g.conv2d_grad_input(delta, w, **attributes, size=g.shape(x)[1:3]),
            g.conv2d_grad_weight(x, delta, **attributes, kernel=g.shape(w)[:2]),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "hand-worked",
            (i16(3, -1, 3, 3, 1), i16(4, 2, 2, 1, 1)),
            data=(
                [[[[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9]]]],
                [[[[1]], [[-2]]], [[[3]], [[4]]]],
            ),
            expected=([[[[29], [35]], [[47], [53]]]],),
            local=1,
        )
        yield Case(
            "hand-worked-padding-stride",
            (i16(0, -1, 2, 2, 1), i16(0, 2, 2, 1, 1)),
            {"strides": (2, 2), "padding": (1, 1, 1, 1)},
            data=([[[[1], [2]], [[3], [4]]]], [[[[1]], [[10]]], [[[100]], [[1000]]]]),
            expected=([[[[1000], [200]], [[30], [4]]]],),
            local=1,
        )
        yield Case(
            "hand-worked-groups",
            (i16(0, -1, 1, 1, 4), i16(0, 1, 1, 2, 2)),
            {"groups": 2},
            data=([[[[1, 2, 3, 4]]]], [[[[1, 10], [100, 1000]]]]),
            expected=([[[[201, 4030]]]],),
            local=1,
        )
        yield Case(
            "four-minima-pass-32-bits",
            (i16(8, -1, 2, 2, 1), i16(8, 2, 2, 1, 1)),
            data=([[[[-32768]] * 2] * 2], [[[[-32768]]] * 2] * 2),
            expected=([[[[4294967296]]]],),
            local=1,
        )
        for name, x, w, attributes in convolution_cases():
            yield Case(name, (i16(5, -1, *x), i16(6, *w)), attributes)
        yield Case("shared", (i16(5, 2, 4, 4, 3), i16(6, 3, 3, 3, 4)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        x, w = i16(0, -1, 5, 5, 4), i16(0, 3, 3, 4, 6)
        yield Invalid("type", (i32(0, -1, 5, 5, 4), w), {}, "bad_type", "input 0")
        yield Invalid("rank", (i16(0, -1, 5, 5), w), {}, "bad_shape", "rank")
        yield Invalid("batched-kernel", (x, i16(0, -1, 3, 4, 6)), {}, "bad_batch", "shared")
        yield Invalid("batch-axis", (i16(0, 5, -1, 5, 4), w), {}, "bad_batch", "first")
        yield Invalid("channels", (x, i16(0, 3, 3, 3, 6)), {}, "bad_shape", "received 3")
        yield Invalid("groups", (x, i16(0, 3, 3, 1, 6)), {"groups": 4}, "bad_shape", "groups")
        yield Invalid("groups-0", (x, w), {"groups": 0}, "bad_attribute", "received 0")
        yield Invalid("stride", (x, w), {"strides": (0, 1)}, "bad_attribute", "[1, 64], received 0")
        yield Invalid("padding", (x, w), {"padding": (0, -1, 0, 0)}, "bad_attribute", "received -1")
        yield Invalid("list", (x, w), {"padding": (0, 0)}, "bad_attribute", "received 2")
        yield Invalid("too-small", (x, w), {"dilation": (3, 1)}, "bad_shape", "extent of 7")
        yield Invalid("kernel", (x, i16(0, 1, 4097, 4, 6)), {}, "bad_shape", "received 4097")
        yield Invalid("format", (i16(47, -1, 5, 5, 4), i16(1, 3, 3, 4, 6)), {}, "bad_type", "48")


def convolution_cases() -> Iterator[
    tuple[str, tuple[int, int, int], tuple[int, int, int, int], dict[str, int | tuple[int, ...]]]
]:
    """Geometries at the boundaries of the kernels: name, (H, W, C), kernel shape, attributes."""
    yield "pointwise", (3, 4, 5), (1, 1, 5, 33), {}
    yield "same-padding", (5, 4, 3), (3, 3, 3, 4), {"padding": (1, 1, 1, 1)}
    yield "tile-edge", (4, 4, 2), (3, 3, 2, 33), {"padding": (1, 1, 1, 1)}
    yield "stride-skips-the-edge", (6, 5, 2), (2, 2, 2, 3), {"strides": (3, 2)}
    yield "stride-past-the-kernel", (7, 7, 1), (1, 2, 1, 2), {"strides": (3, 4)}
    yield "lopsided-padding", (4, 3, 2), (3, 2, 2, 3), {"padding": (0, 2, 1, 0), "strides": (2, 1)}
    yield "dilation", (6, 7, 2), (3, 2, 2, 3), {"dilation": (2, 3), "padding": (1, 0, 2, 1)}
    yield "dilation-and-stride", (7, 5, 1), (2, 3, 1, 2), {"dilation": (3, 2), "strides": (2, 3)}
    yield "kernel-beyond-the-image", (2, 1, 3), (3, 3, 3, 2), {"padding": (1, 1, 1, 1)}
    yield "windows-in-padding", (1, 1, 2), (1, 1, 2, 3), {"padding": (2, 1, 1, 2)}
    yield "groups", (4, 3, 6), (3, 2, 2, 9), {"groups": 3}
    yield "depthwise", (4, 4, 5), (3, 3, 1, 5), {"groups": 5, "padding": (1, 1, 1, 1)}
    yield "depthwise-multiplied", (4, 3, 3), (2, 2, 1, 6), {"groups": 3, "strides": (2, 1)}
    yield "depthwise-wide", (3, 3, 33), (3, 3, 1, 33), {"groups": 33, "padding": (1, 1, 1, 1)}
    yield "one-row", (1, 9, 2), (1, 3, 2, 2), {}
    yield "even-channels", (6, 5, 34), (3, 3, 34, 70), {"padding": (1, 1, 1, 1)}
    yield "odd-channels", (5, 5, 31), (3, 3, 31, 33), {"padding": (1, 0, 0, 1)}
    yield "many-channels", (3, 3, 129), (3, 3, 129, 5), {"padding": (1, 1, 1, 1)}
    yield "many-channels-strided", (5, 4, 40), (3, 3, 40, 34), {"strides": (2, 2)}
    yield "many-channels-dilated", (5, 6, 33), (2, 3, 33, 9), {"dilation": (3, 2)}
    yield "many-pixels", (12, 11, 3), (2, 3, 3, 17), {"padding": (0, 1, 1, 1)}
    yield "many-filters", (3, 2, 5), (2, 2, 5, 131), {}
    yield "wide-groups", (4, 5, 18), (3, 2, 9, 16), {"groups": 2, "strides": (1, 2)}
    yield "even-groups", (3, 4, 64), (2, 2, 32, 18), {"groups": 2, "padding": (1, 0, 0, 1)}
    yield (
        "one-channel-rows",
        (9, 13, 1),
        (5, 3, 1, 4),
        {"padding": (2, 1, 0, 3), "dilation": (1, 2)},
    )
    yield (
        "one-channel-many-terms",
        (10, 26, 1),
        (9, 8, 1, 2),
        {"strides": (2, 1), "padding": (3,) * 4},
    )
