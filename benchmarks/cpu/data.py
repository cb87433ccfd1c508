"""Data that every contender is given alike. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FRACTION_BITS = 12
"""Of both operands of a product."""
STEPS = 8
"""Different batches that a training step takes in turns."""
RATE, MOMENTUM = 0.02, 0.9


def operand(kind: str, shape: tuple[int, int], seed: int) -> Array:
    """Integers of an operand: `realistic` ones use 13 of 16 bits, `adverse` ones all of i16."""
    generator = np.random.default_rng(seed)
    if kind == "adverse":
        return generator.integers(-(2**15), 2**15, shape).astype(np.int16)
    return np.clip(np.rint(generator.normal(0, 1000, shape)), -4096, 4095).astype(np.int16)


def operands(case: dict[str, Any]) -> tuple[Array, Array]:
    """x and w of a product."""
    m, n, k = case["shape"]
    return operand(case["data"], (m, k), 1), operand(case["data"], (k, n), 2)


def result_shift(kind: str) -> int:
    """Bits that the product's sums lose on their way to i16."""
    return 12 if kind == "realistic" else 20


def in_units(kind: str, product: Array) -> Array:
    """A product of the operands' integers, computed elsewhere, as the numbers that fit i16."""
    made: Array = np.clip(
        product.astype(np.float64) / 2.0 ** result_shift(kind), -(2**15), 2**15 - 1
    )
    return made


def tanh_input(shape: tuple[int, int]) -> Array:
    """Integers with 12 fraction bits, where tanh is not constant."""
    made: Array = (
        np.random.default_rng(3).normal(0, 6000, shape).clip(-32768, 32767).astype(np.int16)
    )
    return made


def pictures(count: int, size: int, channels: int, seed: int) -> Array:
    """Smooth images, channels last, values about as those of photographs after normalisation."""
    generator = np.random.default_rng(seed)
    made = np.zeros((count, size, size, channels), dtype=np.float32)
    for cells in (4, 14, size // 4):
        coarse = generator.normal(0, 0.7, (count, cells, cells, channels)).astype(np.float32)
        at = np.arange(size) * cells // size
        made += coarse[:, at][:, :, at]
    return made


def digits(count: int, seed: int) -> tuple[Array, Array]:
    """Images in [0, 1] as of digits, shape (count, 28, 28, 1): strokes on black, and their class,
    which decides where the strokes are."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, count).astype(np.int32)
    shapes = pictures(10, 28, 1, 7)
    drawn = shapes[labels] + 0.6 * pictures(count, 28, 1, seed + 1)
    images = np.clip(drawn - 0.8, 0, 1)
    return images.astype(np.float32), labels


def training_batches(batch: int) -> list[tuple[Array, Array]]:
    """The batches of a training row."""
    x, y = digits(batch * STEPS, 11)
    return [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]
