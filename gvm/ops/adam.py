"""Adam and AdamW: one exact expression and one rounding for each of moment, root and parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.moments import (
    BETA_BITS,
    beta_attribute,
    corrected_rate,
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
from gvm.rates import (
    decay_at,
    decay_attributes,
    last_rate,
    rate_at,
    real_decay,
    schedule_attributes,
)
from gvm.types import i16, i32, i64


class Adam(Operator):
    """m' = beta1·m + (1 - beta1)·g, s' = sqrt(beta2·s² + (1 - beta2)·g²), w' = w - rate·decay·w -
    rate·c·m'/(s' + epsilon) with g = gradient/count and c = sqrt(1 - beta2^t)/(1 - beta1^t),
    t = step + 1. Three outputs: w', m', s'.

    F = F(m) = F(s), m and s have one element type. g has F + 8 fraction bits, rounded to nearest
    and clamped to 8 bits more than m; b1 and b2 are the attributes, at 20 fraction bits;
    C = quotient(R·isqrt((2^40 - p2)·2^40), 2^40 - p1), nearest, with p = beta^t at 40 bits and R
    the rate of the step; d = rate·decay at 32 bits (docs/arithmetic.md, section 8):

    m' = convert(b1·m·2^8 + (2^20 - b1)·g, F + 28 -> F), second site, `state_rounding`;
    s' = convert(r·2^k, F + 18 -> F), third site, `state_rounding`, where r = isqrt(floor(V /
    4^k)), V = b2·s²·2^16 + (2^20 - b2)·g² and k >= 0 is the least with V < 2^(64 + 2k);
    w' = quotient(w·(2^32 - d)·D - C·m'·2^(32 + max(0, e)), D·2^32), first site, `rounding`, with e
    = F(w) - exponent and D = (s' + epsilon)·2^max(0, -e); all are clamped to their types. -30 <= e
    <= 16, F + 8 - F(gradient) <= 62. For count <= 0 nothing changes; a count above 2^22 is the
    status bad_input.
    The form of Keras; s is the root of its second moment. `real` takes the last rate and c = 1.
    """

    name = "adam"
    opcode = 57
    inputs = (
        Input("w", ("i32", "i16"), "parameter, shared"),
        Input("m", ("i32", "i16"), "mean of gradients, the shape of w, shared"),
        Input("s", ("i32", "i16"), "root of their mean square, the type of m, shared"),
        Input("gradient", ("i64",), "total of the gradient, the shape of w, shared"),
        Input("count", ("i64",), "number of examples, scalar with F = 0, shared"),
    )
    outputs = 3
    attributes = (
        *schedule_attributes(),
        *decay_attributes(),
        beta_attribute("beta1", "what stays of m"),
        beta_attribute("beta2", "what stays of the square of s"),
        *epsilon_attributes(),
        rounding_attribute(default=3),
        Attribute("state_rounding", 0, 4, "rounding of m and s", default=4),
    )
    sites = 3
    result = "keeps"
    differentiable = False
    units = 0.01

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> tuple[Reals, Reals, Reals]:
        w, m, s, gradient, count = inputs
        if count <= 0:
            return w, m, s
        mean = gradient / count
        beta1, beta2 = (integer(attributes, b) * 2.0**-BETA_BITS for b in ("beta1", "beta2"))
        kept = beta1 * m + (1 - beta1) * mean
        root = np.sqrt(beta2 * s * s + (1 - beta2) * mean * mean)
        step = kept / (root + real_epsilon(attributes)) + real_decay(attributes) * w
        return w - last_rate(attributes) * step, kept, root

    @staticmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> tuple[Integers, Integers, Integers]:
        w, m, s, gradient, count = (np.asarray(x).astype(object) for x in inputs)
        n = int(count)
        check_count("adam", n)
        if n <= 0:
            return inputs[0], inputs[1], inputs[2]
        a = {k: integer(attributes, k) for k in attributes if k not in ("steps", "rates")}
        of_w, moment = execution.input_types[:2]
        g = mean_gradient(execution, gradient, n, moment)
        exact = m * (a["beta1"] << 8) + g * ((1 << BETA_BITS) - a["beta1"])
        kept = execution.convert(
            np.asarray(exact, dtype=object),
            moment.fraction_bits + 8 + BETA_BITS,
            moment,
            a["state_rounding"],
            1,
        )
        root = next_root(execution, s, g, a["beta2"], moment, a["state_rounding"], 2)
        e = of_w.fraction_bits - a["exponent"]
        rate = rate_at(attributes, execution.step)
        corrected = corrected_rate(rate, a["beta1"], a["beta2"], execution.step)
        divisor = (root.astype(object) + a["epsilon"]) * (1 << max(0, -e))
        stays = (1 << 32) - (decay_at(attributes, execution.step) if a["decay"] else 0)
        numerator = w * stays * divisor - kept.astype(object) * (corrected << (32 + max(0, e)))
        moved = execution.quotient(
            np.asarray(numerator, dtype=object),
            np.asarray(divisor * (1 << 32), dtype=object),
            of_w,
            a["rounding"],
        )
        return moved, kept, root

    @staticmethod
    def cases() -> Iterator[Case]:
        given: dict[str, AttributeValue] = {
            "steps": (0,),
            "rates": (1 << 23,),
            "exponent": 22,
            "beta1": 1 << 19,
            "beta2": 0,
            "epsilon": 16,
            "epsilon_exponent": 3,
            "rounding": 0,
            "state_rounding": 0,
        }
        small = (i32(3, 2), i32(3, 2), i32(3, 2), i64(3, 2, bound=1 << 40), i64(0))
        data = ([8, 8], [0, 16], [5, 7], [64, -64], 4)
        # rate 2, beta1 1/2, beta2 0, epsilon 2, mean gradients 2 and -2: m' = 1 and 0, s' = 2,
        # w' = 1 - 2·1/4 and 1 - 2·0/4.
        yield Case("by hand", small, given, data, ([4, 8], [8, 0], [16, 16]))
        # A decay of 1/4 takes half of w.
        decay: dict[str, AttributeValue] = {"decay": 1 << 14, "decay_exponent": 16}
        yield Case("decay", small, given | decay, data, ([0, 4], [8, 0], [16, 16]))
        yield Case("no examples", small, given, (*data[:4], 0), ([8, 8], [0, 16], [5, 7]))
        decay = {"decay": 26214, "decay_exponent": 22}
        for w, m, gradient, exponent, epsilon, rounding in (
            (i32(28, 5, 7), i32(30, 5, 7), 30, 34, 1 << 20, 3),
            (i32(28, 5, 7), i32(24, 5, 7), 40, 50, 1, 0),
            (i32(40, 5, 7), i32(47, 5, 7), 5, 34, 1 << 20, 2),
            (i16(12, 33), i16(14, 33), 28, 36, 1, 3),
            (i16(12, 33), i32(20, 33), 28, 36, 1 << 10, 3),
            (i32(20, 33), i16(12, 33), 12, 40, 1, 0),
        ):
            for bound in (1 << 62, 1 << 30):
                for more in ({}, decay):
                    yield Case(
                        f"{w} {m} F{gradient} r{rounding} b{bound.bit_length()} d{len(more)}",
                        (w, m, m, i64(gradient, *w.shape, bound=bound), i64(0)),
                        {
                            "steps": (10, 2**20),
                            "rates": (26214, 13421773),
                            "exponent": exponent,
                            "beta1": 943718,
                            "beta2": 1047527,
                            "epsilon": epsilon,
                            "epsilon_exponent": m.fraction_bits,
                            "rounding": rounding,
                            "state_rounding": rounding and 4,
                            **more,
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
            "beta1": 0,
            "beta2": 0,
            "epsilon": 1,
            "epsilon_exponent": 20,
        }
        m = i32(20, 4)
        rest = i64(8, 4), i64(0)
        yield Invalid(
            "moments", (i32(20, 4), m, i32(21, 4), *rest), good, "bad_type", "m and s must have one"
        )
        yield Invalid(
            "rate", (i32(-9, 4), m, m, *rest), good, "bad_type", "in [-30, 16], received -42"
        )
        yield Invalid(
            "gradient",
            (i32(20, 4), i32(47, 4), i32(47, 4), i64(-8, 4), i64(0)),
            good | {"epsilon_exponent": 47},
            "bad_type",
            "at most 62, received 63",
        )
        yield Invalid(
            "epsilon", (m, m, m, *rest), good | {"epsilon": 0}, "bad_attribute", "received 0"
        )
        yield Invalid(
            "epsilon format",
            (m, m, m, *rest),
            good | {"epsilon_exponent": 8},
            "bad_attribute",
            "epsilon_exponent must be F(s), 20, received 8",
        )
        yield Invalid(
            "steps", (m, m, m, *rest), good | {"steps": (0, 0)}, "bad_attribute", "as many rates"
        )
