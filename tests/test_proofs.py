"""Proofs, for all inputs, that the forms in ``gvm/_core/fixed.h`` equal their definitions.

Each function below that is named as one in fixed.h is that function, statement by statement, on
bit-vectors. A definition is the formula of docs/arithmetic.md in bits enough that nothing can wrap.
Shifts are fixed per query, since z3 decides those in milliseconds. Products of two unknowns are
hard for it, so a product is a free variable within its bounds, and algebra carries the rest.

``test_encodings_are_the_core`` ties the encodings to the published vectors, which the core meets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import z3

WIDE = 200
"""Bits of a definition: no sum, shift or product in this file reaches them."""

Term = Any
VECTORS = Path(__file__).parent / "vectors" / "fixed"


def prove(claim: Term, *assumptions: Term, note: object = "") -> None:
    """Fail with a counterexample unless ``claim`` follows from ``assumptions``."""
    solver = z3.Solver()
    solver.set("timeout", 30_000)
    solver.add(*assumptions)
    solver.add(z3.Not(claim))
    answer = solver.check()
    counterexample = solver.model() if answer == z3.sat else ""
    assert answer == z3.unsat, f"{note}: {answer} {counterexample}"


def signed(value: Term) -> Term:
    """A two's-complement value in ``WIDE`` bits."""
    return z3.SignExt(WIDE - value.size(), value)


def unsigned(value: Term) -> Term:
    """An unsigned value in ``WIDE`` bits."""
    return z3.ZeroExt(WIDE - value.size(), value)


def bit(condition: Term, width: int) -> Term:
    """1 or 0 as ``condition`` holds or not."""
    return z3.If(condition, z3.BitVecVal(1, width), z3.BitVecVal(0, width))


def within(value: Term, power: int) -> Term:
    """-2^power <= value <= 2^power, signed."""
    return z3.And(value <= 1 << power, value >= -(1 << power))


# --- definitions -----------------------------------------------------------------------------


def define_nearest(value: Term, s: int) -> Term:
    """The integer nearest to value / 2^s, half to even."""
    floor = value >> s
    twice = 2 * (value - (floor << s))
    odd = z3.Extract(0, 0, floor) == 1
    up = z3.Or(twice > 1 << s, z3.And(twice == 1 << s, odd))
    return floor + bit(up, WIDE)


def define_stochastic(value: Term, s: int, r: Term) -> Term:
    """Section 2's stochastic Convert before the clamp; r has 16 bits for s <= 16, else 32."""
    if s > 32:
        value = (value + (1 << (s - 33))) >> (s - 32)
        s = 32
    return (value + z3.LShR(unsigned(r), r.size() - s)) >> s


def define_clamp(value: Term, bits: int) -> Term:
    """value, or the limit of ``bits`` bits that it passes."""
    top, bottom = (1 << (bits - 1)) - 1, -(1 << (bits - 1))
    limit = z3.If(value > top, z3.BitVecVal(top, WIDE), z3.BitVecVal(bottom, WIDE))
    return z3.If(z3.And(value <= top, value >= bottom), value, limit)


# --- the functions of fixed.h ----------------------------------------------------------------


def round_nearest(A: Term, s: int) -> Term:
    if s >= 64:
        return z3.BitVecVal(0, 64)
    q = A >> s
    discarded = A & ((1 << s) - 1)
    half = z3.BitVecVal(1 << (s - 1), 64)
    up = z3.Or(z3.UGT(discarded, half), z3.And(discarded == half, (q & 1) != 0))
    return q + bit(up, 64)


def round_half_up(A: Term, s: int) -> Term:
    if s >= 64:
        return z3.BitVecVal(0, 64)
    return (A >> s) + ((A >> (s - 1)) & 1)


def add_noise_and_shift(A: Term, s: int, noise: Term) -> Term:
    discarded = A & ((1 << s) - 1)
    return (A >> s) + z3.LShR(discarded + z3.ZeroExt(32, noise), s)


def convert_stochastic(A: Term, s: int, r: Term) -> Term:
    """For s >= 1, before the clamp; r has 32 bits."""
    if s <= 16:
        return add_noise_and_shift(A, s, z3.LShR(r & 0xFFFF, 16 - s))
    if s <= 32:
        return add_noise_and_shift(A, s, z3.LShR(r, 32 - s))
    return add_noise_and_shift(round_half_up(A, s - 32), 32, r)


def shift_left_saturating(A: Term, s: int, bits: int) -> tuple[Term, Term]:
    """The value and whether it was clamped."""
    top = (1 << (bits - 1)) - 1
    magnitude = top + 1
    if s < -63:
        past = z3.BoolVal(True)
    else:
        below = z3.And(A < 0, z3.UGE(~A, z3.BitVecVal(magnitude >> -s, 64)))
        past = z3.Or(A > z3.BitVecVal(top >> -s, 64), below)
    past = z3.And(A != 0, past)
    limit = z3.If(A < 0, z3.BitVecVal(-magnitude, 64), z3.BitVecVal(top, 64))
    return z3.If(past, limit, A << min(-s, 64)), past


