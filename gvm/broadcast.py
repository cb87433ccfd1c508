"""Cases that every operator with two broadcast operands has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gvm.operator import Case, Invalid
from gvm.types import Type, i16, i32, i64

_SHAPES: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("scalar", (-1, 3), ()),
    ("scalars", (), ()),
    ("column", (-1, 17), (-1, 1)),
    ("row", (-1, 17), (17,)),
    ("row_of_one", (5, 17), (1, 17)),
    ("outer", (5, 1), (1, 9)),
    ("middle", (-1, 3, 1, 4), (-1, 1, 5, 4)),
    ("channels", (-1, 3, 3, 8), (8,)),
    ("batch_meets_one", (1, 4), (-1, 4)),
    ("batch_inside", (2, -1, 3), (2, 1, 3)),
    ("interleaved", (2, 1, 3, 1, 2), (1, 4, 1, 5, 1)),
)


def broadcasting_cases(first: Type, second: Type) -> Iterator[Case]:
    """Each pair of shapes in both orders; the types give element types and formats."""
    for name, a, b in _SHAPES:
        yield Case(f"{name}", (replace(first, shape=a), replace(second, shape=b)))
        yield Case(f"{name}_swapped", (replace(first, shape=b), replace(second, shape=a)))


def broadcasting_invalid() -> Iterator[Invalid]:
    """Shapes that do not broadcast."""
    yield Invalid("sizes", (i16(0, 3), i16(0, 4)), {}, "bad_shape", "broadcast")
    yield Invalid("batch_and_size", (i16(0, -1, 3), i16(0, 4, 3)), {}, "bad_batch", "batch")
    yield Invalid("two_batches", (i16(0, -1, 1), i16(0, 1, -1)), {}, "bad_batch", "batch")


def one_type_invalid() -> Iterator[Invalid]:
    """Two operands that must have one narrow type."""
    yield Invalid("types", (i16(0, 3), i32(0, 3)), {}, "bad_type", "i32")
    yield Invalid("formats", (i16(0, 3), i16(1, 3)), {}, "bad_type", "fraction bits")
    yield Invalid("exact", (i64(0, 3, bound=9),) * 2, {}, "bad_type", "i64")
