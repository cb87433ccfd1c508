"""Write the vectors of the arithmetic and of its randomness from their plain Python definitions.

    python -m tests.vectors.generate

The files are committed and published numbers: a line, once there, keeps its meaning for ever.
``tests/test_fixed.py`` and ``tests/test_random.py`` check that the committed files are these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gvm import fixed, random
from gvm.random import Purpose

FOLDER = Path(__file__).parent

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
INT128_MAX = 2**127 - 1
INT128_MIN = -(2**127)


def _some(count: int, stream: int) -> Iterator[int]:
    """``count`` reproducible 128-bit words."""
    for i in range(count):
        block = random.random_block(0, stream, 0, Purpose.USER, i)
        yield sum(word << (32 * k) for k, word in enumerate(block))


def _signed(word: int, bits: int) -> int:
    """The low ``bits`` bits of ``word`` as two's complement."""
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> (bits - 1) else word


def _hex128(value: int) -> str:
    return f"{value & (2**128 - 1):032x}"


def _unique(values: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(values))


# --- convert ---------------------------------------------------------------------------------


def _convert_line(value: int, shift: int, rounding: int, r: int, bits: int) -> str:
    clamps = fixed.Clamps()
    result = fixed.convert(value, shift, fixed.Rounding(rounding), r, bits, clamps)
    return f"{value} {shift} {rounding} {r} {bits} {result} {clamps.count}"


def _threshold(value: int, shift: int) -> list[int]:
    """Draws on both sides of where the stochastic result steps up, and the extremes."""
    random_bits = fixed.convert_random_bits(shift)
    if random_bits == 0:
        return [0, 0xFFFFFFFF]
    top = (1 << random_bits) - 1
    if shift > 32:
        value = (value + (1 << (shift - 33))) >> (shift - 32)
        shift = 32
    missing = (1 << shift) - (value & ((1 << shift) - 1))
    first_up = missing << (random_bits - shift)
    return _unique(r for r in (0, first_up - 1, first_up, top) if 0 <= r <= top)


def _convert_values(shift: int, bits: int) -> list[int]:
    """Values where Convert has a corner: 0, ties, and the limits of the result, seen from A."""
    values = [0, 1, -1, INT64_MAX, INT64_MIN, 2**62, -(2**62)]
    for q in (0, 1, -1, fixed.limit_max(bits), fixed.limit_min(bits)):
        if shift <= 0:
            edges = [q >> -shift, (q >> -shift) + 1, (q >> -shift) - 1]
        else:
            base, half = q << shift, 1 << (shift - 1)
            edges = [base, base - 1, base + half, base + half - 1, base + half + 1, base - half]
        values += edges
    return _unique(v for v in values if INT64_MIN <= v <= INT64_MAX)


def _convert_shifts() -> list[int]:
    """Both ends of every rule: no draw, 16 bits, 32 bits, half up first, wider than the word."""
    left = [-126, -79, -65, -64, -63, -62, -48, -47, -33, -32, -31, -17, -16, -15, -8, -2, -1, 0]
    right = [1, 2, 3, 8, 15, 16, 17, 18, 24, 31, 32, 33, 34, 47, 48, 61, 62, 63, 64, 65, 66]
    return left + right + [79, 94, 95, 96, 97, 98, 126, 127, 128]


def convert_lines() -> Iterator[str]:
    yield "# convert: A s rounding r bits -> value clamps"
    yield "# s = fa - F; rounding 0 is nearest, others stochastic; clamps is 0 or 1."
    yield "# Ties, limits of the result seen from A, limits of A; r on both sides of the step up."
    for bits in (16, 32, 64):
        for shift in _convert_shifts():
            for value in _convert_values(shift, bits):
                yield _convert_line(value, shift, 0, 0, bits)
                if bits != 32 or shift in (1, 16, 17, 32, 33):
                    for r in _threshold(value, shift):
                        yield _convert_line(value, shift, 1, r, bits)
    yield "# Only the low 16 bits of r count where 16 are drawn; every stochastic mode is the same."
    for rounding in (1, 2, 3, 4):
        for r in (0x7FFF, 0x8000, 0x18000, 0xFFFF7FFF, 0xFFFF8000):
            yield _convert_line(8, 4, rounding, r, 16)
    yield "# Values anywhere."
    for word in _some(400, 1):
        value = _signed(word, 64) >> (word >> 64) % 64
        shift = (word >> 72) % 80 - 16
        yield _convert_line(value, shift, (word >> 80) % 2, word >> 96, 16 << (word >> 81) % 2)


