"""The gradient of the normalisation of groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.fixed import quotient_nearest
from gvm.normalization import (
    GRADIENT_BITS,
    grouped,
    normalization_attributes,
    real_moments,
    statistics_of,
)
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
from gvm.types import i16, i32


class NormalizeGrad(Operator):
    """The gradient of normalize with respect to x, for the gradient h of its result.

    With c = n * x - s, D and r = isqrt(D * 2^2t) of normalize, H = sum h (0 where not centred), P =
    sum h * c, f = F + F' - Fh and u = max(0, f + 4 + ceil(bitlength(n) / 2)): G = quotient(P * 2^u,
    D) to nearest, w = (n * h - H) * 2^u - c * G, and quotient(w * 2^(f + t - u), r). numerics
    section 7.
    """

    name = "normalize_grad"
    opcode = 47
    inputs = (
        Input("x", ("i16", "i32"), "the operand of normalize"),
        Input("delta", ("i16", "i32"), "the gradient of the result, of the same shape"),
    )
    attributes = (
        *normalization_attributes(),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True
    units = 2.0**-5
    relative = 2.0**-29
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        rows, scale = real_moments(attributes, grouped(attributes, inputs[0]))
        h = grouped(attributes, inputs[1])
        y = rows * scale
        made = h - y * (h * y).mean(axis=1, keepdims=True)
        if integer(attributes, "centred"):
            made = made - h.mean(axis=1, keepdims=True)
        return np.asarray((made * scale).reshape(inputs[0].shape))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,) = execution.output_types
        fx, fh = (t.fraction_bits for t in execution.input_types)
        f = fx + to.fraction_bits - fh
        x, deltas = (grouped(attributes, a).tolist() for a in inputs)
        n = len(x[0])
        u = max(0, f + GRADIENT_BITS + (n.bit_length() + 1) // 2)
        numerators, denominators = [], []
        for row, h in zip(x, deltas, strict=True):
            of = statistics_of(attributes, row, fx)
            total = sum(h) if of.centred else 0
            product = sum(a * c for a, c in zip(h, of.values, strict=True))
            ratio = quotient_nearest(product << u, of.spread, 256)
            places = f + of.shift - u
            for a, c in zip(h, of.values, strict=True):
                w = ((n * a - total) << u) - c * ratio
                numerators.append(w << max(places, 0))
                denominators.append(of.root << max(-places, 0))
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
    def cases() -> Iterator[Case]:
        no_epsilon = {"epsilon_multiplier": 0, "epsilon_exponent": 0}
        # x = 1, 2, 3, 4 and h = 1, 0, 0, 0: c = -6, -2, 2, 6, D = 21, H = 1, P = -6. (n h - H) -
        # c P / D = 3 - 36/21, -1 - 12/21, -1 + 12/21, -1 + 36/21; times 2^8 / sqrt(21) = 55.86:
        # 71.82, -87.79, -23.94, 39.90.
        yield Case(
            "four",
            (i16(0, -1, 4), i16(0, -1, 4)),
            {"trailing_axes": 1, "fraction_bits": 8, **no_epsilon},
            data=([[1, 2, 3, 4], [7, 7, 7, 7]], [[1, 0, 0, 0], [5, 5, 5, 5]]),
            expected=([[72, -88, -24, 40], [0, 0, 0, 0]],),
            local=2,
        )
        # x = 3, 4 and h = 1, 0 not centred: c = 6, 8, D = 51, P = 6. 2 - 36 / 51, -48 / 51; times
        # 2^8 / sqrt(51) = 35.85: 46.39, -33.74.
        yield Case(
            "root_mean_square",
            (i16(0, 2), i16(0, 2)),
            {"trailing_axes": 1, "centred": 0, "fraction_bits": 8, **no_epsilon},
            data=([3, 4], [1, 0]),
            expected=([46, -34],),
        )
        for n in (1, 2, 33, 600):
            for centred in (1, 0):
                given = {"trailing_axes": 1, "centred": centred, "fraction_bits": 9}
                yield Case(f"i16_{n}_{centred}", (i16(10, -1, n), i16(12, -1, n)), given)
        yield Case(
            "i32",
            (i32(20, -1, 37), i32(20, -1, 37)),
            {"trailing_axes": 1, "dtype": 2, "fraction_bits": 18},
        )
        yield Case(
            "mixed",
            (i16(12, -1, 37), i32(24, -1, 37)),
            {"trailing_axes": 1, "centred": 0, "fraction_bits": 16},
        )
        yield Case(
            "several_axes",
            (i16(9, 2, -1, 3, 5), i16(11, 2, -1, 3, 5)),
            {"trailing_axes": 2, "fraction_bits": 14},
        )
        yield Case("shared", (i16(9, 3, 5), i16(3, 3, 5)), {"trailing_axes": 2, "fraction_bits": 9})
        yield Case(
            "many",
            (i16(11, -1, 5000), i16(14, -1, 5000)),
            {"trailing_axes": 1, "fraction_bits": 9},
            local=2,
        )
        yield Case(
            "beyond_64_bits",
            (i32(24, -1, 7), i16(10, -1, 7)),
            {"trailing_axes": 1, "dtype": 2, "fraction_bits": 16},
        )
        yield Case(
            "coarse", (i32(-4, -1, 19), i16(20, -1, 19)), {"trailing_axes": 1, "fraction_bits": -8}
        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        one = {"trailing_axes": 1}
        yield Invalid("batch", (i16(8, 3, -1), i16(8, 3, -1)), one, "bad_batch", "batch")
        yield Invalid("shape", (i16(8, -1, 3), i16(8, -1, 4)), one, "bad_shape", "same shape")
        yield Invalid("rank", (i16(8, 3), i16(8, 3)), {"trailing_axes": 2}, "bad_attribute", "rank")
        yield Invalid(
            "wide",
            (i32(47, -1, 3), i32(0, -1, 3)),
            {**one, "dtype": 2, "fraction_bits": 47, "epsilon_exponent": 62},
            "unproved_bound",
            "126",
        )
