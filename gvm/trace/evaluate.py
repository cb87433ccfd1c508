"""One step of training, node by node and unfused: every value that a trace commits to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.trace.listing import LITTLE, Listing
from gvm.types import NUMPY

Array = NDArray[Any]
Alter = Callable[[int, Array], Array]
"""What becomes of a value before anything reads it, by its number: for tests of what a fault
does."""


@dataclass(frozen=True)
class Where:
    """Which step it is, and what executes it: the level and the threads move no bit."""

    batch: int
    seed: int
    step: int
    level: int = -1
    threads: int = 0


def step_values(
    listing: Listing,
    where: Where,
    given: Mapping[int, Array],
    alter: Alter | None = None,
    keep: bool = False,
) -> Iterator[tuple[int, Array]]:
    """Every value of a step in order. ``given``: inputs, labels, parameters and state by number.

    Unless ``keep``, what nothing reads any more is dropped.
    """
    values: dict[int, Array] = {}
    last: dict[int, int] = {}
    for i, node in enumerate(listing.nodes):
        for v in node.inputs:
            last[v] = i

    def hold(number: int, array: Array) -> Array:
        values[number] = array if alter is None else alter(number, array)
        return values[number]

    # Given values stand before the nodes of their function.
    place = 0
    for i, node in enumerate(listing.nodes):
        while place < node.outputs[0]:
            yield place, hold(place, given[place])
            place += 1
        local = where.batch if node.function == "grad" else 1
        made, _ = _core.run_operator(
            node.opcode,
            node.attributes,
            [
                (t, values[v].astype(NUMPY[t.dtype], order="C", copy=False))
                for t, v in zip(node.input_types, node.inputs, strict=True)
            ],
            local,
            0,
            local,
            where.seed,
            where.step,
            node.site,
            where.level,
            where.threads,
        )
        for v, array in zip(node.outputs, made, strict=True):
            yield v, hold(v, array)
        place = node.outputs[-1] + 1
        if not keep:
            for v in set(node.inputs):
                if last[v] == i:
                    del values[v]
    while place < len(listing.entries):
        yield place, hold(place, given[place])
        place += 1


def canonical(array: Array, dtype: str) -> bytes:
    """The bytes of a value that are hashed: row-major, little-endian."""
    return np.ascontiguousarray(array, dtype=LITTLE[dtype]).tobytes()


def step_bytes(
    listing: Listing, where: Where, given: Mapping[int, Array], alter: Alter | None = None
) -> list[bytes]:
    """The canonical bytes of every value of a step."""
    return [
        canonical(array, listing.entries[v].type.dtype)
        for v, array in step_values(listing, where, given, alter)
    ]


def step_roots(
    listing: Listing, where: Where, given: Mapping[int, Array], alter: Alter | None = None
) -> bytes:
    """The hashes of every value of a step, one after the other; their hash is the step's root."""
    return b"".join(
        _core.blake3(canonical(array, listing.entries[v].type.dtype))
        for v, array in step_values(listing, where, given, alter)
    )


def tensors_of(types: Sequence[tuple[Any, int, int]], data: bytes) -> list[bytes]:
    """The tensors of a parameter or state buffer without their padding."""
    from gvm.trace.listing import BYTES

    made = []
    for type_, offset, _ in types:
        size = BYTES[type_.dtype] * int(np.prod(type_.shape, dtype=np.int64))
        made.append(data[offset : offset + size])
    return made
