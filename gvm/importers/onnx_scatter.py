"""ONNX's gathering and scattering of elements by their indices.

Constant indices move elements: every result is elements of what is joined flat. Indices that are
computed choose along one axis by comparing them with its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.parts import take
from gvm.importers.resample import take_elements
from gvm.importers.shapes import Operand, Tensor, must_be_constant

Whole = NDArray[np.int64]
MOST_COMPARED = 2**20
"""Comparisons that the choice by computed indices may take for an example."""
_MIXES = "reads other examples; nearest supported form: indices that are the same for each"


@dataclass(frozen=True)
class _Flat:
    """A tensor as [batch, elements of an example]."""

    value: Value
    shape: tuple[int, ...]
    """Of one example: 1 at the batch axis."""
    axis: int | None
    """The batch axis, where there is one."""


def _flat(t: Translator, x: Operand, axis: int | None = None) -> _Flat:
    """``axis``: where a constant would have its batch axis."""
    if isinstance(x, Constant):
        shape = tuple(x.data.shape)
        if axis is not None and shape[axis] != 1:
            raise Refusal(f"a constant of shape {list(shape)} would differ between examples")
        return _Flat(t.low.parameter(x, x.data.reshape(1, -1)), shape, axis)
    value = t.whole(x)
    shape = t.g.shape(value)
    axis = shape.index(-1) if -1 in shape else None
    order = (
        range(len(shape)) if axis is None else [axis, *(i for i in range(len(shape)) if i != axis)]
    )
    value = t.low.transpose(value, tuple(order))
    inner = math.prod(d for d in shape if d != -1)
    value = t.low.reshape(value, [1 if axis is None else -1, inner])
    return _Flat(value, tuple(1 if d == -1 else d for d in shape), axis)


def _shaped(t: Translator, value: Value, shape: tuple[int, ...], axis: int | None) -> Tensor:
    """[batch, elements] as a tensor of this shape, its batch axis where it was."""
    if axis is None:
        return Tensor(t.low.reshape(value, shape))
    rest = [d for i, d in enumerate(shape) if i != axis]
    made = t.low.reshape(value, [-1, *rest])
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(shape))]
    return Tensor(t.low.transpose(made, tuple(order)))


def _for_one(indices: Whole, axis: int | None) -> Whole:
    """Indices with the batch among their axes, for one example."""
    if axis is None or indices.shape[axis] == 1:
        return indices
    first = indices.take([0], axis=axis)
    if not (indices == first).all():
        raise Refusal(_MIXES)
    return first


def _along(shape: tuple[int, ...], indices: Whole, at: int) -> Whole:
    """Where the elements with these indices along an axis lie."""
    numbers = np.arange(math.prod(shape)).reshape(shape)
    part = tuple(slice(None) if i == at else slice(d) for i, d in enumerate(indices.shape))
    size = shape[at]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise Refusal(f"an index must be in [{-size}, {size})")
    return np.asarray(np.take_along_axis(numbers[part], indices % size, axis=at))


def _by_rows(shape: tuple[int, ...], indices: Whole, batch_dims: int = 0) -> Whole:
    """Where the parts lie whose first indices are the rows of an array."""
    depth = indices.shape[-1]
    outer = math.prod(shape[:batch_dims])
    numbers = np.arange(math.prod(shape)).reshape(outer, *shape[batch_dims:])
    rows = indices.reshape(outer, -1, depth)
    found = [n[tuple(r.T)] for n, r in zip(numbers, rows, strict=True)]
    return np.asarray(np.stack(found)).reshape(*indices.shape[:-1], *shape[batch_dims + depth :])


@handles("GatherElements")
def _gather_elements(t: Translator, node: Node, x: Operand, indices: Operand) -> Tensor:
    if isinstance(indices, Tensor):
        return _chosen(t, node, x, indices)
    given = _flat(t, x)
    at = node.integer("axis", 0) % len(given.shape)
    if at == given.axis:
        raise Refusal(_MIXES)
    wanted = _for_one(must_be_constant(indices, "indices").data.astype(np.int64), given.axis)
    places = _along(given.shape, wanted, at)
    made = take_elements(t, given.value, 1, places.reshape(-1).tolist(), node.name)
    return _shaped(t, made, places.shape, given.axis)


def _chosen(t: Translator, node: Node, x: Operand, indices: Tensor) -> Tensor:
    """The sum over an axis of what is left where its number is not the index."""
    numbers, value = t.whole(indices), t.whole(x)
    if not t.low.is_whole(numbers):
        raise Refusal("the indices must be whole numbers")
    numbers = t.low.wide(numbers)
    shape, wanted = t.g.shape(value), t.g.shape(numbers)
    at = node.integer("axis", 0) % len(shape)
    if shape[at] == -1:
        raise Refusal(_MIXES)
    value = take(
        t,
        value,
        {i: (0, d, 1) for i, d in enumerate(wanted) if i != at and d not in (-1, shape[i])},
    )
    if math.prod(abs(d) for d in wanted) * shape[at] > MOST_COMPARED:
        raise Refusal(f"compares {wanted} indices with {shape[at]} numbers each; too many")
    size = shape[at]
    last = [i for i in range(len(shape)) if i != at]
    value, numbers = (t.low.transpose(v, (*last, at)) for v in (value, numbers))
    outer = [t.g.shape(numbers)[i] for i in range(len(shape) - 1)]
    count = t.g.shape(numbers)[-1]
    below = t.g.compare(numbers, t.low.whole(0), relation=1)
    moved = t.low.exact(t.g.add(numbers, t.low.whole(size, "size")))
    numbers = t.low.reshape(int(t.g.select(below, moved, numbers)), [*outer, count, 1])
    each = t.g.parameter(t.low.unique(f"{node.name}/numbers"), np.arange(size), "i32", 0, False)
    wide = (*outer, count, size)
    value = int(t.g.broadcast_to(t.low.reshape(value, [*outer, 1, size]), shape=wide))
    kept = t.g.mask(t.g.compare(numbers, each, relation=0), value)
    total = int(t.g.reduce_sum(kept, axes=(len(wide) - 1,), name=node.name))
    if t.low.is_whole(value):
        total = t.low.exact(total)
    back = (*range(at), len(shape) - 1, *range(at, len(shape) - 1))
    return Tensor(t.low.transpose(total, back))


@handles("GatherND", known=(1,))
def _gather_parts(t: Translator, node: Node, x: Operand, indices: Operand) -> Tensor:
    given = _flat(t, x)
    wanted = must_be_constant(indices, "indices").data.astype(np.int64)
    outer, depth = node.integer("batch_dims", 0), wanted.shape[-1]
    axis = given.axis
    if axis is not None and axis < outer:
        wanted = _for_one(wanted, axis)
    elif axis is not None and axis < outer + depth:
        raise Refusal(_MIXES)
    elif axis is not None:
        axis += wanted.ndim - 1 - outer - depth
    places = _by_rows(given.shape, wanted, outer)
    made = take_elements(t, given.value, 1, places.reshape(-1).tolist(), node.name)
    return _shaped(t, made, places.shape, axis)


@handles("ScatterElements", "Scatter", known=(1,))
def _scatter_elements(
    t: Translator, node: Node, x: Operand, indices: Operand, updates: Operand
) -> Tensor:
    added = _flat(t, updates)
    given = _flat(t, x, added.axis)
    if isinstance(updates, Constant):
        added = _flat(t, updates, given.axis)
    at = node.integer("axis", 0) % len(given.shape)
    if at == given.axis:
        raise Refusal(_MIXES)
    wanted = _for_one(must_be_constant(indices, "indices").data.astype(np.int64), given.axis)
    return _scattered(t, node, given, added, _along(given.shape, wanted, at))


@handles("ScatterND", known=(1,))
def _scatter_parts(
    t: Translator, node: Node, x: Operand, indices: Operand, updates: Operand
) -> Tensor:
    wanted = must_be_constant(indices, "indices").data.astype(np.int64)
    if not isinstance(x, Tensor):
        given, added = _flat(t, x), _flat(t, updates)
        if added.axis is not None:
            raise Refusal("scatters values of each example into a constant")
    else:
        given, added = _flat(t, x), _flat(t, updates)
    inside = given.axis is not None and given.axis < wanted.shape[-1]
    if inside and (t.stored_batch != 1 or wanted[..., given.axis].any()):
        raise Refusal(_MIXES)
    return _scattered(t, node, given, added, _by_rows(given.shape, wanted))


def _scattered(t: Translator, node: Node, given: _Flat, added: _Flat, places: Whole) -> Tensor:
    """``added`` at these places of ``given``, combined with what is there."""
    count, targets = t.g.shape(given.value)[1], places.reshape(-1)
    if t.g.shape(added.value)[1] != targets.size:
        raise Refusal(f"has {t.g.shape(added.value)[1]} updates for {targets.size} indices")
    batch = -1 if -1 in (t.g.shape(given.value)[0], t.g.shape(added.value)[0]) else 1
    value, updates = (
        v if t.g.shape(v)[0] == batch else int(t.g.broadcast_to(v, shape=(batch, t.g.shape(v)[1])))
        for v in (given.value, added.value)
    )
    value, updates = t.low.alike([value, updates])
    reduction = str(node.attributes.get("reduction", "none"))
    for part in [np.arange(targets.size)] if reduction == "none" else _rounds(targets):
        new, at = take_elements(t, updates, 1, part.tolist(), node.name), targets[part]
        if reduction != "none":
            old = take_elements(t, value, 1, at.tolist(), node.name)
            new = _combined(t, reduction, old, new)
        source = np.arange(count)
        source[at] = count + np.arange(part.size)
        whole = int(t.g.concat(*t.low.alike([value, new]), axis=1))
        value = take_elements(t, whole, 1, source.tolist(), node.name)
    return _shaped(t, value, given.shape, given.axis)


def _rounds(targets: Whole) -> Iterator[Whole]:
    """Updates in turn, none of which meet in one place."""
    seen: dict[int, int] = {}
    turn = np.zeros(targets.size, np.int64)
    for i, target in enumerate(targets.tolist()):
        turn[i] = seen.get(target, 0)
        seen[target] = int(turn[i]) + 1
    for n in range(max(seen.values(), default=0)):
        yield np.flatnonzero(turn == n)


def _combined(t: Translator, reduction: str, old: Value, new: Value) -> Value:
    made: dict[str, Any] = {
        "add": t.g.add,
        "mul": t.g.mul,
        "max": t.g.maximum,
        "min": t.g.minimum,
    }
    if reduction not in made:
        raise Refusal(f"reduction must be none, add, mul, max or min, received {reduction!r}")
    combined = int(made[reduction](old, new))
    return t.low.exact(combined) if t.low.is_whole(old) else combined
