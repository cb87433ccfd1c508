"""A claim that a referee decides: one element of one node's result in one step, with all that it is
computed from, each part of it proved under the root of the step or of the program's nodes.

A claim is canonical bytes, and so is what the referee finds: neither needs the model, the run, or
the dispute that led there. ``gvm_referee`` of the C ABI decides the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gvm import _core, cbor
from gvm.errors import ProgramError
from gvm.reads import Index, Reads, Shapes, Sum
from gvm.trace.element import Step, element_of, reads_of, shapes_of, terms_of
from gvm.trace.listing import BYTES, LITTLE, Entry, Node, read_descriptor
from gvm.trace.tree import CHUNK, SIZE, Slice, Tree
from gvm.types import RANGE, Type

LEAF = 128
"""Terms of a sum that a referee adds up at once: it is shown at most so many chunks of each
operand."""
VERSION = 1
MAX_BATCH = 1 << 22
MAX_SITES = 1 << 24
_ANY = 1 << 62
"""Bytes that the referee may take: who plays the game has the operands already."""
_HASHES = ("root", "listing")
_LIMITS = {
    "version": 1 << 32,
    "count": 1 << 32,
    "batch": MAX_BATCH + 1,
    "seed": 1 << 64,
    "step": 1 << 56,
    "value": 1 << 32,
    "element": 1 << 42,
    "first": 1 << 42,
    "last": 1 << 42,
}


class Refused(ValueError):
    """What was shown does not prove what it should."""


@dataclass(frozen=True)
class Claim:
    """Which element, and what proves it."""

    root: bytes
    """Of the step: the hash of the hashes of its values."""
    listing: bytes
    """Of the program: ``Listing.id``."""
    count: int
    """Values of the step."""
    batch: int
    """Examples of the step."""
    seed: int
    step: int
    value: int
    """Which of the values; what it is computed from has smaller numbers."""
    element: int
    """Row-major."""
    first: int
    last: int
    """Terms of the element, where it is a sum that is cut; both 0: all of it."""
    descriptor: bytes
    """What the value is and what makes it."""
    described: Slice
    """The descriptor's hash under ``listing``."""
    values: Slice
    """The hashes of the operands under ``root``."""
    operands: tuple[Slice, ...]
    """The chunks of each operand that are read, under its hash."""

    @property
    def about(self) -> dict[str, Any]:
        """What is claimed, without the proofs."""
        names = (n for n in (*_HASHES, *_LIMITS, "descriptor") if n != "version")
        return {name: getattr(self, name) for name in names}

    def encode(self) -> bytes:
        """Canonical bytes."""
        return cbor.encode(
            self.about
            | {
                "version": VERSION,
                "described": self.described.encoded(),
                "values": self.values.encoded(),
                "operands": [s.encoded() for s in self.operands],
            }
        )

    @staticmethod
    def decode(data: bytes) -> Claim:
        """The inverse of ``encode``; raises Refused."""
        try:
            return Claim._decoded(cbor.decode(data))
        except ValueError as error:
            raise Refused(f"not a claim: {error}") from None

    @staticmethod
    def _decoded(body: Any) -> Claim:
        names = {*_HASHES, *_LIMITS, "descriptor", "described", "values", "operands"}
        if not isinstance(body, dict) or set(body) != names:
            raise ValueError(f"the fields must be {', '.join(sorted(names))}")
        for name, limit in _LIMITS.items():
            if type(body[name]) is not int or not 0 <= body[name] < limit:
                raise ValueError(f"{name} must be in [0, {limit})")
        if body["version"] != VERSION:
            raise ValueError(f"version {VERSION} is needed, received {body['version']}")
        if not all(isinstance(body[n], bytes) and len(body[n]) == SIZE for n in _HASHES):
            raise ValueError("a root has 32 bytes")
        if not isinstance(body["descriptor"], bytes) or not isinstance(body["operands"], list):
            raise ValueError("a descriptor and a list of operands are needed")
        if not body["value"] < body["count"] or body["batch"] < 1:
            raise ValueError("value must be below count, batch at least 1")
        return Claim(
            **{name: body[name] for name in (*_HASHES, *_LIMITS) if name != "version"},
            descriptor=body["descriptor"],
            described=Slice.decoded(body["described"]),
            values=Slice.decoded(body["values"]),
            operands=tuple(Slice.decoded(s) for s in body["operands"]),
        )


def referee(claim: bytes) -> bytes:
    """What the element is: canonical bytes of ``{"found": integer}``, or of ``{"found": null}``
    where the operator refuses its operands, so that whatever was claimed of it is wrong.

    Raises Refused, a ValueError, for bytes that are no claim or prove less, or more, than what is
    read. Everybody finds the same.
    """
    return cbor.encode({"found": decide(claim)})


