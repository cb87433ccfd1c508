"""Which totals of a training program are its loss."""

from __future__ import annotations

from typing import Any

from gvm.ops import BY_OPCODE
from gvm.program import Program, Step

LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error")
RIGHT = "argmax_correct"
TOTALS = 5


def loss_totals(program: Program) -> tuple[int, ...]:
    """The numbers of the totals that are the sum of the loss, the count of examples and, for
    classifiers, how many were right."""
    assert program.grad is not None
    made: dict[int, tuple[Step, int]] = {}
    value, total = program.grad.given, 0
    found: dict[bool, int] = {}
    for segment in program.grad.segments:
        for step in segment.steps:
            for i in range(BY_OPCODE[step.opcode].outputs):
                made[value + i] = step, i
            value += BY_OPCODE[step.opcode].outputs
        for reduced in segment.reduce:
            of = made[reduced][0].inputs[:1] if reduced in made else ()
            if of and of[0] in made and made[of[0]][0].name in (*LOSSES, RIGHT):
                step, i = made[of[0]]
                found.setdefault(step.name == RIGHT or i == 1, total)
            total += 1
        value += len(segment.reduce)
    right = (found[True],) if True in found else ()
    return (found[False], program.count_total, *right)


def loss_places(program: Program, native: Any) -> tuple[int, ...]:
    """Where they lie among the elements of all totals."""
    offsets = [int(at) for _, at, _ in native.tensors(TOTALS)]
    return tuple(offsets[t] for t in loss_totals(program))
