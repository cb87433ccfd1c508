"""Masks of minus infinity, as attention has them: Where(mask, x, -inf), x + mask, then Softmax.

No number of a program is infinite. A tensor that may hold minus infinity is carried through the
import as two: its finite numbers, and where it is minus infinity. What is known of infinity is
exact: sums and choices keep the two apart, comparisons and maxima see it below every number, and
exp, relu, the sigmoid and softmax make 0 of it. A row of a softmax that holds nothing else is 0,
where the operator in floating point makes NaN. For anything else it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers import arithmetic
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_choices import TRUTH, choose, together
from gvm.importers.onnx_nodes import (
    DECIDED_FIRST,
    HANDLERS,
    SAME,
    Handler,
    Node,
    Translator,
)
from gvm.importers.shapes import Batch, Opaque, Tensor, Uniform

__all__ = ["Masked", "below_all"]

BELOW = 32.0
"""By how much a score that is left out lies below all others: softmax makes 0 of 22 and more."""
REASON = (
    "reads numbers that may be minus infinity; nearest supported form: a mask that is added or "
    "chosen and that Softmax, ReduceMax or Exp reads"
)


@dataclass(frozen=True)
class Masked(Opaque):
    """Numbers, and truth values that say where minus infinity stands in their place. The shapes of
    the two broadcast to that of the whole."""

    finite: Any = None
    out: Any = None


def _decide(t: Translator, node: Node, *operands: Any) -> Any:
    """The result of a node that reads minus infinity; NotImplemented where none of its operands
    holds any, or where all are constants."""
    if not any(map(_is_low, operands)) or _are_constant(operands):
        return NotImplemented
    if node.type in SAME:
        return operands[0]
    if node.type not in _READERS:
        if not any(isinstance(x, Masked) for x in operands):
            return NotImplemented  # a weight, whose name and element are told
        raise Refusal(REASON)
    return _READERS[node.type](t, node, *operands)


DECIDED_FIRST.append(_decide)


def below_all(t: Translator, scores: Value, axes: Sequence[int]) -> Value:
    """What softmax over these axes makes 0 of, beside any of the scores."""
    least = t.low.negative(t.low.max(t.low.negative(scores), tuple(axes), True))
    return t.low.shift_by(least, -BELOW, "below")


def _low(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an array holds minus infinity."""
    if data.dtype.name == "bfloat16":
        data = data.astype(np.float32)
    real = data.dtype.kind == "f"
    return np.asarray(np.isneginf(data) if real else np.zeros(data.shape, bool))


def _is_low(x: Any) -> bool:
    if isinstance(x, Uniform):
        return x.number == -np.inf
    if isinstance(x, Constant):
        return bool(_low(x.data).any())
    return isinstance(x, Masked)


def _are_constant(operands: Sequence[Any]) -> bool:
    return all(x is None or isinstance(x, Constant) for x in operands)


# -- the two parts


def _parts(t: Translator, x: Any) -> Masked:
    """Any operand as its two parts."""
    if isinstance(x, Masked):
        return x
    if isinstance(x, Uniform):
        low = x.number == -np.inf
        return _pair(t.spread(replace(x, number=0.0) if low else x), _truth(low))
    if not isinstance(x, Constant):
        return _pair(x, _truth(False))
    out = _low(x.data)
    return _pair(x.derive(np.where(out, 0, x.data).astype(x.data.dtype), "/finite"), _truth(out))


def _pair(finite: Any, out: Any) -> Masked:
    return Masked(tuple(_READERS), REASON, None, finite, out)


def _made(t: Translator, finite: Any, out: Any) -> Any:
    """Two parts as an operand: a plain one where nothing is minus infinity."""
    pair = _pair(finite, out)
    if _is_never(out):
        return _full(t, finite, _dims(t, pair))
    if _are_constant((finite, out)):
        return Constant(np.where(out.data, -np.inf, finite.data), "mask")
    return pair


def _truth(data: Any) -> Constant:
    return Constant(np.asarray(data, bool), "mask")


def _dims(t: Translator, x: Any) -> list[Any]:
    """The source's shape of an operand."""
    if isinstance(x, Masked):
        return _broadcast(_dims(t, x.finite), _dims(t, x.out))
    return t.dims(x) if isinstance(x, Tensor) else list(x.data.shape)


def _broadcast(a: list[Any], b: list[Any]) -> list[Any]:
    rank = max(len(a), len(b))
    pairs = zip([1] * (rank - len(a)) + a, [1] * (rank - len(b)) + b, strict=True)
    return [y if not isinstance(x, Batch) and x == 1 else x for x, y in pairs]


