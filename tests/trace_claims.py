"""Claims about single nodes, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gvm import _core
from gvm.operator import Case, Operator
from gvm.trace.claim import LEAF, Known, term_count
from gvm.trace.element import Step
from gvm.trace.evaluate import canonical
from gvm.trace.listing import Entry, Listing, Node
from gvm.types import Type
from tests.operator_suite import SEED, SITE, STEP, flat, infer

BEFORE = 40
"""Values of the step that stand before those of the node: more than a chunk of hashes."""


def node_of(operator: type[Operator], case: Case, attributes: Any, first: int = 0) -> Node:
    """The node of a case, whose operands are the values from ``first`` on."""
    results = first + len(case.inputs)
    made = tuple(infer(operator, case.inputs, attributes))
    return Node(
        "grad",
        operator.opcode,
        tuple(flat(attributes)),
        tuple(range(first, results)),
        tuple(range(results, results + len(made))),
        case.inputs,
        made,
        SITE,
    )


def known_of(node: Node, arrays: Sequence[Any]) -> Known:
    """A step in which such a node stands behind other values."""
    operands = {
        v: canonical(np.asarray(a), t.dtype)
        for v, t, a in zip(node.inputs, node.input_types, arrays, strict=True)
    }
    count = node.outputs[-1] + 1
    roots = [operands.get(v, bytes([v % 256]) * 3) for v in range(count)]
    listing = Listing(
        tuple(entry_of(node, v) for v in range(count)), (node,), node.outputs, node.outputs
    )
    return Known(
        listing.hashes,
        {v: listing.descriptor(v) for v in node.outputs},
        b"".join(_core.blake3(r) for r in roots),
        operands,
    )


def entry_of(node: Node, value: int) -> Entry:
    if value in node.outputs:
        return Entry("node", 0, node.output_types[node.outputs.index(value)])
    return Entry("parameter", value, Type("i16", 0, (3,)))


def step_of(case: Case) -> Step:
    """The step of a case that is a whole batch."""
    return Step(case.local, SEED, STEP)


def last_terms(node: Node, step: Step, output: int, element: int) -> tuple[int, int] | None:
    """Some terms of an element that is a sum, else None."""
    count = term_count(node, step, output, element)
    return (max(0, count - LEAF), count) if count else None
