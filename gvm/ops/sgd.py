"""Stochastic gradient descent: one exact expression, one rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.errors import ProgramError
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
    integer,
    rounding_attribute,
)
from gvm.types import i16, i32, i64


def rate_attributes() -> tuple[Attribute, Attribute]:
    """A learning rate multiplier·2^-exponent."""
    return (
        Attribute("multiplier", 1 << 14, (1 << 15) - 1, "learning rate = multiplier·2^-exponent"),
        Attribute("exponent", -16, 62, "learning rate = multiplier·2^-exponent"),
    )


MAX_COUNT = 1 << 22
"""The limit of max_batch. With it every numerator of an update stays within 128 bits."""


def check_count(name: str, count: int) -> None:
    """Raises ProgramError, status bad_input, for more examples than a batch may have."""
    if count > MAX_COUNT:
        raise ProgramError(f"{name}: count must be at most 2^22, received {count}", 12, "bad_input")


class Sgd(Operator):
    """w' = w - rate·gradient/count, rounded once.

    With e = F(w) - F(gradient) - exponent: w' = quotient(w·count·2^max(0,-e) -
    multiplier·gradient·2^max(0,e), count·2^max(0,-e)),
    clamped to the type of w. `gradient` is the total over the batch of `count` examples; for count
    <= 0, w' = w, and a count above 2^22 is the status bad_input. -60 <= e <= 40.
    """

    name = "sgd"
    opcode = 34
    inputs = (
        Input("w", ("i32", "i16"), "parameter, shared"),
        Input("gradient", ("i64",), "total of its gradient, the shape of w, shared"),
        Input("count", ("i64",), "number of examples, scalar with F = 0, shared"),
    )
    attributes = (*rate_attributes(), rounding_attribute(default=3))
    sites = 1
    result = "keeps"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        w, gradient, count = inputs
        rate = integer(attributes, "multiplier") * 2.0 ** -integer(attributes, "exponent")
        return w - rate * gradient / count if count > 0 else w

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        w, gradient, count = (np.asarray(x).astype(object) for x in inputs)
        check_count("sgd", int(count))
        if int(count) <= 0:
            return inputs[0]
        of_w, of_gradient = execution.input_types[0], execution.input_types[1]
        e = of_w.fraction_bits - of_gradient.fraction_bits - integer(attributes, "exponent")
        divisor = int(count) << max(0, -e)
        numerator = w * divisor - gradient * (integer(attributes, "multiplier") << max(0, e))
        return execution.quotient(
            np.asarray(numerator, dtype=object),
            divisor,
            execution.output_types[0],
            integer(attributes, "rounding"),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        rate = {"multiplier": 16384, "exponent": 15, "rounding": 0}
        # rate 1/2, four examples: 1.0 - 0.5·8.0/4 = 0.0 and 1.0 + 0.5·1.0/4 = 1.125.
        yield Case(
            "by hand",
            (i32(3, 2), i64(3, 2, bound=1 << 40), i64(0)),
            rate,
            ([8, 8], [64, -8], 4),
            ([0, 9],),
        )
        yield Case(
            "no examples",
            (i16(3, 2), i64(3, 2, bound=1 << 40), i64(0)),
            rate,
            ([8, 7], [64, -8], 0),
            ([8, 7],),
        )
        for rounding in range(5):
            for w in (i32(28, 5, 7), i16(12, 5, 7)):
                for gradient, exponent in ((30, 18), (5, 10), (47, 25), (0, -10)):
                    given = {"multiplier": 26214, "exponent": exponent, "rounding": rounding}
                    yield Case(
                        f"{w.dtype} F{gradient} k{exponent} r{rounding}",
                        (w, i64(gradient, 5, 7, bound=1 << 62), i64(0)),
                        given,
                        low=1,
                        high=100,
                    )
                    yield Case(
                        f"small {w.dtype} F{gradient} k{exponent} r{rounding}",
                        (w, i64(gradient, 5, 7, bound=1 << 30), i64(0)),
                        given,
                        low=1,
                        high=100,
                    )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid(
            "rate",
            (i32(8, 4), i64(8, 4), i64(0)),
            {"multiplier": 1, "exponent": 0, "rounding": 3},
            "bad_attribute",
            "multiplier must be in [16384, 32767], received 1",
        )
        yield Invalid(
            "shape",
            (i32(8, 4), i64(8, 5), i64(0)),
            {"multiplier": 16384, "exponent": 0, "rounding": 3},
            "bad_shape",
            "same shape",
        )
        yield Invalid(
            "partial",
            (i32(8, 4), i64(8, 4, partial=True), i64(0)),
            {"multiplier": 16384, "exponent": 0, "rounding": 3},
            "bad_batch",
            "shared",
        )
        yield Invalid(
            "scale",
            (i32(-32, 4), i64(47, 4), i64(0)),
            {"multiplier": 16384, "exponent": 10, "rounding": 3},
            "bad_type",
            "[-60, 40]",
        )
