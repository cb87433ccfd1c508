"""Maximum pooling of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.pooling import max_pool, pooled, pooling_attributes, pooling_cases, pooling_invalid
from gvm.reads import Peek, Reads, Shapes
from gvm.types import i16, i32
from gvm.window import Window

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class MaxPool2d(Operator):
    """The largest element of each window of x [B, H, W, C]; padding never wins.

    The result is [B, Ho, Wo, C] with Ho = floor((H + top + bottom - (window - 1) * dilation - 1) /
    stride) + 1. A window wholly in the padding is refused at load.
    """

    name = "max_pool2d"
    opcode = 14
    inputs = (Input("x", ("i16", "i32"), "[B, H, W, C]"),)
    attributes = pooling_attributes()
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return max_pool(attributes, inputs[0])

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return max_pool(attributes, inputs[0])

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,) = node.inputs
        window = Window.of(node.attributes, shape[1:3], node.integers("window"))
        return pooled(window, at, shape, node.outputs[0])

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        return (g.max_pool2d_grad(node_inputs[0], delta, **attributes),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "two_by_two",
            (i16(4, -1, 2, 4, 1),),
            {"window": (2, 2), "strides": (2, 2)},
            data=([[[[1], [2], [-5], [-6]], [[3], [0], [-7], [-8]]]],),
            expected=([[[[3], [-5]]]],),
            local=1,
        )
        yield Case(
            "padding_never_wins",
            (i16(4, -1, 2, 2, 1),),
            {"window": (2, 2), "strides": (2, 2), "padding": (1, 1, 1, 1)},
            data=([[[[-1], [-2]], [[-3], [-32768]]]],),
            expected=([[[[-1], [-2]], [[-3], [-32768]]]],),
            local=1,
        )
        for name, shape, attributes in pooling_cases():
            yield Case(f"i16_{name}", (i16(2, *shape),), attributes)
            yield Case(f"i32_{name}", (i32(2, *shape),), attributes)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from pooling_invalid(lambda *shape: (i16(0, *shape),))
