"""TensorFlow's operators of numbers that may be minus infinity: where(mask, x, -inf), x + mask,
softmax. ``minus_infinity.py`` says what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gvm.importers import arithmetic
from gvm.importers import minus_infinity as low
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.minus_infinity import REASON, Masked, are_constant, dims_of, is_low
from gvm.importers.shapes import must_be_constant
from gvm.importers.tensorflow_nodes import (
    DECIDED_FIRST,
    HANDLERS,
    Handler,
    Translator,
    attribute_of,
)


def _decide(t: Translator, op: Any, *operands: Any) -> Any:
    """The result of a node that reads minus infinity; NotImplemented where none of its operands
    holds any, or where all are constants."""
    if not any(map(is_low, operands)) or are_constant(operands):
        return NotImplemented
    if op.type not in _HANDLERS:
        if not any(isinstance(x, Masked) for x in operands):
            return NotImplemented  # a weight, whose name and element are told
        raise Refusal(REASON)
    return _HANDLERS[op.type](t, op, *operands)


DECIDED_FIRST.append(_decide)
_HANDLERS: dict[str, Handler] = {}


def _reads(*types: str) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(types, function))
        return function

    return register


def _run(t: Translator, op: Any, operands: Sequence[Any]) -> Any:
    """A node without minus infinity; truth values in the place of numbers stay truth values."""
    if not are_constant(operands):
        return HANDLERS[op.type](t, op, *operands)
    truths = any(x.data.dtype.kind == "b" for x in operands)
    given = [
        x.derive(x.data.astype(tensor.dtype.as_numpy_dtype))
        for x, tensor in zip(operands, op.inputs, strict=True)
    ]
    (made,) = t.evaluate(op, given)
    return made.derive(made.data.astype(bool)) if truths else made


@_reads("Add", "AddV2", "AddN", "BiasAdd")
def _add(t: Translator, op: Any, *operands: Any) -> Any:
    return low.added(t, op.name, *operands)


@_reads("Sub")
def _subtract(t: Translator, op: Any, a: Any, b: Any) -> Any:
    return low.subtracted(t, op.name, a, b)


@_reads("Mul", "RealDiv", "Div")
def _scale(t: Translator, op: Any, a: Any, b: Any) -> Any:
    return low.scaled(t, op.name, a, b, op.type != "Mul")


@_reads("Select", "SelectV2")
def _select(t: Translator, op: Any, condition: Any, a: Any, b: Any) -> Any:
    return low.selected(t, condition, a, b)


@_reads("Maximum")
def _maximum(t: Translator, op: Any, a: Any, b: Any) -> Any:
    return low.greater(t, lambda both: arithmetic.maximum(t, *both), a, b)


@_reads("Cast")
def _cast(t: Translator, op: Any, x: Any) -> Any:
    if not op.outputs[0].dtype.is_floating:
        raise Refusal(REASON)
    return x


@_reads(
    *("Reshape", "Squeeze", "ExpandDims", "Transpose", "BroadcastTo", "Tile", "Slice"),
    *("StridedSlice", "GatherV2", "ReverseV2"),
)
def _rearrange(t: Translator, op: Any, x: Any, *rest: Any) -> Any:
    return low.rearranged(t, lambda part: _run(t, op, [*part, *rest]), x)


@_reads("ConcatV2")
def _concat(t: Translator, op: Any, *given: Any) -> Any:
    *parts, axis = given
    return low.joined(t, lambda line: _run(t, op, [*line, axis]), parts)


@_reads("PadV2")
def _pad(t: Translator, op: Any, x: Any, paddings: Any, fill: Any) -> Any:
    def run(given: Sequence[Any]) -> Any:
        part, number = given
        if number is None:
            number = fill.derive(np.zeros_like(fill.data))
        return _run(t, op, [part, paddings, number.derive(number.data.reshape(()))])

    return low.bordered(t, run, x, fill)


_RELATIONS = {
    "Equal": "equal",
    "NotEqual": "equal",
    "Less": "less",
    "LessEqual": "less_or_equal",
    "Greater": "less",
    "GreaterEqual": "less_or_equal",
}


@_reads(*_RELATIONS)
def _compare(t: Translator, op: Any, a: Any, b: Any) -> Any:
    if "Greater" in op.type:
        made = low.compared(t, _RELATIONS[op.type], lambda x: _run(t, op, x[::-1]), b, a)
    elif op.type == "NotEqual":
        run = lambda x: low.opposite(t, _run(t, op, x))  # noqa: E731
        made = low.opposite(t, low.compared(t, "equal", run, a, b))
    else:
        made = low.compared(t, _RELATIONS[op.type], partial(_run, t, op), a, b)
    return made


@_reads("IsInf")
def _is_infinite(t: Translator, op: Any, x: Any) -> Any:
    return low.is_infinite(t, x)


@_reads("IsFinite")
def _is_finite(t: Translator, op: Any, x: Any) -> Any:
    return low.opposite(t, low.is_infinite(t, x))


@_reads("Exp", "Sigmoid", "Relu", "Relu6")
def _vanishing(t: Translator, op: Any, x: Any) -> Any:
    return low.vanishing(t, partial(_run, t, op), x)


@_reads("Softmax", "LogSoftmax")
def _softmax(t: Translator, op: Any, x: Any) -> Any:
    last = len(dims_of(t, low.parts_of(t, x))) - 1
    return low.shares(t, partial(_run, t, op), x, [last], op.type == "LogSoftmax")


@_reads("Max")
def _greatest(t: Translator, op: Any, x: Any, axes: Any) -> Any:
    over = must_be_constant(axes, "axes")
    keep = bool(attribute_of(op, "keep_dims", False))
    return low.greatest(
        t,
        lambda part: _run(t, op, [*part, over]),
        lambda part: _every(t, part[0], over, keep),
        x,
        over,
        keep,
    )


def _every(t: Translator, x: Any, axes: Constant, keep: bool) -> Any:
    """Where all truth values along axes hold."""
    one, zero = (t.low.number(v, f"number_{v:g}") for v in (1.0, 0.0))
    numbers = t.g.select(x.value, zero, one)
    most = t.low.max(int(numbers), t.axes(x, axes), keep)
    return type(x)(int(t.g.compare(most, zero, relation=0)), x.merged)
