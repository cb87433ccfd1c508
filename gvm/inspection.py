"""What the nodes of a model are: operators, formats, parameters, exact multiply-adds. The program
says all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gvm import _core
from gvm.ops import BY_OPCODE
from gvm.program import Function, Program, Segment, Step, steps_of
from gvm.types import BATCH, BITS, Type

if TYPE_CHECKING:
    from gvm.model import Model


@dataclass(frozen=True)
class NodeInfo:
    """A node of ``predict``."""

    number: int
    """The node's place in the program, as errors give it."""
    operator: str
    name: str
    """The source's name for the result, a view's parameter, or empty."""
    inputs: tuple[int, ...]
    """Values: inputs of the model, then its parameters, then the outputs of node after node."""
    outputs: tuple[int, ...]
    types: tuple[Type, ...]
    """Of the outputs."""
    parameters: int
    """Elements of the parameters that the node reads and no node before it does."""
    multiply_adds: int
    """For one example."""

    def row(self) -> dict[str, str | int]:
        """What a table says of the node."""
        return {
            "node": self.number,
            "operator": self.operator,
            "name": self.name,
            "result": ", ".join(map(str, self.types)),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
        }


@dataclass(frozen=True)
class Nodes:
    """``predict``: the types of all its values, and its nodes."""

    types: tuple[Type, ...]
    names: tuple[str, ...]
    """Of all values; empty where there is none."""
    nodes: tuple[NodeInfo, ...]
    inputs: int
    parameters: int

    @property
    def given(self) -> int:
        """Values that no node makes: inputs, then parameters."""
        return self.inputs + self.parameters

    def is_view(self, node: NodeInfo) -> bool:
        """Whether a node computes with parameters alone."""
        return all(t.batch_axis is None for t in node.types)


def inspect(model: Model) -> Nodes:
    """The nodes of a model."""
    program = model.program
    types = [*program.inputs, *program.parameters]
    first = len(program.inputs)
    names = [f"input {i}" for i in range(first)] if first > 1 else ["input"]
    names += [p.name for p in program.info]
    seen: set[int] = set()
    nodes = []
    for number, step in enumerate(steps_of(program.predict)):
        given = [types[v] for v in step.inputs]
        made = _core.infer(step.opcode, given, list(step.attributes), program.max_batch, number)
        read = {v for v in step.inputs if first <= v < first + len(program.parameters)} - seen
        seen |= read
        of_weights = len(step.inputs) == 1 and all(t.batch_axis is None for t in made)
        name = step.label or (names[step.inputs[0]] if of_weights else "")
        nodes.append(
            NodeInfo(
                number,
                step.name,
                name,
                step.inputs,
                tuple(range(len(types), len(types) + len(made))),
                tuple(made),
                sum(math.prod(types[v].shape) for v in read),
                _multiply_adds(step, given, program.max_batch),
            )
        )
        types += made
        names += [name, *[""] * (len(made) - 1)]
    return Nodes(tuple(types), tuple(names), tuple(nodes), first, len(program.parameters))


def _multiply_adds(step: Step, given: Sequence[Type], max_batch: int) -> int:
    """As the core counts them, of a program that has this node alone.

    Counts come from shapes, so what an operator accepts in the place of an accumulator, which no
    program is given, counts the same.
    """
    operator = BY_OPCODE[step.opcode]
    shown = list(given)
    for i, t in enumerate(given):
        if t.dtype == "i64":
            narrowest = min(operator.input_spec(i).accepts, key=lambda d: BITS[d])
            shown[i] = replace(t, dtype=narrowest, bound=0)
    unused = Type("i16", 0, (BATCH,))  # a program has a batch
    batched = [i for i, t in enumerate(shown) if t.batch_axis is not None]
    shared = [i for i, t in enumerate(shown) if t.batch_axis is None]
    number = {old: new for new, old in enumerate([*batched, *shared], 1)}
    alone = replace(step, inputs=tuple(number[i] for i in range(len(shown))))
    program = Program(
        max_batch,
        (unused, *(shown[i] for i in batched)),
        (),
        tuple(shown[i] for i in shared),
        Function(len(shown) + 1, (Segment((alone,)),), (len(shown) + 1,)),
    )
    return int(_core.Program(program.encode()).cost(0, 1)["multiply_adds"])
