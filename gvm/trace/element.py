"""One element of a result by the definition of its operator, from the elements that it is computed
from. This is the referee's arithmetic: it executes ``reference`` and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from gvm.operator import Execution, Integers
from gvm.reads import Index, Part, Reads, Shapes, Sum, box_indices, box_shape, unflat
from gvm.trace.listing import Node
from gvm.types import Type

Read = Callable[[int, Index], list[int]]
"""Elements of an input by row-major indices; raises KeyError for what is not known."""


@dataclass(frozen=True)
class Step:
    """Which step: all that decides a node's results besides the integers it reads."""

    batch: int
    seed: int
    step: int


def shapes_of(node: Node, step: Step) -> Shapes:
    """A node with its shapes in a step."""
    return Shapes(
        node.named,
        tuple(t.concrete(step.batch) for t in node.input_types),
        tuple(t.concrete(step.batch) for t in node.output_types),
    )


def reads_of(node: Node, step: Step, output: int, index: int, read: Read) -> Reads:
    """What element ``index`` of a result is computed from."""
    shapes = shapes_of(node, step)
    at = unflat(index, shapes.outputs[output])

    def peek(position: int, wanted: int) -> int:
        return read(position, np.array([wanted], np.int64))[0]

    return node.operator.reads(shapes, output, at, peek)


def element_of(node: Node, step: Step, output: int, index: int, read: Read) -> int:
    """The value of element ``index`` of a result; raises ValueError where the operator refuses what
    it reads."""
    reads = reads_of(node, step, output, index, read)
    if isinstance(reads, Sum):
        return reads.value(read, 0, reads.count)
    return _part(node, step, output, index, reads, read)


def terms_of(
    node: Node, step: Step, output: int, index: int, first: int, last: int, read: Read
) -> int:
    """The sum of some terms of an element that is a sum."""
    reads = reads_of(node, step, output, index, read)
    if not isinstance(reads, Sum) or not 0 <= first <= last <= reads.count:
        raise ValueError(f"{node.operator.name}: no terms {first}..{last}")
    return reads.value(read, first, last)


@dataclass(frozen=True)
class _At(Execution):
    """An execution on a box of the results: draws are those of the whole."""

    index: Integers = field(default_factory=lambda: np.zeros(0, np.int64))

    def logical_index(self, type_: Type) -> Integers:
        return self.index.reshape(type_.shape)


def _part(node: Node, step: Step, output: int, index: int, part: Part, read: Read) -> int:
    shapes = shapes_of(node, step)
    shape = shapes.outputs[output]
    arrays = []
    for position, (box, whole) in enumerate(zip(part.inputs, shapes.inputs, strict=True)):
        array = np.zeros(box_shape(box), np.int64)
        wanted = part.indices(position, whole)
        inside = np.isin(box_indices(box, whole), wanted)
        array.reshape(-1)[inside] = read(position, wanted)
        arrays.append(array)
    logical = box_indices(part.output, shape)
    execution = _At(
        input_types=tuple(
            replace(t, shape=a.shape) for t, a in zip(node.input_types, arrays, strict=True)
        ),
        output_types=tuple(replace(t, shape=box_shape(part.output)) for t in node.output_types),
        local=step.batch if node.function == "grad" else 1,
        batch=step.batch if node.function == "grad" else 1,
        seed=step.seed,
        step=step.step,
        site=node.site,
        index=logical,
    )
    named = node.named if part.attributes is None else part.attributes
    made = node.operator.reference(execution, named, *arrays)
    result = np.asarray(made[output] if isinstance(made, tuple) else made)
    return int(result.reshape(-1)[int(np.flatnonzero(logical == index)[0])])