# --- quotient --------------------------------------------------------------------------------


def _quotient_line(numerator: int, divisor: int, rounding: int, r: int, bits: int) -> str:
    clamps = fixed.Clamps()
    result = fixed.quotient(numerator, divisor, fixed.Rounding(rounding), r, bits, clamps)
    return f"{_hex128(numerator)} {_hex128(divisor)} {rounding} {r} {bits} {result} {clamps.count}"


def _divisors() -> list[int]:
    """Divisors of every length in 32-bit digits, with the digits that mislead a long division."""
    around = [b + d for b in (2**31, 2**32, 2**63, 2**64, 2**95, 2**96) for d in (-1, 0, 1)]
    misleading = [
        0x80000000_FFFFFFFF,
        0x80000000_00000000_FFFFFFFF,
        0x80000000_FFFFFFFF_FFFFFFFF_FFFFFFFF >> 1,
        0xFFFFFFFF_00000000_00000001,
        0x7FFFFFFF_FFFFFFFF_00000000_00000000,
    ]
    return [1, 2, 3, 7, 100, 65535, *around, *misleading, 2**126, INT128_MAX]


def _first_up(remainder: int, divisor: int) -> int:
    """The smallest r with r * divisor >= remainder * 2^32: the first that does not step up."""
    return -((-remainder << 32) // divisor)


def quotient_lines() -> Iterator[str]:
    yield "# quotient: N D rounding r bits -> value clamps"
    yield "# N and D are 128-bit two's complement in hexadecimal; the rest as in convert.txt."
    yield "# N = q * D + remainder around ties and limits; r on both sides of the step up."
    for divisor in _divisors():
        half = divisor // 2
        for bits in (16, 32):
            top, bottom = fixed.limit_max(bits), fixed.limit_min(bits)
            for q in (0, 1, -1, -2, top, top - 1, bottom, bottom - 1):
                for remainder in _unique([0, 1, half, half + 1, divisor - 1]):
                    numerator = q * divisor + remainder
                    if remainder >= divisor or not INT128_MIN <= numerator <= INT128_MAX:
                        continue
                    yield _quotient_line(numerator, divisor, 0, 0, bits)
                    if bits == 16 and q in (0, -2, top):
                        step = _first_up(remainder, divisor)
                        for r in _unique([0, step - 1, step, 2**32 - 1]):
                            if 0 <= r < 2**32:
                                yield _quotient_line(numerator, divisor, 1, r, bits)
    yield "# A divisor that is not positive: the limit on the side of N, a clamp; 0 for 0."
    for divisor in (0, -1, INT64_MIN, INT128_MIN):
        for numerator in (0, 1, -1, INT64_MAX, INT64_MIN, INT128_MAX, INT128_MIN):
            for rounding in (0, 1):
                yield _quotient_line(numerator, divisor, rounding, 0, 16)
    yield "# Extremes, in the widest result."
    for divisor in (1, 2, 3, 2**31, 2**32 - 1, 2**62, INT64_MAX, 2**64 - 1, INT128_MAX):
        for numerator in (INT64_MAX, INT64_MIN, INT128_MAX, INT128_MIN, INT128_MIN + 1):
            for rounding in (0, 1):
                yield _quotient_line(numerator, divisor, rounding, 0x9E3779B9, 64)
    yield "# Long division where the estimate of a digit is too large."
    for high in (
        0x7FFFFFFF_FFFFFFFF,
        0x7FFFFFFF_80000000,
        0x40000000_00000000,
        0x3FFFFFFF_FFFFFFFF,
    ):
        for divisor in (0x80000000_00000001, 0x40000000_FFFFFFFF, 2**95 + 2**64 - 1, 2**33 - 1):
            for numerator in (high << 64, (high << 64) | (2**64 - 1), -(high << 64)):
                yield _quotient_line(numerator, divisor, 0, 0, 64)
    yield "# Values anywhere, of every length."
    for a, b in zip(_some(500, 2), _some(500, 3), strict=True):
        numerator = _signed(a, 128) >> (b >> 8) % 128
        divisor = max(1, (b >> 1) >> (a >> 8) % 127)
        yield _quotient_line(numerator, divisor, b % 2, a >> 96, 16 << (a % 3))


# --- square root, limits ---------------------------------------------------------------------


def isqrt_lines() -> Iterator[str]:
    yield "# isqrt: v -> root; v is 128-bit two's complement in hexadecimal"
    yield "# Squares and their neighbours, roots of every length; limits; a negative has root 0."
    roots = [r for k in range(64) for r in ((1 << k) - 1, 1 << k, (1 << k) + 1)]
    roots += [13043817825332782212, 6074000999, 3037000499, 4294967295]
    values = [v for root in roots for v in (root * root - 1, root * root, root * root + 1)]
    values += [INT128_MAX, INT128_MAX - 1, INT64_MAX, 2**64 - 1, 2**64, -2, INT64_MIN, INT128_MIN]
    values += [word >> 1 + (word % 127) for word in _some(200, 4)]
    for value in _unique(v for v in values if v <= INT128_MAX):
        yield f"{_hex128(value)} {fixed.isqrt(value)}"


def rule_lines() -> Iterator[str]:
    yield "# gradient: delta q bits -> the gradient let through a Convert whose result was q"
    for bits in (16, 32):
        top, bottom = fixed.limit_max(bits), fixed.limit_min(bits)
        for q in (0, 1, -1, top, top - 1, bottom, bottom + 1):
            for delta in (0, 1, -1, 32767, -32768, INT64_MAX, INT64_MIN):
                value = fixed.gradient_through_convert(delta, q, bits)
                yield f"gradient {delta} {q} {bits} {value}"
    yield "# accumulator: terms has_bias fa Fb -> whether |sum| <= 2^62 is proved"
    for terms in (0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, INT64_MAX):
        yield f"accumulator {terms} 0 0 0 {int(fixed.accumulator_fits(terms))}"
        for places in (-1, 0, 1, 29, 30, 31, 32, 79):
            for bias_fraction_bits in (-32, 0, 15):
                fraction_bits = bias_fraction_bits + places
                fits = fixed.accumulator_fits(terms, fraction_bits, bias_fraction_bits)
                yield f"accumulator {terms} 1 {fraction_bits} {bias_fraction_bits} {int(fits)}"


# --- randomness ------------------------------------------------------------------------------


def draw_lines() -> Iterator[str]:
    yield "# draws: seed site step purpose index -> 32-bit draw, 16-bit draw"
    yield "# Every field of the counter at its ends; indices across words, blocks and 2^32 blocks."

    def line(seed: int, site: int, step: int, purpose: Purpose, index: int) -> str:
        word = random.random_word32(seed, site, step, purpose, index)
        half = random.random_half(seed, site, step, purpose, index)
        return f"{seed} {site} {step} {int(purpose)} {index} {word} {half}"

    edges = [2**32, 2**34 - 1, 2**34, 2**35 - 1, 2**35, 2**42 - 8, 2**42 - 1]
    for index in [*range(17), *edges]:
        yield line(0x0123456789ABCDEF, 3, 5, Purpose.FORWARD, index)
    for purpose in Purpose:
        yield line(1, 2, 3, purpose, 4)
    for seed in (0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1):
        yield line(seed, 0, 0, Purpose.UPDATE, 0)
    for site in (0, 1, 255, 256, 2**16, 2**24 - 1):
        yield line(7, site, 0, Purpose.BACKWARD, 2**42 - 1)
    for step in (0, 1, 2**32 - 1, 2**32, 2**55, 2**56 - 1):
        yield line(7, 2**24 - 1, step, Purpose.USER, 1)


FILES = {
    "fixed/convert.txt": convert_lines,
    "fixed/quotient.txt": quotient_lines,
    "fixed/isqrt.txt": isqrt_lines,
    "fixed/rules.txt": rule_lines,
    "random/draws.txt": draw_lines,
}


def text(name: str) -> str:
    """What the file ``name`` of ``FILES`` must hold."""
    return "".join(f"{line}\n" for line in FILES[name]())


def main() -> None:
    for name in FILES:
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(name), encoding="ascii")


if __name__ == "__main__":
    main()