def nearest_lane(A: Term, s: int) -> Term:
    q = A >> s
    discarded = A & ((1 << s) - 1)
    bump = ((1 << (s - 1)) - 1) + (q & 1)
    return q + z3.LShR(discarded + bump, s)


def nearest_bounded(A: Term, s: int) -> Term:
    return (A + ((1 << (s - 1)) - 1) + ((A >> s) & 1)) >> s


def stochastic_lane(A: Term, s: int, noise: Term) -> Term:
    discarded = A & ((1 << s) - 1)
    return (A >> s) + z3.LShR(discarded + z3.ZeroExt(A.size() - 32, noise), s)


def stochastic_bounded(A: Term, s: int, noise: Term) -> Term:
    return (A + z3.ZeroExt(A.size() - 32, noise)) >> s


# --- Convert ---------------------------------------------------------------------------------


def test_round_nearest() -> None:
    A = z3.BitVec("A", 64)
    for s in range(1, 130):
        prove(signed(round_nearest(A, s)) == define_nearest(signed(A), s), note=s)


def test_convert_stochastic() -> None:
    A, r = z3.BitVec("A", 64), z3.BitVec("r", 32)
    for s in range(1, 130):
        drawn = z3.Extract(15, 0, r) if s <= 16 else r
        prove(signed(convert_stochastic(A, s, r)) == define_stochastic(signed(A), s, drawn), note=s)


def test_round_up_has_the_probability_of_what_is_discarded() -> None:
    """Of the 2^b draws exactly discarded * 2^(b - s) step up: those from one threshold on."""
    A, r = z3.BitVec("A", 64), z3.BitVec("r", 32)
    for s in range(1, 33):
        b = 16 if s <= 16 else 32
        floor = A >> s
        discarded = signed(A) - (signed(floor) << s)
        drawn = unsigned(z3.Extract(b - 1, 0, r))
        up = drawn >= (((1 << s) - discarded) << (b - s))
        prove(convert_stochastic(A, s, r) == floor + bit(up, 64), note=s)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_shift_left_saturating(bits: int) -> None:
    A = z3.BitVec("A", 64)
    for s in range(-130, 1):
        value, clamped = shift_left_saturating(A, s, bits)
        exact = signed(A) << -s
        same = z3.And(
            signed(value) == define_clamp(exact, bits), clamped == (exact != signed(value))
        )
        prove(same, note=s)


@pytest.mark.parametrize("width", [32, 64])
def test_forms_for_any_lane(width: int) -> None:
    A, noise = z3.BitVec("A", width), z3.BitVec("noise", 32)
    for s in range(1, width):
        prove(signed(nearest_lane(A, s)) == define_nearest(signed(A), s), note=s)
    for s in range(1, min(32, width - 1) + 1):
        form = stochastic_lane(A, s, noise)
        definition = (signed(A) + unsigned(noise)) >> s
        prove(signed(form) == definition, z3.ULE(noise, (1 << s) - 1), note=s)


@pytest.mark.parametrize("width", [32, 64])
def test_forms_for_bounded_lanes(width: int) -> None:
    A, noise = z3.BitVec("A", width), z3.BitVec("noise", 32)
    bounded = within(A, width - 2)
    for s in range(1, width - 1):
        prove(signed(nearest_bounded(A, s)) == define_nearest(signed(A), s), bounded, note=s)
    for s in range(1, min(32, width - 2) + 1):
        form = stochastic_bounded(A, s, noise)
        definition = (signed(A) + unsigned(noise)) >> s
        prove(signed(form) == definition, bounded, z3.ULE(noise, (1 << s) - 1), note=s)


def test_bounds_are_needed() -> None:
    """The proofs can fail: one past the bound there are counterexamples."""
    A = z3.BitVec("A", 32)
    with pytest.raises(AssertionError, match="sat"):
        prove(signed(nearest_bounded(A, 30)) == define_nearest(signed(A), 30))
    with pytest.raises(AssertionError, match="sat"):
        prove(signed((A + 4) >> 3) == define_nearest(signed(A), 3), within(A, 30))


def test_accumulator_fits() -> None:
    terms = z3.BitVec("terms", 64)
    limit = 1 << 62
    prove(z3.ULE(terms, limit >> 30) == (unsigned(terms) << 30 <= limit))
    for places in range(32):
        bias = 1 << (31 + places)
        form = z3.And(
            z3.ULE(terms, limit >> 30), z3.ULE(z3.BitVecVal(bias, 64), limit - (terms << 30))
        )
        prove(form == ((unsigned(terms) << 30) + bias <= limit), note=places)


