"""The core's tables of unary functions against float64 and mpmath.

By default every entry of every table is compared: with float64 where that is accurate enough to
decide the rounding, else with the exact value (all undecided entries, or a sample of the formats in
which float64 decides little). ``pytest -m slow`` computes every entry's exact value.
"""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from gvm import _core
from gvm.errors import HostError
from gvm.functions import BY_NAME, FUNCTIONS, Function, exact_entry

Format = tuple[int, int, int]

COMMON: tuple[Format, ...] = (
    (8, 8, 16),
    (12, 12, 16),
    (15, 15, 16),
    (12, 8, 16),
    (8, 24, 32),
    (12, 28, 32),
    (15, 30, 32),
)
EXTREME: tuple[Format, ...] = (
    (-32, -32, 16),
    (-32, -32, 32),
    (-32, 63, 32),
    (47, 47, 16),
    (47, 63, 32),
    (47, -32, 16),
    (31, 31, 32),
    (16, 15, 16),
    (14, 14, 16),
    (0, 0, 16),
    (0, -1, 16),
    (0, 16, 32),
    (-3, -4, 16),
    (4, 3, 16),
    (7, 63, 32),
)
INPUTS = np.arange(-32768, 32768)


def name_of(value: object) -> str:
    return value.name if isinstance(value, Function) else str(value)


def by_input(table: np.ndarray) -> np.ndarray:
    return table[INPUTS & 0xFFFF]


def compare_exactly(function: Function, form: Format, inputs: list[int]) -> None:
    in_bits, out_bits, bits = form
    values, clamped = _core.unary_table(function.number, in_bits, out_bits, bits)
    for q in inputs:
        expected = exact_entry(function.name, q, in_bits, out_bits, bits)
        assert (int(values[q & 0xFFFF]), bool(clamped[q & 0xFFFF])) == expected, (form, q)


@pytest.mark.parametrize("form", COMMON + EXTREME, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
def test_every_entry_is_the_rounded_real_value(function: Function, form: Format) -> None:
    in_bits, out_bits, bits = form
    table, flags = _core.unary_table(function.number, in_bits, out_bits, bits)
    assert table.shape == flags.shape == (65536,)
    assert table.dtype == np.int32 and flags.dtype == np.uint8
    values, clamped = by_input(table).astype(np.float64), by_input(flags)

    with np.errstate(over="ignore"):
        scaled = np.ldexp(function.real(np.ldexp(INPUTS.astype(np.float64), -in_bits)), out_bits)
    # A generous bound on float64's error: 2^-48 of the value, and of 1 where terms cancel.
    finite = np.where(np.isinf(scaled), 0, scaled)
    doubt = (np.abs(finite) + 2.0**out_bits) * 2.0**-48 + 2.0**-40
    limit = 2.0 ** (bits - 1)
    expected = np.clip(np.rint(scaled), -limit, limit - 1)
    decided = np.abs(finite - np.floor(finite) - 0.5) > doubt
    decided &= doubt < 0.25
    decided |= np.abs(scaled) > 2 * limit
    wrong = decided & ((values != expected) | (clamped != (np.rint(scaled) != expected)))
    assert not wrong.any(), INPUTS[wrong][:5]

    rest = [int(q) for q in INPUTS[~decided]]
    chosen = random.Random(f"{function.name} {form}")
    if len(rest) > 300:
        rest = chosen.sample(rest, 150)
    edges = [-32768, -32767, -2, -1, 0, 1, 2, 3, 16384, 32766, 32767]
    compare_exactly(function, form, edges + rest + chosen.sample(range(-32768, 32768), 20))


@pytest.mark.slow
@pytest.mark.parametrize("form", ((8, 8, 16), (12, 12, 16), (12, 28, 32), (15, 15, 16)), ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
def test_every_entry_is_the_exact_value(
    function: Function, form: Format, request: pytest.FixtureRequest
) -> None:
    if "slow" not in request.config.option.markexpr:
        pytest.skip("ten seconds each: run with -m slow")
    compare_exactly(function, form, INPUTS.tolist())


def test_ties_that_float64_cannot_see() -> None:
    # softplus(x) lies above x, gelu(x) and silu(x) below: at half a unit each has its own rounding.
    for q in (200, 600, 20000):  # x = q / 2, rounded to whole numbers
        assert by_input(_core.unary_table(8, 0, -1, 16)[0])[32768 + q + 1] == (q + 2) // 2
        assert by_input(_core.unary_table(6, 0, -1, 16)[0])[32768 + q + 1] == q // 2
        assert by_input(_core.unary_table(7, 0, -1, 16)[0])[32768 + q + 1] == q // 2


def test_poles_and_undefined_inputs() -> None:
    maximum, minimum = (32767, 1), (-32768, 1)
    expected = {
        "log": (minimum, minimum),
        "sqrt": ((0, 0), (0, 0)),
        "rsqrt": (maximum, maximum),
        "reciprocal": (maximum, None),
        "sqrt_derivative": (maximum, (0, 0)),
        "rsqrt_derivative": (minimum, (0, 0)),
        "reciprocal_derivative": (minimum, None),
    }
    for name, (at_zero, left) in expected.items():
        values, clamped = _core.unary_table(BY_NAME[name].number, 8, 8, 16)
        assert (values[0], clamped[0]) == at_zero
        for q in (-1, -256, -32768):
            if left is not None:
                assert (values[q & 0xFFFF], clamped[q & 0xFFFF]) == left


def test_derivatives_are_derivatives() -> None:
    x = np.linspace(0.25, 3.0, 23)
    step = 2.0**-17
    for function in FUNCTIONS:
        if function.derivative is None:
            continue
        slope = (function.real(x + step) - function.real(x - step)) / (2 * step)
        assert np.allclose(slope, BY_NAME[function.derivative].real(x), rtol=1e-6, atol=1e-8)


def test_numbers_are_published() -> None:
    assert [f.number for f in FUNCTIONS] == list(range(1, len(FUNCTIONS) + 1))
    assert [f.name for f in FUNCTIONS[:13]] == (
        "exp log tanh logistic erf gelu silu softplus sqrt rsqrt reciprocal sin cos".split()
    )


@pytest.mark.parametrize(
    "arguments", [(0, 8, 8, 16), (23, 8, 8, 16), (1, 48, 8, 16), (1, 8, 64, 16), (1, 8, 8, 8)]
)
def test_invalid_arguments_are_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(HostError):
        _core.unary_table(*arguments)


def test_exact_entry_rounds_half_to_even() -> None:
    # sqrt(9/4) = 1.5 and sqrt(25/4) = 2.5 to whole numbers; reciprocal(2) = 0.5, of -2/3 below -1.
    assert exact_entry("sqrt", 9, 2, 0, 16) == (2, False)
    assert exact_entry("sqrt", 25, 2, 0, 16) == (2, False)
    assert exact_entry("reciprocal", 2, 0, 0, 16) == (0, False)
    assert exact_entry("reciprocal", -2, 2, 0, 16) == (-2, False)
    assert exact_entry("logistic_derivative", 0, 0, 1, 16) == (0, False)
    assert Fraction(exact_entry("exp", 1, 0, 40, 32)[0]) == 2**31 - 1
