"""Softmax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
from gvm.softmax import exponentials, real_softmax
from gvm.types import i16, i32, i64
from gvm.window import integer

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Softmax(Operator):
    """exp(x_i) / sum_j exp(x_j) over the last axis, which is not the batch.

    quotient(E_i * 2^F', S) with E_i in Q30 from tables and S = sum E; x has 0 <= F <= 19, and at
    most 2^24 elements along the axis. numerics section 7.
    """

    name = "softmax"
    opcode = 26
    inputs = (Input("x", ("i32", "i16"), "rank at least 1, 0 <= F <= 19"),)
    attributes = (dtype_attribute(), fraction_bits_attribute(), rounding_attribute())
    sites = 1
    result = "rounds"
    saturates = True
    units = 0.02

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return real_softmax(inputs[0])

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        x, to = inputs[0], execution.output_types[0]
        up, down = max(to.fraction_bits, 0), max(-to.fraction_bits, 0)
        numerators, denominators = [], []
        for row in x.reshape(-1, x.shape[-1]).tolist():
            e = exponentials(row, execution.input_types[0].fraction_bits)
            numerators += [value << up for value in e]
            denominators += [sum(e) << down] * len(e)
        return execution.quotient(
            np.array(numerators, dtype=object).reshape(x.shape),
            np.array(denominators, dtype=object).reshape(x.shape),
            to,
            integer(attributes, "rounding"),
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return through(node, at, (len(at) - 1,))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        axis = len(g.shape(output)) - 1
        weighted = g.mul(delta, output)
        mean = g.reduce_sum(weighted, axes=(axis,), keepdims=1)
        return (g.sub(weighted, g.mul(output, mean)),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "equal",
            (i16(8, -1, 4),),
            {"fraction_bits": 10},
            data=([[7, 7, 7, 7], [32767, -32768, -32768, 32767]],),
            expected=([[256, 256, 256, 256], [512, 0, 0, 512]],),
            local=2,
        )
        # exp(-1) = 0.36788: 1 / 1.36788 = 0.73106 and 0.26894.
        yield Case(
            "one_apart",
            (i32(3, 2),),
            {"fraction_bits": 14},
            data=([-16, -8],),
            expected=([4406, 11978],),
        )
        for f in (0, 8, 19):
            yield Case(f"i32_{f}", (i32(f, -1, 5),), {"fraction_bits": 15})
        yield Case("i16", (i16(11, -1, 33),), {"fraction_bits": 14})
        yield Case("wide", (i16(12, -1, 3, 7),), {"dtype": 2, "fraction_bits": 19})
        yield Case("batch_inside", (i16(12, 2, -1, 3),), {"fraction_bits": 12})
        yield Case("beyond_64_bits", (i16(12, -1, 3),), {"fraction_bits": 47})
        yield Case("coarse", (i16(12, -1, 3),), {"fraction_bits": -1})
        yield Case("one", (i16(12, -1, 1),), {"fraction_bits": 8})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("scalar", (i16(8),), {}, "bad_shape", "rank")
        yield Invalid("batch", (i16(8, 3, -1),), {}, "bad_batch", "last axis")
        yield Invalid("format", (i16(20, -1, 3),), {}, "bad_type", "[0, 19]")
        yield Invalid("negative_format", (i16(-1, -1, 3),), {}, "bad_type", "[0, 19]")
        yield Invalid("classes", (i16(8, 1 << 25),), {}, "bad_shape", "16777216")
        yield Invalid("accumulator", (i64(8, -1, 3),), {}, "bad_type", "i64")