def _full(t: Translator, part: Any, dims: Sequence[Any]) -> Any:
    """A part in the shape of the whole; a constant has 1 for the batch."""
    if isinstance(part, Constant):
        shape = [1 if isinstance(d, Batch) else int(d) for d in dims]
        return part.derive(np.broadcast_to(part.data, shape))
    if t.dims(part) == list(dims):
        return part
    if any(isinstance(d, Batch) and d.times != 1 for d in dims):
        raise Refusal("a mask over a batch that is merged with another axis")
    shape = [-1 if isinstance(d, Batch) else int(d) for d in dims]
    return Tensor(int(t.g.broadcast_to(t.whole(part), shape=tuple(shape))))


def _value(t: Translator, part: Any) -> Value:
    """A part as a value of the graph."""
    if isinstance(part, Tensor):
        return part.value
    if part.data.dtype.kind == "b":
        return int(t.g.parameter(t.low.unique("mask"), part.data, TRUTH, 0, False))
    return t.low.parameter(part)


def _merged(*parts: Any) -> Any:
    found = {p.merged for p in parts if isinstance(p, Tensor)}
    if len(found) > 1:
        raise Refusal("the batch is merged with another axis in one operand only")
    return found.pop() if found else None


def _tensor(t: Translator, value: Value, *parts: Any) -> Tensor:
    merged = _merged(*parts)
    return Tensor(value) if merged is None else Tensor(value, merged)


# -- truth values, of which one may be constant


def _not(t: Translator, x: Any) -> Any:
    if isinstance(x, Constant):
        return _truth(~x.data)
    return Tensor(int(t.g.logical(x.value, function=3)), x.merged)


def _or(t: Translator, a: Any, b: Any) -> Any:
    return _not(t, _and(t, _not(t, a), _not(t, b)))


def _and(t: Translator, a: Any, b: Any) -> Any:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return _truth(a.data & b.data)
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Constant) and x.data.size == 1:
            return y if x.data.all() else _truth(False)
    return _tensor(t, int(t.g.logical(_value(t, a), _value(t, b), function=0)), a, b)


def _is_always(x: Any) -> bool:
    return isinstance(x, Constant) and bool(x.data.all())


def _is_never(x: Any) -> bool:
    return isinstance(x, Constant) and not x.data.any()


def _chosen(t: Translator, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if all(isinstance(x, Constant) for x in (condition, a, b)):
        return Constant(np.where(condition.data, a.data, b.data), "chosen")
    values = [_value(t, x) for x in (condition, a, b)]
    return _tensor(t, choose(t, values[0], values[1], values[2]), condition, a, b)


def _zeroed(t: Translator, x: Any, out: Any) -> Any:
    """x, and 0 where ``out`` holds."""
    if _is_never(out):
        return x
    x = _full(t, x, _broadcast(_dims(t, x), _dims(t, out)))
    return _tensor(t, int(t.g.mask(_value(t, out), _value(t, x), value=0)), x, out)


# -- operators

_READERS: dict[str, Handler] = {}


def _reads(*types: str) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        _READERS.update(dict.fromkeys(types, function))
        return function

    return register


@_reads("Add", "Sum")
def _add(t: Translator, node: Node, first: Any, *others: Any) -> Any:
    made = _parts(t, first)
    for other in others:
        b = _parts(t, other)
        dims = _broadcast(_dims(t, made), _dims(t, b))
        made = _pair(_sum(t, node, made.finite, b.finite, dims), _or(t, made.out, b.out))
    return _made(t, made.finite, made.out)


def _sum(t: Translator, node: Node, a: Any, b: Any, dims: list[Any]) -> Any:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return Constant(a.data + b.data, node.name)
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Constant) and not x.data.any() and _dims(t, y) == dims:
            return y
    return arithmetic.add(t, node.name, a, b)


@_reads("Sub")
def _subtract(t: Translator, node: Node, a: Any, b: Any) -> Any:
    if _is_low(b):
        raise Refusal(REASON)
    made = _parts(t, a)
    if isinstance(made.finite, Constant) and isinstance(b, Constant):
        return _made(t, Constant(made.finite.data - b.data, node.name), made.out)
    return _made(t, arithmetic.subtract(t, node.name, made.finite, b), made.out)


