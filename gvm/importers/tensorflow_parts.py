"""TensorFlow's parts and arrangements of tensors: gathers, mirrored borders, rolls, blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.composites import EQUAL, NOT
from gvm.importers.division import DOWN, whole_quotient
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import pick
from gvm.importers.shapes import Operand, Tensor, integers_of, must_be_constant
from gvm.importers.tensorflow_nodes import HINTS, Translator, attribute_of, handles

_MODES = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}


@handles("MirrorPad")
def _mirror(t: Translator, op: Any, x: Operand, paddings: Operand) -> Tensor:
    value = t.whole(x)
    borders = must_be_constant(paddings, "paddings").data.reshape(-1, 2)
    mode = _MODES[str(attribute_of(op, "mode"))]
    for axis, (before, after) in enumerate(borders.tolist()):
        if before or after:
            size = t.g.shape(value)[axis]
            order = np.pad(np.arange(max(size, 0)), (before, after), mode=mode)  # type: ignore[call-overload]
            value = pick(t, value, axis, order.tolist())
    return Tensor(value)


@handles("Roll")
def _roll(t: Translator, op: Any, x: Operand, shift: Operand, axis: Operand) -> Tensor:
    value = t.whole(x)
    for by, along in zip(integers_of(shift), integers_of(axis), strict=True):
        at = along % len(t.g.shape(value))
        size = t.g.shape(value)[at]
        value = pick(t, value, at, np.roll(np.arange(max(size, 0)), by).tolist())
    return Tensor(value)


# Elements by number


@handles("GatherV2", "Gather", "ResourceGather")
def _gather(t: Translator, op: Any, x: Operand, indices: Operand, *axis: Operand) -> Tensor:
    """Constant rows of an axis; the rows of a table by an input are a pattern."""
    if not isinstance(x, Tensor):
        raise Refusal(f"the row numbers must be an integer input; {HINTS['GatherV2']}")
    wanted = must_be_constant(indices, "row numbers").data
    value = t.whole(x)
    shape = t.g.shape(value)
    at = (integers_of(axis[0])[0] if axis else 0) % len(shape)
    if int(attribute_of(op, "batch_dims", 0)):
        raise Refusal("batch_dims must be 0")
    if wanted.size == 0 or (wanted < 0).any():
        raise Refusal(f"the row numbers must be >= 0, received {wanted.tolist()}")
    found = pick(t, value, at, wanted.reshape(-1).tolist())
    return Tensor(t.low.reshape(found, [*shape[:at], *wanted.shape, *shape[at + 1 :]]))


@handles("GatherNd")
def _gather_places(t: Translator, op: Any, x: Operand, indices: Operand) -> Tensor:
    """Constant places in the first axes, or rows of a constant table by an integer input."""
    if isinstance(x, Constant) and isinstance(indices, Tensor):
        dims = t.dims(indices)
        if t.g.types[indices.value].dtype != "i32" or dims[-1] != 1:
            raise Refusal(f"the row numbers must be an integer input; {HINTS['GatherV2']}")
        rows = t.reshape(indices, dims[:-1])
        return Tensor(t.g.gather(t.low.parameter(x), rows.value, name=op.name), rows.merged)
    wanted = must_be_constant(indices, "places").data
    value = t.whole(x)
    shape, depth = t.g.shape(value), wanted.shape[-1]
    if -1 in shape[:depth]:
        raise Refusal("takes a part of the batch")
    flat = t.low.reshape(value, [math.prod(shape[:depth]), *shape[depth:]])
    places = np.ravel_multi_index(tuple(wanted.reshape(-1, depth).T), tuple(shape[:depth]))
    found = pick(t, flat, 0, places.tolist())
    return Tensor(t.low.reshape(found, [*wanted.shape[:-1], *shape[depth:]]))


# Kinds of numbers


def _wrapped(t: Translator, x: Value, given: Any, to: Any) -> Value:
    """An integer in a narrower type: its low bits. All fit in 32 and more."""
    if to.size >= 4 or (given.min >= to.min and given.max <= to.max):
        return x
    whole = t.low.is_whole(x)

    def number(value: int) -> Value:
        return t.low.whole(value) if whole else t.low.number(value, f"number_{value}")

    span = 1 << (8 * to.size)
    moved = t.low.exact(t.g.sub(x, number(to.min))) if to.min else x
    turns = whole_quotient(t, moved, number(span), DOWN)
    return t.low.exact(t.g.sub(x, t.low.exact(t.g.mul(turns, number(span)))))


@handles("Cast")
def _cast(t: Translator, op: Any, x: Operand) -> Operand:
    """Floating point and integers are numbers alike where the value is whole."""
    assert isinstance(x, Tensor)
    given, to = t.g.types[x.value].dtype, op.outputs[0].dtype
    from_integers = op.inputs[0].dtype.is_integer
    if to.name == "bool":
        if given == "bool":
            return x
        zero = t.low.number(0.0, "number_0")
        made = t.g.logical(t.g.compare(x.value, zero, relation=EQUAL), function=NOT)
        return Tensor(made, x.merged)
    if given == "bool":
        one, none = (t.low.number(v, f"number_{v:g}") for v in (1.0, 0.0))
        return Tensor(t.g.select(x.value, one, none, name=op.name), x.merged)
    if from_integers and to.is_integer:
        return Tensor(_wrapped(t, x.value, op.inputs[0].dtype, to), x.merged)
    if to.is_floating or t.low.is_whole(x.value):
        return x
    raise Refusal(f"casts values to {to.name}; nearest supported form: floating point")
