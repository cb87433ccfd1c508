"""Examples that stay in their file: memory-mapped arrays, made integers as they are taken."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import HostError, ProgramError
from gvm.tensors import check_range, quantize_array
from gvm.types import NUMPY, Type


@dataclass(frozen=True, eq=False)
class Mapped:
    """The examples of a memory-mapped array, batch first, as integers of a type.

    Indexing reads those examples alone. Their values are judged then: ProgramError for one that is
    no finite number, not whole where ``whole``, or beyond the format where ``checked``.
    """

    source: NDArray[Any]
    type: Type
    what: str
    whole: bool = False
    checked: bool = False
    exact: bool = False
    """The file holds the integers themselves."""

    def __post_init__(self) -> None:
        wanted, have = self.type.shape, self.source.shape
        fits = len(wanted) == len(have) and all(
            d in (-1, n) for d, n in zip(wanted, have, strict=True)
        )
        if not fits or self.type.batch_axis != 0:
            dims = ", ".join("batch" if d == -1 else str(d) for d in wanted)
            raise ProgramError(f"{self.what}: expected shape ({dims}), received {have}")
        if not len(self.source):
            raise ProgramError(f"{self.what}: expected at least one example, received none")
        if self.source.dtype.kind not in "biuf":
            raise ProgramError(f"{self.what}: expected numbers, received {self.source.dtype}")

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return tuple(self.source.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the integers."""
        return np.dtype(NUMPY[self.type.dtype])

    @property
    def nbytes(self) -> int:
        """Of the integers, all of them."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, part: Any) -> NDArray[Any]:
        found = np.asarray(self.source[part])
        if self.exact:
            return found.astype(self.dtype, copy=False)
        made = quantize_array(found, self.type, self.what, self.whole)
        if self.checked:
            check_range(found, self.type, self.what)
        return made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def place(self) -> dict[str, Any] | None:
        """Where another process of this machine finds them, as canonical values; None where the
        array is no plain part of a file."""
        source = self.source
        name = getattr(source, "filename", None)
        mapped = getattr(source, "_mmap", None)
        if name is None or mapped is None or not source.flags.c_contiguous:
            return None
        begin = source.offset - source.offset % mmap.ALLOCATIONGRANULARITY  # type: ignore[attr-defined]
        inside = source.ctypes.data - np.frombuffer(mapped, dtype=np.uint8).ctypes.data
        return {
            "path": os.fspath(name),
            "dtype": source.dtype.str,
            "shape": list(source.shape),
            "offset": begin + inside,
            "options": [self.whole, self.checked, self.exact],
        }


def place_of(array: Any) -> dict[str, Any] | None:
    """``Mapped.place``; None for an array in memory."""
    return array.place() if isinstance(array, Mapped) else None


def from_place(place: dict[str, Any], type_: Type, what: str) -> Mapped:
    """The same examples in another process; HostError where the file has gone."""
    shape = tuple(place["shape"])
    try:
        source = np.memmap(place["path"], np.dtype(place["dtype"]), "r", place["offset"], shape)
    except (OSError, ValueError) as error:
        raise HostError(f"{what}: {place['path']}: {error}") from None
    whole, checked, exact = place["options"]
    return Mapped(source, type_, what, whole, checked, exact)
