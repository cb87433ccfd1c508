"""Positions of maxima."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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
from gvm.reads import Part, Peek, Reads, Shapes, along, point
from gvm.types import i16, i32, i64


class Argmax(Operator):
    """Where along the axis the largest element is, the first of equals: i32 with F = 0.

    The axis, which is not the batch, is left out of the shape.
    """

    name = "argmax"
    opcode = 48
    inputs = (Input("x", ("i16", "i32"), "rank at least 1"),)
    attributes = (Attribute("axis", 0, 7, "the axis that is searched"),)
    result = "discrete"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return np.asarray(inputs[0].argmax(axis=integer(attributes, "axis")), dtype=np.float64)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return np.asarray(inputs[0].argmax(axis=integer(attributes, "axis")))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,) = node.inputs
        axis = node.integer("axis")
        return Part((along((*at[:axis], 0, *at[axis:]), (axis,), shape),), point(at))

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "ties_go_first",
            (i16(8, -1, 3),),
            {"axis": 1},
            data=([[1, 5, 5], [-32768, -32768, -32768], [0, 1, 32767]],),
            expected=([1, 0, 2],),
        )
        yield Case("rows", (i32(3, -1, 300),), {"axis": 1})
        yield Case("columns", (i16(3, 40, -1, 3),), {"axis": 0})
        yield Case("middle", (i16(3, -1, 17, 33),), {"axis": 1})
        yield Case("batch_after", (i32(3, 2, 7, -1),), {"axis": 1})
        yield Case("vector", (i16(3, 9),), {"axis": 0})
        yield Case("one", (i16(3, -1, 1),), {"axis": 1})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("batch", (i16(0, -1, 3),), {"axis": 0}, "bad_batch", "batch axis")
        yield Invalid("rank", (i16(0, 2, 3),), {"axis": 2}, "bad_attribute", "axis")
        yield Invalid("type", (i64(0, 2, 3, bound=9),), {"axis": 1}, "bad_type", "i64")
        yield Invalid("size", (i16(0, 2**31),), {"axis": 0}, "bad_shape", "2^31")
