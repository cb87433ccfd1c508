"""Data sets as exact integers with a name: the ``.gdata`` file.

A data set is its integers, example-major and little-endian, cut into chunks that are the leaves of
a Merkle tree, so that a party who holds the root can check any chunk alone. The file is::

    8 bytes   "GVMDATA" and the version, 1
    8 bytes   size of the header, little-endian
    header    canonical CBOR: count, dtype, fraction_bits, root, shape (of one example)
    integers

and ``Dataset.id``, the data set's name, is the BLAKE3 of the header.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import cbor
from gvm.files import replacing
from gvm.types import NUMPY, RANGE

MAGIC = b"GVMDATA\x01"
CHUNK = 1 << 16
"""Bytes in a leaf of the Merkle tree; the last may be shorter."""
MAX_HEADER = 1 << 12
_FIELDS = {"count", "dtype", "fraction_bits", "root", "shape"}
_DTYPES = ("u8", "i16", "i32")


@dataclass(frozen=True, eq=False)
class Dataset:
    """``integers`` stand for integers * 2^-fraction_bits; the first axis counts examples."""

    integers: NDArray[Any]
    dtype: str
    fraction_bits: int

    @cached_property
    def root(self) -> bytes:
        """The root of the Merkle tree over the chunks."""
        return merkle_root(self._bytes())

    @property
    def header(self) -> bytes:
        """The canonical bytes that name the data set."""
        return cbor.encode(
            {
                "count": len(self.integers),
                "dtype": self.dtype,
                "fraction_bits": self.fraction_bits,
                "root": self.root,
                "shape": list(self.integers.shape[1:]),
            }
        )

    @property
    def id(self) -> str:
        """BLAKE3 of the header, in hex."""
        return _blake3(self.header).hex()

    def reals(self) -> NDArray[Any]:
        """The values that the integers stand for, exact in float64; without fraction bits they are
        the integers themselves."""
        if self.fraction_bits == 0:
            return self.integers
        return np.ldexp(self.integers.astype(np.float64), -self.fraction_bits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a .gdata file, whole or not at all."""
        header = self.header
        with replacing(path) as file:
            file.write(MAGIC + len(header).to_bytes(8, "little") + header)
            file.write(self._bytes())

    def _bytes(self) -> bytes:
        return self.integers.astype(np.dtype(NUMPY[self.dtype]).newbyteorder("<")).tobytes()


def from_array(array: NDArray[Any], dtype: str | None = None, fraction_bits: int = 0) -> Dataset:
    """The data set of an array of integers, or of real numbers rounded half to even at a format.

    ``dtype`` (u8, i16 or i32) may be left out for arrays of integers: u8 stays, others are i32.
    Raises ValueError for numbers that are not finite or that the format cannot hold.
    """
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"a data set is an array of numbers, received {array.dtype} of shape {array.shape}"
        )
    if dtype is None:
        if array.dtype.kind == "f":
            raise ValueError("real numbers need a format: dtype and fraction bits")
        dtype = "u8" if array.dtype in (np.uint8, np.bool_) else "i32"
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, received {dtype!r}")
    if not -32 <= fraction_bits <= 47:
        raise ValueError(f"fraction bits must be in [-32, 47], received {fraction_bits}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError("values must be finite, received infinity or NaN")
        scaled = np.rint(np.ldexp(array.astype(np.float64), fraction_bits))
    else:
        if fraction_bits:
            raise ValueError(
                f"integers have 0 fraction bits, received {fraction_bits}: give real numbers"
            )
        scaled = array
    low, high = RANGE[dtype]
    if scaled.size and (scaled.min() < low or scaled.max() > high):
        raise ValueError(
            f"{dtype} with {fraction_bits} fraction bits holds [{low}, {high}], "
            f"received integers in [{int(scaled.min())}, {int(scaled.max())}]"
        )
    return Dataset(scaled.astype(NUMPY[dtype]), dtype, fraction_bits)


def load(path: str | os.PathLike[str]) -> Dataset:
    """The data set of a .gdata file; ValueError, naming the file, for anything else."""
    data = Path(path).read_bytes()
    try:
        return _parse(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(data: bytes) -> Dataset:
    if data[:8] != MAGIC:
        raise ValueError("not a .gdata file of version 1")
    size = int.from_bytes(data[8:16], "little")
    if len(data) < 16 or size > MAX_HEADER or len(data) < 16 + size:
        raise ValueError("the header is cut short")
    header: Any = cbor.decode(data[16 : 16 + size])
    if not isinstance(header, dict) or set(header) != _FIELDS:
        raise ValueError(f"the header must have the fields {', '.join(sorted(_FIELDS))}")
    count, shape, dtype = header["count"], header["shape"], header["dtype"]
    sizes: list[Any] = [count, *shape] if isinstance(shape, list) else [None]
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in sizes) or len(sizes) > 8:
        raise ValueError(f"count and shape must be sizes, received {count!r} and {shape!r}")
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, received {dtype!r}")
    bits = header["fraction_bits"]
    if type(bits) is not int or not -32 <= bits <= 47:
        raise ValueError(f"fraction bits must be in [-32, 47], received {bits!r}")
    little = np.dtype(NUMPY[dtype]).newbyteorder("<")
    wanted = little.itemsize
    for n in sizes:
        wanted *= n
    if len(data) - 16 - size != wanted:
        raise ValueError(f"must hold {wanted} bytes of integers, received {len(data) - 16 - size}")
    integers = np.frombuffer(data, little, offset=16 + size).reshape(sizes)
    found = Dataset(integers.astype(NUMPY[dtype]), dtype, bits)
    if found.root != header["root"]:
        raise ValueError("the integers do not have the root that the header names")
    return found


def merkle_root(data: bytes, chunk: int = CHUNK) -> bytes:
    """The root over ``chunk``-byte leaves: a leaf is H(0 leaf), a node H(1 left right) (RFC 6962).

    The left subtree of n leaves has the largest power of two below n; no data is one empty leaf.
    """
    leaves = [_blake3(b"\0" + data[at : at + chunk]) for at in range(0, max(len(data), 1), chunk)]
    # Pairing neighbours level by level, an odd last one moving up, gives the same tree.
    while len(leaves) > 1:
        pairs = [_blake3(b"\1" + leaves[i] + leaves[i + 1]) for i in range(0, len(leaves) - 1, 2)]
        leaves = pairs + leaves[len(pairs) * 2 :]
    return leaves[0]


def _blake3(data: bytes) -> bytes:
    from gvm import _core

    return bytes(_core.blake3(data))
