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
    order, counter = list(range(count)), 0
    for last in range(count - 1, 0, -1):
        other, counter = uniform(seed, counter, last + 1)
        order[last], order[other] = order[other], order[last]
    return order
