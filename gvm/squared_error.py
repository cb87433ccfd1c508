"""What the mean squared error and its gradient share."""

from __future__ import annotations

from collections.abc import Iterator

from gvm.operator import Execution, Integers, Invalid
from gvm.types import i16, i32, i64


def difference(execution: Execution, y: Integers, t: Integers) -> tuple[Integers, int]:
    """y - t, exact, and its fraction bits: the larger of the two formats."""
    fy, ft = (type_.fraction_bits for type_ in execution.input_types)
    f = max(fy, ft)
    return (y.astype(object) << (f - fy)) - (t.astype(object) << (f - ft)), f


def squared_error_invalid() -> Iterator[Invalid]:
    """Nodes that both refuse."""
    yield Invalid("shapes", (i16(8, -1, 3), i16(8, -1, 4)), {}, "bad_shape", "same shape")
    yield Invalid("scalar", (i16(8), i16(8)), {}, "bad_shape", "rank")
    yield Invalid("batch", (i16(8, 3, -1), i16(8, 3, -1)), {}, "bad_batch", "first axis")
    yield Invalid("formats", (i32(-32, -1, 3), i32(47, -1, 3)), {}, "unproved_bound", "bits")
    yield Invalid("accumulator", (i64(8, -1, 3), i16(8, -1, 3)), {}, "bad_type", "i64")
