"""TensorFlow's filled tensors, reversals, one-hot rows and bands of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from gvm.importers.composites import EQUAL
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import cut, join, pick
from gvm.importers.shapes import (
    Batch,
    Dimensions,
    Operand,
    Tensor,
    Uniform,
    integers_of,
    must_be_constant,
    objects_of,
)
from gvm.importers.tensorflow_nodes import Translator, attribute_of, decides, handles


@decides("Fill")
def _fill(t: Translator, op: Any, dims: Any, value: Any) -> Any:
    """A number for every example, where the batch is one of the dimensions."""
    if not isinstance(dims, Dimensions) or not isinstance(value, Constant):
        return NotImplemented
    number = value.scalar()
    assert number is not None
    return Uniform(number, tuple(_each(dims)))


def _each(dims: Operand) -> list[Any]:
    return [d if isinstance(d, Batch) else int(d) for d in objects_of(dims).reshape(-1)]


@decides("ZerosLike", "OnesLike")
def _like(t: Translator, op: Any, x: Any) -> Any:
    if not isinstance(x, Tensor | Uniform):
        return NotImplemented
    dims = t.dims(x) if isinstance(x, Tensor) else x.dims
    return Uniform(0.0 if op.type == "ZerosLike" else 1.0, tuple(dims))


@decides("Tile", "BroadcastTo")
def _for_every_example(t: Translator, op: Any, x: Any, shape: Any) -> Any:
    """A constant repeated for every example."""
    if not isinstance(x, Constant) or not isinstance(shape, Dimensions):
        return NotImplemented
    wanted = _each(shape)
    own = [1] * (len(wanted) - x.data.ndim) + list(x.data.shape)
    at = next(i for i, d in enumerate(wanted) if isinstance(d, Batch))
    if own[at] != 1 or wanted[at] != Batch(1):
        raise Refusal("repeats a constant of several rows for every example")
    if op.type == "Tile":
        times = [1 if i == at else d for i, d in enumerate(wanted)]
        x = x.derive(np.tile(x.data, times))
        wanted = list(x.data.shape)
    target = [-1 if i == at else d for i, d in enumerate(wanted)]
    return Tensor(t.g.broadcast_to(t.low.parameter(x), shape=tuple(target), name=op.name))


@handles("ReverseV2")
def _reverse(t: Translator, op: Any, x: Operand, axes: Operand) -> Tensor:
    value = t.whole(x)
    shape = t.g.shape(value)
    for axis in integers_of(axes):
        at = axis % len(shape)
        value = pick(t, value, at, range(shape[at] - 1, -1, -1))
    return Tensor(value)


@decides("ReverseSequence")
def _reverse_sequence(t: Translator, op: Any, x: Any, lengths: Any) -> Any:
    """The first elements of an axis reversed, as many in every example."""
    if not isinstance(x, Tensor):
        return NotImplemented
    if not isinstance(lengths, Uniform):
        raise Refusal("the lengths must be one constant; nearest supported form: ReverseV2")
    value, count = t.whole(x), int(lengths.number)
    shape = t.g.shape(value)
    at = int(op.get_attr("seq_dim")) % len(shape)
    if not 0 <= count <= shape[at]:
        raise Refusal(f"reverses {count} elements of an axis of {shape[at]}")
    if count < 2:
        return x
    parts = [pick(t, value, at, range(count - 1, -1, -1))]
    if count < shape[at]:
        parts.append(cut(t, value, at, count, shape[at]))
    return Tensor(join(t, parts, at, op.name))


@handles("OneHot")
def _one_hot(
    t: Translator, op: Any, indices: Operand, depth: Operand, on: Operand, off: Operand
) -> Tensor:
    """One value where the number of the new axis is the index, else the other."""
    (rows,) = integers_of(depth)
    if not isinstance(indices, Tensor) or t.g.types[indices.value].dtype != "i32":
        raise Refusal("the indices must be an integer input")
    high, low = (must_be_constant(x, "value").scalar() for x in (on, off))
    assert high is not None and low is not None
    dims = t.dims(indices)
    axis = int(attribute_of(op, "axis", -1)) % (len(dims) + 1)
    wide = t.reshape(indices, [*dims[:axis], 1, *dims[axis:]])
    each = np.arange(rows).reshape([-1, *[1] * (len(dims) - axis)])
    at = t.g.parameter(t.low.unique(f"{op.name}/at"), each, "i32", 0, False)
    same = t.g.compare(wide.value, at, relation=EQUAL)
    chosen = (t.low.number(v, f"{op.name}/{v:g}") for v in (high, low))
    return Tensor(t.g.select(same, *chosen, name=op.name), wide.merged)


@handles("MatrixBandPart")
def _band(t: Translator, op: Any, x: Operand, below: Operand, above: Operand) -> Tensor:
    """Zeros outside of a band around the diagonal of the last two axes."""
    value = t.whole(x)
    rows, columns = t.g.shape(value)[-2:]
    if -1 in (rows, columns):
        raise Refusal("the batch is an axis of the matrices")
    (lower,), (upper,) = integers_of(below), integers_of(above)
    down = np.arange(rows)[:, None] - np.arange(columns)[None]
    kept = ((lower < 0) | (down <= lower)) & ((upper < 0) | (-down <= upper))
    return Tensor(t.low.scale(value, Constant(kept.astype(np.float64), f"{op.name}/band"), op.name))


@handles("Any", "All")
def _any(t: Translator, op: Any, x: Operand, axes: Operand) -> Tensor:
    """Whether some, or all, of the truth values along axes hold: the greatest of 1 and 0."""
    assert isinstance(x, Tensor)
    over, keep = t.axes(x, axes), bool(op.get_attr("keep_dims"))
    one, zero = (t.low.number(v, f"{op.name}/{v:g}") for v in (1.0, 0.0))
    every = op.type == "All"
    # The greatest of what does not hold says whether all of it does.
    numbers = t.g.select(x.value, zero if every else one, one if every else zero)
    most = t.low.max(int(numbers), over, keep)
    return Tensor(t.g.compare(most, zero if every else one, relation=0, name=op.name), x.merged)
