"""The exact pieces of softmax and cross-entropy (numerics section 7), as plain integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from gvm.errors import ProgramError
from gvm.functions import exact_entry
from gvm.operator import Integers, Invalid, Reals
from gvm.types import i16, i32, i64

ONE = 1 << 30
"""1 in the format of the exponentials, Q30."""
LOSS_BITS = 24
LOSS_LIMIT = 1 << 40
"""A loss of an example lies in [0, LOSS_LIMIT) at LOSS_BITS fraction bits."""
LN2_AT_40 = 762123384786
"""2^40 * ln 2, nearest."""
MAX_FRACTION_BITS = 19
MAX_CLASSES = 1 << 24


@cache
def exponential_table(fraction_bits: int, byte: int) -> tuple[int, ...]:
    """T_k[i] = nearest(2^30 * exp(-i * 2^(8k - F))) for i < 256, k = ``byte`` in 0, 1, 2."""
    return tuple(exact_entry("exp", -i, fraction_bits - 8 * byte, 30, 32)[0] for i in range(256))


def exponential(distance: int, fraction_bits: int) -> int:
    """E(d), about 2^30 * exp(-d * 2^-F) for d >= 0: three factors, the highest byte's first."""
    if distance >= 1 << 24 or distance >= 22 << fraction_bits:
        return 0
    value = ONE
    for byte in (2, 1, 0):
        factor = exponential_table(fraction_bits, byte)[(distance >> (8 * byte)) & 255]
        value = (value * factor + (1 << 29)) >> 30
    return value


def exponentials(logits: Sequence[int], fraction_bits: int) -> list[int]:
    """E of each logit's distance from the largest; their sum is at least 2^30."""
    largest = max(logits)
    return [exponential(largest - z, fraction_bits) for z in logits]


def logarithm(total: int) -> int:
    """ln(total * 2^-30) at 24 fraction bits, total >= 2^30: 32 binary digits by squaring."""
    exponent = total.bit_length() - 1
    x = total << 31 >> exponent  # in [2^31, 2^32)
    digits = 0
    for _ in range(32):
        x = (x * x) >> 31
        digits <<= 1
        if x >= 1 << 32:
            x >>= 1
            digits |= 1
    return ((((exponent - 30) << 32) + digits) * LN2_AT_40 + (1 << 47)) >> 48


def check_labels(name: str, labels: Integers, classes: int) -> None:
    """Raises ProgramError, status bad_input, for the first label outside [0, classes)."""
    for label in labels.reshape(-1).tolist():
        if not 0 <= label < classes:
            raise ProgramError(
                f"{name}: label must be in [0, {classes}), received {label}", 12, "bad_input"
            )


def real_softmax(logits: Reals) -> Reals:
    """softmax over the last axis in float64."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def one_hot(labels: Reals, classes: int) -> Reals:
    """1 at each label and 0 elsewhere, shape (examples, classes)."""
    return np.asarray(np.arange(classes) == labels.astype(np.int64)[:, None], dtype=np.float64)


def logits_invalid() -> Iterator[Invalid]:
    """Refusals that the operators on logits and labels share."""
    yield Invalid("rank", (i16(8, -1), i32(0, -1)), {}, "bad_shape", "rank")
    yield Invalid("batch", (i16(8, 3, -1), i32(0, 3)), {}, "bad_batch", "last axis")
    yield Invalid("examples", (i16(8, 4, 3), i32(0, 5)), {}, "bad_shape", "labels")
    yield Invalid("labels_format", (i16(8, -1, 3), i32(1, -1)), {}, "bad_type", "labels")
    yield Invalid("labels_type", (i16(8, -1, 3), i16(0, -1)), {}, "bad_type", "i32")
    yield Invalid("accumulator", (i64(8, -1, 3), i32(0, -1)), {}, "bad_type", "i64")


def binary_invalid() -> Iterator[Invalid]:
    """Refusals that the operators on logits with labels of 0 and 1 share."""
    yield Invalid("scalar", (i16(8), i32(0)), {}, "bad_shape", "rank")
    yield Invalid("batch", (i16(8, 3, -1), i32(0, 3, -1)), {}, "bad_batch", "first axis")
    yield Invalid("shape", (i16(8, -1, 3), i32(0, -1)), {}, "bad_shape", "same shape")
    yield Invalid("format", (i16(20, -1, 3), i32(0, -1, 3)), {}, "bad_type", "[0, 19]")
    yield Invalid("labels_format", (i16(8, -1, 3), i32(1, -1, 3)), {}, "bad_type", "labels")
    yield Invalid("labels_type", (i16(8, -1, 3), i16(0, -1, 3)), {}, "bad_type", "i32")
    yield Invalid("accumulator", (i64(8, -1, 3), i32(0, -1, 3)), {}, "bad_type", "i64")
