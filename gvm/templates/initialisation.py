"""First weights: uniforms and normals from Philox by integer arithmetic alone, so that they are the
same on every machine (numerics section 3).

An array is integers times a power of two below 2^53: its float64 is exact. Element i of parameter
number ``site`` is a function of the seed, the site and i.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.random import Purpose

NORMAL_BITS = 12
"""Fraction bits of the normal quantiles."""
SCALE_BITS = 24
"""Fraction bits of a scale, rounded down."""
UNIFORM_BITS = 24
QUANTILES = 1 << 15
"""Of one half of the normal distribution; a draw has a sign bit and 15 bits that choose."""
_WORKING_BITS = 128


def root(value: Fraction, degree: int = 2) -> int:
    """floor(value^(1/degree) * 2^24), for value in (0, 4]."""
    if not 0 < value <= 4:
        raise ValueError(f"initialisation: a squared scale must be in (0, 4], received {value}")
    scaled = (value.numerator << (degree * SCALE_BITS)) // value.denominator
    low, high = 0, 1 << (SCALE_BITS + 3)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= scaled else (low, middle)
    return low


@lru_cache(maxsize=1)
def normal_quantiles() -> NDArray[np.int64]:
    """Entry k: the quantile of 1/2 + (k + 1/2) / 65536 of the normal distribution, to the nearest
    multiple of 2^-12, as an integer; shape (32768,).

    The integral of the density is stepped from one midpoint between two multiples to the next, in
    integers of 128 fraction bits; what the series leaves out sums to less than 2^-60, and no
    midpoint is so near to the probability of an entry.
    """
    one = 1 << _WORKING_BITS
    step = one >> NORMAL_BITS

    def product(a: int, b: int) -> int:
        return (a * b) >> _WORKING_BITS

    # Midpoint j is x = (j + 1/2) * step. density(x + step) = density(x) * ratio(x), where
    # ratio(x) = exp(-(x + step/2) * step), and ratio(x + step) = ratio(x) * exp(-step^2).
    square = product(step, step)
    ratio, quotient = _exponential(-square), _exponential(-square)
    peak = math.isqrt((one << (_WORKING_BITS - 1)) * one // _pi())
    x = step // 2
    integral = _integral_step(0, peak, x)
    density = product(peak, _exponential(-square // 8))
    table = np.empty(QUANTILES, dtype=np.int64)
    place = 0
    for k in range(QUANTILES):
        wanted = (2 * k + 1) << (_WORKING_BITS - 17)
        while integral < wanted:
            integral += _integral_step(x, density, step)
            density, ratio, x = product(density, ratio), product(ratio, quotient), x + step
            place += 1
        table[k] = place
    table.flags.writeable = False
    return table


def _integral_step(x: int, density: int, h: int) -> int:
    """The integral of the normal density from x to x + h: six terms of its Taylor series."""
    bits = _WORKING_BITS
    x2 = (x * x) >> bits
    one = 1 << bits
    hermite = (
        one,
        -x,
        x2 - one,
        -((x * (x2 - 3 * one)) >> bits),
        ((x2 * (x2 - 6 * one)) >> bits) + 3 * one,
        -((x * (((x2 * (x2 - 10 * one)) >> bits) + 15 * one)) >> bits),
    )
    total, power = 0, h
    for n, value in enumerate(hermite):
        total += ((value * power) >> bits) // math.factorial(n + 1)
        power = (power * h) >> bits
    return (density * total) >> bits


def _exponential(x: int) -> int:
    """exp(x) for a small x of 128 fraction bits."""
    total, term, n = 0, 1 << _WORKING_BITS, 1
    while term not in (0, -1):
        total += term
        term = ((term * x) >> _WORKING_BITS) // n
        n += 1
    return total


def _pi() -> int:
    """pi with 128 fraction bits: 16 arctan(1/5) - 4 arctan(1/239)."""

    def arctan_of_inverse(n: int) -> int:
        total, power, k = 0, (1 << (_WORKING_BITS + 16)) // n, 0
        while power:
            total += (-1 if k % 2 else 1) * (power // (2 * k + 1))
            power //= n * n
            k += 1
        return total

    return (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) >> 16


def normal(seed: int, site: int, shape: tuple[int, ...], scale: int) -> NDArray[np.float64]:
    """Normals of deviation ``scale`` * 2^-24, cut at 4.3 deviations: half-word i of the draws has
    the sign in its top bit and the quantile's number below it."""
    count = math.prod(shape)
    words = _core.random_words(seed, site, 0, Purpose.INITIALISATION, 0, (count + 1) // 2)
    halves = np.empty((len(words), 2), dtype=np.int64)
    halves[:, 0], halves[:, 1] = words & 0xFFFF, words >> 16
    drawn = halves.reshape(-1)[:count]
    chosen = normal_quantiles()[drawn & (QUANTILES - 1)]
    signed = np.where(drawn >= QUANTILES, -chosen, chosen)
    return _exact(signed * scale, NORMAL_BITS + SCALE_BITS, shape)


def uniform(seed: int, site: int, shape: tuple[int, ...], scale: int) -> NDArray[np.float64]:
    """Uniforms in (-1, 1) times ``scale`` * 2^-24: the odd multiples of 2^-24, by the upper 24 bits
    of word i."""
    count = math.prod(shape)
    words = _core.random_words(seed, site, 0, Purpose.INITIALISATION, 0, count).astype(np.int64)
    odd = 2 * (words >> (32 - UNIFORM_BITS)) + 1 - (1 << UNIFORM_BITS)
    return _exact(odd * scale, UNIFORM_BITS + SCALE_BITS, shape)


def _exact(
    integers: NDArray[np.int64], fraction_bits: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    return np.asarray(np.ldexp(integers.astype(np.float64), -fraction_bits)).reshape(shape)
