"""Philox4x32-10 draws, each a function of where it is used: the twin of ``gvm/_core/random.h``.

A draw depends on the seed, the rounding site, the step, the purpose and the element's row-major
index in the logical tensor with the global batch index, and on nothing else (docs/arithmetic.md,
section 3).

``random_word32`` and ``random_half`` are the definition, on plain integers. ``words`` and
``halves`` are the same draws for a run of elements, in NumPy; ``permutation`` orders a data set
with them.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gvm.fixed import Rounding, convert_random_bits

INDEX_LIMIT = 1 << 42
SITE_LIMIT = 1 << 24
STEP_LIMIT = 1 << 56
SEED_LIMIT = 1 << 64

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


class Purpose(IntEnum):
    """What a draw is for. Published numbers; 0 is none."""

    FORWARD = 1
    BACKWARD = 2
    UPDATE = 3
    OPTIMIZER_STATE = 4
    DROPOUT = 5
    INITIALISATION = 6
    DATA_ORDER = 7
    USER = 8


Words = tuple[int, int, int, int]


def philox4x32_10(counter: Words, key: tuple[int, int]) -> Words:
    """Ten rounds of Philox4x32 on four counter words and two key words, least significant first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = _MULTIPLIERS[0] * c0
        p1 = _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _WORD, (p0 >> 32) ^ c3 ^ k1, p0 & _WORD
        k0 = (k0 + _KEY_STEPS[0]) & _WORD
        k1 = (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


def _check_range(name: str, value: int, limit: int) -> None:
    if not 0 <= value < limit:
        raise ValueError(
            f"random: {name} must be in [0, 2^{limit.bit_length() - 1}), received {value}"
        )


def _check_place(seed: int, site: int, step: int) -> None:
    _check_range("seed", seed, SEED_LIMIT)
    _check_range("site", site, SITE_LIMIT)
    _check_range("step", step, STEP_LIMIT)


def _counter(site: int, step: int, purpose: Purpose, block: int) -> Words:
    return (
        block & _WORD,
        (site << 8) | (block >> 32),
        step & _WORD,
        (int(purpose) << 24) | (step >> 32),
    )


def random_block(seed: int, site: int, step: int, purpose: Purpose, block: int) -> Words:
    """The four words of a block: elements ``4 * block ...`` of 32-bit draws.

    Raises ValueError unless block < 2^40, site < 2^24, step < 2^56 and seed < 2^64.
    """
    _check_place(seed, site, step)
    _check_range("block", block, INDEX_LIMIT >> 2)
    return philox4x32_10(_counter(site, step, purpose, block), (seed & _WORD, seed >> 32))


def random_word32(seed: int, site: int, step: int, purpose: Purpose, index: int) -> int:
    """The 32-bit draw of element ``index``: word ``index % 4`` of block ``index // 4``."""
    _check_range("index", index, INDEX_LIMIT)
    return random_block(seed, site, step, purpose, index >> 2)[index & 3]


def random_half(seed: int, site: int, step: int, purpose: Purpose, index: int) -> int:
    """The 16-bit draw of element ``index``: half-word ``index % 8`` of block ``index // 8``."""
    _check_range("index", index, INDEX_LIMIT)
    word = random_block(seed, site, step, purpose, index >> 3)[(index & 7) >> 1]
    return (word >> (16 * (index & 1))) & 0xFFFF


def random_for_convert(
    seed: int, site: int, step: int, rounding: Rounding, shift: int, index: int
) -> int:
    """The ``r`` of ``convert`` at an element; 0 where that draws nothing."""
    bits = 0 if rounding == Rounding.NEAREST else convert_random_bits(shift)
    if bits == 0:
        return 0
    draw = random_half if bits == 16 else random_word32
    return draw(seed, site, step, Purpose(rounding), index)


def random_for_quotient(seed: int, site: int, step: int, rounding: Rounding, index: int) -> int:
    """The ``r`` of ``quotient`` at an element; 0 where that draws nothing."""
    if rounding == Rounding.NEAREST:
        return 0
    return random_word32(seed, site, step, Purpose(rounding), index)


def _blocks(
    seed: int, site: int, step: int, purpose: Purpose, first: int, count: int
) -> NDArray[np.uint32]:
    """Blocks ``first ... first + count - 1``, shape (count, 4)."""
    _check_place(seed, site, step)
    low = np.uint64(_WORD)
    half = np.uint64(32)
    block = np.arange(first, first + count, dtype=np.uint64)
    _, site_word, step_word, purpose_word = _counter(site, step, purpose, 0)
    c0 = block & low
    c1 = np.uint64(site_word) | (block >> half)
    c2 = np.full(count, step_word, np.uint64)
    c3 = np.full(count, purpose_word, np.uint64)
    k0, k1 = seed & _WORD, seed >> 32
    for _ in range(_ROUNDS):
        p0 = np.uint64(_MULTIPLIERS[0]) * c0
        p1 = np.uint64(_MULTIPLIERS[1]) * c2
        c0, c1 = (p1 >> half) ^ c1 ^ np.uint64(k0), p1 & low
        c2, c3 = (p0 >> half) ^ c3 ^ np.uint64(k1), p0 & low
        k0 = (k0 + _KEY_STEPS[0]) & _WORD
        k1 = (k1 + _KEY_STEPS[1]) & _WORD
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def _check_run(first: int, count: int) -> None:
    _check_range("first", first, INDEX_LIMIT)
    if not 0 <= count <= INDEX_LIMIT - first:
        raise ValueError(
            f"random: first + count must be in [{first}, 2^42], received {first + count}"
        )


def words(
    seed: int, site: int, step: int, purpose: Purpose, first: int, count: int
) -> NDArray[np.uint32]:
    """``random_word32`` of elements ``first ... first + count - 1``, shape (count,)."""
    _check_run(first, count)
    start = first >> 2
    stop = (first + count + 3) >> 2
    drawn = _blocks(seed, site, step, purpose, start, stop - start).reshape(-1)
    return drawn[first - 4 * start :][:count]


def halves(
    seed: int, site: int, step: int, purpose: Purpose, first: int, count: int
) -> NDArray[np.uint16]:
    """``random_half`` of elements ``first ... first + count - 1``, shape (count,)."""
    _check_run(first, count)
    start = first >> 3
    stop = (first + count + 7) >> 3
    drawn = _blocks(seed, site, step, purpose, start, stop - start).reshape(-1)
    split = np.stack([drawn & np.uint32(0xFFFF), drawn >> np.uint32(16)], axis=1)
    return split.reshape(-1).astype(np.uint16)[first - 8 * start :][:count]


def permutation(seed: int, step: int, count: int, site: int = 0) -> NDArray[np.int64]:
    """The order of ``count`` examples in pass ``step`` over a data set, shape (count,).

    Example i has the 64-bit key of words 2i (low) and 2i + 1 (high) of ``Purpose.DATA_ORDER``;
    examples stand in the order of their keys, equal keys in the order of their indices.
    """
    drawn = words(seed, site, step, Purpose.DATA_ORDER, 0, 2 * count).astype(np.uint64)
    keys = drawn[0::2] | (drawn[1::2] << np.uint64(32))
    return np.argsort(keys, kind="stable").astype(np.int64)
