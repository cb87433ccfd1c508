"""Random numbers from a seed, fast enough for a simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from chain.hashes import digest_of, stream

T = TypeVar("T")
_CHUNK = 1 << 14


class Dice:
    """Numbers from the stream of a seed; not quite uniform for large bounds, always the same."""

    def __init__(self, *seed: int | str) -> None:
        self._seed = digest_of("dice", *seed)
        self._buffer, self._at, self._chunk = b"", 0, 0

    def below(self, bound: int) -> int:
        """A number in [0, bound)."""
        if self._at + 4 > len(self._buffer):
            self._buffer = stream("dice", self._seed, _CHUNK, self._chunk * _CHUNK)
            self._at, self._chunk = 0, self._chunk + 1
        self._at += 4
        return int.from_bytes(self._buffer[self._at - 4 : self._at], "little") % bound

    def between(self, low: int, high: int) -> int:
        """A number in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, per_mille: int) -> bool:
        """True so many times in a thousand."""
        return self.below(1000) < per_mille

    def choice(self, items: Sequence[T]) -> T:
        """One of some items."""
        return items[self.below(len(items))]
