"""Types of values: element type, fraction bits, shape with its batch axis (numerics section 1)."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES: dict[str, int] = {"i16": 1, "i32": 2, "i64": 3, "u8": 4, "bool": 5}
"""Published numbers of the element types."""
BITS: dict[str, int] = {"i16": 16, "i32": 32, "i64": 64, "u8": 8, "bool": 1}
RANGE: dict[str, tuple[int, int]] = {
    "i16": (-(2**15), 2**15 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "i64": (-(2**62), 2**62),
    "u8": (0, 255),
    "bool": (0, 1),
}
NUMPY: dict[str, str] = {
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "bool": "uint8",
}
MAX_ELEMENTS = 2**42
"""A tensor has at most this many elements (numerics section 3)."""
BATCH = -1
"""The dimension that is the symbolic batch."""


@dataclass(frozen=True)
class Type:
    """An element type ("real" before quantisation), its fraction bits and a shape; -1 marks the
    batch axis."""

    dtype: str
    fraction_bits: int
    shape: tuple[int, ...]
    partial: bool = False
    """A sum over one shard's examples: only a reduce may use it."""
    bound: int = 0
    """Proved bound on the magnitude of an i64; 0: that of the element type."""

    @property
    def batch_axis(self) -> int | None:
        """Position of the batch axis, or None."""
        return self.shape.index(BATCH) if BATCH in self.shape else None

    @property
    def bits(self) -> int:
        """Width of the element type."""
        return BITS[self.dtype]

    def concrete(self, batch: int) -> tuple[int, ...]:
        """The shape with ``batch`` examples."""
        return tuple(batch if d == BATCH else d for d in self.shape)

    def __str__(self) -> str:
        dims = ", ".join("B" if d == BATCH else str(d) for d in self.shape)
        return f"{self.dtype}.{self.fraction_bits}[{dims}]" + (" partial" if self.partial else "")


def i16(fraction_bits: int, *shape: int) -> Type:
    """A 16-bit fixed-point type."""
    return Type("i16", fraction_bits, shape)


def i32(fraction_bits: int, *shape: int) -> Type:
    """A 32-bit fixed-point type."""
    return Type("i32", fraction_bits, shape)


def i64(fraction_bits: int, *shape: int, bound: int = 0, partial: bool = False) -> Type:
    """An exact accumulator with a proved bound."""
    return Type("i64", fraction_bits, shape, partial, bound)
