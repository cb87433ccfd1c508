"""The gradient of a table whose rows were read."""

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
    integer,
)
from gvm.ops.gather import check_indices
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, flat, strides
from gvm.types import i16, i32, i64


class GatherGrad(Operator):
    """y[v, ...] = the sum of delta[i..., ...] over all i with indices[i...] = v, exact.

    delta has the shape of indices, then that of a row; y is [size, ...] at the format of delta, a
    partial sum when indices are batched. An index outside [0, size) is the status bad_input.
    """

    name = "gather_grad"
    opcode = 45
    inputs = (
        Input("delta", ("i16", "i32"), "the gradient of the rows that were read"),
        Input("indices", ("i32",), "any shape, F = 0, in [0, size)"),
    )
    attributes = (Attribute("size", 1, 2**31 - 1, "rows of the table"),)
    result = "exact"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return _sums(inputs[0], inputs[1], integer(attributes, "size"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        check_indices("gather_grad", inputs[1], integer(attributes, "size"))
        return _sums(inputs[0], inputs[1], integer(attributes, "size"))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        delta, indices = node.inputs
        inner = (0,) * len(indices)
        return Sum(
            indices,
            (Factor(0, flat((*inner, *at[1:]), delta), strides(delta)[: len(indices)]),),
            Factor(1, 0, strides(indices)),
            at[0],
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "repeated",
            (i16(8, -1, 2), i32(0, -1)),
            {"size": 3},
            data=([[1, 2], [-32768, 32767], [5, 6], [-32768, 1]], [2, 0, 2, 0]),
            expected=([[-65536, 32768], [0, 0], [6, 8]],),
            local=4,
            low=0,
            high=2,
        )
        yield Case("sequence", (i16(8, -1, 5, 17), i32(0, -1, 5)), {"size": 11}, low=0, high=10)
        yield Case("scalars", (i32(8, -1, 2, 3), i32(0, -1, 2, 3)), {"size": 300}, low=0, high=299)
        yield Case("shared", (i32(8, 4, 5, 2, 3), i32(0, 4, 5)), {"size": 7}, low=0, high=6)
        yield Case("one", (i16(8, 4), i32(0)), {"size": 1}, low=0, high=0)
        yield Case("batch_inside", (i16(8, 2, -1, 40), i32(0, 2, -1)), {"size": 5}, low=0, high=4)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        size, indices = {"size": 3}, i32(0, -1)
        yield Invalid("format", (i16(0, -1), i32(1, -1)), size, "bad_type", "fraction bits")
        yield Invalid("narrow", (i16(0, -1), i16(0, -1)), size, "bad_type", "i16")
        yield Invalid("exact", (i64(0, -1, bound=9), indices), size, "bad_type", "i64")
        yield Invalid("rank", (i16(0, -1), i32(0, -1, 2)), size, "bad_shape", "rank 1")
        yield Invalid("axes", (i16(0, -1, 3), i32(0, -1, 2)), size, "bad_shape", "received 3")
        yield Invalid("batch", (i16(0, 2, -1), i32(0, 2)), size, "bad_batch", "axis 1")
        many = (i32(0, -1, 2**20), i32(0, -1, 2**20))
        yield Invalid("bound", many, size, "unproved_bound", "magnitude")


def _sums(delta: NDArray[Any], indices: NDArray[Any], size: int) -> NDArray[Any]:
    row = delta.shape[indices.ndim :]
    out = np.zeros((size, *row), delta.dtype)
    np.add.at(out, indices.astype(np.int64).reshape(-1), delta.reshape(-1, *row))
    return out
