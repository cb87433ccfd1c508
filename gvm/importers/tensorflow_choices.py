"""TensorFlow's comparisons, conditions, and rows of tables."""

from __future__ import annotations

from functools import partial
from typing import Any

from gvm.graph import Value
from gvm.importers.arithmetic import fitting
from gvm.importers.composites import constant_condition
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import Merged, Operand, Tensor, Uniform, must_be_constant
from gvm.importers.tensorflow_nodes import (
    HINTS,
    PATTERNS,
    Plan,
    Translator,
    decides,
    from_the_end,
    handles,
    known_constant,
)

_RELATIONS = {
    "Equal": (0, False),
    "NotEqual": (0, False),
    "Less": (1, False),
    "LessEqual": (2, False),
    "Greater": (1, True),
    "GreaterEqual": (2, True),
}
"""The relation of ``compare``, and whether the operands change places."""
_FUNCTIONS = {"LogicalAnd": 0, "LogicalOr": 1, "LogicalNot": 3}


def _together(t: Translator, *operands: Operand) -> tuple[list[Value], Merged]:
    """Values that broadcast against each other, constants among them as parameters."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    first, *others = tensors
    if any(x.merged != first.merged for x in others):
        raise Refusal("the batch is merged with another axis in one operand only")
    values = []
    for x in operands:
        if isinstance(x, Tensor):
            values.append(x.value)
            continue
        c = fitting(t, first, x)
        if c.data.dtype.kind == "b":
            values.append(constant_condition(t, c))
            continue
        shape = c.data.shape
        while shape and shape[0] == 1:
            shape = shape[1:]
        values.append(t.low.parameter(c, c.data.reshape(shape)))
    return values, first.merged


@handles(*_RELATIONS)
def _compare(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    relation, turned = _RELATIONS[op.type]
    (left, right), merged = _together(t, a, b)
    if turned:
        left, right = right, left
    made = t.g.compare(left, right, relation=relation)
    return Tensor(t.g.logical(made, function=3) if op.type == "NotEqual" else made, merged)


@handles(*_FUNCTIONS)
def _logical(t: Translator, op: Any, *operands: Operand) -> Tensor:
    values, merged = _together(t, *operands)
    return Tensor(t.g.logical(*values, function=_FUNCTIONS[op.type]), merged)


@decides("LogicalAnd", "LogicalOr")
def _with_one_for_all(t: Translator, op: Any, *operands: Any) -> Any:
    """Truth values beside one for all of a larger tensor, which only broadcasting readers have: a
    mask of attention."""
    one = next((x for x in operands if isinstance(x, Uniform)), None)
    other = next((x for x in operands if x is not one), None)
    if one is None or not isinstance(other, Constant | Tensor):
        return NotImplemented
    held = bool(one.number)
    if held != (op.type == "LogicalAnd"):
        return one
    readers = {reader.type for reader in op.outputs[0].consumers()}
    if not readers - {"SelectV2", *_FUNCTIONS}:
        return other
    value = constant_condition(t, other) if isinstance(other, Constant) else t.whole(other)
    return Tensor(t.g.broadcast_to(value, shape=t.g.shape(t.spread(one).value)))


@handles("Select", "SelectV2")
def _select(t: Translator, op: Any, condition: Operand, a: Operand, b: Operand) -> Tensor:
    values, merged = _together(t, condition, a, b)
    if op.type == "Select" and len({len(t.g.shape(v)) for v in values}) != 1:
        raise Refusal("the operands differ in rank; nearest supported form: SelectV2")
    return Tensor(t.g.select(*values, name=op.name), merged)


def _rows(t: Translator, op: Any) -> Plan | None:
    """Rows of a constant table, by an integer input. A negative index is refused when it runs."""
    x, indices, *axis = op.inputs
    along = known_constant(t, axis[0]) if axis else None
    if known_constant(t, x) is None or not op.outputs[0].dtype.is_floating:
        return None
    if known_constant(t, indices) is not None or (along is not None and along.scalar() != 0):
        return None
    select = indices.op
    if select.type == "SelectV2" and from_the_end(indices, select.inputs[2]):
        limit = known_constant(t, select.inputs[0].op.inputs[1])
        if limit is not None and limit.scalar() == 0:
            indices = select.inputs[2]
    return Plan((x, indices), partial(_gather, t, op))


def _gather(t: Translator, op: Any, x: Operand, indices: Operand) -> Tensor:
    table = must_be_constant(x, "table")
    if not isinstance(indices, Tensor) or t.g.types[indices.value].dtype != "i32":
        raise Refusal(f"the row numbers must be an integer input; {HINTS['GatherV2']}")
    return Tensor(t.g.gather(t.low.parameter(table), indices.value, name=op.name), indices.merged)


PATTERNS["GatherV2"] = _rows
PATTERNS["ResourceGather"] = _rows


@handles("ArgMax")
def _argmax(t: Translator, op: Any, x: Operand, axis: Operand) -> Tensor:
    number = axis.scalar() if isinstance(axis, Constant) else None
    if not isinstance(x, Tensor) or number is None:
        raise Refusal("the axis must be constant")
    value = t.whole(x)
    rank = len(t.g.shape(value))
    return Tensor(t.g.argmax(value, axis=int(number) % rank, name=op.name))
