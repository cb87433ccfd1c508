"""The gradient of a convolution's kernel."""

from __future__ import annotations

from collections.abc import Iterator

from gvm.convolution import (
    conv_grad_weight_exact,
    conv_grad_weight_real,
    convolution_attributes,
    pair,
)
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
from gvm.ops.conv2d import convolution_cases
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, flat, strides
from gvm.types import i16, i32
from gvm.window import Window, window_attribute


class Conv2dGradWeight(Operator):
    """``y[r, s, c, f] = sum over b, o, p of x[b, i, j, c] * d[b, o, p, f]``, exact, where
    ``i = o*sh - top + r*dh`` and ``j = p*sw - left + s*dw``.

    x is [B, H, W, C], d is [B, Ho, Wo, O], y is [kh, kw, C / groups, O] with Fx + Fd fraction bits,
    a partial sum when x is batched; channels are those of f's group. ``kernel`` is (kh, kw), and
    conv2d with such a kernel must give Ho and Wo.
    """

    name = "conv2d_grad_weight"
    opcode = 7
    inputs = (
        Input("x", ("i16",), "images, [B, H, W, C]"),
        Input("d", ("i16",), "gradient of the convolution, [B, Ho, Wo, O]"),
    )
    attributes = (
        *convolution_attributes(),
        window_attribute("kernel", "height and width of the kernel"),
    )
    result = "exact"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        x, d = inputs
        return conv_grad_weight_real(attributes, x, d, pair(attributes, "kernel"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        x, d = inputs
        return conv_grad_weight_exact(attributes, x, d, pair(attributes, "kernel"))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (x, d), (*element, inner, channel) = node.inputs, at
        window = Window.of(node.attributes, x[1:3], node.integers("kernel"))
        groups = node.integer("groups")
        read = channel // (d[3] // groups) * (x[3] // groups) + inner
        ranges = [window.positions(axis, k) for axis, k in enumerate(element)]
        first = [
            r.start * window.strides[axis]
            - window.padding[2 * axis]
            + element[axis] * window.dilation[axis]
            for axis, r in enumerate(ranges)
        ]
        of_x, of_d = strides(x), strides(d)
        return Sum(
            (x[0], len(ranges[0]), len(ranges[1])),
            (
                Factor(
                    0,
                    flat((0, first[0], first[1], read), x),
                    (of_x[0], window.strides[0] * of_x[1], window.strides[1] * of_x[2]),
                ),
                Factor(1, flat((0, ranges[0].start, ranges[1].start, channel), d), of_d[:3]),
            ),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "hand-worked",
            (i16(3, -1, 3, 3, 1), i16(4, -1, 2, 2, 1)),
            {"kernel": (2, 2)},
            data=(
                [[[[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9]]]],
                [[[[1], [10]], [[100], [1000]]]],
            ),
            expected=([[[[5421]], [[6532]]], [[[8754]], [[9865]]]],),
            local=1,
        )
        yield Case(
            "four-minima-pass-32-bits",
            (i16(8, -1, 2, 1, 1), i16(8, -1, 2, 1, 1)),
            {"kernel": (1, 1)},
            data=([[[[-32768]]] * 2] * 2, [[[[-32768]]] * 2] * 2),
            expected=([[[[4294967296]]]],),
            local=2,
        )
        for name, x, w, attributes in convolution_cases():
            complete = Conv2dGradWeight.complete({**attributes, "kernel": w[:2]})
            out = Window.of(complete, x[:2], w).out
            d = i16(6, -1, *out, w[3])
            yield Case(name, (i16(5, -1, *x), d), complete)
        yield Case(
            "long-sum",
            (i16(5, -1, 5, 7, 2), i16(6, -1, 5, 7, 3)),
            {"kernel": (3, 3), "padding": (1, 1, 1, 1)},
            local=31,
            batch=33,
        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        x, d, kernel = i16(0, -1, 5, 5, 4), i16(0, -1, 3, 3, 6), {"kernel": (3, 3)}
        yield Invalid("type", (x, i32(0, -1, 3, 3, 6)), kernel, "bad_type", "input 1")
        yield Invalid("rank", (x, i16(0, -1, 3, 3)), kernel, "bad_shape", "rank")
        yield Invalid("batch", (x, i16(0, 7, 3, 3, 6)), kernel, "bad_shape", "-1 and 7")
        yield Invalid(
            "batch-axis", (i16(0, 5, -1, 5, 4), i16(0, 5, 3, 3, 6)), kernel, "bad_batch", "first"
        )
        yield Invalid("kernel", (x, d), {"kernel": (2, 3)}, "bad_shape", "received 3")
        yield Invalid("kernel-0", (x, d), {"kernel": (0, 3)}, "bad_attribute", "received 0")
        yield Invalid("groups", (x, d), {**kernel, "groups": 4}, "bad_shape", "groups")
        yield Invalid("groups-of-x", (x, d), {**kernel, "groups": 3}, "bad_shape", "groups")
