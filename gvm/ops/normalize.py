"""Normalisation of groups: layer, group, instance and root mean square."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.normalization import grouped, normalization_attributes, real_moments, statistics_of
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
from gvm.reads import Peek, Reads, Shapes, through
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Normalize(Operator):
    """(x - mean) / sqrt(variance + epsilon) over the last axes; not centred, x / sqrt(mean of x^2 +
    epsilon).

    Of n elements with s = sum x (0 where not centred): D = n * sum x^2 - s^2 + max(1, epsilon * n^2
    * 2^2F), r = isqrt(D * 2^2t) with t for which r has 30 bits, and quotient((n * x - s) * 2^(F' +
    t), r). The batch is none of the axes, n at most 2^24. numerics section 7.
    """

    name = "normalize"
    opcode = 46
    inputs = (Input("x", ("i16", "i32"), "rank at least trailing_axes"),)
    attributes = (
        *normalization_attributes(),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True
    relative = 2.0**-29

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        rows, scale = real_moments(attributes, grouped(attributes, inputs[0]))
        return np.asarray((rows * scale).reshape(inputs[0].shape))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,) = execution.output_types
        numerators, denominators = [], []
        for row in grouped(attributes, inputs[0]).tolist():
            of = statistics_of(attributes, row, execution.input_types[0].fraction_bits)
            places = to.fraction_bits + of.shift
            numerators += [c << max(places, 0) for c in of.values]
            denominators += [of.root << max(-places, 0)] * of.count
        shape = inputs[0].shape
        return execution.quotient(
            np.array(numerators, dtype=object).reshape(shape),
            np.array(denominators, dtype=object).reshape(shape),
            to,
            integer(attributes, "rounding"),
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        rank = len(at)
        return through(node, at, range(rank - node.integer("trailing_axes"), rank))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        kept = {a.name: integer(attributes, a.name) for a in normalization_attributes()}
        return (g.normalize_grad(node_inputs[0], delta, **kept),)

    @staticmethod
    def cases() -> Iterator[Case]:
        no_epsilon = {"epsilon_multiplier": 0, "epsilon_exponent": 0}
        # 1, 2, 3, 4: s = 10, Q = 30, D = 4 * 30 - 100 + 1 = 21, 5 bits: t = 27, r = isqrt(21 *
        # 2^54) = 615066814. -6 / sqrt(21) = -1.30931, times 2^8 = -335.18; -2 / sqrt(21) * 2^8 =
        # -111.73. A constant row is 0.
        yield Case(
            "four",
            (i16(0, -1, 4),),
            {"trailing_axes": 1, "fraction_bits": 8, **no_epsilon},
            data=([[1, 2, 3, 4], [7, 7, 7, 7]],),
            expected=([[-335, -112, 112, 335], [0, 0, 0, 0]],),
            local=2,
        )
        # 3, 4: n = 2, Q = 25, D = 2 * 25 + 1 = 51; 6 / sqrt(51) * 16 = 13.44, 8 / sqrt(51) * 16 =
        # 17.92.
        yield Case(
            "root_mean_square",
            (i16(5, 2),),
            {"trailing_axes": 1, "centred": 0, "fraction_bits": 4, **no_epsilon},
            data=([3, 4],),
            expected=([13, 18],),
        )
        # Epsilon 1 at F = 1: 1 * 2^2 * 2^2 = 16. D = 2 * 10 - 16 + 16 = 20, c = -2, 2; 2 / sqrt(20)
        # * 2^6 = 28.62.
        yield Case(
            "epsilon",
            (i16(1, 2),),
            {
                "trailing_axes": 1,
                "fraction_bits": 6,
                "epsilon_multiplier": 16384,
                "epsilon_exponent": 14,
            },
            data=([1, 3],),
            expected=([-29, 29],),
        )
        limits = [-32768] * 3 + [32767]
        yield Case(
            "limits",
            (i16(8, -1, 2, 2),),
            {"trailing_axes": 2, "fraction_bits": 12},
            data=([[limits[:2], limits[2:]], [[-32768, -32768], [-32768, -32768]]],),
            expected=([[[-2365, -2365], [-2365, 7094]], [[0, 0], [0, 0]]],),
            local=2,
        )
        for n in (1, 2, 33, 600):
            for centred in (1, 0):
                given = {"trailing_axes": 1, "centred": centred, "fraction_bits": 11}
                yield Case(f"i16_{n}_{centred}", (i16(10, -1, n),), given)
        yield Case("i32", (i32(20, -1, 37),), {"trailing_axes": 1, "dtype": 2, "fraction_bits": 20})
        yield Case(
            "i32_root_mean_square",
            (i32(20, -1, 37),),
            {"trailing_axes": 1, "centred": 0, "dtype": 2, "fraction_bits": 20},
        )
        yield Case("several_axes", (i16(9, 2, -1, 3, 5),), {"trailing_axes": 2, "fraction_bits": 9})
        yield Case("shared", (i16(9, 3, 5),), {"trailing_axes": 2, "fraction_bits": 9})
        yield Case("many", (i16(14, -1, 5000),), {"trailing_axes": 1, "fraction_bits": 7}, local=2)
        yield Case(
            "beyond_64_bits",
            (i32(12, -1, 7),),
            {"trailing_axes": 1, "dtype": 2, "fraction_bits": 28},
        )
        yield Case("coarse", (i32(30, -1, 19),), {"trailing_axes": 1, "fraction_bits": -2})
        yield Case("fine", (i16(30, -1, 19),), {"trailing_axes": 1, "fraction_bits": 47})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        one = {"trailing_axes": 1}
        yield Invalid("batch", (i16(8, 3, -1),), one, "bad_batch", "batch")
        yield Invalid("axes", (i16(8, -1, 3),), {"trailing_axes": 2}, "bad_batch", "batch")
        yield Invalid("rank", (i16(8, 3),), {"trailing_axes": 2}, "bad_attribute", "rank")
        yield Invalid("accumulator", (i64(8, -1, 3, bound=9),), one, "bad_type", "i64")
        yield Invalid("size", (i16(8, 2**24 + 1),), one, "bad_shape", "16777216")
        yield Invalid(
            "epsilon",
            (i16(47, -1, 2**22),),
            {**one, "epsilon_multiplier": 32767, "epsilon_exponent": 0},
            "unproved_bound",
            "epsilon",
        )
