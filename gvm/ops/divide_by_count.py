"""Division by a number of examples."""

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
from gvm.types import i16, i32, i64
from gvm.window import integer

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class DivideByCount(Operator):
    """quotient(x * 2^(F' - F), count), rounded once to F'. Where F' < F, the count takes the shift.

    A count below 1 is refused when the node runs.
    """

    name = "divide_by_count"
    opcode = 24
    inputs = (
        Input("x", ("i64", "i32"), "shared, any shape"),
        Input("count", ("i64",), "shared scalar at F = 0"),
    )
    attributes = (dtype_attribute(), fraction_bits_attribute(), rounding_attribute())
    sites = 1
    result = "rounds"
    saturates = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        x, count = inputs
        return x / count

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,) = execution.output_types
        shift = to.fraction_bits - execution.input_types[0].fraction_bits
        numerator = np.asarray(inputs[0].astype(object) * 2 ** max(shift, 0), dtype=object)
        count = int(inputs[1])
        if count < 1:
            raise ValueError(f"divide_by_count: count must be at least 1, received {count}")
        denominator = count * 2 ** max(-shift, 0)
        return execution.quotient(numerator, denominator, to, integer(attributes, "rounding"))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        return (g.divide_by_count(delta, node_inputs[1]), None)

    @staticmethod
    def cases() -> Iterator[Case]:
        count = i64(0, bound=2**40)
        yield Case(
            "half_to_even",
            (i64(4, 5, bound=2**50), count),
            {"fraction_bits": 4},
            data=([5, 15, 25, -5, 2**50], 10),
            expected=([0, 2, 2, 0, 32767],),
            low=1,
        )
        yield Case("scalar", (i64(4, bound=2**50), count), {"dtype": 2}, low=1, high=99)
        for high in (1, 3, 100, 2**20, 2**40):
            for rounding in (0, 4):
                wide = {"rounding": rounding, "fraction_bits": 11, "dtype": 2}
                x = i64(2, 2, 9, bound=2**41)
                yield Case(f"i64_{high}_{rounding}", (x, count), wide, low=1, high=high)
                narrow = {"rounding": rounding, "fraction_bits": 17}
                x = i32(30, 70)
                yield Case(f"i32_{high}_{rounding}", (x, count), narrow, low=1, high=high)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        one = i64(0, bound=9)
        yield Invalid("batched", (i32(0, -1), one), {}, "bad_batch", "shared")
        yield Invalid("vector", (i32(0, 3), i64(0, 3, bound=9)), {}, "bad_shape", "rank")
        yield Invalid("format", (i32(0, 3), i64(1, bound=9)), {}, "bad_type", "fraction bits")
        yield Invalid("type", (i32(0, 3), i16(0)), {}, "bad_type", "i16")
        yield Invalid(
            "partial", (i32(0, 3), i64(0, bound=9, partial=True)), {}, "bad_batch", "shared"
        )
