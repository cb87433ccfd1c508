"""ONNX's operators on the order of elements: positions, the largest, running sums."""

from __future__ import annotations

import numpy as np

from gvm.graph import Value
from gvm.importers.composites import axis_of_example, cumulative_sum, least_position
from gvm.importers.lowering import Refusal
from gvm.importers.onnx_math import over_last
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.parts import pick
from gvm.importers.shapes import Operand, Tensor, integers_of


@handles("ArgMax", "ArgMin")
def _position(t: Translator, node: Node, x: Operand) -> Tensor:
    value = t.whole(x)
    axis = axis_of_example(t, value, node.integer("axis", 0))
    size = t.g.shape(value)[axis]
    last = node.integer("select_last_index", 0) == 1 and size > 1
    if last:
        value = pick(t, value, axis, range(size - 1, -1, -1))
    if node.type == "ArgMax":
        found = int(t.g.argmax(value, axis=axis))
    else:
        found = least_position(t, value, axis)
    if last:
        found = t.low.exact(t.g.sub(t.low.whole(size - 1, f"{node.name}/last"), found))
    if node.integer("keepdims", 1):
        shape = t.g.shape(value)
        found = t.low.reshape(found, [1 if i == axis else d for i, d in enumerate(shape)])
    return Tensor(found)


@handles("Hardmax")
def _hardmax(t: Translator, node: Node, x: Tensor) -> Tensor:
    """1 at the first of the largest, 0 elsewhere."""

    def make(value: Value) -> Value:
        shape = t.g.shape(value)
        at = t.low.reshape(int(t.g.argmax(value, axis=len(shape) - 1)), [*shape[:-1], 1])
        name = t.low.unique(f"{node.name}/positions")
        every = t.g.parameter(name, np.arange(shape[-1]), "i32", 0, False)
        here = t.g.compare(at, every, relation=0)
        one, zero = (t.low.number(v, f"{node.name}/{v:g}") for v in (1.0, 0.0))
        return int(t.g.select(here, one, zero, name=node.name))

    return over_last(t, node, x, make)


@handles("TopK", known=(1,))
def _largest(t: Translator, node: Node, x: Operand, count: Operand) -> list[Tensor]:
    value = t.whole(x)
    axis = axis_of_example(t, value, node.integer("axis", -1))
    k = integers_of(count)[0]
    size = t.g.shape(value)[axis]
    if not 1 <= k <= size:
        raise Refusal(f"k must be in [1, {size}], received {k}")
    flags = {n: int(node.integer(n, 1) != 0) for n in ("largest", "sorted")}
    values, positions = t.g.top_k(value, k=k, axis=axis, name=node.name, **flags)
    return [Tensor(values), Tensor(positions)]


@handles("CumSum", known=(1,))
def _running_sums(t: Translator, node: Node, x: Operand, axis: Operand) -> Tensor:
    value = t.whole(x)
    along = axis_of_example(t, value, integers_of(axis)[0])
    exclusive, reverse = (node.integer(n, 0) == 1 for n in ("exclusive", "reverse"))
    return Tensor(cumulative_sum(t, value, along, exclusive, reverse, node.name))
