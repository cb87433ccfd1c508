"""The gradient of the mean squared error."""

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
from gvm.reads import Peek, Reads, Shapes, through
from gvm.squared_error import difference, squared_error_invalid
from gvm.types import i16, i32
from gvm.window import integer


class MeanSquaredErrorGrad(Operator):
    """2 (y - t) / n with n the elements of an example: the gradient of each example's loss by y.

    quotient(2 * (y - t) * 2^(F' - F), n), the difference exact at F = max(Fy, Ft).
    """

    name = "mean_squared_error_grad"
    opcode = 31
    inputs = (
        Input("y", ("i32", "i16"), "[B, ...]"),
        Input("t", ("i32", "i16"), "what y should be, of the same shape"),
    )
    attributes = (dtype_attribute(), fraction_bits_attribute(), rounding_attribute(2))
    sites = 1
    result = "rounds"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        y, t = inputs
        return 2 * (y - t) * (len(y) / y.size)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        exact, f = difference(execution, *inputs)
        to = execution.output_types[0]
        shift = to.fraction_bits - f
        return execution.quotient(
            2 * exact << max(shift, 0),
            (exact.size // len(exact)) << max(-shift, 0),
            to,
            integer(attributes, "rounding"),
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return through(node, at, range(1, len(at)), needed=False)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "thirds",
            (i16(0, -1, 3), i16(1, -1, 3)),
            {"fraction_bits": 2, "rounding": 0},
            data=([[1, -1, 0]], [[0, 0, 1]]),
            expected=([[3, -3, -1]],),
            local=1,
        )
        yield Case("i16", (i16(8, -1, 33), i16(8, -1, 33)), {"fraction_bits": 12})
        yield Case("vector", (i16(14, -1), i16(12, -1)), {"fraction_bits": 10})
        yield Case("images", (i16(11, -1, 3, 5), i32(15, -1, 3, 5)), {"fraction_bits": 15})
        yield Case("i32", (i32(24, -1, 7), i32(24, -1, 7)), {"dtype": 2, "fraction_bits": 24})
        yield Case("fine", (i32(40, -1, 7), i16(40, -1, 7)), {"fraction_bits": 47})
        yield Case("beyond_64_bits", (i16(0, -1, 7), i16(3, -1, 7)), {"fraction_bits": 47})
        yield Case("coarse", (i16(47, -1, 7), i16(47, -1, 7)), {"fraction_bits": -32})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from squared_error_invalid()
