"""Mean squared error of each example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.fixed import Rounding, quotient
from gvm.gradients import negate
from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.reads import Peek, Reads, Shapes, example
from gvm.softmax import LOSS_BITS, LOSS_LIMIT
from gvm.squared_error import difference, squared_error_invalid
from gvm.types import i16, i32

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class MeanSquaredError(Operator):
    """The mean of (y - t)^2 over each example's elements, i64 at 24 fraction bits in [0, 2^40).

    y and t have one shape [B, ...]; their difference is exact at F = max(Fy, Ft), and its squares
    are summed exactly and divided once, to nearest. An example beyond 2^40 - 1 is clamped and
    counted. numerics section 7.
    """

    name = "mean_squared_error"
    opcode = 30
    inputs = (
        Input("y", ("i32", "i16"), "[B, ...]"),
        Input("t", ("i32", "i16"), "what y should be, of the same shape"),
    )
    result = "exact"
    units = 1.0

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        y, t = inputs
        mean = ((y - t) ** 2).reshape(len(y), -1).mean(axis=1)
        return np.asarray(np.minimum(mean, LOSS_LIMIT / 2.0**LOSS_BITS))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        exact, f = difference(execution, *inputs)
        shift = LOSS_BITS - 2 * f
        out = []
        for row in exact.reshape(len(exact), -1):
            numerator = sum(int(d) ** 2 for d in row) << max(shift, 0)
            denominator = len(row) << max(-shift, 0)
            loss = quotient(numerator, denominator, Rounding.NEAREST, 0, 64)
            execution.clamps.count += loss >= LOSS_LIMIT
            out.append(min(loss, LOSS_LIMIT - 1))
        return np.array(out, dtype=np.int64)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return example(node, at)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        shape = g.shape(node_inputs[0])
        column = g.reshape(delta, shape=(shape[0],) + (1,) * (len(shape) - 1))
        slope = g.mul(g.mean_squared_error_grad(*node_inputs), column)
        return (slope, negate(g, slope))

    @staticmethod
    def cases() -> Iterator[Case]:
        # (1/2)^2 + 1 over 2 elements; a third of 2^24; the largest difference of i16 at F = 0.
        yield Case(
            "halves",
            (i16(1, -1, 2), i16(0, -1, 2)),
            data=([[3, 2], [0, 0]], [[1, 0], [0, 0]]),
            expected=([5 << 21, 0],),
            local=2,
        )
        yield Case(
            "thirds",
            (i16(0, -1, 3), i16(0, -1, 3)),
            data=([[1, 0, 0], [32767, 0, 0]], [[0, 0, 0], [-32768, 0, 0]]),
            expected=([5592405, 2**40 - 1],),
            local=2,
        )
        yield Case("i16", (i16(8, -1, 33), i16(8, -1, 33)))
        yield Case("vector", (i16(14, -1), i16(12, -1)))
        yield Case("images", (i16(11, -1, 3, 5), i32(15, -1, 3, 5)))
        yield Case("i32", (i32(24, -1, 7), i32(24, -1, 7)))
        yield Case("fine", (i32(40, -1, 7), i16(40, -1, 7)))
        yield Case("coarse", (i16(-8, -1, 7), i16(-4, -1, 7)))
        yield Case("shared", (i16(8, 4, 3), i16(8, 4, 3)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from squared_error_invalid()
