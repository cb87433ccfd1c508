"""The gradient of a convolution's images: the transposed convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gvm.convolution import (
    conv_grad_input_exact,
    conv_grad_input_real,
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
from gvm.reads import NOTHING, Factor, Peek, Reads, Shapes, Sum, flat, strides
from gvm.types import i16, i32
from gvm.window import Window, size_attribute

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Conv2dGradInput(Operator):
    """``y[b, h, v, c] = sum over o, p, r, s, f of d[b, o, p, f] * w[r, s, c, f]``, exact, over all
    terms in which conv2d multiplies x[b, h, v, c] by w[r, s, c, f] for its result [b, o, p, f].

    d is [B, Ho, Wo, O], w is [kh, kw, C / groups, O], y is [B, H, W, C] with Fd + Fw fraction bits;
    ``size`` is (H, W), and conv2d of such an image must give Ho and Wo.
    """

    name = "conv2d_grad_input"
    opcode = 6
    inputs = (
        Input("d", ("i16",), "gradient of the convolution, [B, Ho, Wo, O]"),
        Input("w", ("i16",), "kernel, shared, [kh, kw, C / groups, O]"),
    )
    attributes = (
        *convolution_attributes(),
        size_attribute(),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        d, w = inputs
        return conv_grad_input_real(attributes, d, w, pair(attributes, "size"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        d, w = inputs
        return conv_grad_input_exact(attributes, d, w, pair(attributes, "size"))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (d, w), size = node.inputs, node.integers("size")
        image, *place, channel = at
        window = Window.of(node.attributes, size, w[:2])
        group, inner = divmod(channel, w[2])
        filters = w[3] // node.integer("groups")
        pairs = [window.covering(axis, i) for axis, i in enumerate(place)]
        if not all(pairs):
            return NOTHING
        (o, r), (p, c) = pairs[0][0], pairs[1][0]
        steps = [
            (b[0] - a[0], b[1] - a[1])
            for a, b in (found[:2] if len(found) > 1 else [(0, 0)] * 2 for found in pairs)
        ]
        of_d, of_w = strides(d), strides(w)
        return Sum(
            (len(pairs[0]), len(pairs[1]), filters),
            (
                Factor(
                    0,
                    flat((image, o, p, group * filters), d),
                    (steps[0][0] * of_d[1], steps[1][0] * of_d[2], 1),
                ),
                Factor(
                    1,
                    flat((r, c, inner, group * filters), w),
                    (steps[0][1] * of_w[0], steps[1][1] * of_w[1], 1),
                ),
            ),
        )

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        d, w = node_inputs
        shared = {name: value for name, value in attributes.items() if name != "size"}
        return (
            g.conv2d(delta, w, **shared),
            g.conv2d_grad_weight(delta, d, **shared, kernel=g.shape(w)[:2]),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "hand-worked",
            (i16(3, -1, 2, 2, 1), i16(4, 2, 2, 1, 1)),
            {"size": (3, 3)},
            data=([[[[1], [2]], [[3], [4]]]], [[[[1]], [[10]]], [[[100]], [[1000]]]]),
            expected=([[[[1], [12], [20]], [[103], [1234], [2040]], [[300], [3400], [4000]]]],),
            local=1,
        )
        yield Case(
            "hand-worked-unread-edge",
            (i16(0, -1, 1, 1, 1), i16(0, 1, 1, 1, 1)),
            {"size": (2, 2), "strides": (2, 2)},
            data=([[[[5]]]], [[[[7]]]]),
            expected=([[[[35], [0]], [[0], [0]]]],),
            local=1,
        )
        yield Case(
            "four-minima-pass-32-bits",
            (i16(8, -1, 1, 1, 4), i16(8, 1, 1, 1, 4)),
            {"size": (1, 1)},
            data=([[[[-32768] * 4]]], [[[[-32768] * 4]]]),
            expected=([[[[4294967296]]]],),
            local=1,
        )
        for name, x, w, attributes in convolution_cases():
            complete = Conv2dGradInput.complete({**attributes, "size": x[:2]})
            out = Window.of(complete, x[:2], w).out
            d = i16(5, -1, *out, w[3])
            yield Case(name, (d, i16(6, *w)), complete)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        d, w, size = i16(0, -1, 3, 3, 6), i16(0, 3, 3, 4, 6), {"size": (5, 5)}
        yield Invalid("type", (d, i32(0, 3, 3, 4, 6)), size, "bad_type", "input 1")
        yield Invalid("rank", (d, i16(0, 3, 3, 4)), size, "bad_shape", "rank")
        yield Invalid("batch-axis", (i16(0, 3, -1, 3, 6), w), size, "bad_batch", "first")
        yield Invalid("batched-kernel", (d, i16(0, -1, 3, 4, 6)), size, "bad_batch", "shared")
        yield Invalid("size", (d, w), {"size": (5, 6)}, "bad_shape", "received 3")
        yield Invalid("size-0", (d, w), {"size": (0, 5)}, "bad_attribute", "received 0")
        yield Invalid("too-small", (d, w), {"size": (2, 5)}, "bad_shape", "extent of 3")
        yield Invalid("filters", (i16(0, -1, 3, 3, 5), w), size, "bad_shape", "received 5")
        yield Invalid("groups", (d, w), {**size, "groups": 4}, "bad_shape", "groups")
