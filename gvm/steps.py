"""Nodes of one function, numbered as they are added."""

from __future__ import annotations

from dataclasses import dataclass, field

from gvm.operator import AttributeValue
from gvm.ops import OPERATORS
from gvm.program import Step


@dataclass
class Steps:
    """The nodes so far of a function, whose first value is number ``given``."""

    given: int
    steps: list[Step] = field(default_factory=list)
    produced: int = 0

    def add(
        self, name: str, inputs: tuple[int, ...], attributes: dict[str, AttributeValue], label: str
    ) -> list[int]:
        """A node; returns the values that it produces."""
        operator = OPERATORS[name]
        ordered = tuple(operator.complete(attributes).values())
        self.steps.append(Step(operator.opcode, inputs, ordered, label))
        first = self.given + self.produced
        self.produced += operator.outputs
        return list(range(first, first + operator.outputs))
