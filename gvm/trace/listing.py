"""What a step computes, value by value: the order in which its values are committed to.

The values of a step are numbered: inputs, labels, parameters, the results of the nodes of ``grad``
in program order, state, the results of the nodes of ``apply``. Totals are the partial values that
they sum, since a trace sees the whole batch. The order, the types and the nodes follow from the
program; fusion, segments, shards and threads are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gvm import _core, cbor
from gvm.errors import GvmError
from gvm.operator import AttributeValue, Operator
from gvm.ops import BY_OPCODE
from gvm.program import Function, Program
from gvm.types import DTYPES, MAX_ELEMENTS, NUMPY, Type

NAMES = {number: name for name, number in DTYPES.items()}
MAX_RANK = 8
BYTES = {"i16": 2, "i32": 4, "i64": 8, "u8": 1, "bool": 1}
LITTLE = {name: f"<{'u' if n[0] == 'u' else 'i'}{BYTES[name]}" for name, n in NUMPY.items()}
"""NumPy's names of the element types, little-endian: how values are hashed."""


@dataclass(frozen=True)
class Node:
    """One node: all that decides its results besides the integers it reads, the batch size, the
    seed and the step."""

    function: str
    """"grad" or "apply": the latter knows no batch."""
    opcode: int
    attributes: tuple[AttributeValue, ...]
    inputs: tuple[int, ...]
    """Numbers of the values that it reads."""
    outputs: tuple[int, ...]
    """Numbers of its results."""
    input_types: tuple[Type, ...]
    output_types: tuple[Type, ...]
    site: int

    @property
    def operator(self) -> type[Operator]:
        """Its declaration."""
        return BY_OPCODE[self.opcode]

    @property
    def named(self) -> Mapping[str, AttributeValue]:
        """Attributes by name."""
        names = [a.name for a in self.operator.attributes]
        return dict(zip(names, self.attributes, strict=True))

    def encoded(self) -> list[Any]:
        """As canonical values."""
        return [
            self.function,
            self.opcode,
            [list(a) if isinstance(a, tuple) else a for a in self.attributes],
            list(self.inputs),
            list(self.outputs),
            [_encode_type(t) for t in self.input_types],
            [_encode_type(t) for t in self.output_types],
            self.site,
        ]


@dataclass(frozen=True)
class Entry:
    """A value of a step: what it is, and where it comes from."""

    kind: str
    """"input", "label", "parameter", "state", or "node"."""
    index: int
    """Which of that kind; for a node its number through grad and apply."""
    type: Type

    def shape(self, batch: int) -> tuple[int, ...]:
        """Its shape in a step of so many examples."""
        return self.type.concrete(batch)

    def size(self, batch: int) -> int:
        """Its bytes."""
        return math.prod(self.shape(batch)) * BYTES[self.type.dtype]


@dataclass(frozen=True)
class Listing:
    """The values of a step of a program, and its nodes."""

    entries: tuple[Entry, ...]
    nodes: tuple[Node, ...]
    results: tuple[int, ...]
    """Values that are the next parameters, then the next state."""
    totals: tuple[int, ...]
    """Values that are summed over the batch: first those of the loss."""

    @staticmethod
    def of(program: Program) -> Listing:
        """The listing of a program that has ``apply``."""
        if program.grad is None or program.apply is None:
            raise GvmError("a trace needs a program with an optimizer")
        return _Listing(program).listing

    def given(self, kind: str) -> list[int]:
        """The values of one kind."""
        return [v for v, e in enumerate(self.entries) if e.kind == kind]

    def descriptor(self, value: int) -> bytes:
        """Canonical bytes that say what a value is: its kind, its type, and the node that makes
        it."""
        entry = self.entries[value]
        node = self.nodes[entry.index].encoded() if entry.kind == "node" else None
        return cbor.encode([entry.kind, entry.index, _encode_type(entry.type), node])

    @property
    def ends(self) -> bytes:
        """Canonical bytes that say which values are the next parameters and the next state."""
        return cbor.encode(["results", list(self.results)])

    @cached_property
    def hashes(self) -> bytes:
        """The hashes of all descriptors in order, then that of ``ends``."""
        described = [self.descriptor(v) for v in range(len(self.entries))]
        return b"".join(_core.blake3(d) for d in (*described, self.ends))

    @cached_property
    def id(self) -> bytes:
        """BLAKE3 of ``hashes``: a referee who has it needs no program."""
        return _core.blake3(self.hashes)


def read_descriptor(data: bytes) -> tuple[Entry, Node | None]:
    """The inverse of ``Listing.descriptor``; raises ValueError."""
    match cbor.decode(data):
        case [("input" | "label" | "parameter" | "state" | "node") as kind, index, type_, node] if (
            kind == "node"
        ) == (node is not None):
            made = None if node is None else _decode_node(node)
            return Entry(kind, _integer(index, 0, 2**32), _decode_type(type_)), made
    raise ValueError("a descriptor has a kind, an index, a type, and of a result its node")


