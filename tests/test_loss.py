"""Losses: merging and comparing are exact."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvm.errors import ProgramError
from gvm.loss import MAX_EXAMPLES, Loss

LOSSES = st.builds(Loss, st.integers(0, 2**62), st.integers(1, 2**20), st.integers(0, 9))


@given(a=LOSSES, b=LOSSES)
def test_comparison_is_that_of_the_means(a: Loss, b: Loss) -> None:
    x, y = (Fraction(loss.total, loss.count) for loss in (a, b))
    assert (a < b, a <= b, a > b, a >= b) == (x < y, x <= y, x > y, x >= y)


def test_equal_means_of_unequal_counts() -> None:
    a, b = Loss(1, 1), Loss(2, 2)
    assert a <= b <= a
    assert not a < b and not a > b
    assert a != b


@given(a=LOSSES, b=LOSSES)
def test_merging_is_addition(a: Loss, b: Loss) -> None:
    assert (a + b).integers == tuple(p + q for p, q in zip(a.integers, b.integers, strict=True))
    assert Loss.sum([a, b]) == Loss.sum([b, a]) == a + b


def test_invalid_beyond_the_largest_count() -> None:
    whole = Loss(1, MAX_EXAMPLES)
    assert (whole + Loss(0, 0)) == whole
    with pytest.raises(ProgramError, match="at most 2\\^22 examples, received 4194305"):
        whole + Loss(1, 1)
