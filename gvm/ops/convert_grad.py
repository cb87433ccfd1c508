"""The gradient through the clamp of a rounded value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.operator import (
    RANGE,
    Attributes,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
)
from gvm.types import i16, i32, i64


class ConvertGrad(Operator):
    """The gradient passes through a Convert unchanged, except at a limit when the step would push
    further out: 0 where (q = max and delta < 0) or (q = min and delta > 0), else delta.

    Shapes are equal; the result has the type of delta. numerics section 2.
    """

    name = "convert_grad"
    opcode = 2
    inputs = (
        Input("q", ("i16", "i32"), "the rounded result"),
        Input("delta", ("i16", "i32", "i64"), "the gradient of the result"),
    )
    result = "keeps"
    keeps = 1
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[1]

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        q, delta = inputs
        low, high = RANGE[execution.input_types[0].dtype]
        return np.where(((q == high) & (delta < 0)) | ((q == low) & (delta > 0)), 0, delta)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "limits",
            (i16(8, 7), i16(3, 7)),
            data=(
                [32767, 32767, 32767, -32768, -32768, -32768, 32766],
                [-1, 0, 1, -1, 0, 1, -9],
            ),
            expected=([0, 0, 1, -1, 0, 0, -9],),
        )
        yield Case(
            "limits_i32",
            (i32(8, -1), i64(3, -1, bound=2**40)),
            data=([2**31 - 1, -(2**31), -(2**31) + 1], [-(2**40), 2**40, 2**40]),
            expected=([0, 0, 2**40],),
        )
        for n in (1, 31, 33):
            yield Case(f"i16_i16_{n}", (i16(2, -1, n), i16(4, -1, n)))
            yield Case(f"i32_i32_{n}", (i32(2, n, -1), i32(4, n, -1)))
            yield Case(f"i16_i64_{n}", (i16(2, n), i64(4, n)))
        yield Case("i16_i32", (i16(0, 5), i32(0, 5)))
        yield Case("i32_i16", (i32(0, 5), i16(0, 5)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("shapes", (i16(0, 3), i16(0, 4)), {}, "bad_shape", "same shape")
        yield Invalid("accumulator", (i64(0, 3), i16(0, 3)), {}, "bad_type", "i64")
