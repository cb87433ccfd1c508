"""The gradient of maxima over axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.operator import (
    Attribute,
    Attributes,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
)
from gvm.reads import Part, Peek, Reads, Shapes, along, point
from gvm.types import i16, i32, i64
from gvm.window import integers


class ReduceMaxGrad(Operator):
    """delta where x has its first maximum over the axes, in row-major order, and 0 elsewhere.

    delta has the shape of x with the reduced axes at 1; the result has its type and the shape of x.
    """

    name = "reduce_max_grad"
    opcode = 37
    inputs = (
        Input("x", ("i16", "i32"), "the operand of reduce_max"),
        Input("delta", ("i16", "i32", "i64"), "the gradient of its result, with keepdims"),
    )
    attributes = (Attribute("axes", 0, 7, "the reduced axes, increasing", length=(1, 8)),)
    result = "keeps"
    keeps = 1
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        x, delta = inputs
        return _at_first(x, delta, integers(attributes, "axes"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        x, delta = inputs
        return _at_first(x, delta, integers(attributes, "axes"))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape, other), axes = node.inputs, node.integers("axes")
        first = tuple(0 if n == 1 else i for i, n in zip(at, other, strict=True))
        box = along(at, axes, shape)
        return Part((box, point(first)), box)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "ties_go_first",
            (i16(4, -1, 3), i16(7, -1, 1)),
            {"axes": (1,)},
            data=([[1, 5, 5], [-2, -2, -9]], [[10], [-20]]),
            expected=([[0, 10, 0], [-20, 0, 0]],),
            local=2,
        )
        yield Case("all", (i32(3, 4, 5, 7), i64(3, 1, 1, 1, bound=2**50)), {"axes": (0, 1, 2)})
        yield Case("images", (i16(3, -1, 3, 3, 300), i16(3, -1, 1, 1, 300)), {"axes": (1, 2)})
        yield Case("columns", (i16(3, 40, -1, 3), i32(3, 1, -1, 3)), {"axes": (0,)})
        yield Case(
            "alternate", (i32(3, 3, 2, 5, -1, 4), i16(3, 1, 2, 1, -1, 1)), {"axes": (0, 2, 4)}
        )
        yield Case("one", (i16(3, -1, 1), i16(3, -1, 1)), {"axes": (1,)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid(
            "batch", (i16(0, -1, 3), i16(0, 1, 3)), {"axes": (0,)}, "bad_batch", "batch axis"
        )
        yield Invalid("shape", (i16(0, 2, 3), i16(0, 2)), {"axes": (1,)}, "bad_shape", "delta")
        yield Invalid("order", (i16(0, 2, 3), i16(0, 1, 1)), {"axes": (1, 0)}, "bad_attribute", "")


def _at_first(x: NDArray[Any], delta: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    kept = tuple(i for i in range(x.ndim) if i not in axes)
    order = kept + axes
    rows = x.transpose(order).reshape(*(x.shape[i] for i in kept), -1)
    out = np.zeros(rows.shape, delta.dtype)
    first = rows.argmax(axis=-1)[..., np.newaxis]
    np.put_along_axis(out, first, delta.reshape(first.shape), axis=-1)
    moved = out.reshape(tuple(x.shape[i] for i in order))
    return moved.transpose(tuple(order.index(i) for i in range(x.ndim)))