def decide(claim: bytes) -> int | None:
    """The same as an integer or None: by ``gvm_referee``."""
    try:
        return _core.referee(claim, _ANY)
    except ProgramError as error:
        raise Refused(str(error)) from None


def find(claim: Claim) -> int | None:
    """What ``decide`` finds, by the definitions of the operators: ``reference`` on what is
    shown."""
    node = described(claim)
    reader = _authenticated(claim, node)
    step, output = Step(claim.batch, claim.seed, claim.step), node.outputs.index(claim.value)
    if claim.element >= math.prod(node.output_types[output].concrete(claim.batch)):
        raise Refused("the value has no such element")
    try:
        reads = reads_of(node, step, output, claim.element, reader)
        terms = _read_all(claim, shapes_of(node, step), reads, reader)
    except KeyError:
        raise Refused("a chunk that is read is missing") from None
    except ValueError as error:
        if isinstance(error, Refused):
            raise
        reader.require_no_more()
        return None
    reader.require_no_more()
    if reader.outside:
        return None
    try:
        if terms is not None:
            return terms_of(node, step, output, claim.element, *terms, reader)
        return element_of(node, step, output, claim.element, reader)
    except (ValueError, ProgramError):
        return None


def _read_all(claim: Claim, shapes: Shapes, reads: Reads, reader: Reader) -> tuple[int, int] | None:
    """Reads what the element needs; returns the terms that are added up, where it is a sum."""
    if isinstance(reads, Sum):
        first, last = (claim.first, claim.last) if claim.last else (0, reads.count)
        if not first <= last <= reads.count or last - first > LEAF:
            raise Refused(f"{reads.count} terms, of which at most {LEAF} are added up")
        for factor in reads.all_factors if first < last else ():
            reader(factor.input, reads.indices(factor, first, last))
        return first, last
    if claim.first or claim.last:
        raise Refused("the element is no sum")
    for position, shape in enumerate(shapes.inputs):
        reader(position, reads.indices(position, shape))
    return None


def described(claim: Claim) -> Node:
    """The node that makes the value of a claim, proved to be that of the program, and one that an
    operator accepts."""
    check_described(claim.listing, claim.count, claim.value, claim.descriptor, claim.described)
    try:
        entry, node = read_descriptor(claim.descriptor)
        if node is None:
            raise ValueError("it is given")
        _check_node(node, entry, claim)
    except (ValueError, ProgramError) as error:
        raise Refused(f"not a node's result: {error}") from None
    return node


def check_described(
    listing: bytes, count: int, number: int, descriptor: bytes, shown: Slice
) -> None:
    """Whether a descriptor is that of a value, shown by one chunk of their hashes."""
    found = shown.alone(listing, (count + 1) * SIZE, number * SIZE, SIZE)
    if found is None:
        raise Refused("not a chunk of the descriptors' hashes")
    if found != _core.blake3(descriptor):
        raise Refused("not the descriptor of the value")


def _check_node(node: Node, entry: Entry, claim: Claim) -> None:
    batched = any(-1 in t.shape for t in (*node.input_types, *node.output_types))
    if node.function == "apply" and batched:
        raise ValueError("apply knows no batch")
    if entry.kind != "node" or claim.value not in node.outputs:
        raise ValueError("the value is not among the results")
    if not 0 <= node.site <= MAX_SITES - node.operator.sites:
        raise ValueError(f"site must be below 2^24, received {node.site}")
    inferred = _core.infer(node.opcode, list(node.input_types), list(node.attributes), claim.batch)
    if len(inferred) != len(node.outputs) or len(inferred) != len(node.output_types):
        raise ValueError("another number of results")
    for mine, theirs in zip(inferred, node.output_types, strict=True):
        # The bound of a sum over examples is that of the largest batch.
        if _but_bound(mine) != _but_bound(theirs) or not mine.bound <= theirs.bound <= 2**62:
            raise ValueError("a result has another type")


def _but_bound(t: Type) -> tuple[Any, ...]:
    return t.dtype, t.fraction_bits, t.shape, t.partial


