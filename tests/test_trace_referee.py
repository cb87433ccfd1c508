"""The referee's arithmetic: single elements from what they are computed from, for every
operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from gvm.operator import Case, Operator
from gvm.ops import OPERATORS
from gvm.reads import Index, Sum
from gvm.trace.element import Step, element_of, reads_of, terms_of
from gvm.trace.listing import Node
from tests.operator_suite import (
    SEED,
    STEP,
    accepted,
    paint,
    reference,
    roundings,
)
from tests.trace_claims import node_of

MOST = 10
"""Elements of a result that are tried."""


class Seen:
    """Elements of the operands, and which of them were read."""

    def __init__(self, arrays: Any) -> None:
        self.arrays = [np.asarray(a, dtype=np.int64).reshape(-1) for a in arrays]
        self.read: list[set[int]] = [set() for _ in arrays]

    def __call__(self, position: int, index: Index) -> list[int]:
        self.read[position] |= set(index.tolist())
        return [int(v) for v in self.arrays[position][index]]


def some(count: int) -> list[int]:
    """Elements at the ends and spread between."""
    if count <= MOST:
        return list(range(count))
    return sorted({0, 1, count - 1, *(int(i) for i in np.linspace(0, count - 1, MOST - 3))})


def nodes(operator: type[Operator]) -> Iterator[tuple[Case, Any]]:
    """The cases of an operator on whole batches, to nearest and with a stochastic rounding."""
    for given in operator.cases():
        case = replace(given, offset=0, batch=given.local)
        for attributes in islice(roundings(operator, case), 2):
            if accepted(operator, case, attributes):
                yield case, attributes


@pytest.mark.parametrize("name", OPERATORS)
def test_elements_are_those_of_the_whole(name: str) -> None:
    operator = OPERATORS[name]
    tried = 0
    for case, attributes in nodes(operator):
        inputs = paint(case, "painted" if case.data is None else "given")
        outputs, _ = reference(operator, case, attributes, inputs)
        node, step = node_of(operator, case, attributes), Step(case.local, SEED, STEP)
        for o, output in enumerate(outputs):
            for i in some(output.size):
                value = int(output.reshape(-1)[i])
                assert element_of(node, step, o, i, Seen(inputs)) == value, (case.name, o, i)
                split(node, step, o, i, inputs, value)
                tried += 1
    assert tried > 0


def split(node: Node, step: Step, output: int, index: int, inputs: Any, value: int) -> None:
    """Sums may be taken in any parts."""
    reads = reads_of(node, step, output, index, Seen(inputs))
    if isinstance(reads, Sum):
        cuts = sorted({0, reads.count // 3, reads.count // 2, reads.count})
        parts = [
            terms_of(node, step, output, index, a, b, Seen(inputs))
            for a, b in zip(cuts, cuts[1:], strict=False)
        ]
        assert sum(parts) == value
