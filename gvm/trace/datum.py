"""What stands in the data of a run, for a referee: only what is under a root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gvm.random import permutation
from gvm.reads import flat, unflat
from gvm.trace.claim import Refused
from gvm.trace.file import Header
from gvm.trace.listing import BYTES, LITTLE, Entry
from gvm.trace.tree import Slice


@dataclass(frozen=True)
class Datum:
    """Where an element of a step's inputs or labels stands in the data."""

    tensor: int
    """Number among the hashes of the data."""
    index: int
    size: int
    """Bytes of the whole."""


def datum(header: Header, entry: Entry, step: int, element: int) -> Datum:
    """Where element ``element`` of an input or label of a step comes from."""
    shape = entry.shape(header.batch(step))
    at = unflat(element, shape)
    epoch, taken = header.place(step)
    example = int(permutation(header.seed, epoch, header.count)[taken + at[0]])
    whole = (header.count, *shape[1:])
    size = entry.size(header.count)
    position = entry.index + (header.inputs if entry.kind == "label" else 0)
    return Datum(position, flat((example, *at[1:]), whole), size)


def read_datum(header: Header, where: Datum, dtype: str, shown: Slice) -> int:
    """The element of the data, proved."""
    if not where.tensor < len(header.data):
        raise Refused("not a chunk of the data")
    size = BYTES[dtype]
    found = shown.alone(header.data[where.tensor], where.size, where.index * size, size)
    if found is None:
        raise Refused("not the chunk of the data")
    return int(np.frombuffer(found, LITTLE[dtype])[0])