@_reads("Mul", "Div")
def _scale(t: Translator, node: Node, a: Any, b: Any) -> Any:
    """By positive constants."""
    if node.type == "Mul" and isinstance(a, Constant):
        a, b = b, a
    if not isinstance(b, Constant) or not (np.isfinite(b.data) & (b.data > 0)).all():
        raise Refusal(REASON)
    made = _parts(t, a)
    if isinstance(made.finite, Constant):
        by = b.data if node.type == "Mul" else 1 / b.data
        return _made(t, Constant(made.finite.data * by, node.name), made.out)
    make = arithmetic.multiply if node.type == "Mul" else arithmetic.divide
    return _made(t, make(t, node.name, made.finite, b), made.out)


@_reads("Where")
def _where(t: Translator, node: Node, condition: Any, a: Any, b: Any) -> Any:
    left, right = _parts(t, a), _parts(t, b)
    if _is_always(left.out):
        finite = right.finite
    elif _is_always(right.out):
        finite = left.finite
    else:
        finite = _chosen(t, condition, left.finite, right.finite)
    from_left = _and(t, condition, left.out)
    from_right = _and(t, _not(t, condition), right.out)
    return _made(t, finite, _or(t, from_left, from_right))


@_reads("Max")
def _maximum(t: Translator, node: Node, first: Any, *others: Any) -> Any:
    made = _parts(t, first)
    for other in others:
        b = _parts(t, other)
        if _is_always(made.out) or _is_always(b.out):
            finite = b.finite if _is_always(made.out) else made.finite
        else:
            values, merged = together(t, made.finite, b.finite)
            finite = Tensor(int(t.g.maximum(*values)), merged)
            finite = finite if _is_never(b.out) else _chosen(t, b.out, made.finite, finite)
            finite = finite if _is_never(made.out) else _chosen(t, made.out, b.finite, finite)
        made = _pair(finite, _and(t, made.out, b.out))
    return _made(t, made.finite, made.out)


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
    return x if _is_low(x) else HANDLERS["Cast"](t, _with_type(node), x)


def _with_type(node: Node) -> Node:
    return replace(node, type="Cast", attributes={"to": "FLOAT"})


@_reads("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice")
def _rearrange(t: Translator, node: Node, x: Any, *rest: Any) -> Any:
    """The same of both parts."""
    parts, dims = _parts(t, x), _dims(t, x)
    return _made(t, *(_moved(t, node, part, dims, rest) for part in (parts.finite, parts.out)))


def _moved(t: Translator, node: Node, part: Any, dims: list[Any], rest: Sequence[Any]) -> Any:
    if isinstance(part, Constant) and part.data.size == 1:
        return part.derive(part.data.reshape(()))
    if isinstance(part, Constant) and any(isinstance(d, Batch) for d in dims):
        # One for all examples, made for each: the operator may name the batch.
        shape = tuple(-1 if isinstance(d, Batch) else int(d) for d in dims)
        part = Tensor(int(t.g.broadcast_to(_value(t, part), shape=shape)))
    return _run(t, node, [_full(t, part, dims), *rest])


def _run(t: Translator, node: Node, operands: Sequence[Any]) -> Any:
    """A node without minus infinity."""
    if _are_constant(operands):
        (made,) = t.evaluate(node, operands)
        return made
    return HANDLERS[node.type](t, node, *operands)


@_reads("Concat")
def _concat(t: Translator, node: Node, *given: Any) -> Any:
    parts = [_parts(t, x) for x in given]
    dims = [_dims(t, x) for x in parts]
    finite = [_full(t, p.finite, d) for p, d in zip(parts, dims, strict=True)]
    out = [_full(t, p.out, d) for p, d in zip(parts, dims, strict=True)]
    return _made(t, _joined(t, node, finite), _joined(t, node, out))


def _joined(t: Translator, node: Node, parts: list[Any]) -> Any:
    if not _are_constant(parts) and any(
        x.data.dtype.kind == "b" for x in parts if isinstance(x, Constant)
    ):
        shape = t.g.shape(next(x.value for x in parts if isinstance(x, Tensor)))
        parts = [x if isinstance(x, Tensor) else _spread(t, x, shape) for x in parts]
    return _run(t, node, parts)


def _spread(t: Translator, x: Constant, like: tuple[int, ...]) -> Tensor:
    """A constant for every example."""
    shape = tuple(-1 if d == -1 else n for d, n in zip(like, x.data.shape, strict=True))
    value = _value(t, x)
    return Tensor(value if -1 not in shape else int(t.g.broadcast_to(value, shape=shape)))


