"""What the referee is shown, and what it finds: no program, no model, only what is under a root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gvm.errors import ProgramError
from gvm.random import permutation
from gvm.reads import Index, Sum, flat, unflat
from gvm.trace.element import Read, Step, element_of, reads_of, shapes_of, terms_of
from gvm.trace.file import Header
from gvm.trace.listing import BYTES, LITTLE, Entry, Node
from gvm.trace.tree import CHUNK, SIZE, Slice, Tree

LEAF = 128
"""Terms of a sum that a referee adds up at once: it is shown at most so many chunks of each
operand."""


class Refused(ValueError):
    """What was shown does not prove what it should."""


@dataclass(frozen=True)
class Opening:
    """Operands of one node in one step: the hashes of the values among those of the step, and of
    each operand the chunks that are read."""

    values: Slice
    operands: tuple[Slice, ...]

    def encoded(self) -> list[Any]:
        """As canonical values."""
        return [self.values.encoded(), [s.encoded() for s in self.operands]]

    @staticmethod
    def decoded(body: Any) -> Opening:
        """The inverse of ``encoded``; raises ValueError."""
        match body:
            case [values, list() as operands]:
                return Opening(Slice.decoded(values), tuple(Slice.decoded(s) for s in operands))
        raise ValueError("an opening is a slice of hashes and slices of operands")


def operand_bytes(node: Node, batch: int) -> list[int]:
    """The sizes of a node's operands."""
    types = node.input_types
    return [Entry("", 0, t).size(batch) for t in types]


def reader(node: Node, slices: Sequence[Slice]) -> Read:
    """Reads elements from chunks; KeyError for what they do not hold."""

    def read(position: int, index: Index) -> list[int]:
        dtype = node.input_types[position].dtype
        size, little = BYTES[dtype], LITTLE[dtype]
        found = b"".join(slices[position].read(int(i) * size, size) for i in index)
        return [int(v) for v in np.frombuffer(found, little)]

    return read


def authenticated(
    opening: Opening, node: Node, before: int, batch: int, root: bytes, count: int
) -> Read:
    """The elements of an opening, once all of it is proved: operands are values with numbers below
    ``before`` of a step with the root ``root``, which has ``count`` values."""
    if not opening.values.proves(root, count * SIZE):
        raise Refused("the hashes of the operands are not those of the step")
    if len(opening.operands) != len(node.inputs):
        raise Refused(f"{len(node.inputs)} operands are needed")
    sizes = operand_bytes(node, batch)
    for v, operand, size in zip(node.inputs, opening.operands, sizes, strict=True):
        if v >= before:
            raise Refused("an operand does not stand before its node")
        try:
            hashed = opening.values.read(v * SIZE, SIZE)
        except KeyError:
            raise Refused(f"the hash of value {v} is missing") from None
        if not operand.proves(hashed, size):
            raise Refused(f"the chunks of value {v} are not under its hash")
    return reader(node, opening.operands)


def find(
    node: Node,
    step: Step,
    output: int,
    element: int,
    terms: tuple[int, int] | None,
    read: Read,
) -> int | None:
    """An element, or the sum of some of its terms, by definition; None where the operator refuses
    its operands, so that every claim is wrong."""
    try:
        if terms is not None:
            return terms_of(node, step, output, element, *terms, read)
        return element_of(node, step, output, element, read)
    except KeyError:
        raise Refused("a chunk that is read is missing") from None
    except (ValueError, ProgramError):
        return None


def term_count(node: Node, step: Step, output: int, element: int) -> int:
    """Terms of an element that is a sum; 0 for others."""

    def unknown(position: int, index: Index) -> list[int]:
        raise KeyError(position)

    try:
        reads = reads_of(node, step, output, element, unknown)
    except KeyError:  # found by an index: one term
        return 0
    return reads.count if isinstance(reads, Sum) else 0


def open_node(
    node: Node,
    step: Step,
    output: int,
    element: int,
    terms: tuple[int, int] | None,
    roots: bytes,
    operands: Mapping[int, bytes],
) -> Opening:
    """The opening of an element. ``roots``: of the values of the step; ``operands`` by number."""
    arrays = [
        np.frombuffer(operands[v], LITTLE[t.dtype])
        for v, t in zip(node.inputs, node.input_types, strict=True)
    ]
    used: list[set[int]] = [set() for _ in arrays]

    def read(position: int, index: Index) -> list[int]:
        size = BYTES[node.input_types[position].dtype]
        used[position] |= {int(c) for c in np.unique(index * size // CHUNK)}
        return [int(v) for v in arrays[position][index]]

    reads = reads_of(node, step, output, element, read)
    if isinstance(reads, Sum):
        first, last = terms if terms is not None else (0, reads.count)
        for factor in reads.all_factors if first < last else ():
            read(factor.input, reads.indices(factor, first, last))
    else:
        shapes = shapes_of(node, step)
        for position, shape in enumerate(shapes.inputs):
            read(position, reads.indices(position, shape))
    return Opening(
        Tree(roots).prove(v * SIZE // CHUNK for v in node.inputs),
        tuple(Tree(operands[v]).prove(chunks) for v, chunks in zip(node.inputs, used, strict=True)),
    )


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
    if not where.tensor < len(header.data) or not shown.proves(
        header.data[where.tensor], where.size
    ):
        raise Refused("not a chunk of the data")
    try:
        found = shown.read(where.index * BYTES[dtype], BYTES[dtype])
    except KeyError:
        raise Refused("the chunk of the data is missing") from None
    return int(np.frombuffer(found, LITTLE[dtype])[0])
