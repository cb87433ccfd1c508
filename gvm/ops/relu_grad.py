"""The gradient of relu."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.types import i16, i32, i64


class ReluGrad(Operator):
    """delta where y > 0, else 0; y is the result of relu. Shapes are equal; the type is delta's."""

    name = "relu_grad"
    opcode = 13
    inputs = (
        Input("y", ("i16", "i32"), "the result of relu"),
        Input("delta", ("i16", "i32", "i64"), "the gradient of the result"),
    )
    result = "keeps"
    keeps = 1
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        y, delta = inputs
        return np.where(y > 0, delta, 0.0)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        y, delta = inputs
        return np.where(y > 0, delta, 0)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "signs",
            (i16(8, 5), i16(3, 5)),
            data=([-5, 0, 1, 32767, 0], [7, 8, -9, -32768, -1]),
            expected=([0, 0, -9, -32768, 0],),
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
