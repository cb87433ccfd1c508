"""The tree inside of a BLAKE3 hash: what was hashed can be shown in chunks of 1024 bytes.

BLAKE3 hashes chunks, each with its number, and joins them pairwise: the left subtree of n chunks
has the largest power of two below n, and the top is marked. So the hash of a byte string commits
to every chunk of it, and no other tree is needed.

Rows are numbered from the chunks, row 0, up; a node is (row, index). An odd last node of a row is
carried to the row above. The length of the bytes decides the shape, and is known to whoever checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gvm import _core

CHUNK = 1024
SIZE = 32
"""Bytes of a hash, and of a node's chaining value."""
ARITY = 16
_LEVELS = ARITY.bit_length() - 1


def chunk_count(size: int) -> int:
    """Chunks of so many bytes; no bytes are one empty chunk."""
    return max(1, -(-size // CHUNK))


def chunk_size(size: int, index: int) -> int:
    """Bytes of one chunk of ``size`` bytes."""
    return min(CHUNK, size - index * CHUNK)


def height(count: int) -> int:
    """The number of the row in which ``count`` chunks have become one node."""
    return (count - 1).bit_length()


def width(count: int, row: int) -> int:
    """Nodes of a row above ``count`` chunks."""
    return -(-count >> row)


def descend(count: int, row: int, index: int) -> tuple[int, range]:
    """The row of a node's at most 16 descendants four rows below, or of its chunks, and which they
    are."""
    down = min(_LEVELS, row)
    first = index << down
    return row - down, range(first, min(first + (1 << down), width(count, row - down)))


def chunk_value(data: bytes, index: int, count: int) -> bytes:
    """The chaining value of chunk ``index`` of ``count``; of the only one it is the hash."""
    return _core.blake3_chunks(data, index, count == 1)


def joined(row: bytes, levels: int, top: bool) -> bytes:
    """The node ``levels`` rows above a group of neighbours; ``top``: it is the hash of all."""
    for left in range(levels - 1, -1, -1):
        row = _core.blake3_parents(row, top and left == 0 and len(row) == 2 * SIZE)
    return row


class Tree:
    """All rows of the tree over some bytes."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self.count = chunk_count(len(data))
        self.rows = [_core.blake3_chunks(data, 0, self.count == 1)]
        while len(self.rows[-1]) > SIZE:
            self.rows.append(_core.blake3_parents(self.rows[-1], len(self.rows[-1]) == 2 * SIZE))

    @property
    def root(self) -> bytes:
        """The hash of the bytes."""
        return self.rows[-1]

    def node(self, row: int, index: int) -> bytes:
        """The value of a node."""
        return self.rows[row][index * SIZE : (index + 1) * SIZE]

    def below(self, row: int, index: int) -> bytes:
        """The values of a node's descendants, as ``descend`` counts them."""
        under, which = descend(self.count, row, index)
        return self.rows[under][which.start * SIZE : which.stop * SIZE]

    def chunk(self, index: int) -> bytes:
        """The bytes of a chunk."""
        return bytes(self.data[index * CHUNK : (index + 1) * CHUNK])

    def prove(self, wanted: Iterable[int]) -> Slice:
        """These chunks and what it takes to check them against the root."""
        chosen = sorted(set(wanted))
        path: list[bytes] = []
        self._prove(height(self.count), 0, chosen, path)
        return Slice({i: self.chunk(i) for i in chosen}, b"".join(path))

    def _prove(self, row: int, index: int, wanted: list[int], path: list[bytes]) -> None:
        if not wanted:
            path.append(self.node(row, index))
        elif row > 0:
            middle = (2 * index + 1) << (row - 1)
            self._prove(row - 1, 2 * index, [i for i in wanted if i < middle], path)
            if 2 * index + 1 < width(self.count, row - 1):
                self._prove(row - 1, 2 * index + 1, [i for i in wanted if i >= middle], path)


@dataclass(frozen=True)
class Slice:
    """Chunks of a byte string by number, and the chaining values beside them from left to right."""

    chunks: Mapping[int, bytes]
    path: bytes

    def proves(self, root: bytes, size: int) -> bool:
        """Whether these are the chunks that they say of the ``size`` bytes with the hash
        ``root``."""
        count = chunk_count(size)
        wanted = sorted(self.chunks)
        if wanted and not 0 <= wanted[0] <= wanted[-1] < count:
            return False
        if any(len(self.chunks[i]) != chunk_size(size, i) for i in wanted):
            return False
        if len(self.path) % SIZE != 0:
            return False
        siblings = iter(self.path[i : i + SIZE] for i in range(0, len(self.path), SIZE))
        try:
            found = self._value(height(count), 0, wanted, siblings, count)
        except StopIteration:
            return False
        return next(siblings, None) is None and found == root

    def _value(
        self, row: int, index: int, wanted: list[int], siblings: Iterable[bytes], count: int
    ) -> bytes:
        rest = iter(siblings)
        if not wanted:
            return next(rest)
        if row == 0:
            return chunk_value(self.chunks[index], index, count)
        middle = (2 * index + 1) << (row - 1)
        left = self._value(row - 1, 2 * index, [i for i in wanted if i < middle], rest, count)
        if 2 * index + 1 >= width(count, row - 1):
            return left
        right = self._value(row - 1, 2 * index + 1, [i for i in wanted if i >= middle], rest, count)
        return _core.blake3_parents(left + right, row == height(count))

    def read(self, at: int, size: int) -> bytes:
        """``size`` bytes from ``at`` on, within one chunk; raises KeyError where it is not here."""
        chunk, inside = divmod(at, CHUNK)
        found = self.chunks[chunk][inside : inside + size]
        if len(found) != size:
            raise KeyError(chunk)
        return found

    def alone(self, root: bytes, size: int, at: int, length: int) -> bytes | None:
        """``length`` bytes from ``at`` on of ``size`` bytes with the hash ``root``; None unless
        their chunk, and no other, is here and proved."""
        if set(self.chunks) != {at // CHUNK} or not self.proves(root, size):
            return None
        return self.read(at, length)

    def encoded(self) -> list[object]:
        """As canonical values."""
        return [[[i, self.chunks[i]] for i in sorted(self.chunks)], self.path]

    @staticmethod
    def decoded(body: object) -> Slice:
        """The inverse of ``encoded``; raises ValueError."""
        match body:
            case [list() as rows, bytes() as path]:
                chunks: dict[int, bytes] = {}
                for row in rows:
                    match row:
                        case [int() as index, bytes() as data] if type(
                            index
                        ) is int and index > max(chunks, default=-1):
                            chunks[index] = data
                        case _:
                            raise ValueError("a slice has numbered chunks, ascending")
                return Slice(chunks, path)
        raise ValueError("a slice is chunks and a path")
