"""Gradient descent with a scheduled rate, weight decay, momentum and Nesterov's look-ahead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.operator import (
    Attribute,
    Attributes,
    AttributeValue,
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
from gvm.ops.sgd import check_count
from gvm.rates import (
    decay_at,
    decay_attributes,
    last_rate,
    rate_at,
    real_decay,
    schedule_attributes,
)
from gvm.types import i16, i32, i64

MOMENTUM_BITS = 15


class GradientDescent(Operator):
    """v' = momentum·v - rate·(gradient/count + decay·w); w' = w + v', with `nesterov` w' = w +
    momentum·v' - rate·(gradient/count + decay·w). Two outputs: w', v'.

    R is the rate of the step (docs/arithmetic.md, section 8), d = rate·decay at 32 bits. With n =
    count, D = F(v) - F(w), t = exponent + F(gradient) - F(v), s = max(15, t), at least 32 where
    there is decay, and

    M(x) = momentum·x·n·2^(s - 15) - R·gradient·2^(s - t) - d·w·n·2^(s - 32 + D):

    v' = quotient(M(v), n·2^s), clamped to the type of v;
    w' = convert(w·2^D + v', F(v) -> F(w)), or with `nesterov` quotient(w·n·2^(s + D) + M(v'),
    n·2^(s + D)). 0 <= D <= 16, s <= 55, s - t <= 38. For count <= 0 nothing changes; a count
    above 2^22 is the status bad_input.
    v' is rounded at the second site with `state_rounding`, w' at the first with `rounding`. Keras's
    SGD, its decay as torch's (a term of the gradient). `real` takes the last rate.
    """

    name = "gradient_descent"
    opcode = 59
    inputs = (
        Input("w", ("i32", "i16"), "parameter, shared"),
        Input("velocity", ("i32", "i16"), "velocity, the shape of w, shared"),
        Input("gradient", ("i64",), "total of the gradient, the shape of w, shared"),
        Input("count", ("i64",), "number of examples, scalar with F = 0, shared"),
    )
    outputs = 2
    attributes = (
        *schedule_attributes(),
        *decay_attributes(),
        Attribute("momentum", 0, (1 << MOMENTUM_BITS) - 1, "momentum·2^-15", default=0),
        Attribute("nesterov", 0, 1, "1: the gradient's step looks ahead", default=0),
        rounding_attribute(default=3),
        Attribute("state_rounding", 0, 4, "rounding of the velocity", default=4),
    )
    sites = 2
    result = "keeps"
    differentiable = False
    units = 0.01

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> tuple[Reals, Reals]:
        w, velocity, gradient, count = inputs
        if count <= 0:
            return w, velocity
        momentum = integer(attributes, "momentum") * 2.0**-MOMENTUM_BITS
        step = last_rate(attributes) * (gradient / count + real_decay(attributes) * w)
        moved = momentum * velocity - step
        return w + (momentum * moved - step if integer(attributes, "nesterov") else moved), moved

    @staticmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> tuple[Integers, Integers]:
        w, velocity, gradient, count = (np.asarray(x).astype(object) for x in inputs)
        n = int(count)
        check_count("gradient_descent", n)
        if n <= 0:
            return inputs[0], inputs[1]
        a = {k: integer(attributes, k) for k in attributes if k not in ("steps", "rates")}
        of_w, of_v, of_gradient = execution.input_types[:3]
        more = of_v.fraction_bits - of_w.fraction_bits
        t = a["exponent"] + of_gradient.fraction_bits - of_v.fraction_bits
        s = max(32 if a["decay"] else MOMENTUM_BITS, t)
        pull = gradient * (rate_at(attributes, execution.step) << (s - t))
        if a["decay"]:
            pull = pull + w * (decay_at(attributes, execution.step) * n << (s - 32 + more))
        keep = a["momentum"] * n << (s - MOMENTUM_BITS)
        moved = execution.quotient(
            np.asarray(velocity * keep - pull, dtype=object),
            n << s,
            of_v,
            a["state_rounding"],
            1,
        )
        ahead = moved.astype(object)
        if a["nesterov"]:
            exact = w * (n << (s + more)) + ahead * keep - pull
            return execution.quotient(
                np.asarray(exact, dtype=object), n << (s + more), of_w, a["rounding"]
            ), moved
        exact = np.asarray(w * (1 << more) + ahead, dtype=object)
        return execution.convert(exact, of_v.fraction_bits, of_w, a["rounding"]), moved

    @staticmethod
    def cases() -> Iterator[Case]:
        rate: dict[str, AttributeValue] = {
            "steps": (0,),
            "rates": (1 << 23,),
            "exponent": 24,
            "momentum": 1 << 14,
        }
        nearest = {"rounding": 0, "state_rounding": 0}
        small = (i32(3, 2), i32(3, 2), i64(3, 2, bound=1 << 40), i64(0))
        data = ([8, 8], [16, 16], [64, -64], 4)
        # v' = 0.5·2.0 - 0.5·8.0/4 = 0, w' = 1.0; v' = 0.5·2.0 + 0.5·8.0/4 = 2.0, w' = 3.0.
        yield Case("by hand", small, rate | nearest, data, ([8, 24], [0, 16]))
        # w' = 1.0 + 0.5·0 - 0.5·2.0 = 0; w' = 1.0 + 0.5·2.0 + 0.5·2.0 = 3.0.
        yield Case("nesterov", small, rate | nearest | {"nesterov": 1}, data, ([0, 24], [0, 16]))
        # Decay 0.5 of w = 1.0 takes 0.25 more: v' = -0.25 and 1.75.
        yield Case(
            "decay",
            small,
            rate | nearest | {"decay": 1 << 14, "decay_exponent": 15},
            data,
            ([6, 22], [-2, 14]),
        )
        yield Case("no examples", small, rate | nearest, (*data[:3], -1), ([8, 8], [16, 16]))
        wide, narrow, apart = (
            (i32(28, 5, 7), i32(28, 5, 7)),
            (i16(12, 5, 7), i16(16, 5, 7)),
            (i32(20, 33), i32(36, 33)),
        )
        decay = {"decay": 26214, "decay_exponent": 26}
        for (w, v), gradient, exponent, rounding, more in (
            (wide, 30, 26, 3, {}),
            (wide, 30, 26, 3, decay),
            (wide, 30, 26, 3, decay | {"nesterov": 1}),
            (wide, 10, 13, 0, {"nesterov": 1}),
            (narrow, 30, 26, 3, decay | {"nesterov": 1}),
            (narrow, 40, 26, 0, decay),
            (narrow, 10, 13, 2, {}),
            (apart, 40, 26, 3, decay | {"nesterov": 1}),
            (apart, 30, 30, 0, {"momentum": 0}),
        ):
            for bound in (1 << 62, 1 << 30):
                given: dict[str, AttributeValue] = {
                    "steps": (10, 2**20),
                    "rates": (26214, 13421773),
                    "exponent": exponent,
                    "momentum": 29491,
                    "rounding": rounding,
                    "state_rounding": rounding and 4,
                }
                name = " ".join(f"{k}{x}" for k, x in more.items())
                yield Case(
                    f"{w} F{gradient} r{rounding} {name} b{bound.bit_length()}",
                    (w, v, i64(gradient, *w.shape, bound=bound), i64(0)),
                    given | more,
                    low=1,
                    high=100,
                )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        good: dict[str, AttributeValue] = {
            "steps": (0, 5),
            "rates": (1 << 23, 0),
            "exponent": 24,
        }
        four = i32(8, 4), i32(8, 4), i64(8, 4), i64(0)
        yield Invalid(
            "steps", four, good | {"steps": (5, 5)}, "bad_attribute", "ascend, received 5 after 5"
        )
        yield Invalid(
            "lengths", four, good | {"rates": (1,)}, "bad_attribute", "as many rates as steps, 2"
        )
        yield Invalid(
            "velocity format",
            (i32(8, 4), i32(7, 4), i64(8, 4), i64(0)),
            good,
            "bad_type",
            "[0, 16]",
        )
        yield Invalid(
            "fine scale",
            (i32(-32, 4), i32(-32, 4), i64(47, 4), i64(0)),
            good,
            "bad_type",
            "at most 55, received 103",
        )
        yield Invalid(
            "coarse scale",
            (i32(47, 4), i32(47, 4), i64(-9, 4), i64(0)),
            good,
            "bad_type",
            "at least -23, received -32",
        )
        yield Invalid("count", (*four[:3], i64(0, 1)), good, "bad_shape", "scalar")