# --- 128 bits --------------------------------------------------------------------------------


def limbs(name: str) -> tuple[Term, Term, Term]:
    """A 128-bit unknown with its low and high limb."""
    value = z3.BitVec(name, 128)
    return value, z3.Extract(63, 0, value), z3.Extract(127, 64, value)


def test_sums_and_order_of_limbs() -> None:
    a, a_lo, a_hi = limbs("a")
    b, b_lo, b_hi = limbs("b")
    lo = a_lo + b_lo
    prove(a + b == z3.Concat(a_hi + b_hi + bit(z3.ULT(lo, a_lo), 64), lo))
    prove(a - b == z3.Concat(a_hi - b_hi - bit(z3.ULT(a_lo, b_lo), 64), a_lo - b_lo))
    less_unsigned = z3.If(a_hi != b_hi, z3.ULT(a_hi, b_hi), z3.ULT(a_lo, b_lo))
    less_signed = z3.If(a_hi != b_hi, a_hi < b_hi, z3.ULT(a_lo, b_lo))
    prove(less_unsigned == z3.ULT(a, b))
    prove(less_signed == (a < b))
    sign = z3.If(a_lo < 0, z3.BitVecVal(-1, 64), z3.BitVecVal(0, 64))
    prove((a_hi == sign) == within_int64(a))


def within_int64(value: Term) -> Term:
    return z3.And(signed(value) >= -(1 << 63), signed(value) < 1 << 63)


def test_shifts_of_limbs() -> None:
    v, lo, hi = limbs("v")
    zero = z3.BitVecVal(0, 64)
    sign = z3.If(hi < 0, z3.BitVecVal(-1, 64), zero)
    for n in range(1, 128):
        if n >= 64:
            left = z3.Concat(lo << (n - 64), zero)
            right = z3.Concat(zero, z3.LShR(hi, n - 64))
            arithmetic = z3.Concat(sign, hi >> (n - 64))
        else:
            left = z3.Concat((hi << n) | z3.LShR(lo, 64 - n), lo << n)
            right = z3.Concat(z3.LShR(hi, n), z3.LShR(lo, n) | (hi << (64 - n)))
            arithmetic = z3.Concat(hi >> n, z3.LShR(lo, n) | (hi << (64 - n)))
        prove(left == v << n, note=n)
        prove(right == z3.LShR(v, n), note=n)
        prove(arithmetic == v >> n, note=n)


def test_bit_length() -> None:
    v = z3.BitVec("v", 64)
    rest, n = v, z3.BitVecVal(0, 64)
    for step in (32, 16, 8, 4, 2, 1):
        high = z3.LShR(rest, step)
        rest, n = z3.If(high != 0, high, rest), z3.If(high != 0, n + step, n)
    n = z3.If(rest != 0, n + 1, z3.BitVecVal(0, 64))
    one = z3.BitVecVal(1, WIDE)
    prove(unsigned(v) < one << unsigned(n))
    prove(z3.Implies(n != 0, unsigned(v) >= one << (unsigned(n) - 1)))
    prove((n == 0) == (v == 0))


LARGEST_PRODUCT = (2**32 - 1) ** 2
"""Of two 32-bit words."""


def test_mul_unsigned_combines_four_products() -> None:
    p00, p01, p10, p11 = z3.BitVecs("p00 p01 p10 p11", 64)
    bounds = [z3.ULE(p, LARGEST_PRODUCT) for p in (p00, p01, p10, p11)]
    low = 0xFFFFFFFF
    middle = z3.LShR(p00, 32) + (p01 & low) + (p10 & low)
    lo = (middle << 32) | (p00 & low)
    hi = p11 + z3.LShR(p01, 32) + z3.LShR(p10, 32) + z3.LShR(middle, 32)
    exact = unsigned(p00) + ((unsigned(p01) + unsigned(p10)) << 32) + (unsigned(p11) << 64)
    prove(unsigned(z3.Concat(hi, lo)) == exact, *bounds)


def identity(left: Term, right: Term) -> None:
    """Two polynomials are one."""
    prove(z3.simplify(left - right, som=True) == 0)


def test_products_are_sums_of_their_parts() -> None:
    """The algebra around the free products: ``base`` is 2^32 or 2^64, a sign bit counts it once."""
    a0, a1, b0, b1, sa, sb, base = z3.Ints("a0 a1 b0 b1 sa sb base")
    identity(
        (a0 + a1 * base) * (b0 + b1 * base),
        a0 * b0 + (a0 * b1 + a1 * b0) * base + a1 * b1 * base * base,
    )
    # mul(int64, int64): what is left over is a multiple of base^2 = 2^128.
    identity(
        (a0 - sa * base) * (b0 - sb * base),
        a0 * b0 - (sa * b0 + sb * a0) * base + sa * sb * base * base,
    )
    # mul(Int128, int64): a1 is the high limb, signed, so all that base^2 multiplies is dropped.
    identity(
        (a0 + a1 * base) * (b0 - sb * base),
        a0 * b0 + (a1 * b0 - sb * a0) * base - sb * a1 * base * base,
    )


