"""The pieces of softmax and of the losses: how close they are, and the labels they refuse."""

from __future__ import annotations

import random

import mpmath
import numpy as np
import pytest

from gvm import _core
from gvm.errors import ProgramError
from gvm.operator import Execution
from gvm.ops import OPERATORS
from gvm.softmax import LN2_AT_40, ONE, exponential, exponential_table, exponentials, logarithm
from gvm.types import Type, i16, i32

LABELLED = ("softmax_cross_entropy", "softmax_cross_entropy_grad", "argmax_correct")


def test_ln2() -> None:
    assert mpmath.nint(mpmath.ldexp(mpmath.ln2, 40)) == LN2_AT_40


@pytest.mark.parametrize("fraction_bits", range(20))
def test_exponentials_are_close(fraction_bits: int) -> None:
    chosen = random.Random(fraction_bits)
    limit = min(22 << fraction_bits, 1 << 24)
    distances = [chosen.randrange(limit) for _ in range(300)] + [0, 1, 255, 256, 65535, 65536]
    for d in [d for d in distances if d < limit] + [limit - 1]:
        exact = mpmath.ldexp(mpmath.exp(mpmath.ldexp(-d, -fraction_bits)), 30)
        assert abs(exponential(d, fraction_bits) - exact) <= 1.5
    assert exponential(0, fraction_bits) == ONE
    assert exponential(limit, fraction_bits) == exponential(2**33, fraction_bits) == 0


def test_tables_are_shared_between_formats() -> None:
    for fraction_bits in range(8, 20):
        for byte in (1, 2):
            table = exponential_table(fraction_bits, byte)
            assert table == exponential_table(fraction_bits - 8, byte - 1)


def test_logarithm_is_close() -> None:
    chosen = random.Random(1)
    totals = [ONE, ONE + 1, 2 * ONE - 1, 2 * ONE, 3 * ONE, (1 << 54) - 1, 1 << 54]
    totals += [chosen.randrange(ONE, 1 << chosen.randrange(31, 54)) for _ in range(500)]
    for total in totals:
        exact = mpmath.ldexp(mpmath.log(mpmath.ldexp(total, -30)), 24)
        assert abs(logarithm(total) - exact) <= 0.51
    assert logarithm(ONE) == 0


@pytest.mark.parametrize("fraction_bits", [0, 8, 13, 19])
def test_cross_entropy_is_close(fraction_bits: int) -> None:
    # Within a unit of 2^-24 of the true loss for ten classes.
    chosen = random.Random(fraction_bits)
    for _ in range(100):
        spread = 1 << chosen.randrange(1, fraction_bits + 5)
        row = [chosen.randrange(-spread, spread) for _ in range(10)]
        scaled = [mpmath.ldexp(z - max(row), -fraction_bits) for z in row]
        exact = mpmath.ldexp(mpmath.log(mpmath.fsum(map(mpmath.exp, scaled))), 24)
        assert abs(logarithm(sum(exponentials(row, fraction_bits))) - exact) <= 1


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
def test_labels_out_of_range_are_refused(name: str, label: int) -> None:
    operator = OPERATORS[name]
    types: list[Type] = [i16(8, -1, 3), i32(0, -1)]
    arrays = [np.zeros((4, 3), np.int16), np.array([0, 2, label, 7], np.int32)]
    attributes = operator.complete({})
    message = f"{name}: label must be in \\[0, 3\\), received {label}"
    with pytest.raises(ProgramError, match=message) as core:
        _core.run_operator(
            operator.opcode,
            list(attributes.values()),
            list(zip(types, arrays, strict=True)),
            local=4,
            offset=0,
            batch=4,
            seed=0,
            step=0,
            site=0,
            level=0,
            threads=1,
        )
    with pytest.raises(ProgramError, match=message) as reference:
        execution = Execution(tuple(types), tuple(types), local=4, batch=4)
        operator.reference(execution, attributes, *(a.astype(np.int64) for a in arrays))
    assert core.value.name == reference.value.name == "bad_input"
    assert core.value.status == reference.value.status


@pytest.mark.parametrize("name", ["softmax", "softmax_cross_entropy_grad"])
def test_gradients_of_an_example_add_up(name: str) -> None:
    # Nearest rounding of 1000 probabilities leaves at most half a unit each.
    operator = OPERATORS[name]
    generator = np.random.default_rng(5)
    logits = generator.integers(-(2**19), 2**19, (3, 1000)).astype(np.int32)
    given = [(i32(16, -1, 1000), logits), (i32(0, -1), np.array([0, 999, 500], np.int32))]
    attributes = operator.complete({"dtype": 2, "fraction_bits": 30, "rounding": 0})
    (output,), clamps = _core.run_operator(
        operator.opcode,
        list(attributes.values()),
        given[: len(operator.inputs)],
        local=3,
        offset=0,
        batch=3,
        seed=0,
        step=0,
        site=0,
        level=0,
        threads=2,
    )
    wanted = 2**30 if name == "softmax" else 0
    assert clamps == 0
    assert (np.abs(np.asarray(output, np.int64).sum(axis=1) - wanted) <= 500).all()
