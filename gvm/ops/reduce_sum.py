"""Sums over axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, flat, reduced, strides
from gvm.types import i16, i32, i64
from gvm.window import integer, integers

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class ReduceSum(Operator):
    """The exact sum over the given axes at the format of x.

    Over the batch axis the result is partial: a sum over this shard's examples, its bound that of
    max_batch examples. A partial x may be summed over other axes and stays partial.
    """

    name = "reduce_sum"
    opcode = 22
    inputs = (Input("x", ("i16", "i32", "i64"), "rank at least 1"),)
    attributes = (
        Attribute("axes", 0, 7, "the axes to sum over, increasing", length=(1, 8)),
        Attribute("keepdims", 0, 1, "1: summed axes stay with size 1", default=0),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        keep = integer(attributes, "keepdims") == 1
        out: Reals = inputs[0].sum(axis=integers(attributes, "axes"), keepdims=keep)
        return out

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        keep = integer(attributes, "keepdims") == 1
        axes = integers(attributes, "axes")
        out: Integers = inputs[0].astype(object).sum(axis=axes, keepdims=keep)
        return np.asarray(out, dtype=object)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,), axes = node.inputs, node.integers("axes")
        first = reduced(at, axes, node.integer("keepdims") == 1, shape)
        base = flat(tuple(0 if a in axes else i for a, i in enumerate(first)), shape)
        steps = tuple(strides(shape)[a] for a in axes)
        return Sum(tuple(shape[a] for a in axes), (Factor(0, base, steps),))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        axes, shape = integers(attributes, "axes"), g.shape(node_inputs[0])
        if axes != tuple(range(len(axes))):
            delta = restore_axes(g, delta, shape, axes)
        return (g.broadcast_to(delta, shape=shape),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "rows",
            (i16(4, -1, 3),),
            {"axes": (1,)},
            data=([[1, 2, 3], [-32768, -32768, -32768]],),
            expected=([6, -98304],),
            local=2,
        )
        yield Case(
            "batch",
            (i16(4, -1, 2),),
            {"axes": (0,), "keepdims": 1},
            data=([[1, 2], [3, 4], [32767, -32768]],),
            expected=([[32771, -32762]],),
        )
        yield Case("all", (i32(3, -1, 5, 7),), {"axes": (0, 1, 2)})
        yield Case("columns", (i16(3, 40, 600),), {"axes": (0,)})
        yield Case("many_rows", (i16(3, 70000, 1),), {"axes": (0,)})
        yield Case("middle", (i16(3, -1, 5, 33),), {"axes": (1,)})
        yield Case("outside", (i32(3, 4, -1, 17),), {"axes": (0, 2), "keepdims": 1})
        yield Case("alternate", (i16(3, 3, 2, 5, 3, 4),), {"axes": (1, 3)})
        yield Case("channels", (i16(3, -1, 3, 3, 9),), {"axes": (0, 1, 2)})
        yield Case("images", (i16(3, -1, 3, 3, 9),), {"axes": (1, 2), "keepdims": 1})
        yield Case("accumulators", (i64(3, -1, 5, bound=2**40),), {"axes": (0,)})
        yield Case("partial", (i64(3, 4, 5, bound=2**50, partial=True),), {"axes": (0,)})
        yield Case("one", (i16(3, -1, 1),), {"axes": (1,)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("order", (i16(0, 2, 3),), {"axes": (1, 0)}, "bad_attribute", "increasing")
        yield Invalid("twice", (i16(0, 2, 3),), {"axes": (1, 1)}, "bad_attribute", "increasing")
        yield Invalid("rank", (i16(0, 2, 3),), {"axes": (2,)}, "bad_attribute", "axes")
        yield Invalid(
            "bound", (i64(0, -1, 3, bound=2**61),), {"axes": (1,)}, "unproved_bound", "magnitude"
        )