@_reads("Pad")
def _pad(t: Translator, node: Node, x: Any, pads: Any, fill: Any = None, axes: Any = None) -> Any:
    """Borders of minus infinity, or of a number around what holds minus infinity."""
    if node.attributes.get("mode", "constant") != "constant" or isinstance(fill, Tensor | Masked):
        raise Refusal(REASON)
    parts, dims = _parts(t, x), _dims(t, x)
    low = fill is not None and _is_low(fill)
    finite = parts.finite
    if not low or _dims(t, finite):
        kept = None if low else fill
        finite = _run(t, node, [_full(t, finite, dims), pads, kept, axes])
    inner = _truth(np.zeros([1 if isinstance(d, Batch) else int(d) for d in dims], bool))
    border = _run(t, node, [inner, pads, _truth([low]), axes])
    if _is_never(parts.out):
        return _made(t, finite, border)
    out = _run(t, node, [_full(t, parts.out, dims), pads, None, axes])
    return _made(t, finite, _or(t, out, border))


@_reads("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def _compare(t: Translator, node: Node, a: Any, b: Any) -> Any:
    """Minus infinity is below every number and equal to itself."""
    left, right = _parts(t, a), _parts(t, b)
    if "Greater" in node.type:
        left, right = right, left
    both = _and(t, left.out, right.out)
    if node.type == "Equal":
        neither, otherwise = _not(t, _or(t, left.out, right.out)), both
    else:
        neither = _not(t, _or(t, left.out, right.out))
        otherwise = _and(t, left.out, _not(t, right.out))
        otherwise = _or(t, otherwise, both) if node.type.endswith("OrEqual") else otherwise
    if _is_never(neither):
        return otherwise
    kind = node.type.replace("Greater", "Less")
    compared = _run(t, replace(node, type=kind), [left.finite, right.finite])
    return _or(t, otherwise, _and(t, neither, compared))


@_reads("IsInf")
def _is_infinite(t: Translator, node: Node, x: Any) -> Any:
    parts = _parts(t, x)
    out = parts.out if node.integer("detect_negative", 1) else _truth(False)
    return _full(t, out, _dims(t, parts))


@_reads("Exp", "Sigmoid", "Relu")
def _vanishing(t: Translator, node: Node, x: Any) -> Any:
    """0 of minus infinity."""
    parts = _parts(t, x)
    finite = _full(t, parts.finite, _dims(t, parts))
    return _zeroed(t, _run(t, node, [finite]), parts.out)


@_reads("Softmax", "LogSoftmax")
def _softmax(t: Translator, node: Node, x: Any) -> Any:
    parts = _parts(t, x)
    dims = _dims(t, parts)
    finite = _full(t, parts.finite, dims)
    if isinstance(finite, Constant):
        finite = _tensor(t, _value(t, finite), parts.out)
    at = node.integer("axis", -1 if node.version >= 13 else 1) % len(dims)
    over = [at] if node.version >= 13 else list(range(at, len(dims)))
    axes = t.axes(finite, Constant(np.asarray(over), "axes"))
    low = Tensor(below_all(t, finite.value, axes), finite.merged)
    filled = _chosen(t, parts.out, low, finite)
    made = _zeroed(t, HANDLERS[node.type](t, node, filled), parts.out)
    return made if node.type == "Softmax" else _made(t, made, parts.out)


@_reads("ReduceMax")
def _greatest(t: Translator, node: Node, x: Any, axes: Any = None) -> Any:
    parts = _parts(t, x)
    dims = _dims(t, parts)
    if axes is None or axes.data.size == 0:
        if node.integer("noop_with_empty_axes", 0):
            return x
        axes = Constant(np.arange(len(dims)), "axes")
    kept = node.integer("keepdims", 1) == 1
    out = _full(t, parts.out, dims)
    if isinstance(out, Constant):
        over = tuple(int(a) for a in axes.data.reshape(-1))
        none = _truth(out.data.all(axis=over, keepdims=kept))
    else:
        none = HANDLERS["ReduceMin"](t, replace(node, type="ReduceMin"), out, axes)
    finite = parts.finite
    if isinstance(finite, Constant) and finite.data.size == 1:
        return _made(t, finite.derive(finite.data.reshape(())), none)
    finite = _full(t, finite, dims)
    if isinstance(finite, Constant):
        finite = _tensor(t, _value(t, finite), out)
    if not _is_never(out):
        low = below_all(t, finite.value, t.axes(finite, axes))
        finite = _chosen(t, out, Tensor(low, finite.merged), finite)
    made = HANDLERS["ReduceMax"](t, node, finite, axes)
    return made if _is_never(none) else _made(t, made, none)
