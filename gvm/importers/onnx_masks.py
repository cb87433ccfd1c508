"""ONNX's operators of numbers that may be minus infinity: Where(mask, x, -inf), x + mask, Softmax.
``minus_infinity.py`` says what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gvm.importers import minus_infinity as low
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.minus_infinity import READERS, REASON, Masked, are_constant, dims_of, is_low
from gvm.importers.onnx_choices import together
from gvm.importers.onnx_nodes import (
    DECIDED_FIRST,
    HANDLERS,
    SAME,
    Handler,
    Node,
    Translator,
)
from gvm.importers.shapes import Tensor


def _decide(t: Translator, node: Node, *operands: Any) -> Any:
    """The result of a node that reads minus infinity; NotImplemented where none of its operands
    holds any, or where all are constants."""
    if not any(map(is_low, operands)) or are_constant(operands):
        return NotImplemented
    if node.type in SAME:
        return operands[0]
    if node.type not in _HANDLERS:
        if not any(isinstance(x, Masked) for x in operands):
            return NotImplemented  # a weight, whose name and element are told
        raise Refusal(REASON)
    return _HANDLERS[node.type](t, node, *operands)


DECIDED_FIRST.append(_decide)


# -- operators

_HANDLERS: dict[str, Handler] = {}


def _reads(*types: str) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(types, function))
        READERS.extend(types)
        return function

    return register


def _run(t: Translator, node: Node, operands: Sequence[Any]) -> Any:
    """A node without minus infinity."""
    if are_constant(operands):
        (made,) = t.evaluate(node, operands)
        return made
    return HANDLERS[node.type](t, node, *operands)


@_reads("Add", "Sum")
def _add(t: Translator, node: Node, *operands: Any) -> Any:
    return low.added(t, node.name, *operands)


@_reads("Sub")
def _subtract(t: Translator, node: Node, a: Any, b: Any) -> Any:
    return low.subtracted(t, node.name, a, b)


@_reads("Mul", "Div")
def _scale(t: Translator, node: Node, a: Any, b: Any) -> Any:
    return low.scaled(t, node.name, a, b, node.type == "Div")


@_reads("Where")
def _where(t: Translator, node: Node, condition: Any, a: Any, b: Any) -> Any:
    return low.selected(t, condition, a, b)


@_reads("Max")
def _maximum(t: Translator, node: Node, *operands: Any) -> Any:
    def greater_of(both: Sequence[Any]) -> Tensor:
        values, merged = together(t, *both)
        return Tensor(int(t.g.maximum(*values)), merged)

    return low.greater(t, greater_of, *operands)


@_reads("Cast", "CastLike")
def _cast(t: Translator, node: Node, x: Any, like: Any = None) -> Any:
    if like is not None:
        kind = t.g.types[like.value].dtype if isinstance(like, Tensor) else "real"
        real = kind == "real"
    else:
        from onnx import TensorProto

        real = node.attributes.get("to") in (
            *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16),
            *("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"),
        )
    if not real:
        raise Refusal(REASON)
    return x if is_low(x) else HANDLERS["Cast"](t, _with_type(node), x)


def _with_type(node: Node) -> Node:
    return replace(node, type="Cast", attributes={"to": "FLOAT"})


@_reads("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice")
def _rearrange(t: Translator, node: Node, x: Any, *rest: Any) -> Any:
    return low.rearranged(t, lambda part: _run(t, node, [*part, *rest]), x)


@_reads("Concat")
def _concat(t: Translator, node: Node, *given: Any) -> Any:
    return low.joined(t, partial(_run, t, node), given)


@_reads("Pad")
def _pad(t: Translator, node: Node, x: Any, pads: Any, fill: Any = None, axes: Any = None) -> Any:
    if node.attributes.get("mode", "constant") != "constant":
        raise Refusal(REASON)
    return low.bordered(t, lambda p: _run(t, node, [p[0], pads, p[1], axes]), x, fill)


@_reads("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def _compare(t: Translator, node: Node, a: Any, b: Any) -> Any:
    if "Greater" in node.type:
        node, a, b = replace(node, type=node.type.replace("Greater", "Less")), b, a
    kind = {"Equal": "equal", "Less": "less", "LessOrEqual": "less_or_equal"}[node.type]
    return low.compared(t, kind, partial(_run, t, node), a, b)


@_reads("IsInf")
def _is_infinite(t: Translator, node: Node, x: Any) -> Any:
    return low.is_infinite(t, x, bool(node.integer("detect_negative", 1)))


@_reads("Exp", "Sigmoid", "Relu")
def _vanishing(t: Translator, node: Node, x: Any) -> Any:
    return low.vanishing(t, partial(_run, t, node), x)


@_reads("Softmax", "LogSoftmax")
def _softmax(t: Translator, node: Node, x: Any) -> Any:
    rank = len(dims_of(t, x if isinstance(x, Masked) else low.parts_of(t, x)))
    at = node.integer("axis", -1 if node.version >= 13 else 1) % rank
    over = [at] if node.version >= 13 else list(range(at, rank))
    return low.shares(t, partial(_run, t, node), x, over, node.type == "LogSoftmax")


@_reads("ReduceMax")
def _greatest(t: Translator, node: Node, x: Any, axes: Any = None) -> Any:
    if axes is None or axes.data.size == 0:
        if node.integer("noop_with_empty_axes", 0):
            return x
        axes = Constant(np.arange(len(dims_of(t, x))), "axes")
    least = replace(node, type="ReduceMin")
    return low.greatest(
        t,
        lambda part: _run(t, node, [*part, axes]),
        lambda part: _run(t, least, [*part, axes]),
        x,
        axes,
        node.integer("keepdims", 1) == 1,
    )
