"""Numbers that may be minus infinity, as masks of attention have them, for every importer.

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
from gvm.importers.composites import choose
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import Batch, Opaque, Shapes, Tensor, Uniform

BELOW = 32.0
"""By how much a score that is left out lies below all others: softmax makes 0 of 22 and more."""
TRUTH = "bool"
READERS: list[str] = []
"""Operators, by the names of all sources, that read such tensors."""
Run = Callable[[Sequence[Any]], Any]
"""A node of finite operands."""

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


def below_all(t: Shapes, scores: Value, axes: Sequence[int]) -> Value:
    """What softmax over these axes makes 0 of, beside any of the scores."""
    least = t.low.negative(t.low.max(t.low.negative(scores), tuple(axes), True))
    return t.low.shift_by(least, -BELOW, "below")


def low_in(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an array holds minus infinity."""
    if data.dtype.name == "bfloat16":
        data = data.astype(np.float32)
    real = data.dtype.kind == "f"
    return np.asarray(np.isneginf(data) if real else np.zeros(data.shape, bool))


def is_low(x: Any) -> bool:
    if isinstance(x, Uniform):
        return x.number == -np.inf
    if isinstance(x, Constant):
        return bool(low_in(x.data).any())
    return isinstance(x, Masked)


def are_constant(operands: Sequence[Any]) -> bool:
    return all(x is None or isinstance(x, Constant) for x in operands)


# -- the two parts


def parts_of(t: Shapes, x: Any) -> Masked:
    """Any operand as its two parts."""
    if isinstance(x, Masked):
        return x
    if isinstance(x, Uniform):
        low = x.number == -np.inf
        return pair(t.spread(replace(x, number=0.0) if low else x), truth(low))
    if not isinstance(x, Constant):
        return pair(x, truth(False))
    out = low_in(x.data)
    return pair(x.derive(np.where(out, 0, x.data).astype(x.data.dtype), "/finite"), truth(out))


def pair(finite: Any, out: Any) -> Masked:
    return Masked(tuple(READERS), REASON, None, finite, out)


def made_of(t: Shapes, finite: Any, out: Any) -> Any:
    """Two parts as an operand: a plain one where nothing is minus infinity."""
    parts = pair(finite, out)
    if is_never(out):
        return full(t, finite, dims_of(t, parts))
    if are_constant((finite, out)):
        return Constant(np.where(out.data, -np.inf, finite.data), "mask")
    return parts


def truth(data: Any) -> Constant:
    return Constant(np.asarray(data, bool), "mask")


def dims_of(t: Shapes, x: Any) -> list[Any]:
    """The source's shape of an operand."""
    if isinstance(x, Masked):
        return broadcast(dims_of(t, x.finite), dims_of(t, x.out))
    return t.dims(x) if isinstance(x, Tensor) else list(x.data.shape)


def broadcast(a: list[Any], b: list[Any]) -> list[Any]:
    rank = max(len(a), len(b))
    pairs = zip([1] * (rank - len(a)) + a, [1] * (rank - len(b)) + b, strict=True)
    return [y if not isinstance(x, Batch) and x == 1 else x for x, y in pairs]


def full(t: Shapes, part: Any, dims: Sequence[Any]) -> Any:
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


def value_of(t: Shapes, part: Any) -> Value:
    """A part as a value of the graph."""
    if isinstance(part, Tensor):
        return part.value
    if part.data.dtype.kind == "b":
        return int(t.g.parameter(t.low.unique("mask"), part.data, TRUTH, 0, False))
    return t.low.parameter(part)


def merged_of(*parts: Any) -> Any:
    found = {p.merged for p in parts if isinstance(p, Tensor)}
    if len(found) > 1:
        raise Refusal("the batch is merged with another axis in one operand only")
    return found.pop() if found else None


def tensor_of(t: Shapes, value: Value, *parts: Any) -> Tensor:
    merged = merged_of(*parts)
    return Tensor(value) if merged is None else Tensor(value, merged)


# -- truth values, of which one may be constant


def opposite(t: Shapes, x: Any) -> Any:
    if isinstance(x, Constant):
        return truth(~x.data)
    return Tensor(int(t.g.logical(x.value, function=3)), x.merged)


def either(t: Shapes, a: Any, b: Any) -> Any:
    return opposite(t, both(t, opposite(t, a), opposite(t, b)))


def both(t: Shapes, a: Any, b: Any) -> Any:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return truth(a.data & b.data)
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Constant) and x.data.size == 1:
            return y if x.data.all() else truth(False)
    return tensor_of(t, int(t.g.logical(value_of(t, a), value_of(t, b), function=0)), a, b)


def is_always(x: Any) -> bool:
    return isinstance(x, Constant) and bool(x.data.all())


