"""What adaptive updates share: the mean gradient and the root of the mean square, as exact integers
(docs/arithmetic.md, section 8)."""

from __future__ import annotations

import numpy as np

from gvm.fixed import isqrt, quotient_nearest
from gvm.operator import Attribute, Attributes, Execution, Integers, integer
from gvm.types import Type

FINER = 8
"""Fraction bits of a mean gradient beyond those of its moments."""
BETA_BITS = 20
POWER_BITS = 40
ROOT_BITS = FINER + BETA_BITS // 2
"""Fraction bits of a root beyond those of its moments."""


def beta_attribute(name: str, doc: str) -> Attribute:
    """How much of a moment stays: its integer times 2^-20."""
    return Attribute(name, 0, (1 << BETA_BITS) - 1, f"{doc}, times 2^20")


def epsilon_attributes() -> tuple[Attribute, Attribute]:
    """What is added to a root before it divides, in units of the root."""
    return (
        Attribute("epsilon", 1, 2**31 - 1, "epsilon = epsilon·2^-epsilon_exponent"),
        Attribute("epsilon_exponent", -32, 47, "the fraction bits of s"),
    )


def real_epsilon(attributes: Attributes) -> float:
    """The epsilon as a real number."""
    return integer(attributes, "epsilon") * 2.0 ** -integer(attributes, "epsilon_exponent")


def mean_gradient(execution: Execution, total: Integers, count: int, moment: Type) -> Integers:
    """The total over the count, to nearest, with 8 more fraction bits than the moment, clamped to
    8 more bits than it has; an object array."""
    of_total = next(t for t in execution.input_types if t.dtype == "i64")
    shift = moment.fraction_bits + FINER - of_total.fraction_bits
    divisor, bits = count << max(0, -shift), moment.bits + FINER

    def mean(value: int) -> int:
        return quotient_nearest(int(value) << max(0, shift), divisor, bits, execution.clamps)

    made = np.empty(total.shape, dtype=object)
    made.reshape(-1)[:] = [mean(v) for v in total.reshape(-1)]
    return made


def next_root(
    execution: Execution,
    root: Integers,
    mean: Integers,
    beta: int,
    moment: Type,
    rounding: int,
    site: int,
) -> Integers:
    """sqrt(beta·root² + (1 - beta)·mean²): the floor of its square root to 32 significant bits,
    then Convert."""
    one = 1 << BETA_BITS
    square = root * root * (beta << 2 * FINER) + mean * mean * (one - beta)

    def floor(value: int) -> int:
        k = max(0, -(-(value.bit_length() - 64) // 2))
        return isqrt(value >> 2 * k) << k

    floors = np.empty(square.shape, dtype=object)
    floors.reshape(-1)[:] = [floor(int(v)) for v in square.reshape(-1)]
    return execution.convert(floors, moment.fraction_bits + ROOT_BITS, moment, rounding, site)


def power(beta: int, exponent: int) -> int:
    """(beta·2^-20)^exponent at 40 fraction bits, by squaring, each product rounded half up."""
    result, base = 1 << POWER_BITS, beta << (POWER_BITS - BETA_BITS)
    half = 1 << (POWER_BITS - 1)
    while exponent:
        if exponent & 1:
            result = (result * base + half) >> POWER_BITS
        base = (base * base + half) >> POWER_BITS
        exponent >>= 1
    return result


def corrected_rate(rate: int, beta1: int, beta2: int, step: int) -> int:
    """rate·sqrt(1 - beta2^t)/(1 - beta1^t) for t = step + 1, in units of the rate."""
    one = 1 << POWER_BITS
    root = isqrt((one - power(beta2, step + 1)) << POWER_BITS)
    return quotient_nearest(rate * root, one - power(beta1, step + 1), 64)
