"""The gradient of average pooling."""

from __future__ import annotations

from collections.abc import Iterator

from gvm.operator import (
    Attributes,
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
    average_pool_grad,
    common_divisor,
    count_attribute,
    pooling_attributes,
    pooling_cases,
    pooling_shape,
    reaching,
    windows_of,
)
from gvm.reads import Part, Peek, Reads, Shapes, plane
from gvm.types import i16, i32
from gvm.window import Window, integer, integers, size_attribute


class AvgPool2dGrad(Operator):
    """Spreads delta [B, Ho, Wo, C] over the pixels [B, H, W, C] of its windows, rounded once to F'.

    quotient(2^(F' - F) * sum of delta * (D / count), D) over the windows that cover the pixel, with
    D the least common multiple of all windows' counts, at most 2^31. Where F' < F, D is shifted.
    """

    name = "avg_pool2d_grad"
    opcode = 17
    inputs = (Input("delta", ("i16", "i32"), "the gradient of the result, [B, Ho, Wo, C]"),)
    attributes = (
        size_attribute(),
        *pooling_attributes(),
        count_attribute(),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        divisor = common_divisor(attributes, windows_of(attributes, integers(attributes, "size")))
        return average_pool_grad(attributes, inputs[0]) / divisor

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        divisor = common_divisor(attributes, windows_of(attributes, integers(attributes, "size")))
        sums = average_pool_grad(attributes, inputs[0].astype(object))
        (to,) = execution.output_types
        shift = to.fraction_bits - execution.input_types[0].fraction_bits
        rounding = integer(attributes, "rounding")
        return execution.quotient(
            sums * 2 ** max(shift, 0), divisor * 2 ** max(-shift, 0), to, rounding
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,), size = node.inputs, node.integers("size")
        window = Window.of(node.attributes, size, node.integers("window"))
        windows, _ = reaching(window, at, shape, node.outputs[0])
        return Part((plane(at, shape),), plane(at, node.outputs[0]), (windows,))

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "disjoint",
            (i16(4, -1, 1, 2, 1),),
            {"size": (1, 5), "window": (1, 2), "strides": (1, 2), "fraction_bits": 4},
            data=([[[[3], [-10]]]],),
            expected=([[[[2], [2], [-5], [-5], [0]]]],),
            local=1,
        )
        yield Case(
            "overlap_and_padding",
            (i16(4, -1, 1, 3, 1),),
            {"size": (1, 3), "window": (1, 3), "padding": (0, 0, 1, 1), "fraction_bits": 4},
            data=([[[[10], [30], [-20]]]],),
            expected=([[[[15], [5], [0]]]],),
            local=1,
        )
        for name, shape, attributes in pooling_cases():
            for rounding in (0, 2):
                given = {**attributes, "size": shape[1:3], "rounding": rounding}
                delta = pooling_shape(attributes, shape)
                yield Case(f"i16_{name}_{rounding}", (i16(2, *delta),), given)
                given = given | {"dtype": 2, "fraction_bits": 9, "count_include_pad": 1}
                yield Case(f"i32_{name}_{rounding}", (i32(4, *delta),), given)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("rank", (i16(0, -1, 4),), {"size": (4, 4), "window": (1, 1)}, "bad_shape", "")
        yield Invalid(
            "delta_shape",
            (i16(0, -1, 4, 4, 3),),
            {"size": (4, 4), "window": (2, 2)},
            "bad_shape",
            "delta",
        )
        yield Invalid(
            "wholly_in_padding",
            (i16(0, -1, 1, 81, 3),),
            {"size": (1, 40), "window": (1, 40), "padding": (0, 0, 40, 40)},
            "bad_shape",
            "padding",
        )
        yield Invalid(
            "least_common_multiple",
            (i16(0, -1, 1, 79, 3),),
            {"size": (1, 40), "window": (1, 40), "padding": (0, 0, 39, 39)},
            "bad_shape",
            "2^31",
        )
        yield Invalid(
            "batch_axis",
            (i16(0, 4, -1, 4, 3),),
            {"size": (4, 4), "window": (1, 1)},
            "bad_batch",
            "",
        )