def _decode_node(body: Any) -> Node:
    match body:
        case [
            ("grad" | "apply") as function,
            opcode,
            [*attributes],
            [*inputs],
            [*outputs],
            [*given],
            [*made],
            site,
        ]:
            if opcode not in BY_OPCODE or type(opcode) is not int:
                raise ValueError(f"unknown opcode {opcode}")
            if len(given) != len(inputs) or len(made) != len(outputs):
                raise ValueError("a node has a type for each value")
            return Node(
                function,
                opcode,
                tuple(
                    tuple(_integer(v) for v in a) if isinstance(a, list) else _integer(a)
                    for a in attributes
                ),
                tuple(_integer(v, 0, 2**32) for v in inputs),
                tuple(_integer(v, 0, 2**32) for v in outputs),
                tuple(_decode_type(t) for t in given),
                tuple(_decode_type(t) for t in made),
                _integer(site, 0, 2**32),
            )
    raise ValueError("a node has eight fields")


def _integer(value: Any, least: int = -(2**63), limit: int = 2**63) -> int:
    if type(value) is not int or not least <= value < limit:
        raise ValueError(f"an integer in [{least}, {limit}) is needed")
    return value


def read_ends(data: bytes) -> tuple[int, ...]:
    """The inverse of ``Listing.ends``; raises ValueError."""
    match cbor.decode(data):
        case ["results", [*values]]:
            return tuple(_integer(v, 0, 2**32) for v in values)
    raise ValueError("not the results of a step")


def _encode_type(t: Type) -> list[Any]:
    return [DTYPES[t.dtype], t.fraction_bits, list(t.shape), t.partial, t.bound]


def _decode_type(body: Any) -> Type:
    match body:
        case [dtype, bits, [*shape], bool() as partial, bound] if len(shape) <= MAX_RANK:
            return Type(
                NAMES[_integer(dtype, 1, 6)],
                _integer(bits, -32, 48),
                tuple(_integer(d, -1, MAX_ELEMENTS + 1) for d in shape),
                partial,
                _integer(bound, 0, 2**62 + 1),
            )
    raise ValueError("a type has five fields")


class _Listing:
    """Makes a listing."""

    def __init__(self, program: Program) -> None:
        assert program.grad is not None and program.apply is not None
        self.program = program
        self.entries: list[Entry] = []
        self.nodes: list[Node] = []
        self.site = 0
        inputs = self.give("input", program.inputs)
        labels = self.give("label", program.labels)
        parameters = self.give("parameter", program.parameters)
        grad, totals = self.add("grad", program.grad, [*inputs, *labels, *parameters])
        state = self.give("state", program.state)
        made, _ = self.add("apply", program.apply, [*parameters, *state, *totals])
        outputs = [made[v] for v in program.apply.outputs]
        self.listing = Listing(
            tuple(self.entries), tuple(self.nodes), tuple(outputs), tuple(totals)
        )

    def give(self, kind: str, types: Sequence[Type]) -> list[int]:
        """Values that a step starts from."""
        first = len(self.entries)
        self.entries += [Entry(kind, i, t) for i, t in enumerate(types)]
        return list(range(first, len(self.entries)))

    def add(self, name: str, function: Function, given: list[int]) -> tuple[list[int], list[int]]:
        """The nodes of a function; returns the number here of each of its values, and those of its
        totals."""
        numbers, totals = list(given), []
        types = [self._seen(v) for v in numbers]
        for segment in function.segments:
            for step in segment.steps:
                read = tuple(types[v] for v in step.inputs)
                made = tuple(
                    _core.infer(
                        step.opcode, list(read), list(step.attributes), self.program.max_batch
                    )
                )
                first = len(self.entries)
                outputs = tuple(range(first, first + len(made)))
                self.nodes.append(
                    Node(
                        name,
                        step.opcode,
                        step.attributes,
                        tuple(numbers[v] for v in step.inputs),
                        outputs,
                        read,
                        made,
                        self.site,
                    )
                )
                self.entries += [Entry("node", len(self.nodes) - 1, t) for t in made]
                numbers += outputs
                types += made
                self.site += BY_OPCODE[step.opcode].sites
            for v in segment.reduce:
                totals.append(numbers[v])
                numbers.append(numbers[v])
                types.append(self._seen(numbers[v]))
        return numbers, totals

    def _seen(self, value: int) -> Type:
        """The type of a value as it is given to a function: a total is no longer partial."""
        return replace(self.entries[value].type, partial=False)
