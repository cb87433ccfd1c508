"""Arrays at the door: real values to the integers a program declares and back, and flat buffers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import ProgramError
from gvm.quantize import check_array, integers
from gvm.types import NUMPY, RANGE, Type

Array = NDArray[Any]
ALIGNMENT = 64
"""Tensors start at multiples of this in a flat buffer; what lies between is zero."""
CHUNK = 1 << 16
"""Elements converted at a time, so that the wide numbers between stay in the processor's cache."""


@dataclass(frozen=True)
class IntegerTensor:
    """Exact integers and what they stand for: value = integers·2^-fraction_bits."""

    integers: Array
    fraction_bits: int

    def real(self) -> Array:
        """The values: float32 where that is exact (16-bit results), float64 else."""
        exact = np.ldexp(self.integers.astype(np.float64), -self.fraction_bits)
        return exact.astype(np.float32) if self.integers.dtype == np.int16 else exact


def quantize_array(array: Any, type_: Type, what: str, whole: bool = False) -> Array:
    """Real values as integers of a type: scaled, rounded half to even, clamped.

    ``whole``: the values are class numbers.
    Raises ProgramError for another shape, no examples, or values that are not finite numbers (for
    class numbers: not whole).
    """
    given = np.asarray(array)
    check_array(given, type_, what, ProgramError)
    if whole and given.dtype.kind == "f" and (given != np.rint(given)).any():
        raise ProgramError(f"{what}: expected whole numbers, received fractions")
    made = np.empty(given.shape, NUMPY[type_.dtype])
    if not given.shape:
        made[()] = integers(given, type_.dtype, type_.fraction_bits)
        return made
    rows = max(1, CHUNK * len(given) // max(given.size, 1))
    for start in range(0, len(given), rows):
        part = given[start : start + rows]
        made[start : start + rows] = integers(part, type_.dtype, type_.fraction_bits)
    return made


def check_range(array: Any, type_: Type, what: str) -> None:
    """Refuses values that a type can only clamp."""
    low, high = (math.ldexp(q, -type_.fraction_bits) for q in RANGE[type_.dtype])
    given = np.asarray(array, dtype=np.float64)
    beyond = given[(given < low) | (given > high)]
    if beyond.size:
        raise ProgramError(
            f"{what}: values must be in [{low:.10g}, {high:.10g}], the format chosen at import, "
            f"received {beyond[0]:.10g}"
        )


def pack_parameters(types: Sequence[Type], arrays: Sequence[Array]) -> bytes:
    """The flat little-endian buffer of integers."""
    out = bytearray()
    for type_, array in zip(types, arrays, strict=True):
        raw = array.astype(np.dtype(NUMPY[type_.dtype]).newbyteorder("<")).tobytes()
        out += raw + bytes(-len(raw) % ALIGNMENT)
    return bytes(out)


def unpack(data: bytes, type_: Type, offset: int) -> Array:
    """One tensor of a flat buffer, in the byte order of the host."""
    dtype = np.dtype(NUMPY[type_.dtype]).newbyteorder("<")
    count = int(np.prod(type_.shape, dtype=np.int64))
    flat = np.frombuffer(data, dtype=dtype, count=count, offset=offset)
    return flat.reshape(type_.shape).astype(dtype.newbyteorder("="))


def convert_parameters(
    data: bytes, old: Sequence[tuple[Type, int, int]], new: Sequence[Type]
) -> bytes:
    """A parameter buffer at other formats: rounded half to even, clamped."""
    if all(o == n for (o, _, _), n in zip(old, new, strict=True)):
        return data
    # Exact in float64: 32-bit integers times a power of two.
    reals = [IntegerTensor(unpack(data, t, at), t.fraction_bits).real() for t, at, _ in old]
    return pack_parameters(
        new,
        [integers(r, n.dtype, n.fraction_bits) for r, n in zip(reals, new, strict=True)],
    )