# --- quotient --------------------------------------------------------------------------------


def test_scale_by_random() -> None:
    """floor(r * d / 2^32) from r * low and r * high, in 64 and in 128 bits; no carry is lost."""
    low, high = z3.BitVecs("low high", 64)
    bounds = [z3.ULE(p, LARGEST_PRODUCT) for p in (low, high)]
    narrow = z3.LShR(low, 32) + high
    prove(unsigned(narrow) == (unsigned(low) + (unsigned(high) << 32)) >> 32, *bounds)

    # r * d.lo < 2^96 gives a scaled 64-bit word; r * d.hi < 2^95 since d < 2^127.
    product_lo, product_hi = z3.BitVecs("product_lo product_hi", 128)
    scaled_lo = z3.ZeroExt(64, z3.Extract(95, 32, product_lo))
    wide = scaled_lo + (product_hi << 32)
    exact = (unsigned(product_lo) + (unsigned(product_hi) << 64)) >> 32
    prove(
        unsigned(wide) == exact,
        z3.ULE(product_lo, (2**64 - 1) * (2**32 - 1)),
        z3.ULE(product_hi, (2**63 - 1) * (2**32 - 1)),
    )


def test_step_up_is_decided_by_the_scaled_divisor() -> None:
    """r * D < remainder * 2^32 iff floor(r * D / 2^32) < remainder, for any product."""
    product, remainder = z3.BitVec("product", 160), z3.BitVec("remainder", 127)
    wide, rest = unsigned(product), unsigned(remainder)
    prove((wide < rest << 32) == ((wide >> 32) < rest))


def test_nearest_of_a_narrow_quotient() -> None:
    """2 * remainder against D, without the doubling."""
    D, remainder = z3.BitVecs("D remainder", 64)
    range_ = [D > 0, remainder >= 0, remainder < D]
    twice = 2 * signed(remainder)
    prove((remainder > D - remainder) == (twice > signed(D)), *range_)
    prove((remainder == D - remainder) == (twice == signed(D)), *range_)


def test_doubled_remainder_of_a_wide_quotient() -> None:
    D, remainder = z3.BitVecs("D remainder", 128)
    doubled = remainder << 1
    range_ = [D > 0, remainder >= 0, remainder < D]
    prove(z3.UGT(doubled, D) == (2 * signed(remainder) > signed(D)), *range_)
    prove((doubled == D) == (2 * signed(remainder) == signed(D)), *range_)


def test_floor_from_the_machines_division() -> None:
    """N = t * D + m, |m| < D, m of N's sign: where m < 0, the floor is t - 1 and leaves m + D."""
    t, D, m = z3.Ints("t D m")
    identity(t * D + m, (t - 1) * D + (m + D))
    prove(z3.And(m + D > 0, m + D < D), D > 0, m < 0, m > -D)
    # And from the division of a magnitude: -N = a * D + b, b > 0, has the floor -(a + 1).
    identity(-(t * D + m), (-t - 1) * D + (D - m))
    prove(z3.And(D - m > 0, D - m < D), D > 0, m > 0, m < D)


# --- the encodings ---------------------------------------------------------------------------


def constant(value: int, width: int) -> Term:
    return z3.BitVecVal(value, width)


def evaluate(term: Term) -> int:
    return int(z3.simplify(term).as_signed_long())


def test_encodings_are_the_core() -> None:
    """On published cases that are not clamped, every encoding gives the published value."""
    lines = (VECTORS / "convert.txt").read_text(encoding="ascii").splitlines()
    cases = [tuple(map(int, line.split())) for line in lines if not line.startswith("#")]
    tried = 0
    for A, s, rounding, r, bits, value, clamps in cases[::5]:
        wide = constant(A, 64)
        if s <= 0:
            result, clamped = shift_left_saturating(wide, s, bits)
            assert (evaluate(result), z3.is_true(z3.simplify(clamped))) == (value, clamps == 1)
            continue
        if clamps:
            continue
        if rounding == 0:
            forms: list[Callable[[Term, int], Term]] = [round_nearest]
            forms += [nearest_lane] if s <= 63 else []
            forms += [nearest_bounded] if s <= 62 and abs(A) <= 2**62 else []
            assert all(evaluate(form(wide, s)) == value for form in forms)
        else:
            assert evaluate(convert_stochastic(wide, s, constant(r, 32))) == value
        tried += 1
    assert tried > 300
