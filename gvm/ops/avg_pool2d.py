"""Average pooling of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gvm.operator import (
    Attributes,
    AttributeValue,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
    dtype_attribute,
    fraction_bits_attribute,
    rounding_attribute,
)
from gvm.pooling import (
    average_pool,
    count_attribute,
    pooled,
    pooling_attributes,
    pooling_cases,
    pooling_invalid,
)
from gvm.reads import Peek, Reads, Shapes
from gvm.types import Type, i16, i32
from gvm.window import Window, integer

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class AvgPool2d(Operator):
    """quotient(sum * 2^(F' - F), count) of each window of x [B, H, W, C], rounded once to F'.

    count is that of the pixels in the window, or with count_include_pad that of its elements; where
    F' < F, the count takes the shift. The result is [B, Ho, Wo, C] as that of max_pool2d.
    """

    name = "avg_pool2d"
    opcode = 16
    inputs = (Input("x", ("i16", "i32"), "[B, H, W, C]"),)
    attributes = (
        *pooling_attributes(),
        count_attribute(),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        sums, counts = average_pool(attributes, inputs[0])
        out: Reals = sums / counts
        return out

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        sums, counts = average_pool(attributes, inputs[0].astype(object))
        (to,) = execution.output_types
        shift = to.fraction_bits - execution.input_types[0].fraction_bits
        rounding = integer(attributes, "rounding")
        return execution.quotient(
            sums * 2 ** max(shift, 0), counts * 2 ** max(-shift, 0), to, rounding
        )

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
        geometry = ("window", "strides", "padding", "dilation", "count_include_pad")
        size = g.shape(node_inputs[0])[1:3]
        return (g.avg_pool2d_grad(delta, size=size, **{n: attributes[n] for n in geometry}),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "half_to_even",
            (i16(4, -1, 2, 4, 1),),
            {"window": (2, 2), "strides": (2, 2), "fraction_bits": 4},
            data=([[[[1], [2], [-5], [-6]], [[3], [0], [-7], [-8]]]],),
            expected=([[[[2], [-6]]]],),
            local=1,
        )
        yield Case(
            "more_fraction_bits_saturate",
            (i16(4, -1, 1, 3, 1),),
            {"window": (1, 3), "fraction_bits": 6},
            data=([[[[1], [2], [4]]], [[[32767], [32767], [32767]]]],),
            expected=([[[[9]]], [[[32767]]]],),
            local=2,
        )
        yield Case(
            "padding_does_not_count",
            (i16(4, -1, 1, 2, 1),),
            {"window": (1, 2), "padding": (0, 0, 1, 0), "fraction_bits": 4},
            data=([[[[10], [20]]]],),
            expected=([[[[10], [15]]]],),
            local=1,
        )
        yield Case(
            "padding_counts",
            (i16(4, -1, 1, 2, 1),),
            {
                "window": (1, 2),
                "padding": (0, 0, 1, 0),
                "count_include_pad": 1,
                "fraction_bits": 3,
            },
            data=([[[[10], [20]]]],),
            expected=([[[[2], [8]]]],),
            local=1,
        )
        for name, shape, attributes in pooling_cases():
            for rounding in (0, 1):
                given: dict[str, AttributeValue]
                given = {**attributes, "rounding": rounding, "fraction_bits": 3}
                yield Case(f"i16_{name}_{rounding}", (i16(2, *shape),), given)
                wide = {**given, "dtype": 2, "count_include_pad": 1}
                yield Case(f"i32_{name}_{rounding}", (i32(9, *shape),), wide)
        far: dict[str, AttributeValue]
        far = {"window": (1, 3), "dtype": 2, "fraction_bits": 47}
        yield Case("far_up", (i16(-32, -1, 1, 3, 2),), far)
        yield Case("far_down", (i32(47, -1, 1, 3, 2),), far | {"fraction_bits": -32})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        def types(*shape: int) -> tuple[Type, ...]:
            return (i16(0, *shape),)

        yield from pooling_invalid(types)
        yield Invalid(
            "numerator",
            (i32(-32, 1, 4096, 4096, 1),),
            {"window": (4096, 4096), "dtype": 2, "fraction_bits": 47},
            "unproved_bound",
            "numerator",
        )
