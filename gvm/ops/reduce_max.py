"""Maxima over axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gvm.gradients import restore_axes
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
from gvm.reads import Part, Peek, Reads, Shapes, along, point, reduced
from gvm.types import i16, i32, i64
from gvm.window import integer, integers

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class ReduceMax(Operator):
    """The largest element over the given axes, the batch axis not among them."""

    name = "reduce_max"
    opcode = 36
    inputs = (Input("x", ("i16", "i32"), "rank at least 1"),)
    attributes = (
        Attribute("axes", 0, 7, "the axes to reduce, increasing", length=(1, 8)),
        Attribute("keepdims", 0, 1, "1: reduced axes stay with size 1", default=0),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        keep = integer(attributes, "keepdims") == 1
        out: Reals = inputs[0].max(axis=integers(attributes, "axes"), keepdims=keep)
        return out

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        keep = integer(attributes, "keepdims") == 1
        out: Integers = inputs[0].max(axis=integers(attributes, "axes"), keepdims=keep)
        return out

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,), axes = node.inputs, node.integers("axes")
        first = reduced(at, axes, node.integer("keepdims") == 1, shape)
        return Part((along(first, axes, shape),), point(at))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        (x,) = node_inputs
        axes = integers(attributes, "axes")
        return (g.reduce_max_grad(x, restore_axes(g, delta, g.shape(x), axes), axes=axes),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "rows",
            (i16(4, -1, 3),),
            {"axes": (1,)},
            data=([[1, 5, 3], [-32768, -32768, -32768]],),
            expected=([5, -32768],),
            local=2,
        )
        yield Case("all", (i32(3, 4, 5, 7),), {"axes": (0, 1, 2)})
        yield Case("images", (i16(3, -1, 3, 3, 300),), {"axes": (1, 2), "keepdims": 1})
        yield Case("columns", (i16(3, 40, -1, 3),), {"axes": (0,)})
        yield Case("alternate", (i32(3, 3, 2, 5, -1, 4),), {"axes": (0, 2, 4)})
        yield Case("one", (i16(3, -1, 1),), {"axes": (1,)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("batch", (i16(0, -1, 3),), {"axes": (0,)}, "bad_batch", "batch axis")
        yield Invalid("order", (i16(0, 2, 3),), {"axes": (1, 0)}, "bad_attribute", "increasing")
        yield Invalid("rank", (i16(0, 2, 3),), {"axes": (2,)}, "bad_attribute", "axes")
        yield Invalid("type", (i64(0, 2, 3, bound=9),), {"axes": (1,)}, "bad_type", "i64")
