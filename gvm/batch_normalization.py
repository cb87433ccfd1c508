"""What batch_normalize and its gradient share (numerics section 7): statistics of channels over a
batch as exact integers, and the line that normalising is for each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gvm.fixed import limit_max, quotient_nearest, round_nearest
from gvm.normalization import ROOT_BITS, real_epsilon
from gvm.operator import Attribute, Attributes, Execution, Integers, Reals, integer
from gvm.types import Type

KEEP_BITS = 20
"""Of the share of a running statistic that a step keeps."""
LINE_BITS = 16
"""Fraction bits of a line beyond those of its result: what the last rounding discards."""
SLOPE_BITS = 31
"""A slope is below 2^31 in size."""
MOST_INTERCEPT = 1 << 61
X_BITS = 15
"""What is normalised is i16: at most 2^15 in size."""


def channel_attributes(kinds: int, doc: str) -> tuple[Attribute, ...]:
    """What the statistics are of."""
    return (
        Attribute("kind", 0, kinds - 1, doc),
        Attribute("positions", 1, 1 << 24, "elements of a channel in one example", default=1),
        Attribute("epsilon_multiplier", 0, 32767, "m of the epsilon m * 2^-k", default=16777),
        Attribute("epsilon_exponent", 0, 62, "k of the epsilon m * 2^-k", default=24),
    )


@dataclass(frozen=True)
class Channel:
    """Of N integers x of a channel: a root r of D = N^2 (variance + epsilon), r <= sqrt(D) 2^t."""

    count: int
    """N, at least 1."""
    sum: int
    """Within N * 2^15."""
    spread: int
    """V = N * (sum of squares) - sum^2, at least 0."""
    whole: int
    """D, at least 1."""
    shift: int
    """t, with which D * 2^2t has 59 or 60 bits."""
    root: int


def rooted(whole: int) -> tuple[int, int]:
    """t and r of D."""
    t = (2 * ROOT_BITS - whole.bit_length()) // 2
    return t, math.isqrt(whole << 2 * t if t >= 0 else whole >> -2 * t)


def shifted(value: int, places: int) -> int:
    """floor(value * 2^places)."""
    return value << places if places >= 0 else value >> -places


def within(value: int, limit: int) -> int:
    """The value, or the nearest in [-limit, limit]."""
    return max(-limit, min(limit, value))


def channel_of(
    attributes: Attributes, total: int, squares: int, count: int, fraction_bits: int
) -> Channel:
    """The statistics of one channel from its totals; any totals have some."""
    n = max(1, count) * integer(attributes, "positions")
    s = within(total, n << X_BITS)
    spread = max(0, n * squares - s * s)
    places = 2 * fraction_bits - integer(attributes, "epsilon_exponent")
    epsilon = shifted(integer(attributes, "epsilon_multiplier") * n * n, places)
    whole = spread + max(1, epsilon)
    return Channel(n, s, spread, whole, *rooted(whole))


@dataclass(frozen=True)
class Line:
    """(slope * x + slope_2 * x_2 + intercept) / 2^shift, with 16 fraction bits more than the
    result."""

    slope: int
    intercept: int
    shift: int
    slope_2: int = 0

    def at(self, x: int, x_2: int = 0) -> int:
        """Its value, rounded down; the intercept holds a half."""
        return (self.slope * x + self.slope_2 * x_2 + self.intercept) >> self.shift


def most_shift(to: Type) -> int:
    """The largest shift of a line whose results have this type."""
    return 29 if to.dtype == "i16" else 13


def slope_of(factor: int, places: int, root: int, most: int, wider: int = 0) -> tuple[int, int]:
    """factor * 2^places / root, to nearest, at e more fraction bits, and e: as many, up to
    ``most``, as leave it below 2^(31 - wider)."""
    size = factor.bit_length() + places - (ROOT_BITS - 1)
    e = min(most, max(0, SLOPE_BITS - size - wider))
    if size + e > SLOPE_BITS:
        return (limit_max(32) if factor > 0 else -limit_max(32)), e
    if size + e < 0:
        return 0, e
    up = places + e
    made = quotient_nearest(factor << max(0, up), root << max(0, -up), 256)
    return within(made, limit_max(32)), e


def with_half(intercept: int, shift: int) -> int:
    """An intercept within its limits, and half of what a line discards."""
    return within(intercept, MOST_INTERCEPT) + ((1 << shift) >> 1)


def at_places(value: int, places: int) -> int:
    """value * 2^places to nearest."""
    return value << places if places >= 0 else round_nearest(value, -places)


def along(
    execution: Execution, lines: Sequence[Line], to: Type, rounding: int, *operands: Integers
) -> Integers:
    """Each channel's line of its operands, the channels along the last axis, rounded once."""
    rows = [a.reshape(-1, len(lines)).tolist() for a in operands]
    exact = [
        [line.at(*of) for line, of in zip(lines, zip(*each, strict=True), strict=True)]
        for each in zip(*rows, strict=True)
    ]
    made = np.array(exact, dtype=object).reshape(operands[0].shape)
    return execution.convert(made, to.fraction_bits + LINE_BITS, to, rounding)


def real_root(attributes: Attributes, variance: Reals) -> Reals:
    """1 / sqrt(variance + epsilon); 0 for 1 / 0."""
    spread = np.maximum(variance, 0) + real_epsilon(attributes)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(spread > 0, 1 / np.sqrt(spread), 0.0))


def real_channel(
    attributes: Attributes, total: Reals, squares: Reals, count: Reals
) -> tuple[Reals, Reals, Reals]:
    """N, the mean and the variance of each channel."""
    n = np.maximum(np.asarray(count, dtype=np.float64), 1) * integer(attributes, "positions")
    mean = np.asarray(total, dtype=np.float64) / n
    return n, mean, np.maximum(np.asarray(squares, dtype=np.float64) / n - mean * mean, 0)
