"""RMSprop: one exact expression and one rounding for each of root and parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.moments import (
    BETA_BITS,
    FINER,
    beta_attribute,
    epsilon_attributes,
    mean_gradient,
    next_root,
    real_epsilon,
)
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
from gvm.rates import last_rate, rate_at, schedule_attributes
from gvm.types import i16, i32, i64


class Rmsprop(Operator):
    """s' = sqrt(rho·s² + (1 - rho)·g²), w' = w - rate·g/(s' + epsilon) with g = gradient/count. Two
    outputs: w', s'.

    F = F(s). g has F + 8 fraction bits, rounded to nearest and clamped to 8 bits more than s; R is
    the rate of the step (docs/arithmetic.md, section 8):

    s' = convert(r·2^k, F + 18 -> F), second site, `state_rounding`, where r = isqrt(floor(V /
    4^k)), V = rho·s²·2^16 + (2^20 - rho)·g² and k >= 0 is the least with V < 2^(64 + 2k);
    w' = quotient(w·D - R·g·2^max(0, e), D), first site, `rounding`, with e = F(w) - exponent - 8
    and D = (s' + epsilon)·2^max(0, -e); all are clamped to their types. -60 <= e <= 40,
    F + 8 - F(gradient) <= 62. For count <= 0 nothing changes; a count above 2^22 is the status
    bad_input.
    The form of torch, epsilon outside the root; s is the root of its mean square. `real` takes the
    last rate.
    """

    name = "rmsprop"
    opcode = 58
    inputs = (
        Input("w", ("i32", "i16"), "parameter, shared"),
        Input("s", ("i32", "i16"), "root of the mean square of gradients, the shape of w, shared"),
        Input("gradient", ("i64",), "total of the gradient, the shape of w, shared"),
        Input("count", ("i64",), "number of examples, scalar with F = 0, shared"),
    )
    outputs = 2
    attributes = (
        *schedule_attributes(),
        beta_attribute("rho", "what stays of the square of s"),
        *epsilon_attributes(),
        rounding_attribute(default=3),
        Attribute("state_rounding", 0, 4, "rounding of s", default=4),
    )
    sites = 2
    result = "keeps"
    differentiable = False
    units = 0.01

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> tuple[Reals, Reals]:
        w, s, gradient, count = inputs
        if count <= 0:
            return w, s
        mean, rho = gradient / count, integer(attributes, "rho") * 2.0**-BETA_BITS
        root = np.sqrt(rho * s * s + (1 - rho) * mean * mean)
        return w - last_rate(attributes) * mean / (root + real_epsilon(attributes)), root

    @staticmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> tuple[Integers, Integers]:
        w, s, gradient, count = (np.asarray(x).astype(object) for x in inputs)
        n = int(count)
        check_count("rmsprop", n)
        if n <= 0:
            return inputs[0], inputs[1]
        of_w, moment = execution.input_types[:2]
        g = mean_gradient(execution, gradient, n, moment)
        state_rounding = integer(attributes, "state_rounding")
        root = next_root(execution, s, g, integer(attributes, "rho"), moment, state_rounding, 1)
        e = of_w.fraction_bits - integer(attributes, "exponent") - FINER
        divisor = (root.astype(object) + integer(attributes, "epsilon")) * (1 << max(0, -e))
        rate = rate_at(attributes, execution.step) << max(0, e)
        return execution.quotient(
            np.asarray(w * divisor - g * rate, dtype=object),
            np.asarray(divisor, dtype=object),
            of_w,
            integer(attributes, "rounding"),
        ), root

    @staticmethod
    def cases() -> Iterator[Case]:
        given: dict[str, AttributeValue] = {
            "steps": (0,),
            "rates": (1 << 23,),
            "exponent": 22,
            "rho": 0,
            "epsilon": 16,
            "epsilon_exponent": 3,
            "rounding": 0,
            "state_rounding": 0,
        }
        small = (i32(3, 2), i32(3, 2), i64(3, 2, bound=1 << 40), i64(0))
        data = ([8, 8], [5, 7], [64, -64], 4)
        # rate 2, rho 0, epsilon 2, mean gradients 2 and -2: s' = 2, w' = 1 - 2·2/4 and 1 + 2·2/4.
        yield Case("by hand", small, given, data, ([0, 16], [16, 16]))
        yield Case("no examples", small, given, (*data[:3], 0), ([8, 8], [5, 7]))
        for w, s, gradient, exponent, epsilon, rounding in (
            (i32(28, 5, 7), i32(30, 5, 7), 30, 34, 1 << 20, 3),
            (i32(28, 5, 7), i32(24, 5, 7), 40, 50, 1, 0),
            (i32(40, 5, 7), i32(47, 5, 7), 5, 34, 1 << 20, 2),
            (i16(12, 33), i16(14, 33), 28, 36, 1, 3),
            (i16(12, 33), i32(20, 33), 28, 36, 1 << 10, 3),
            (i32(20, 33), i16(12, 33), 12, 40, 1, 0),
        ):
            for bound in (1 << 62, 1 << 30):
                yield Case(
                    f"{w} {s} F{gradient} r{rounding} b{bound.bit_length()}",
                    (w, s, i64(gradient, *w.shape, bound=bound), i64(0)),
                    {
                        "steps": (10, 2**20),
                        "rates": (26214, 13421773),
                        "exponent": exponent,
                        "rho": 943718,
                        "epsilon": epsilon,
                        "epsilon_exponent": s.fraction_bits,
                        "rounding": rounding,
                        "state_rounding": rounding and 4,
                    },
                    low=1,
                    high=100,
                )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        good: dict[str, AttributeValue] = {
            "steps": (0,),
            "rates": (1 << 23,),
            "exponent": 33,
            "rho": 0,
            "epsilon": 1,
            "epsilon_exponent": 20,
        }
        s = i32(20, 4)
        rest = i64(8, 4), i64(0)
        yield Invalid(
            "rate", (i32(-20, 4), s, *rest), good, "bad_type", "in [-60, 40], received -61"
        )
        yield Invalid(
            "gradient",
            (i32(20, 4), i32(47, 4), i64(-8, 4), i64(0)),
            good | {"epsilon_exponent": 47},
            "bad_type",
            "at most 62, received 63",
        )
        yield Invalid(
            "epsilon format",
            (s, s, *rest),
            good | {"epsilon_exponent": 8},
            "bad_attribute",
            "epsilon_exponent must be F(s), 20, received 8",
        )
        yield Invalid(
            "steps", (s, s, *rest), good | {"steps": (0, 0)}, "bad_attribute", "as many rates"
        )
