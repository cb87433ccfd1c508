"""What normalize and its gradient share (numerics section 7): statistics as exact integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gvm.operator import Attribute, Attributes, Reals, integer

ROOT_BITS = 30
"""Bits of a root: 2^29 <= r < 2^30."""
GRADIENT_BITS = 4
"""Fraction bits of a result's unit, beyond those of its largest, with which a ratio is kept."""


def normalization_attributes() -> tuple[Attribute, ...]:
    """What is normalised together, and how."""
    return (
        Attribute("trailing_axes", 1, 8, "how many of the last axes are normalised together"),
        Attribute("centred", 0, 1, "1: the mean is subtracted; 0: root mean square", default=1),
        Attribute("epsilon_multiplier", 0, 32767, "m of the epsilon m * 2^-k", default=21475),
        Attribute("epsilon_exponent", 0, 62, "k of the epsilon m * 2^-k", default=31),
    )


def epsilon_attributes(epsilon: float) -> dict[str, int]:
    """The attributes nearest to a positive epsilon, or to 0."""
    if epsilon <= 0:
        return {"epsilon_multiplier": 0, "epsilon_exponent": 0}
    exponent = max(0, min(62, 15 - math.frexp(epsilon)[1]))
    multiplier = round(math.ldexp(epsilon, exponent))
    if multiplier == 1 << 15 and exponent > 0:
        multiplier, exponent = multiplier >> 1, exponent - 1
    if multiplier > 32767:
        raise ValueError(f"epsilon must be below 32768, received {epsilon}")
    return {"epsilon_multiplier": multiplier, "epsilon_exponent": exponent}


def real_epsilon(attributes: Attributes) -> float:
    """The epsilon that is added to a variance."""
    return math.ldexp(
        integer(attributes, "epsilon_multiplier"), -integer(attributes, "epsilon_exponent")
    )


def group_size(attributes: Attributes, shape: Sequence[int]) -> int:
    """Elements that are normalised together."""
    return math.prod(shape[len(shape) - integer(attributes, "trailing_axes") :])


@dataclass(frozen=True)
class Statistics:
    """Of n integers x: c = n x - s and a root r of D = n Q - s^2 + epsilon, r <= sqrt(D) 2^t."""

    count: int
    centred: bool
    values: list[int]
    """c of each: sqrt(n) times as large as sqrt(D) at most."""
    spread: int
    """D, at least 1."""
    shift: int
    """t, with which D * 2^2t has 59 or 60 bits."""
    root: int


def statistics_of(attributes: Attributes, x: Sequence[int], fraction_bits: int) -> Statistics:
    """The exact statistics of one group."""
    n, centred = len(x), integer(attributes, "centred") == 1
    s = sum(x) if centred else 0
    shift = 2 * fraction_bits - integer(attributes, "epsilon_exponent")
    epsilon = integer(attributes, "epsilon_multiplier") * n * n
    epsilon = epsilon << shift if shift >= 0 else epsilon >> -shift
    spread = n * sum(v * v for v in x) - s * s + max(1, epsilon)
    t = (2 * ROOT_BITS - spread.bit_length()) // 2
    root = math.isqrt(spread << 2 * t if t >= 0 else spread >> -2 * t)
    return Statistics(n, centred, [n * v - s for v in x], spread, t, root)


def grouped(attributes: Attributes, x: Reals) -> Reals:
    """Real values as rows, one for each group."""
    return x.reshape(-1, group_size(attributes, x.shape))


def real_moments(attributes: Attributes, rows: Reals) -> tuple[Reals, Reals]:
    """Centred rows and the reciprocal of the root of variance and epsilon; 0 for 1 / 0."""
    if integer(attributes, "centred"):
        rows = rows - rows.mean(axis=1, keepdims=True)
    variance = (rows * rows).mean(axis=1, keepdims=True) + real_epsilon(attributes)
    with np.errstate(divide="ignore"):
        return rows, np.asarray(np.where(variance > 0, 1 / np.sqrt(variance), 0.0))
