"""Uniform choices from a seed, the same on every machine."""

from __future__ import annotations

from chain.hashes import stream

_BYTES = 8


def uniform(seed: bytes, counter: int, bound: int) -> tuple[int, int]:
    """A number in [0, bound) from the eight-byte words of a seed's stream, and the next counter;
    words beyond the last multiple of the bound are skipped, so that none is likelier. D7."""
    limit = (1 << 64) - (1 << 64) % bound
    while True:
        word = int.from_bytes(stream("draw", seed, _BYTES, counter * _BYTES), "big")
        counter += 1
        if word < limit:
            return word % bound, counter


def shuffled(seed: bytes, count: int) -> list[int]:
    """A permutation of range(count) (Fisher and Yates, from the end). D7."""
    return drawn(seed, count, count)[::-1]


def drawn(seed: bytes, count: int, most: int) -> list[int]:
    """The last ``most`` numbers of a permutation of range(count), from its end: as much work as
    numbers are drawn, however many there are. D7."""
    moved: dict[int, int] = {}  # what lies where it did not lie before
    found, counter = [], 0
    for last in range(count - 1, max(count - most, 0) - 1, -1):
        other = 0
        if last:
            other, counter = uniform(seed, counter, last + 1)
        found.append(moved.get(other, other))
        moved[other] = moved.get(last, last)
    return found
