"""ONNX's operators on integers worked out of shapes: object arrays in, an object array out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm.importers.lowering import Refusal
from gvm.importers.shapes import Batch

if TYPE_CHECKING:
    from gvm.importers.onnx_nodes import Node

__all__ = ["INTEGER_FORMS"]

Array = NDArray[Any]


def _at(array: Array | None, default: int = 0) -> int:
    return default if array is None else int(array.reshape(-1)[0])


def _sliced(
    node: Node,
    x: Array,
    starts: Array,
    ends: Array,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    begin, end, step = _at(starts), _at(ends), _at(steps, 1)
    return x[begin:end:step]


def _gathered(node: Node, x: Array, indices: Array) -> Array:
    return np.asarray(np.take(x, indices.astype(np.int64)), dtype=object)


def _concatenated(node: Node, *xs: Array) -> Array:
    return np.concatenate([np.atleast_1d(x) for x in xs])


def _cast(node: Node, x: Array) -> Array:
    from onnx import TensorProto

    to = node.attributes["to"]
    if to not in (TensorProto.INT64, TensorProto.INT32, "INT64", "INT32"):
        raise Refusal("computes with the batch size")
    return x


def _equal(node: Node, a: Array, b: Array) -> Array:
    def same(x: Any, y: Any) -> bool:
        if isinstance(x, Batch) != isinstance(y, Batch) and (
            int(y if isinstance(x, Batch) else x) > 0
        ):
            raise Refusal("compares the batch size with a number")
        return bool(x == y)

    return np.asarray(np.frompyfunc(same, 2, 1)(a, b), dtype=object)


def _whole(node: Node, a: Array, b: Array) -> Array:
    return np.asarray(a // b, dtype=object)


def _chosen(node: Node, condition: Array, a: Array, b: Array) -> Array:
    return np.asarray(np.where(condition.astype(bool), a, b), dtype=object)


INTEGER_FORMS: dict[str, Callable[..., Array]] = {
    "Slice": _sliced,
    "Gather": _gathered,
    "Concat": _concatenated,
    "Cast": _cast,
    "Div": _whole,
    "Equal": _equal,
    "Mul": lambda node, a, b: np.asarray(a * b, dtype=object),
    "Add": lambda node, a, b: np.asarray(a + b, dtype=object),
    "Sub": lambda node, a, b: np.asarray(a - b, dtype=object),
    "Where": _chosen,
    "Reshape": lambda node, x, shape: x.reshape([int(d) for d in shape.reshape(-1)]),
    "Squeeze": lambda node, x, axes=None: x.reshape([d for d in x.shape if d != 1]),
    "Unsqueeze": lambda node, x, axes: x.reshape((1,) * len(axes.reshape(-1)) + x.shape),
    "ReduceProd": lambda node, x, axes=None: np.asarray(
        np.prod(x, keepdims=node.integer("keepdims", 1) == 1), dtype=object
    ),
}
