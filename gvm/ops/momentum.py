"""Gradient descent with momentum: one exact expression and one rounding for each of velocity and
parameter."""

from __future__ import annotations

from collections.abc import Iterator

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
    integer,
    rounding_attribute,
)
from gvm.ops.sgd import check_count, rate_attributes
from gvm.types import i16, i32, i64


class Momentum(Operator):
    """v' = momentum·v - rate·gradient/count; w' = w + v'. Two outputs: w', v'.

    With t = exponent + F(gradient) - F(v), s = max(momentum_exponent, t, 0):
    v' = quotient(momentum_multiplier·v·count·2^(s - momentum_exponent) - multiplier·gradient·2^(s -
    t), count·2^s), clamped to the type of v;
    w' = convert(w·2^(F(v) - F(w)) + v', F(v) -> F(w)). 0 <= F(v) - F(w) <= 16, s <= 55, s - t <=
    45. For count <= 0 nothing changes; a count above 2^22 is the status bad_input.
    v' is rounded at the second site with `state_rounding`, w' at the first with `rounding`. The
    form is Keras's.
    """

    name = "momentum"
    opcode = 35
    inputs = (
        Input("w", ("i32", "i16"), "parameter, shared"),
        Input("velocity", ("i32", "i16"), "velocity, the shape of w, shared"),
        Input("gradient", ("i64",), "total of the gradient, the shape of w, shared"),
        Input("count", ("i64",), "number of examples, scalar with F = 0, shared"),
    )
    outputs = 2
    attributes = (
        *rate_attributes(),
        Attribute(
            "momentum_multiplier",
            0,
            (1 << 15) - 1,
            "momentum = momentum_multiplier·2^-momentum_exponent",
        ),
        Attribute(
            "momentum_exponent", 0, 30, "momentum = momentum_multiplier·2^-momentum_exponent"
        ),
        rounding_attribute(default=3),
        Attribute("state_rounding", 0, 4, "rounding of the velocity", default=4),
    )
    sites = 2
    result = "keeps"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> tuple[Reals, Reals]:
        w, velocity, gradient, count = inputs
        if count <= 0:
            return w, velocity
        rate = integer(attributes, "multiplier") * 2.0 ** -integer(attributes, "exponent")
        momentum = integer(attributes, "momentum_multiplier") * 2.0 ** -integer(
            attributes, "momentum_exponent"
        )
        moved = momentum * velocity - rate * gradient / count
        return w + moved, moved

    @staticmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> tuple[Integers, Integers]:
        w, velocity, gradient, count = (np.asarray(x).astype(object) for x in inputs)
        check_count("momentum", int(count))
        if int(count) <= 0:
            return inputs[0], inputs[1]
        a = {k: integer(attributes, k) for k in attributes}
        of_w, of_v, of_gradient = execution.input_types[:3]
        t = a["exponent"] + of_gradient.fraction_bits - of_v.fraction_bits
        s = max(a["momentum_exponent"], t, 0)
        numerator = velocity * (
            a["momentum_multiplier"] * int(count) << (s - a["momentum_exponent"])
        ) - gradient * (a["multiplier"] << (s - t))
        moved = execution.quotient(
            np.asarray(numerator, dtype=object), int(count) << s, of_v, a["state_rounding"], 1
        )
        exact = w * (1 << (of_v.fraction_bits - of_w.fraction_bits)) + moved.astype(object)
        return execution.convert(
            np.asarray(exact, dtype=object), of_v.fraction_bits, of_w, a["rounding"]
        ), moved

    @staticmethod
    def cases() -> Iterator[Case]:
        by_hand = {
            "multiplier": 16384,
            "exponent": 15,
            "momentum_multiplier": 1,
            "momentum_exponent": 1,
            "rounding": 0,
            "state_rounding": 0,
        }
        # v' = 0.5·2.0 - 0.5·8.0/4 = 0, w' = 1.0; v' = 0.5·2.0 + 0.5·8.0/4 = 2.0, w' = 3.0.
        yield Case(
            "by hand",
            (i32(3, 2), i32(3, 2), i64(3, 2, bound=1 << 40), i64(0)),
            by_hand,
            ([8, 8], [16, 16], [64, -64], 4),
            ([8, 24], [0, 16]),
        )
        yield Case(
            "no examples",
            (i32(3, 2), i32(3, 2), i64(3, 2, bound=1 << 40), i64(0)),
            by_hand,
            ([8, 8], [16, 16], [64, -64], -1),
            ([8, 8], [16, 16]),
        )
        for rounding, state_rounding in ((0, 0), (3, 4), (1, 2), (0, 4), (3, 0)):
            for w, v in (
                (i32(28, 5, 7), i32(28, 5, 7)),
                (i16(12, 5, 7), i16(16, 5, 7)),
                (i32(20, 33), i32(36, 33)),
            ):
                for gradient, exponent in ((30, 18), (47, 18), (10, 5)):
                    for bound in (1 << 62, 1 << 30):
                        given = {
                            "multiplier": 26214,
                            "exponent": exponent,
                            "momentum_multiplier": 29491,
                            "momentum_exponent": 15,
                            "rounding": rounding,
                            "state_rounding": state_rounding,
                        }
                        yield Case(
                            f"{w} F{gradient} r{rounding}{state_rounding} b{bound.bit_length()}",
                            (w, v, i64(gradient, *w.shape, bound=bound), i64(0)),
                            given,
                            low=1,
                            high=100,
                        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        good = {
            "multiplier": 16384,
            "exponent": 15,
            "momentum_multiplier": 1,
            "momentum_exponent": 1,
            "rounding": 0,
            "state_rounding": 0,
        }
        yield Invalid(
            "velocity format",
            (i32(8, 4), i32(7, 4), i64(8, 4), i64(0)),
            good,
            "bad_type",
            "[0, 16]",
        )
        yield Invalid(
            "scale", (i32(-32, 4), i32(-32, 4), i64(47, 4), i64(0)), good, "bad_type", "at most 55"
        )
        yield Invalid(
            "count", (i32(8, 4), i32(8, 4), i64(8, 4), i64(0, 1)), good, "bad_shape", "scalar"
        )
