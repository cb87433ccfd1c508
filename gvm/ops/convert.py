"""Convert: the one rounding of exact results."""

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
    integer,
    rounding_attribute,
)
from gvm.types import i16, i32, i64


class Convert(Operator):
    """Rounds to another format and clamps (numerics section 2).

    With s = F(x) - fraction_bits: for s <= 0 an exact left shift; else x·2^-s rounded half to even,
    or stochastically: up with
    probability (discarded bits)/2^s. The result is clamped to its element type; clamped elements
    are counted. Shape: that of x.
    Every input has a value.
    """

    name = "convert"
    opcode = 1
    inputs = (Input("x", ("i64", "i32", "i16"), "exact integers of any shape"),)
    attributes = (dtype_attribute(), fraction_bits_attribute(), rounding_attribute())
    sites = 1
    result = "rounds"
    saturates = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[0]

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return execution.convert(
            inputs[0],
            execution.input_types[0].fraction_bits,
            execution.output_types[0],
            integer(attributes, "rounding"),
        )

    @staticmethod
    def gradient(g, node_inputs, output, attributes, delta):  # type: ignore[no-untyped-def]
        return [delta]

    @staticmethod
    def cases() -> Iterator[Case]:
        attributes = {"dtype": 1, "fraction_bits": 4, "rounding": 0}
        # 2.5, 3.5, -2.5 and 100 sixteenths of a sixteenth: ties go to even.
        yield Case(
            "ties",
            (i64(8, 4, bound=1 << 40),),
            attributes,
            ([40, 56, -40, 1600],),
            ([2, 4, -2, 100],),
        )
        yield Case(
            "clamps",
            (i64(8, 2, bound=1 << 40),),
            attributes,
            ([1 << 30, -(1 << 30)],),
            ([32767, -32768],),
        )
        yield Case(
            "left shift",
            (i16(2, -1, 1),),
            {"dtype": 2, "fraction_bits": 5, "rounding": 1},
            ([[3], [-3], [0]],),
            ([[24], [-24], [0]],),
        )
        for rounding in range(5):
            for fraction_bits in (8, 14, 40, -8, 47):
                for dtype in (1, 2):
                    given = {"dtype": dtype, "fraction_bits": fraction_bits, "rounding": rounding}
                    label = f"r{rounding} F{fraction_bits} d{dtype}"
                    yield Case(f"i64 {label}", (i64(24, -1, 3, 7, bound=1 << 62),), given)
                    yield Case(
                        f"i64 inner batch {label}", (i64(24, 3, -1, 7, bound=1 << 62),), given
                    )
                    yield Case(f"i32 {label}", (i32(30, -1, 19),), given)
                    yield Case(f"i16 {label}", (i16(15, 37),), given)
        yield Case(
            "more than 32 bits discarded",
            (i64(40, -1, 9, bound=1 << 62),),
            {"dtype": 1, "fraction_bits": 3, "rounding": 2},
        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid(
            "dtype",
            (i64(8, 4),),
            {"dtype": 3, "fraction_bits": 0, "rounding": 0},
            "bad_attribute",
            "dtype must be in [1, 2], received 3",
        )
        yield Invalid(
            "format",
            (i64(8, 4),),
            {"dtype": 1, "fraction_bits": 48, "rounding": 0},
            "bad_attribute",
            "fraction_bits must be in [-32, 47], received 48",
        )
        yield Invalid(
            "partial",
            (i64(8, 4, partial=True),),
            {"dtype": 1, "fraction_bits": 4, "rounding": 0},
            "bad_batch",
            "partial",
        )
