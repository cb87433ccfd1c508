"""A part of a tensor."""

from __future__ import annotations

from builtins import slice as span
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

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
from gvm.reads import Peek, Reads, Shapes, copied, flat
from gvm.types import MAX_ELEMENTS, Type, i16, i32, i64
from gvm.window import integers

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Slice(Operator):
    """The elements begin, begin + stride, ... below end along each axis.

    The batch axis is whole: begin 0, end -1, stride 1. A partial x stays partial.
    """

    name = "slice"
    opcode = 21
    inputs = (Input("x", ("i16", "i32", "i64", "u8", "bool"), "rank at least 1"),)
    attributes = (
        Attribute("begin", 0, MAX_ELEMENTS, "first index along each axis", length=(1, 8)),
        Attribute("end", -1, MAX_ELEMENTS, "index after the last; -1: batch axis", length=(1, 8)),
        Attribute("strides", 1, MAX_ELEMENTS, "step along each axis", length=(1, 8)),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[0][_spans(attributes)]

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return inputs[0][_spans(attributes)]

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        each = zip(at, node.integers("begin"), node.integers("strides"), strict=True)
        return copied(0, flat(tuple(b + i * s for i, b, s in each), node.inputs[0]))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        begin, strides = integers(attributes, "begin"), integers(attributes, "strides")
        shape = g.shape(node_inputs[0])
        for axis, stride in enumerate(strides):
            if stride > 1 and g.shape(delta)[axis] > 1:
                delta = _spread(g, delta, axis, stride)
        after = tuple(
            0 if d == -1 else d - first - kept
            for d, first, kept in zip(shape, begin, g.shape(delta), strict=True)
        )
        return (g.pad(delta, before=begin, after=after),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "steps",
            (i16(4, -1, 6),),
            {"begin": (0, 1), "end": (-1, 6), "strides": (1, 2)},
            data=([[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]],),
            expected=([[1, 3, 5], [11, 13, 15]],),
            local=2,
        )
        yield Case(
            "crop",
            (i32(2, -1, 5, 6, 3),),
            {"begin": (0, 1, 2, 0), "end": (-1, 4, 6, 3), "strides": (1, 1, 1, 1)},
        )
        yield Case(
            "channels",
            (i16(2, 3, -1, 17),),
            {"begin": (0, 0, 4), "end": (3, -1, 15), "strides": (2, 1, 1)},
        )
        yield Case(
            "uneven_steps",
            (i64(2, 11, 7, bound=2**50),),
            {"begin": (1, 0), "end": (10, 7), "strides": (4, 5)},
        )
        yield Case("whole", (i16(2, -1),), {"begin": (0,), "end": (-1,), "strides": (1,)})
        yield Case(
            "bytes",
            (Type("u8", 0, (-1, 9)),),
            {"begin": (0, 8), "end": (-1, 9), "strides": (1, MAX_ELEMENTS)},
        )
        partial = i64(3, 4, 6, bound=2**50, partial=True)
        given = {"begin": (1, 0), "end": (4, 5), "strides": (1, 2)}
        yield Case("partial", (partial,), given)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        x = (i16(0, -1, 4),)
        whole = {"begin": (0, 0), "end": (-1, 4), "strides": (1, 1)}
        yield Invalid("batch_begin", x, whole | {"begin": (1, 0)}, "bad_batch", "whole")
        yield Invalid("batch_end", x, whole | {"end": (1, 4)}, "bad_batch", "whole")
        yield Invalid("batch_stride", x, whole | {"strides": (2, 1)}, "bad_batch", "whole")
        yield Invalid("end", x, whole | {"end": (-1, 5)}, "bad_attribute", "end")
        yield Invalid("no_end", x, whole | {"end": (-1, -1)}, "bad_attribute", "end")
        yield Invalid("empty", x, whole | {"begin": (0, 4)}, "bad_attribute", "end")
        yield Invalid("rank", x, whole | {"begin": (0,)}, "bad_attribute", "rank")


def _spans(attributes: Attributes) -> tuple[span, ...]:
    names = ("begin", "end", "strides")
    each = zip(*(integers(attributes, name) for name in names), strict=True)
    return tuple(span(b, None if e == -1 else e, s) for b, e, s in each)


def _spread(g: Builder, delta: Value, axis: int, stride: int) -> Value:
    """delta with stride - 1 zeros between neighbours along an axis."""
    shape = g.shape(delta)
    if len(shape) == 8:
        raise ValueError(f"slice: the gradient of stride {stride} needs rank 7 at most, received 8")
    n, rank = shape[axis], len(shape)
    delta = g.reshape(delta, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :]))
    after = tuple(stride - 1 if i == axis + 1 else 0 for i in range(rank + 1))
    delta = g.pad(delta, before=(0,) * (rank + 1), after=after)
    delta = g.reshape(delta, shape=(*shape[:axis], n * stride, *shape[axis + 1 :]))
    end = tuple((n - 1) * stride + 1 if i == axis else d for i, d in enumerate(shape))
    out: Value = g.slice(delta, begin=(0,) * rank, end=end, strides=(1,) * rank)
    return out
