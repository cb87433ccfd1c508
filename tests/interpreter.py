"""A program by the references of its operators: what the core must compute, by definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gvm import _core
from gvm.operator import Execution
from gvm.ops import BY_OPCODE
from gvm.program import Program, Step
from gvm.types import RANGE, Type
from tests.random_programs import Array, Run, packed

PARAMETERS, STATE = 2, 3


@dataclass
class Interpreter:
    """One function of a program, the whole batch at once."""

    program: Program
    batch: int
    seed: int
    step: int
    site: int = 0
    types: list[Type] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def give(self, types: Sequence[Type], arrays: Sequence[Array]) -> None:
        """Values that a function starts from."""
        self.types += types
        self.values += [np.asarray(a, dtype=np.int64) for a in arrays]

    def run(self, step: Step) -> None:
        """One node."""
        operator = BY_OPCODE[step.opcode]
        given = tuple(self.types[v] for v in step.inputs)
        made = _core.infer(
            step.opcode, list(given), list(step.attributes), self.program.max_batch, -1
        )
        execution = Execution(
            input_types=given,
            output_types=tuple(made),
            local=self.batch,
            offset=0,
            batch=self.batch,
            seed=self.seed,
            step=self.step,
            site=self.site,
        )
        self.site += operator.sites
        names = [a.name for a in operator.attributes]
        attributes = dict(zip(names, step.attributes, strict=True))
        outputs = operator.reference(execution, attributes, *(self.values[v] for v in step.inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for type_, output in zip(made, outputs, strict=True):
            array = np.asarray(output).astype(np.int64)
            low, high = RANGE[type_.dtype]
            low, high = (-type_.bound, type_.bound) if type_.dtype == "i64" else (low, high)
            assert array.size == 0 or (low <= array.min() and array.max() <= high)
            assert array.shape == type_.concrete(self.batch)
            self.types.append(type_)
            self.values.append(array)


@dataclass
class Training:
    """Where a run stands."""

    program: Program
    seed: int
    parameters: list[Array]
    state: list[Array]

    def loss(self, inputs: Sequence[Array], labels: Sequence[Array]) -> list[int]:
        """Total, count and perhaps correct of a batch."""
        assert self.program.loss is not None
        function = Interpreter(self.program, len(inputs[0]), 0, 0)
        function.give(self.program.inputs, inputs)
        function.give(self.program.labels, labels)
        function.give(self.program.parameters, self.parameters)
        for node in self.program.loss.segments[0].steps:
            function.run(node)
        return [int(function.values[v]) for v in self.program.loss.outputs]

    def advance(self, step: int, inputs: Sequence[Array], labels: Sequence[Array]) -> list[int]:
        """One step; returns its totals."""
        program = self.program
        assert program.grad is not None and program.apply is not None
        grad = Interpreter(program, len(inputs[0]), self.seed, step)
        grad.give(program.inputs, inputs)
        grad.give(program.labels, labels)
        grad.give(program.parameters, self.parameters)
        totals: list[tuple[Type, Array]] = []
        for segment in program.grad.segments:
            for node in segment.steps:
                grad.run(node)
            for v in segment.reduce:
                type_ = grad.types[v]
                whole = Type(type_.dtype, type_.fraction_bits, type_.shape, False, type_.bound)
                totals.append((whole, grad.values[v]))
                grad.give([whole], [grad.values[v]])
        apply = Interpreter(program, 1, self.seed, step, grad.site)
        apply.give(program.parameters, self.parameters)
        apply.give(program.state, self.state)
        apply.give(*zip(*totals, strict=True))
        for node in program.apply.segments[0].steps:
            apply.run(node)
        new = [apply.values[v] for v in program.apply.outputs]
        self.parameters, self.state = new[: len(self.parameters)], new[len(self.parameters) :]
        return [int(v) for _, total in totals for v in total.reshape(-1)]

    def buffers(self) -> tuple[bytes, bytes]:
        """Parameters and state as flat buffers."""
        return (
            packed(self.program, PARAMETERS, self.parameters),
            packed(self.program, STATE, self.state),
        )


def begin(run: Run, seed: int) -> Training:
    """A run that has not begun: state is zero."""
    return Training(
        run.program,
        seed,
        [np.asarray(p, dtype=np.int64) for p in run.parameters],
        [np.zeros(t.shape, dtype=np.int64) for t in run.program.state],
    )


def interpret(run: Run, seed: int, steps: int) -> tuple[list[tuple[int, ...]], bytes, bytes]:
    """Some steps on one batch: the totals of each, then the buffers of parameters and state."""
    training = begin(run, seed)
    seen = [tuple(training.advance(step, run.inputs, run.labels)) for step in range(steps)]
    return seen, *training.buffers()