class Reader:
    """Reads elements from proved chunks and remembers which; KeyError for what they do not hold."""

    def __init__(self, node: Node, slices: Sequence[Slice]) -> None:
        self.types, self.slices = node.input_types, slices
        self.read: list[set[int]] = [set() for _ in slices]
        self.outside = False
        """Whether an integer was beyond what its type may hold."""

    def __call__(self, position: int, index: Index) -> list[int]:
        type_ = self.types[position]
        size, little = BYTES[type_.dtype], LITTLE[type_.dtype]
        chunks = self.slices[position]
        found = b"".join(chunks.read(int(i) * size, size) for i in index)
        self.read[position] |= {int(c) for c in np.unique(index * size // CHUNK)}
        values = [int(v) for v in np.frombuffer(found, little)]
        low, high = RANGE[type_.dtype]
        if type_.dtype == "i64" and type_.bound:
            low, high = -type_.bound, type_.bound
        self.outside = self.outside or not all(low <= v <= high for v in values)
        return values

    def require_no_more(self) -> None:
        """Refuses chunks that were not read."""
        if any(set(s.chunks) != read for s, read in zip(self.slices, self.read, strict=True)):
            raise Refused("a chunk that is not read")


def _authenticated(claim: Claim, node: Node) -> Reader:
    """The operands, once all that is shown of them is proved."""
    if not claim.values.proves(claim.root, claim.count * SIZE):
        raise Refused("the hashes of the operands are not those of the step")
    if set(claim.values.chunks) != {v * SIZE // CHUNK for v in node.inputs}:
        raise Refused("the chunks of the operands' hashes are needed, and no others")
    if len(claim.operands) != len(node.inputs):
        raise Refused(f"{len(node.inputs)} operands are needed")
    for v, type_, operand in zip(node.inputs, node.input_types, claim.operands, strict=True):
        if v >= claim.value:
            raise Refused("an operand does not stand before its node")
        hashed = claim.values.read(v * SIZE, SIZE)
        if not operand.proves(hashed, Entry("", 0, type_).size(claim.batch)):
            raise Refused(f"the chunks of value {v} are not under its hash")
    return Reader(node, claim.operands)


def term_count(node: Node, step: Step, output: int, element: int) -> int:
    """Terms of an element that is a sum; 0 for others."""

    def unknown(position: int, index: Index) -> list[int]:
        raise KeyError(position)

    try:
        reads = reads_of(node, step, output, element, unknown)
    except KeyError:  # found by an index: one term
        return 0
    return reads.count if isinstance(reads, Sum) else 0


@dataclass(frozen=True)
class Known:
    """What a party has of a program's step to prove claims with."""

    listing: bytes
    """The hashes of all descriptors (``Listing.hashes``)."""
    descriptors: Mapping[int, bytes]
    """The disputed value's at least, by number."""
    roots: bytes
    """The hashes of the values of the step."""
    operands: Mapping[int, bytes]
    """The operands' canonical bytes, by number."""


def make_claim(
    known: Known, step: Step, value: int, element: int, terms: tuple[int, int] | None = None
) -> Claim:
    """The claim about an element, or some terms of one that is a sum, with its proofs."""
    _, node = read_descriptor(known.descriptors[value])
    assert node is not None
    output = node.outputs.index(value)
    first, last = terms if terms is not None else (0, 0)
    shown = _shown(known, node, step, output, element, terms)
    return Claim(
        _core.blake3(known.roots),
        _core.blake3(known.listing),
        len(known.roots) // SIZE,
        step.batch,
        step.seed,
        step.step,
        value,
        element,
        first,
        last,
        known.descriptors[value],
        Tree(known.listing).prove([value * SIZE // CHUNK]),
        Tree(known.roots).prove(v * SIZE // CHUNK for v in node.inputs),
        tuple(
            Tree(known.operands[v]).prove(chunks)
            for v, chunks in zip(node.inputs, shown, strict=True)
        ),
    )


def _shown(
    known: Known,
    node: Node,
    step: Step,
    output: int,
    element: int,
    terms: tuple[int, int] | None,
) -> list[set[int]]:
    """The chunks of each operand that the referee reads."""
    arrays = [
        np.frombuffer(known.operands[v], LITTLE[t.dtype])
        for v, t in zip(node.inputs, node.input_types, strict=True)
    ]
    used: list[set[int]] = [set() for _ in arrays]

    def read(position: int, index: Index) -> list[int]:
        size = BYTES[node.input_types[position].dtype]
        used[position] |= {int(c) for c in np.unique(index * size // CHUNK)}
        return [int(v) for v in arrays[position][index]]

    try:
        reads = reads_of(node, step, output, element, read)
    except ValueError:  # refused by what was read so far: so it will be by the referee
        return used
    if isinstance(reads, Sum):
        first, last = terms if terms is not None else (0, reads.count)
        for factor in reads.all_factors if first < last else ():
            read(factor.input, reads.indices(factor, first, last))
    else:
        for position, shape in enumerate(shapes_of(node, step).inputs):
            read(position, reads.indices(position, shape))
    return used
