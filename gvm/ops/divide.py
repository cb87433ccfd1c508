"""Division by a constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.operator import (
    Attribute,
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


class Divide(Operator):
    """quotient(x * 2^(F' - F), divisor), rounded once to F'.

    Where F' < F, the divisor takes the shift.
    """

    name = "divide"
    opcode = 23
    inputs = (Input("x", ("i64", "i32", "i16"), "any shape"),)
    attributes = (
        Attribute("divisor", 1, 2**31, "what x is divided by"),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[0] / integer(attributes, "divisor")

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,) = execution.output_types
        shift = to.fraction_bits - execution.input_types[0].fraction_bits
        numerator = np.asarray(inputs[0].astype(object) * 2 ** max(shift, 0), dtype=object)
        denominator = integer(attributes, "divisor") * 2 ** max(-shift, 0)
        return execution.quotient(numerator, denominator, to, integer(attributes, "rounding"))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        return (g.divide(delta, divisor=attributes["divisor"]),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "half_to_even",
            (i16(4, -1),),
            {"divisor": 2, "fraction_bits": 4},
            data=([1, 3, -1, -3, 32767],),
            expected=([0, 2, 0, -2, 16384],),
            local=5,
        )
        yield Case("scalar", (i32(4),), {"divisor": 3, "fraction_bits": 4})
        yield Case(
            "more_fraction_bits",
            (i16(4, -1),),
            {"divisor": 3, "fraction_bits": 6},
            data=([1, 2, -1, 32767],),
            expected=([1, 3, -1, 32767],),
            local=4,
        )
        yield Case(
            "fewer_fraction_bits",
            (i64(8, -1, bound=2**50),),
            {"divisor": 3, "fraction_bits": 4},
            data=([24, 72, 49, -(2**50)],),
            expected=([0, 2, 1, -32768],),
            local=4,
        )
        for divisor in (1, 3, 8, 49, 1000, 65536, 2**31 - 1, 2**31):
            for rounding in (0, 1):
                given = {"divisor": divisor, "rounding": rounding, "fraction_bits": 7}
                name = f"{divisor}_{rounding}"
                yield Case(f"i16_{name}", (i16(2, -1, 9),), given)
                yield Case(f"i32_{name}", (i32(12, 2, -1, 3),), given)
                yield Case(f"i64_{name}", (i64(9, 7, bound=2**62),), given | {"dtype": 2})
        for rounding in (0, 2):
            for divisor in (7, 8):
                far = {"divisor": divisor, "rounding": rounding, "dtype": 2}
                up, down = far | {"fraction_bits": 47}, far | {"fraction_bits": -32}
                name = f"{divisor}_{rounding}"
                yield Case(f"far_up_{name}", (i64(-16, 9, bound=2**62),), up)
                yield Case(f"far_down_{name}", (i64(47, 9, bound=2**62),), down)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("zero", (i16(0, 3),), {"divisor": 0}, "bad_attribute", "divisor")
        yield Invalid(
            "numerator",
            (i64(-32, 3, bound=2**62),),
            {"divisor": 3, "fraction_bits": 47},
            "unproved_bound",
            "numerator",
        )
        yield Invalid(
            "partial", (i64(0, 3, bound=9, partial=True),), {"divisor": 3}, "bad_batch", "partial"
        )
