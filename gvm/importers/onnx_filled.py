"""ONNX's tensors of the batch's size that hold constants: the states that loops begin with."""

from __future__ import annotations

from typing import Any

import numpy as np

from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, decides
from gvm.importers.shapes import Batch, Dimensions, Tensor, Uniform


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