def is_never(x: Any) -> bool:
    return isinstance(x, Constant) and not x.data.any()


def chosen(t: Shapes, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if all(isinstance(x, Constant) for x in (condition, a, b)):
        return Constant(np.where(condition.data, a.data, b.data), "chosen")
    values = [value_of(t, x) for x in (condition, a, b)]
    return tensor_of(t, choose(t, values[0], values[1], values[2]), condition, a, b)


def zeroed(t: Shapes, x: Any, out: Any) -> Any:
    """x, and 0 where ``out`` holds."""
    if is_never(out):
        return x
    x = full(t, x, broadcast(dims_of(t, x), dims_of(t, out)))
    return tensor_of(t, int(t.g.mask(value_of(t, out), value_of(t, x), value=0)), x, out)


# -- operators, that each importer calls by its own names


def added(t: Shapes, name: str, first: Any, *others: Any) -> Any:
    """A sum."""
    made = parts_of(t, first)
    for other in others:
        b = parts_of(t, other)
        dims = broadcast(dims_of(t, made), dims_of(t, b))
        made = pair(_sum(t, name, made.finite, b.finite, dims), either(t, made.out, b.out))
    return made_of(t, made.finite, made.out)


def _sum(t: Shapes, name: str, a: Any, b: Any, dims: list[Any]) -> Any:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return Constant(a.data + b.data, name)
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Constant) and not x.data.any() and dims_of(t, y) == dims:
            return y
    return arithmetic.add(t, name, a, b)


def subtracted(t: Shapes, name: str, a: Any, b: Any) -> Any:
    """A difference, of finite numbers."""
    if is_low(b):
        raise Refusal(REASON)
    made = parts_of(t, a)
    if isinstance(made.finite, Constant) and isinstance(b, Constant):
        return made_of(t, Constant(made.finite.data - b.data, name), made.out)
    return made_of(t, arithmetic.subtract(t, name, made.finite, b), made.out)


def scaled(t: Shapes, name: str, a: Any, b: Any, by_quotient: bool) -> Any:
    """A product with positive constants, or a quotient by them."""
    if not by_quotient and isinstance(a, Constant):
        a, b = b, a
    if not isinstance(b, Constant) or not (np.isfinite(b.data) & (b.data > 0)).all():
        raise Refusal(REASON)
    made = parts_of(t, a)
    if isinstance(made.finite, Constant):
        by = 1 / b.data if by_quotient else b.data
        return made_of(t, Constant(made.finite.data * by, name), made.out)
    make = arithmetic.divide if by_quotient else arithmetic.multiply
    return made_of(t, make(t, name, made.finite, b), made.out)


