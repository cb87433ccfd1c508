"""ONNX's constants for every example, with which loops begin, and sequences turned round."""

from __future__ import annotations

from typing import Any

import numpy as np

from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, decides, handles
from gvm.importers.parts import cut, join, pick
from gvm.importers.shapes import Batch, Dimensions, Operand, Tensor, Uniform


def _dims(x: Dimensions) -> list[Any]:
    return [d if isinstance(d, Batch) else int(d) for d in x.data.reshape(-1)]


@decides("ConstantOfShape")
def _constant_of_shape(t: Translator, node: Node, shape: Any) -> Any:
    if not isinstance(shape, Dimensions):
        return NotImplemented
    from onnx import numpy_helper

    value = node.attributes.get("value")
    number = 0.0 if value is None else float(numpy_helper.to_array(value).reshape(-1)[0])
    return Uniform(number, tuple(_dims(shape)))


@decides("Expand")
def _expand(t: Translator, node: Node, x: Any, shape: Any) -> Any:
    """A constant repeated for every example."""
    if not isinstance(x, Constant) or not isinstance(shape, Dimensions):
        return NotImplemented
    wanted = _dims(shape)
    rank = max(len(wanted), x.data.ndim)
    own = [1] * (rank - x.data.ndim) + list(x.data.shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    at = next(i for i, d in enumerate(wanted) if isinstance(d, Batch))
    if own[at] != 1 or wanted[at] != Batch(1):
        raise Refusal("repeats a constant along the batch and another axis")
    if x.data.size == 1 and not x.trainable:
        return Uniform(float(x.data.reshape(-1)[0]), tuple(wanted))
    target = np.broadcast_shapes(own, [1 if i == at else d for i, d in enumerate(wanted)])
    made = tuple(-1 if i == at else int(d) for i, d in enumerate(target))
    return Tensor(t.g.broadcast_to(t.low.parameter(x), shape=made, name=node.name))


@handles("ReverseSequence", known=(1,))
def _reverse(t: Translator, node: Node, x: Operand, lengths: Operand) -> Tensor:
    """The first elements of an axis turned round, as many as each example has."""
    if not isinstance(lengths, Constant):
        raise Refusal("sequence_lens must be constant")
    value, counts = t.whole(x), [int(n) for n in lengths.data.reshape(-1)]
    examples, time = node.integer("batch_axis", 1), node.integer("time_axis", 0)
    if t.g.shape(value)[examples] == -1:
        if len(set(counts)) != 1:
            raise Refusal("sequence_lens are constants that differ between examples")
        return Tensor(_turned(t, value, time, counts[0]))
    rows = [cut(t, value, examples, i, i + 1) for i in range(len(counts))]
    turned = [_turned(t, row, time, n) for row, n in zip(rows, counts, strict=True)]
    return Tensor(join(t, turned, examples, node.name))


def _turned(t: Translator, value: int, axis: int, count: int) -> int:
    size = t.g.shape(value)[axis]
    order = [*range(count - 1, -1, -1), *range(count, size)]
    return value if count < 2 else pick(t, value, axis, order)
