"""Which gradients of a program must have one scale, for delayed scaling.

Backward, everything is linear: a result has the scale of the gradient it is made of, and what is
added has one scale. Only a rounding may begin another. Where an operator is not known to be linear,
or something else is added, the scale is that of the loss, which stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gvm import _core
from gvm.ops import BY_OPCODE
from gvm.program import Program, Step
from gvm.types import Type

TOTALS = 5
FIXED = 0
"""The group of the loss."""
LEAST_BITS, MOST_BITS = -16, 47
"""Fraction bits of a gradient whose magnitude is looked at."""
SEEDS = (
    "mean_squared_error_grad",
    "sigmoid_cross_entropy_grad",
    "softmax_cross_entropy_grad",
)
"""Where gradients begin."""
SUMS = ("add", "batch_normalize_grad", "concat", "select", "sub")
"""Linear in several operands together."""
PURE_SUMS = ("add", "concat", "select", "sub")
"""Those of them whose every operand must be a gradient, but for a condition."""
LINEAR = frozenset(
    (
        *SUMS,
        "avg_pool2d",
        "avg_pool2d_grad",
        "broadcast_to",
        "conv2d",
        "conv2d_grad_input",
        "conv2d_grad_weight",
        "convert",
        "convert_grad",
        "cumsum",
        "divide",
        "divide_by_count",
        "dropout",
        "gather_grad",
        "matmul",
        "matmul_grad_weight",
        "max_pool2d_grad",
        "mul",
        "normalize_grad",
        "pad",
        "reduce_max_grad",
        "reduce_sum",
        "relu_grad",
        "reshape",
        "slice",
        "transpose",
    )
)


@dataclass
class Groups:
    """The gradients of ``grad``, by value, and the group of each; ``of`` names a group by one of
    its members."""

    program: Program
    types: list[Type] = field(default_factory=list)
    made: dict[int, int] = field(default_factory=dict)
    """For each gradient the place in ``parent`` of its group."""
    parent: list[int] = field(default_factory=lambda: [FIXED])
    sites: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Roundings to 16 bits: the result, and the places of the groups before and after."""
    seen: list[int] = field(default_factory=list)
    """Results of 16 bits whose magnitude counts."""
    totals: list[int] = field(default_factory=list)
    """The values that are totals."""

    def find(self, place: int) -> int:
        """The name of a group."""
        while self.parent[place] != place:
            place = self.parent[place]
        return place

    def of(self, value: int) -> int:
        """The group of a value; that of the loss where it is no gradient."""
        return self.find(self.made.get(value, FIXED))

    def join(self, places: Sequence[int]) -> int:
        """One group of several."""
        names = [self.find(p) for p in places]
        for name in names:
            self.parent[name] = min(names)
        return min(names)


def groups_of(program: Program) -> Groups:
    """Follows gradients through ``grad``."""
    assert program.grad is not None
    bare = replace(program, apply=None, state=())
    following = iter(t for t, _, _ in _core.Program(bare.encode()).tensors(TOTALS))
    found = Groups(program, [*program.inputs, *program.labels, *program.parameters])
    node = 0
    for segment in program.grad.segments:
        for step in segment.steps:
            read = [found.types[v] for v in step.inputs]
            results = _core.infer(step.opcode, read, list(step.attributes), program.max_batch, node)
            _follow(found, step, results)
            found.types += results
            node += 1
        for value in segment.reduce:
            total = len(found.types)
            found.types.append(replace(next(following), partial=False))
            found.totals.append(total)
            if value in found.made:
                found.made[total] = found.made[value]
    return found


def _follow(found: Groups, step: Step, results: Sequence[Type]) -> None:
    """Says of which group the results of a node are."""
    first = len(found.types)
    gradients = [v for v in step.inputs if v in found.made]
    if step.name in SEEDS:
        place = FIXED
    elif not gradients:
        return
    else:
        place = found.join([found.made[v] for v in gradients])
        if not _is_linear(found, step, gradients):
            place = found.join([place, FIXED])
    to = results[0]
    if step.name == "convert" and _is_seen(to):
        found.parent.append(len(found.parent))
        found.sites[first] = (place, len(found.parent) - 1)
        place = len(found.parent) - 1
    for i, result in enumerate(results):
        found.made[first + i] = place
        if BY_OPCODE[step.opcode].sites and _is_seen(result):
            found.seen.append(first + i)


def _is_linear(found: Groups, step: Step, gradients: Sequence[int]) -> bool:
    if step.name in PURE_SUMS:
        return all(v in found.made or found.types[v].dtype == "bool" for v in step.inputs)
    if step.name == "div":
        return gradients == [step.inputs[0]] and step.get("direction") == 0
    return step.name in LINEAR and (step.name in SUMS or len(gradients) == 1)


def _is_seen(t: Type) -> bool:
    return t.dtype == "i16" and t.batch_axis is not None and t.fraction_bits >= LEAST_BITS