def selected(t: Shapes, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    left, right = parts_of(t, a), parts_of(t, b)
    if is_always(left.out):
        finite = right.finite
    elif is_always(right.out):
        finite = left.finite
    else:
        finite = chosen(t, condition, left.finite, right.finite)
    from_left = both(t, condition, left.out)
    from_right = both(t, opposite(t, condition), right.out)
    return made_of(t, finite, either(t, from_left, from_right))


def greater(t: Shapes, greater_of: Run, first: Any, *others: Any) -> Any:
    """The greatest of each place."""
    made = parts_of(t, first)
    for other in others:
        b = parts_of(t, other)
        if is_always(made.out) or is_always(b.out):
            finite = b.finite if is_always(made.out) else made.finite
        else:
            finite = greater_of([made.finite, b.finite])
            finite = finite if is_never(b.out) else chosen(t, b.out, made.finite, finite)
            finite = finite if is_never(made.out) else chosen(t, made.out, b.finite, finite)
        made = pair(finite, both(t, made.out, b.out))
    return made_of(t, made.finite, made.out)


def rearranged(t: Shapes, run: Run, x: Any) -> Any:
    """The same of both parts; ``run`` moves one."""
    parts, dims = parts_of(t, x), dims_of(t, x)
    return made_of(t, *(_moved(t, run, part, dims) for part in (parts.finite, parts.out)))


def _moved(t: Shapes, run: Run, part: Any, dims: list[Any]) -> Any:
    if isinstance(part, Constant) and part.data.size == 1:
        return part.derive(part.data.reshape(()))
    if isinstance(part, Constant) and any(isinstance(d, Batch) for d in dims):
        # One for all examples, made for each: the operator may name the batch.
        shape = tuple(-1 if isinstance(d, Batch) else int(d) for d in dims)
        part = Tensor(int(t.g.broadcast_to(value_of(t, part), shape=shape)))
    return run([full(t, part, dims)])


def joined(t: Shapes, run: Run, given: Sequence[Any]) -> Any:
    """One after the other along an axis."""
    parts = [parts_of(t, x) for x in given]
    dims = [dims_of(t, x) for x in parts]
    finite = [full(t, p.finite, d) for p, d in zip(parts, dims, strict=True)]
    out = [full(t, p.out, d) for p, d in zip(parts, dims, strict=True)]
    return made_of(t, _in_line(t, run, finite), _in_line(t, run, out))


def _in_line(t: Shapes, run: Run, parts: list[Any]) -> Any:
    if not are_constant(parts) and any(
        x.data.dtype.kind == "b" for x in parts if isinstance(x, Constant)
    ):
        shape = t.g.shape(next(x.value for x in parts if isinstance(x, Tensor)))
        parts = [x if isinstance(x, Tensor) else _spread(t, x, shape) for x in parts]
    return run(parts)


def _spread(t: Shapes, x: Constant, like: tuple[int, ...]) -> Tensor:
    """A constant for every example."""
    shape = tuple(-1 if d == -1 else n for d, n in zip(like, x.data.shape, strict=True))
    value = value_of(t, x)
    return Tensor(value if -1 not in shape else int(t.g.broadcast_to(value, shape=shape)))


def bordered(t: Shapes, run: Run, x: Any, fill: Any) -> Any:
    """Borders of minus infinity, or of a number around what holds minus infinity. ``run`` takes a
    tensor and the number that fills, None for 0."""
    if isinstance(fill, Tensor | Masked):
        raise Refusal(REASON)
    parts, dims = parts_of(t, x), dims_of(t, x)
    low = fill is not None and is_low(fill)
    finite = parts.finite
    if not low or dims_of(t, finite):
        finite = run([full(t, finite, dims), None if low else fill])
    inner = truth(np.zeros([1 if isinstance(d, Batch) else int(d) for d in dims], bool))
    border = run([inner, truth([low])])
    if is_never(parts.out):
        return made_of(t, finite, border)
    out = run([full(t, parts.out, dims), None])
    return made_of(t, finite, either(t, out, border))


def compared(t: Shapes, kind: str, run: Run, a: Any, b: Any) -> Any:
    """Minus infinity is below every number and equal to itself. ``kind``: equal, less or
    less_or_equal, which ``run`` says of finite numbers."""
    left, right = parts_of(t, a), parts_of(t, b)
    alike = both(t, left.out, right.out)
    neither = opposite(t, either(t, left.out, right.out))
    otherwise = alike if kind == "equal" else both(t, left.out, opposite(t, right.out))
    if kind == "less_or_equal":
        otherwise = either(t, otherwise, alike)
    if is_never(neither):
        return otherwise
    return either(t, otherwise, both(t, neither, run([left.finite, right.finite])))


def is_infinite(t: Shapes, x: Any, low: bool = True) -> Any:
    """Where it is minus infinity; ``low``: whether that is asked for."""
    parts = parts_of(t, x)
    return full(t, parts.out if low else truth(False), dims_of(t, parts))


def vanishing(t: Shapes, run: Run, x: Any) -> Any:
    """What a function makes of numbers, and 0 of minus infinity."""
    parts = parts_of(t, x)
    return zeroed(t, run([full(t, parts.finite, dims_of(t, parts))]), parts.out)


def shares(t: Shapes, run: Run, x: Any, over: Sequence[int], is_log: bool) -> Any:
    """A softmax over axes, or its logarithm."""
    parts = parts_of(t, x)
    finite = full(t, parts.finite, dims_of(t, parts))
    if isinstance(finite, Constant):
        finite = tensor_of(t, value_of(t, finite), parts.out)
    axes = t.axes(finite, Constant(np.asarray(over), "axes"))
    low = Tensor(below_all(t, finite.value, axes), finite.merged)
    filled = chosen(t, parts.out, low, finite)
    made = zeroed(t, run([filled]), parts.out)
    return made_of(t, made, parts.out) if is_log else made


def greatest(t: Shapes, run: Run, all_of: Run, x: Any, axes: Constant, keepdims: bool) -> Any:
    """The maximum over axes; ``all_of`` says over the same where all truth values hold."""
    parts, dims = parts_of(t, x), dims_of(t, x)
    out = full(t, parts.out, dims)
    if isinstance(out, Constant):
        over = tuple(int(a) for a in axes.data.reshape(-1))
        none = truth(out.data.all(axis=over, keepdims=keepdims))
    else:
        none = all_of([out])
    finite = parts.finite
    if isinstance(finite, Constant) and finite.data.size == 1:
        return made_of(t, finite.derive(finite.data.reshape(())), none)
    finite = full(t, finite, dims)
    if isinstance(finite, Constant):
        finite = tensor_of(t, value_of(t, finite), out)
    if not is_never(out):
        low = below_all(t, finite.value, t.axes(finite, axes))
        finite = chosen(t, out, Tensor(low, finite.merged), finite)
    made = run([finite])
    return made if is_never(none) else made_of(t, made, none)
