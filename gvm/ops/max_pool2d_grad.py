"""The gradient of maximum pooling."""

from __future__ import annotations

from collections.abc import Iterator

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.pooling import (
    cropped,
    max_pool_grad,
    pooling_attributes,
    pooling_cases,
    pooling_invalid,
    pooling_shape,
    reaching,
)
from gvm.reads import NOTHING, Part, Peek, Reads, Shapes
from gvm.types import Type, i16, i32
from gvm.window import Window


class MaxPool2dGrad(Operator):
    """Each delta is added at the first maximum, in row-major order, of its window of x.

    Exact, [B, H, W, C] at the format of delta; windows that overlap add up.
    """

    name = "max_pool2d_grad"
    opcode = 15
    inputs = (
        Input("x", ("i16", "i32"), "the operand of max_pool2d, [B, H, W, C]"),
        Input("delta", ("i16",), "the gradient of its result, [B, Ho, Wo, C]"),
    )
    attributes = pooling_attributes()
    result = "exact"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        x, delta = inputs
        return max_pool_grad(attributes, x, delta)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        x, delta = inputs
        return max_pool_grad(attributes, x, delta)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        x, delta = node.inputs
        window = Window.of(node.attributes, x[1:3], node.integers("window"))
        windows, pixels = reaching(window, at, delta, x)
        if not all(map(len, windows)):
            return NOTHING
        padding = cropped(window, windows, pixels)
        return Part((pixels, windows), pixels, attributes={**node.attributes, "padding": padding})

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "ties_go_first",
            (i16(4, -1, 2, 4, 1), i16(9, -1, 1, 2, 1)),
            {"window": (2, 2), "strides": (2, 2)},
            data=([[[[1], [3], [-5], [-5]], [[3], [3], [-5], [-5]]]], [[[[10], [-20]]]]),
            expected=([[[[0], [10], [-20], [0]], [[0], [0], [0], [0]]]],),
            local=1,
        )
        yield Case(
            "overlap_adds",
            (i16(4, -1, 1, 3, 1), i16(9, -1, 1, 2, 1)),
            {"window": (1, 2)},
            data=([[[[1], [7], [2]]]], [[[[-32768], [-32768]]]]),
            expected=([[[[0], [-65536], [0]]]],),
            local=1,
        )
        for name, shape, attributes in pooling_cases():
            delta = i16(5, *pooling_shape(attributes, shape))
            yield Case(f"i16_{name}", (i16(2, *shape), delta), attributes)
            yield Case(f"i32_{name}", (i32(2, *shape), delta), attributes)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        def types(*shape: int) -> tuple[Type, ...]:
            return (i16(0, *shape), i16(0, *shape))

        yield from pooling_invalid(types)
        yield Invalid(
            "delta_shape",
            (i16(0, -1, 4, 4, 3), i16(0, -1, 3, 2, 3)),
            {"window": (2, 2), "strides": (2, 2)},
            "bad_shape",
            "delta",
        )
