"""ONNX's comparisons, truth values, conditions and casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import fitting
from gvm.importers.composites import choose, negation
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.onnx_whole import kind_of_whole, wrapped
from gvm.importers.shapes import Merged, Operand, Tensor, integers_of

_RELATIONS = {
    "Equal": (0, False),
    "Less": (1, False),
    "LessOrEqual": (2, False),
    "Greater": (1, True),
    "GreaterOrEqual": (2, True),
}
"""The relation of ``compare``, and whether the operands change places."""
_FUNCTIONS = {"And": 0, "Or": 1, "Xor": 2, "Not": 3}
REAL, WHOLE, TRUTH = "real", "whole", "bool"


def kind_of(t: Translator, x: Operand | None) -> str:
    """What the elements of an operand are: real, whole numbers or truth values."""
    if isinstance(x, Tensor):
        dtype = t.g.types[x.value].dtype
        return dtype if dtype in (REAL, TRUTH) else WHOLE
    if not isinstance(x, Constant):
        return WHOLE
    return {"b": TRUTH, "i": WHOLE, "u": WHOLE}.get(x.data.dtype.kind, REAL)


def together(t: Translator, *operands: Operand) -> tuple[list[Value], Merged]:
    """Values that broadcast against each other, constants among them as parameters."""
    first, *others = [x for x in operands if isinstance(x, Tensor)]
    if any(x.merged != first.merged for x in others):
        raise Refusal("the batch is merged with another axis in one operand only")
    values = []
    for x in operands:
        if isinstance(x, Tensor):
            values.append(x.value)
            continue
        c = fitting(t, first, x)
        shape = c.data.shape
        while shape and shape[0] == 1:
            shape = shape[1:]
        data = c.data.reshape(shape)
        if data.dtype.kind == "b":
            values.append(int(t.g.parameter(t.low.unique(c.name), data, TRUTH, 0, False)))
        else:
            values.append(t.low.parameter(c, data))
    return values, first.merged


@handles(*_RELATIONS)
def _compare(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    relation, turned = _RELATIONS[node.type]
    (left, right), merged = together(t, a, b)
    if t.g.types[left].dtype == TRUTH:
        return Tensor(negation(t, t.g.logical(left, right, function=2)), merged)
    if turned:
        left, right = right, left
    return Tensor(t.g.compare(left, right, relation=relation, name=node.name), merged)


@handles(*_FUNCTIONS)
def _logical(t: Translator, node: Node, *operands: Operand) -> Tensor:
    values, merged = together(t, *operands)
    return Tensor(t.g.logical(*values, function=_FUNCTIONS[node.type], name=node.name), merged)


@handles("Where")
def _where(t: Translator, node: Node, condition: Operand, a: Operand, b: Operand) -> Tensor:
    (c, left, right), merged = together(t, condition, a, b)
    return Tensor(choose(t, c, left, right, node.name), merged)


@handles("IsNaN", "IsInf")
def _is_not_finite(t: Translator, node: Node, x: Tensor) -> Operand:
    """No number of a program is infinite or none."""
    if t.batch_axis(x.value) is not None:
        return Tensor(t.g.compare(x.value, x.value, relation=1, name=node.name), x.merged)
    return Constant(np.zeros(t.g.shape(x.value), bool), node.name)


def _like(t: Translator, x: Value, value: float, name: str) -> Value:
    """A number of the kind of a value."""
    if t.low.is_whole(x):
        return t.low.whole(int(value), name)
    return t.low.parameter(Constant(np.asarray(value, np.float64), name))


@handles("Sign")
def _sign(t: Translator, node: Node, x: Tensor) -> Tensor:
    zero = _like(t, x.value, 0, "zero")
    one, less = _like(t, x.value, 1, "one"), _like(t, x.value, -1, "minus_one")
    above = t.g.compare(zero, x.value, relation=1)
    below = t.g.compare(x.value, zero, relation=1)
    made = t.g.select(above, one, int(t.g.select(below, less, zero)), name=node.name)
    return Tensor(made, x.merged)


@handles("Shrink")
def _shrink(t: Translator, node: Node, x: Tensor) -> Tensor:
    """x - bias above lambd, x + bias below -lambd, else 0."""
    limit, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    v = x.value
    high = t.g.compare(_like(t, v, limit, f"{node.name}/limit"), v, relation=1)
    low = t.g.compare(v, _like(t, v, -limit, f"{node.name}/limit"), relation=1)
    above, below = v, v
    if bias:
        above = t.low.shift_by(v, -bias, f"{node.name}/bias")
        below = t.low.shift_by(v, bias, f"{node.name}/bias")
    return Tensor(
        t.g.add(t.g.mask(high, above, value=1), t.g.mask(low, below, value=1), name=node.name),
        x.merged,
    )


@handles("ThresholdedRelu")
def _thresholded(t: Translator, node: Node, x: Tensor) -> Tensor:
    limit = _like(t, x.value, node.number("alpha", 1.0), f"{node.name}/alpha")
    above = t.g.compare(limit, x.value, relation=1)
    return Tensor(t.g.mask(above, x.value, value=1, name=node.name), x.merged)


@handles("Trilu", known=(1,))
def _triangle(t: Translator, node: Node, x: Tensor, k: Operand | None = None) -> Tensor:
    """What lies above (upper) or below a diagonal of the last two axes, 0 elsewhere."""
    (offset,) = (0,) if k is None else integers_of(k)
    value = t.whole(x)
    rows, columns = t.g.shape(value)[-2:]
    if -1 in (rows, columns):
        raise Refusal("takes a part of the batch")
    make = np.triu if node.integer("upper", 1) else np.tril
    kept = make(np.ones((rows, columns), bool), offset)
    return Tensor(keep(t, value, kept, node.name))


def keep(t: Translator, value: Value, where: Any, name: str) -> Value:
    """A value where a constant condition holds, 0 elsewhere."""
    condition = t.g.parameter(t.low.unique(f"{name}/where"), where, "bool", 0, False)
    if t.g.types[value].dtype == TRUTH:
        return int(t.g.logical(condition, value, function=0, name=name))
    return int(t.g.mask(condition, value, value=1, name=name))


@handles("EyeLike")
def _eye(t: Translator, node: Node, x: Tensor) -> Operand:
    rows, columns = t.g.shape(t.whole(x))
    if -1 in (rows, columns):
        raise Refusal("makes a matrix of the batch size")
    return Constant(np.eye(rows, columns, node.integer("k", 0)), node.name)


@handles("OneHot", known=(1,))
def _one_hot(t: Translator, node: Node, x: Tensor, depth: Operand, values: Operand) -> Tensor:
    """The second of two values where the number of the new axis is x, else the first."""
    (size,) = integers_of(depth)
    numbers = t.whole(x)
    shape = t.g.shape(numbers)
    axis = node.integer("axis", -1) % (len(shape) + 1)
    axis_of = [*shape[:axis], 1, *shape[axis:]]
    below = t.g.compare(numbers, _like(t, numbers, 0, "zero"), relation=1)
    more = t.low.exact(t.g.add(numbers, _like(t, numbers, size, f"{node.name}/depth")))
    numbers = int(t.g.select(below, *t.low.alike([more, numbers])))
    each = np.arange(size).reshape([-1 if i == axis else 1 for i in range(len(axis_of))])
    whole = t.low.is_whole(numbers)
    at = t.low.parameter(Constant(each if whole else each.astype(np.float64), f"{node.name}/at"))
    same = t.g.compare(t.low.reshape(numbers, axis_of), at, relation=0)
    if isinstance(values, Constant):
        off, on = (
            t.low.parameter(values.derive(v), np.asarray(v)) for v in values.data.reshape(-1)
        )
    else:
        pair = t.whole(values)
        off, on = (
            t.low.reshape(int(t.g.slice(pair, begin=(i,), end=(i + 1,), strides=(1,))), [])
            for i in (0, 1)
        )
    return Tensor(choose(t, same, on, off, node.name))


# Casts


@handles("Cast")
def _cast(t: Translator, node: Node, x: Operand) -> Operand:
    from onnx import TensorProto

    to = node.attributes.get("to", TensorProto.FLOAT)
    return cast(t, node, x, to if isinstance(to, str) else TensorProto.DataType.Name(int(to)))


@handles("CastLike")
def _cast_like(t: Translator, node: Node, x: Operand, like: Operand) -> Operand:
    kind = kind_of(t, like)
    if isinstance(x, Constant):
        return x.derive(x.data.astype({REAL: np.float64, TRUTH: bool, WHOLE: np.int64}[kind]))
    kind_like = kind_of_whole(like).upper() or "INT64"
    return cast(t, node, x, {REAL: "FLOAT", TRUTH: "BOOL", WHOLE: kind_like}[kind])


def cast(t: Translator, node: Node, x: Operand, to: str) -> Operand:
    """A tensor with elements of another type of ONNX, by its name."""
    assert isinstance(x, Tensor)
    kind = kind_of(t, x)
    if to in ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"):
        return Tensor(as_real(t, x.value), x.merged)
    if to == "BOOL":
        if kind == TRUTH:
            return x
        zero = _like(t, x.value, 0, "zero")
        return Tensor(negation(t, t.g.compare(x.value, zero, relation=0)), x.merged)
    if to not in WHOLE_TYPES:
        raise Refusal(f"casts values to {to}; nearest supported form: whole numbers of 8 bits")
    if kind == TRUTH:
        made = t.g.select(x.value, t.low.whole(1, "one"), t.low.whole(0, "zero"))
        return Tensor(made, x.merged, to.lower())
    if kind == REAL:
        from gvm.importers.onnx_rounding import toward_zero

        return Tensor(toward_zero(t, x.value), x.merged, to.lower())
    given, held = np.iinfo(x.kind or "int64"), np.iinfo(to.lower())
    value = x.value
    if held.bits < 32 and (given.min < held.min or given.max > held.max):
        value = wrapped(t.low, value, to.lower())
    return Tensor(value, x.merged, to.lower())


WHOLE_TYPES = ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


def as_real(t: Translator, value: Value) -> Value:
    """Whole numbers and truth values as real ones."""
    dtype = t.g.types[value].dtype
    if dtype == REAL:
        return value
    one = t.low.number(1.0, "one")
    if dtype == TRUTH:
        return int(t.g.mask(value, one_of(t, t.g.shape(value)), value=1))
    return int(t.g.mul(value, one))


def one_of(t: Translator, shape: Sequence[int]) -> Value:
    """Ones of a shape."""
    one = t.low.parameter(Constant(np.asarray(1.0), "one"))
    return int(t.g.broadcast_to(one, shape=tuple(shape))) if shape else one
