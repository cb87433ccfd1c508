"""``apply`` of a training program: an optimizer and its state."""

from __future__ import annotations

from dataclasses import replace

from gvm import _core
from gvm.errors import GvmError
from gvm.operator import AttributeValue
from gvm.ops import BY_OPCODE
from gvm.ops.clip import MAX_GRADIENTS, NORM, SCALE, VALUE
from gvm.optimizers import MOMENT_BITS, Optimizer, Update, fixed_rate
from gvm.program import CANNOT_TRAIN, Function, ParameterInfo, Program, Rule, Segment
from gvm.scaling import history_type, next_scales, one_scale
from gvm.steps import Steps
from gvm.types import Type

TOTALS = 5


def with_optimizer(
    program: Program,
    optimizer: Optimizer,
    rounding: str | None = None,
    total_steps: int | None = None,
) -> Program:
    """The program with ``apply`` and its state for an optimizer; it rounds as ``grad`` does unless
    told otherwise. ``total_steps``: of the whole run, for schedules that end with it."""
    if program.grad is None:
        raise GvmError(CANNOT_TRAIN)
    trained = [i for i, p in enumerate(program.info) if p.trained]
    moments = [program.info[i].moment_bits for i in trained]
    of = [
        optimizer.state(program.parameters[i], bits)
        for i, bits in zip(trained, moments, strict=True)
    ]
    totals = _totals(program)
    history = history_type(program)
    parameters, states = len(program.parameters), sum(len(s) for s in of) + len(history)
    first_total = parameters + states
    count = first_total + program.count_total
    made = Steps(first_total + len(totals))
    gradients = {i: _gradient(made, program.info[i], first_total) for i in trained}
    formats = {i: _format(program.info[i], totals) for i in trained}
    scaling = program.scaling
    if scaling is not None:
        for i, group in scaling.gradients:
            bits = program.info[i].moment_bits
            made_of = one_scale(made, scaling, group, gradients[i], formats[i], bits)
            gradients[i], formats[i] = made_of
    known = [bits for bits in moments if bits is not None]
    clipped = _clip(made, optimizer, gradients, count, min(known, default=MOMENT_BITS), program)
    outputs = list(range(parameters + states))
    at = parameters
    for i, state in zip(trained, of, strict=True):
        update = Update(
            program.info[i].name,
            program.parameters[i],
            state,
            formats[i],
            (rounding or program.rounding) == "stochastic",
            total_steps,
        )
        name, attributes = optimizer.node(update)
        own = range(at, at + len(state))
        new = made.add(name, (i, *own, clipped[i], count), attributes, update.name)
        outputs[i] = new[0]
        outputs[at : at + len(state)] = new[1:]
        at += len(state)
    stochastic = (rounding or program.rounding) == "stochastic"
    for i, info in enumerate(program.info):
        if info.running is not None:
            rule = info.running
            inputs = (i, *(first_total + t for t in rule.totals))
            (outputs[i],) = made.add(*_rule(rule, inputs, 4 if stochastic else 0), info.name)
    if scaling is not None:
        outputs[scaling.first], outputs[at] = next_scales(made, scaling, first_total, at)
    apply = Function(made.given, (Segment(tuple(made.steps)),), tuple(outputs))
    return replace(program, apply=apply, state=(*(t for s in of for t in s), *history))


def _rule(
    rule: Rule, inputs: tuple[int, ...], rounding: int = 0
) -> tuple[str, tuple[int, ...], dict[str, AttributeValue]]:
    """A rule as a node reads it."""
    operator = BY_OPCODE[rule.opcode]
    names = (a.name for a in operator.attributes)
    attributes = dict(zip(names, rule.attributes, strict=True)) | {"rounding": rounding}
    return operator.name, inputs, attributes


def _gradient(made: Steps, info: ParameterInfo, first_total: int) -> int:
    """The value that is the gradient of a parameter: a total, or what its rule makes."""
    if info.rule is None:
        return first_total + (info.gradient or 0)
    inputs = tuple(first_total + t for t in info.rule.totals)
    return made.add(*_rule(info.rule, inputs), info.name)[0]


def _format(info: ParameterInfo, totals: list[Type]) -> Type:
    """The type of a gradient."""
    if info.rule is None:
        return totals[info.gradient or 0]
    like = totals[info.rule.totals[0]]
    return Type("i64", info.rule.fraction_bits, like.shape)


def _totals(program: Program) -> list[Type]:
    """The types of the totals of ``grad``."""
    bare = replace(program, apply=None, state=())
    return [t for t, _, _ in _core.Program(bare.encode()).tensors(TOTALS)]


def _clip(
    made: Steps,
    optimizer: Optimizer,
    gradients: dict[int, int],
    count: int,
    norm_bits: int,
    program: Program,
) -> dict[int, int]:
    """The gradients held to what the optimizer says, by parameter."""
    limits = optimizer.clipping
    limit = limits.norm if limits.value is None else limits.value
    if limit is None:
        return gradients
    multiplier, exponent = fixed_rate(limit, "clip")
    attributes: dict[str, AttributeValue] = {"multiplier": multiplier, "exponent": exponent}
    kind, by = VALUE, count
    if limits.value is None:
        if len(gradients) >= MAX_GRADIENTS:
            raise GvmError(
                f"clip_norm: at most {MAX_GRADIENTS - 1} parameters, received {len(gradients)}"
            )
        attributes["fraction_bits"] = norm_bits
        (by,) = made.add(
            "clip", (*gradients.values(), count), attributes | {"kind": NORM}, "global norm"
        )
        kind = SCALE
    return {
        i: made.add("clip", (g, by), attributes | {"kind": kind}, program.info[i].name)[0]
        for i, g in gradients.items()
    }
