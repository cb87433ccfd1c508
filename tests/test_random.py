"""``gvm.random``: Random123's known answers, the layout of the counter, and runs of draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm import random
from gvm.fixed import Rounding
from gvm.random import Purpose
from tests.vectors import generate

SEED = st.integers(0, 2**64 - 1)
SITE = st.integers(0, 2**24 - 1)
STEP = st.integers(0, 2**56 - 1)
PURPOSE = st.sampled_from(list(Purpose))
INDEX = st.one_of(st.integers(0, 100), st.integers(0, 2**42 - 1))


def known_answers() -> list[list[int]]:
    lines = (generate.FOLDER / "random" / "philox4x32_10.txt").read_text(encoding="ascii")
    return [
        [int(word, 16) for word in line.split()]
        for line in lines.splitlines()
        if not line.startswith("#")
    ]


def test_known_answers() -> None:
    answers = known_answers()
    assert len(answers) == 55
    for c0, c1, c2, c3, k0, k1, *output in answers:
        assert list(random.philox4x32_10((c0, c1, c2, c3), (k0, k1))) == output


@given(seed=SEED, site=SITE, step=STEP, purpose=PURPOSE, index=INDEX)
def test_counter(seed: int, site: int, step: int, purpose: Purpose, index: int) -> None:
    """Section 3's layout, written once more as one 128-bit number."""

    def block(number: int) -> bytes:
        counter = number | site << 40 | step << 64 | int(purpose) << 120
        c0, c1, c2, c3 = (counter >> (32 * i) & 0xFFFFFFFF for i in range(4))
        output = random.philox4x32_10((c0, c1, c2, c3), (seed & 0xFFFFFFFF, seed >> 32))
        return b"".join(word.to_bytes(4, "little") for word in output)

    at = 4 * (index % 4)
    word = int.from_bytes(block(index // 4)[at : at + 4], "little")
    assert random.random_word32(seed, site, step, purpose, index) == word
    at = 2 * (index % 8)
    half = int.from_bytes(block(index // 8)[at : at + 2], "little")
    assert random.random_half(seed, site, step, purpose, index) == half


@settings(max_examples=50)
@given(
    seed=SEED,
    site=SITE,
    step=STEP,
    purpose=PURPOSE,
    first=st.one_of(st.integers(0, 40), st.integers(2**34 - 20, 2**34 + 20), st.just(2**42 - 30)),
    count=st.integers(0, 30),
)
def test_runs_are_their_elements(
    seed: int, site: int, step: int, purpose: Purpose, first: int, count: int
) -> None:
    indices = range(first, first + count)
    words = random.words(seed, site, step, purpose, first, count)
    halves = random.halves(seed, site, step, purpose, first, count)
    assert (words.dtype, halves.dtype) == (np.uint32, np.uint16)
    assert words.tolist() == [random.random_word32(seed, site, step, purpose, i) for i in indices]
    assert halves.tolist() == [random.random_half(seed, site, step, purpose, i) for i in indices]


@pytest.mark.parametrize(
    ("site", "step", "index", "message"),
    [
        (2**24, 0, 0, r"random: site must be in \[0, 2\^24\), received 16777216"),
        (-1, 0, 0, r"random: site must be in \[0, 2\^24\), received -1"),
        (0, 2**56, 0, r"random: step must be in \[0, 2\^56\), received 72057594037927936"),
        (0, 0, 2**42, r"random: index must be in \[0, 2\^42\), received 4398046511104"),
    ],
)
def test_invalid_place(site: int, step: int, index: int, message: str) -> None:
    for draw in (random.random_word32, random.random_half):
        with pytest.raises(ValueError, match=message):
            draw(0, site, step, Purpose.USER, index)
    for run in (random.words, random.halves):
        with pytest.raises(ValueError, match=message.replace("index", "first")):
            run(0, site, step, Purpose.USER, index, 0)


def test_invalid_seed_and_run() -> None:
    with pytest.raises(ValueError, match=r"random: seed must be in \[0, 2\^64\)"):
        random.random_word32(2**64, 0, 0, Purpose.USER, 0)
    with pytest.raises(ValueError, match=r"random: first \+ count must be in"):
        random.words(0, 0, 0, Purpose.USER, 2**42 - 1, 2)
    with pytest.raises(ValueError, match=r"random: first \+ count must be in"):
        random.halves(0, 0, 0, Purpose.USER, 0, -1)


@given(seed=SEED, index=st.integers(0, 1000))
def test_roundings_draw_what_they_need(seed: int, index: int) -> None:
    for rounding in Rounding:
        word = half = 0
        if rounding != Rounding.NEAREST:
            word = random.random_word32(seed, 1, 2, Purpose(rounding), index)
            half = random.random_half(seed, 1, 2, Purpose(rounding), index)
        assert random.random_for_quotient(seed, 1, 2, rounding, index) == word
        for shift, expected in ((-1, 0), (0, 0), (1, half), (16, half), (17, word), (99, word)):
            drawn = random.random_for_convert(seed, 1, 2, rounding, shift, index)
            assert drawn == expected


@settings(max_examples=30)
@given(seed=SEED, step=STEP, count=st.integers(0, 60))
def test_permutation_sorts_keys(seed: int, step: int, count: int) -> None:
    def key(i: int) -> tuple[int, int]:
        low, high = (
            random.random_word32(seed, 0, step, Purpose.DATA_ORDER, 2 * i + j) for j in (0, 1)
        )
        return low | high << 32, i

    order = random.permutation(seed, step, count)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(count), key=key)


def test_permutations_of_a_seed_are_published() -> None:
    """A training run resumed anywhere sees its examples in this order."""
    assert random.permutation(1, 0, 10).tolist() == [0, 6, 9, 5, 2, 7, 8, 1, 3, 4]
    assert random.permutation(1, 1, 10).tolist() == [8, 5, 3, 0, 7, 9, 2, 1, 4, 6]


def test_vectors_are_fresh() -> None:
    committed = (generate.FOLDER / "random" / "draws.txt").read_text(encoding="ascii")
    assert committed == generate.text("random/draws.txt"), "run: python -m tests.vectors.generate"
