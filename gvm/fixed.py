"""The arithmetic on Python's unbounded integers: the plain twin of ``gvm/_core/fixed.h``.

Every operator is an exact integer formula followed by one rounding: Convert, which discards bits,
or quotient, which divides. These definitions say what both mean (docs/arithmetic.md, section 2).
They are never made faster; ``tests/test_proofs.py`` and ``tests/vectors`` hold the core to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum


class Rounding(IntEnum):
    """How a site rounds: half to even, or stochastically with draws of that Philox purpose."""

    NEAREST = 0
    FORWARD = 1
    BACKWARD = 2
    UPDATE = 3
    OPTIMIZER_STATE = 4


@dataclass
class Clamps:
    """How many values a site has clamped to the limits of their type."""

    count: int = 0


def limit_max(bits: int) -> int:
    """The largest value of a two's-complement type of ``bits`` bits."""
    return (1 << (bits - 1)) - 1


def limit_min(bits: int) -> int:
    """The smallest value of a two's-complement type of ``bits`` bits."""
    return -(1 << (bits - 1))


def clamp_to(value: int, bits: int, clamps: Clamps | None = None) -> int:
    """The value of ``bits`` bits nearest to ``value``, counted in ``clamps`` where it differs."""
    clamped = max(limit_min(bits), min(limit_max(bits), value))
    if clamps is not None and clamped != value:
        clamps.count += 1
    return clamped


def gradient_through_convert(delta: int, q: int, bits: int) -> int:
    """``delta``, or 0 where ``q`` is at a limit and a step against ``delta`` would push it out."""
    if (q == limit_max(bits) and delta < 0) or (q == limit_min(bits) and delta > 0):
        return 0
    return delta


def accumulator_fits(
    terms: int, fraction_bits: int = 0, bias_fraction_bits: int | None = None
) -> bool:
    """Whether ``terms`` products of two i16, and an i32 bias where there is one, stay within 2^62.

    The bias is at ``bias_fraction_bits <= fraction_bits`` and shifted left exactly (section 4).
    """
    bound = terms << 30
    if bias_fraction_bits is not None:
        if bias_fraction_bits > fraction_bits:
            return False
        bound += 1 << (31 + fraction_bits - bias_fraction_bits)
    return bound <= 1 << 62


def round_nearest(value: int, shift: int) -> int:
    """``value / 2^shift`` to the nearest integer, half to even; ``shift >= 1``."""
    quotient, discarded = value >> shift, value & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return quotient + int(discarded > half or (discarded == half and quotient % 2 == 1))


def convert_nearest(value: int, shift: int, bits: int, clamps: Clamps | None = None) -> int:
    """``value / 2^shift``, half to even, clamped to ``bits``; exact for ``shift <= 0``."""
    if shift <= 0:
        return clamp_to(value << -shift, bits, clamps)
    return clamp_to(round_nearest(value, shift), bits, clamps)


def convert_random_bits(shift: int) -> int:
    """The random bits that a stochastic Convert discarding ``shift`` bits draws: 0, 16 or 32."""
    return 0 if shift <= 0 else 16 if shift <= 16 else 32


def convert_stochastic(
    value: int, shift: int, r: int, bits: int, clamps: Clamps | None = None
) -> int:
    """``value / 2^shift``, up with the probability of what is discarded, clamped to ``bits``.

    ``r`` is uniform, of ``convert_random_bits(shift)`` bits; its higher bits are ignored. More than
    32 extra bits are first rounded, half up, to 32.
    """
    if shift <= 0:
        return clamp_to(value << -shift, bits, clamps)
    random_bits = convert_random_bits(shift)
    r &= (1 << random_bits) - 1
    if shift > 32:
        value = (value + (1 << (shift - 33))) >> (shift - 32)
        shift = 32
    return clamp_to((value + (r >> (random_bits - shift))) >> shift, bits, clamps)


def convert(
    value: int, shift: int, rounding: Rounding, r: int, bits: int, clamps: Clamps | None = None
) -> int:
    """Convert with the given rounding; ``r`` is ignored where it is to nearest."""
    if rounding == Rounding.NEAREST:
        return convert_nearest(value, shift, bits, clamps)
    return convert_stochastic(value, shift, r, bits, clamps)


def _quotient_without_divisor(numerator: int, bits: int, clamps: Clamps | None) -> int:
    """The value where the divisor is not positive: the limit on the numerator's side, 0 for 0."""
    if numerator == 0:
        return 0
    if clamps is not None:
        clamps.count += 1
    return limit_min(bits) if numerator < 0 else limit_max(bits)


def quotient_nearest(numerator: int, divisor: int, bits: int, clamps: Clamps | None = None) -> int:
    """``numerator / divisor`` rounded half to even and clamped to ``bits``."""
    if divisor <= 0:
        return _quotient_without_divisor(numerator, bits, clamps)
    quotient, remainder = divmod(numerator, divisor)
    up = 2 * remainder > divisor or (2 * remainder == divisor and quotient % 2 == 1)
    return clamp_to(quotient + int(up), bits, clamps)


def quotient_stochastic(
    numerator: int, divisor: int, r: int, bits: int, clamps: Clamps | None = None
) -> int:
    """``numerator / divisor``, up iff ``r * divisor < remainder * 2^32``, clamped to ``bits``.

    ``r`` is uniform, of 32 bits.
    """
    if divisor <= 0:
        return _quotient_without_divisor(numerator, bits, clamps)
    quotient, remainder = divmod(numerator, divisor)
    return clamp_to(quotient + int(r * divisor < remainder << 32), bits, clamps)


def quotient(
    numerator: int,
    divisor: int,
    rounding: Rounding,
    r: int,
    bits: int,
    clamps: Clamps | None = None,
) -> int:
    """Quotient with the given rounding; ``r`` is ignored where it is to nearest."""
    if rounding == Rounding.NEAREST:
        return quotient_nearest(numerator, divisor, bits, clamps)
    return quotient_stochastic(numerator, divisor, r, bits, clamps)


def isqrt(value: int) -> int:
    """The floor of the square root; 0 for a negative ``value``."""
    return math.isqrt(value) if value > 0 else 0
