"""Rectified linear unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Relu(Operator):
    """y = max(x, 0), of any shape."""

    name = "relu"
    opcode = 12
    inputs = (Input("x", ("i16", "i32"), "any shape"),)
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return np.maximum(inputs[0], 0)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return np.maximum(inputs[0], 0)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        return (g.relu_grad(output, delta),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "signs",
            (i16(8, 5),),
            data=([-32768, -1, 0, 1, 32767],),
            expected=([0, 0, 0, 1, 32767],),
        )
        for n in (1, 31, 33):
            yield Case(f"i16_{n}", (i16(2, -1, n),))
            yield Case(f"i32_{n}", (i32(2, n, -1),))
        yield Case("scalar", (i16(0),))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("accumulator", (i64(0, 3),), {}, "bad_type", "i64")
