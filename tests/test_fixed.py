"""``gvm.fixed`` against the meaning of its words, in exact fractions; its vectors are fresh."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm import fixed
from gvm.fixed import Clamps, Rounding
from tests.vectors import generate

INT64 = st.integers(-(2**63), 2**63 - 1)
INT128 = st.integers(-(2**127), 2**127 - 1)
WORD = st.integers(0, 2**32 - 1)
BITS = st.sampled_from([16, 32, 64])
SHIFT = st.integers(-130, 130)
STOCHASTIC = st.sampled_from([mode for mode in Rounding if mode != Rounding.NEAREST])


def saturated(value: int, bits: int) -> int:
    return sorted((-(2 ** (bits - 1)), value, 2 ** (bits - 1) - 1))[1]


def ties(unit: int) -> st.SearchStrategy[int]:
    """Multiples of half of ``unit`` and their neighbours, where roundings differ."""
    return st.builds(
        lambda k, d: k * unit // 2 + d, st.integers(-(2**18), 2**18), st.integers(-1, 1)
    )


# --- Convert -----------------------------------------------------------------------------------


@given(value=INT64, shift=SHIFT, bits=BITS, data=st.data())
def test_nearest_is_the_fraction_rounded_half_to_even(
    value: int, shift: int, bits: int, data: st.DataObject
) -> None:
    if shift > 0 and data.draw(st.booleans()):
        value = data.draw(ties(2**shift))
    clamps = Clamps()
    exact = round(Fraction(value) / Fraction(2) ** shift)
    assert fixed.convert_nearest(value, shift, bits, clamps) == saturated(exact, bits)
    assert clamps.count == int(saturated(exact, bits) != exact)
    assert fixed.convert(value, shift, Rounding.NEAREST, 12345, bits) == saturated(exact, bits)


@given(value=INT64, shift=st.integers(-130, 32), r=WORD, bits=BITS, mode=STOCHASTIC)
def test_stochastic_steps_up_where_the_draw_falls_in_what_is_discarded(
    value: int, shift: int, r: int, bits: int, mode: Rounding
) -> None:
    exact = Fraction(value) / Fraction(2) ** shift
    floor = math.floor(exact)
    draws = 16 if shift <= 16 else 32
    # 1 - fraction is a multiple of 2^-shift: comparing r's first `shift` bits is comparing r.
    up = exact > floor and Fraction(r % 2**draws, 2**draws) >= 1 - (exact - floor)
    clamps = Clamps()
    expected = saturated(floor + int(up), bits)
    assert fixed.convert(value, shift, mode, r, bits, clamps) == expected
    assert clamps.count == int(expected != floor + int(up))


@given(value=INT64, shift=st.integers(33, 130), r=WORD, bits=BITS)
def test_stochastic_beyond_32_bits_first_rounds_half_up_to_32(
    value: int, shift: int, r: int, bits: int
) -> None:
    kept = math.floor(Fraction(value, 2 ** (shift - 32)) + Fraction(1, 2))
    expected = fixed.convert_stochastic(kept, 32, r, bits)
    assert fixed.convert_stochastic(value, shift, r, bits) == expected


@pytest.mark.parametrize("shift", range(1, 17))
def test_probability_of_a_step_up_is_exactly_what_is_discarded(shift: int) -> None:
    """All 2^16 draws."""
    for discarded in {0, 1, 2**shift // 3, 2**shift - 1}:
        for floor in (-3, 7):
            value = floor * 2**shift + discarded
            results = [fixed.convert_stochastic(value, shift, r, 16) for r in range(2**16)]
            assert set(results) <= {floor, floor + 1}
            assert results.count(floor + 1) * 2**shift == discarded * 2**16


@given(shift=st.integers(17, 32), floor=st.integers(-(2**15), 2**15 - 2), data=st.data())
def test_probability_of_a_step_up_above_16_bits(
    shift: int, floor: int, data: st.DataObject
) -> None:
    """The result never falls as r grows, so the first draw that steps up is the probability."""
    discarded = data.draw(st.integers(1, 2**shift - 1))
    value = floor * 2**shift + discarded
    first_up = 2**32 - discarded * 2 ** (32 - shift)
    assert fixed.convert_stochastic(value, shift, first_up - 1, 16) == floor
    assert fixed.convert_stochastic(value, shift, first_up, 16) == floor + 1
    assert fixed.convert_stochastic(value, shift, 0, 16) == floor
    assert fixed.convert_stochastic(value, shift, 2**32 - 1, 16) == floor + 1


@given(value=INT64, shift=st.integers(-130, 130), r=WORD)
def test_draws_have_the_stated_width(value: int, shift: int, r: int) -> None:
    """Bits of r above those drawn change nothing."""
    bits = fixed.convert_random_bits(shift)
    drawn = fixed.convert_stochastic(value, shift, r % 2**bits, 64)
    assert fixed.convert_stochastic(value, shift, r, 64) == drawn


# --- quotient ----------------------------------------------------------------------------------


@given(numerator=INT128, divisor=st.integers(1, 2**127 - 1), bits=BITS, data=st.data())
def test_quotient_to_nearest(numerator: int, divisor: int, bits: int, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        numerator = data.draw(ties(divisor))
    clamps = Clamps()
    exact = round(Fraction(numerator, divisor))
    assert fixed.quotient_nearest(numerator, divisor, bits, clamps) == saturated(exact, bits)
    assert clamps.count == int(saturated(exact, bits) != exact)
    assert fixed.quotient(numerator, divisor, Rounding.NEAREST, 9, bits) == saturated(exact, bits)


@given(numerator=INT128, divisor=st.integers(1, 2**127 - 1), r=WORD, bits=BITS, mode=STOCHASTIC)
def test_quotient_stochastic(
    numerator: int, divisor: int, r: int, bits: int, mode: Rounding
) -> None:
    exact = Fraction(numerator, divisor)
    floor = math.floor(exact)
    value = floor + int(Fraction(r, 2**32) < exact - floor)
    clamps = Clamps()
    assert fixed.quotient(numerator, divisor, mode, r, bits, clamps) == saturated(value, bits)
    assert clamps.count == int(saturated(value, bits) != value)


@given(divisor=st.integers(1, 2**40), floor=st.integers(-(2**15), 2**15 - 2), data=st.data())
def test_quotient_steps_up_below_one_threshold(
    divisor: int, floor: int, data: st.DataObject
) -> None:
    """ceil(remainder * 2^32 / D) of the 2^32 draws step up: the nearest probability not below."""
    remainder = data.draw(st.integers(0, divisor - 1))
    numerator = floor * divisor + remainder
    first_down = math.ceil(Fraction(remainder * 2**32, divisor))
    if first_down > 0:
        assert fixed.quotient_stochastic(numerator, divisor, first_down - 1, 16) == floor + 1
    if first_down < 2**32:
        assert fixed.quotient_stochastic(numerator, divisor, first_down, 16) == floor


@given(numerator=INT128, divisor=st.integers(-(2**127), 0), r=WORD, bits=BITS)
def test_quotient_without_a_divisor(numerator: int, divisor: int, r: int, bits: int) -> None:
    limit = 0 if numerator == 0 else saturated(numerator * 2**130, bits)
    for rounding in (Rounding.NEAREST, Rounding.UPDATE):
        clamps = Clamps()
        assert fixed.quotient(numerator, divisor, rounding, r, bits, clamps) == limit
        assert clamps.count == int(numerator != 0)


# --- the rest ----------------------------------------------------------------------------------


@given(value=INT64, bits=BITS)
def test_clamp(value: int, bits: int) -> None:
    clamps = Clamps(5)
    assert fixed.clamp_to(value, bits, clamps) == saturated(value, bits)
    assert clamps.count == 5 + int(saturated(value, bits) != value)
    assert (fixed.limit_min(bits), fixed.limit_max(bits)) == (
        -(2 ** (bits - 1)),
        2 ** (bits - 1) - 1,
    )


@given(value=st.one_of(INT128, st.integers(0, 2**63).map(lambda root: root * root - 1)))
def test_isqrt(value: int) -> None:
    root = fixed.isqrt(value)
    assert root == 0 if value < 0 else root**2 <= value < (root + 1) ** 2


@pytest.mark.parametrize("bits", [16, 32])
def test_gradient_stops_only_at_a_limit_and_only_outwards(bits: int) -> None:
    top, bottom = fixed.limit_max(bits), fixed.limit_min(bits)
    for q in (bottom, bottom + 1, 0, top - 1, top):
        for delta in (-7, 0, 7):
            stopped = (q == top and delta < 0) or (q == bottom and delta > 0)
            assert fixed.gradient_through_convert(delta, q, bits) == (0 if stopped else delta)


def test_accumulator_fits() -> None:
    assert fixed.accumulator_fits(2**32)
    assert not fixed.accumulator_fits(2**32 + 1)
    assert fixed.accumulator_fits(2**31, fraction_bits=30, bias_fraction_bits=0)
    assert not fixed.accumulator_fits(2**31 + 1, fraction_bits=30, bias_fraction_bits=0)
    assert not fixed.accumulator_fits(1, fraction_bits=3, bias_fraction_bits=4)


@settings(max_examples=20)
@given(terms=st.integers(1, 2**32), places=st.integers(0, 31))
def test_what_fits_stays_within_the_accumulator(terms: int, places: int) -> None:
    """Extremes included: -32768 times -32768 in every product, and the smallest bias."""
    if fixed.accumulator_fits(terms, places, 0):
        assert terms * (-32768) ** 2 + (2**31 - 1) * 2**places <= 2**62
        assert terms * (-32768 * 32767) + -(2**31) * 2**places >= -(2**62)


@pytest.mark.parametrize("name", [name for name in generate.FILES if name.startswith("fixed/")])
def test_vectors_are_fresh(name: str) -> None:
    committed = (generate.FOLDER / name).read_text(encoding="ascii")
    assert committed == generate.text(name), "run: python -m tests.vectors.generate"
