"""Joining tensors along an axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

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
)
from gvm.reads import Peek, Reads, Shapes, copied, flat
from gvm.types import Type, i16, i32, i64
from gvm.window import integer

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Concat(Operator):
    """The operands, up to 64 of one type and format, one after the other along an axis.

    Not along the batch axis; the other dimensions are equal.
    """

    name = "concat"
    opcode = 20
    inputs = (Input("xs", ("i16", "i32", "i64", "u8", "bool"), "rank at least 1"),)
    variadic = 64
    attributes = (Attribute("axis", 0, 7, "the axis to join along"),)
    result = "keeps"
    same_format = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return np.concatenate(inputs, axis=integer(attributes, "axis"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return np.concatenate(inputs, axis=integer(attributes, "axis"))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        axis = node.integer("axis")
        i = at[axis]
        for position, shape in enumerate(node.inputs):
            if i < shape[axis]:
                return copied(position, flat((*at[:axis], i, *at[axis + 1 :]), shape))
            i -= shape[axis]
        raise IndexError(at)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        axis, at, deltas = integer(attributes, "axis"), 0, []
        shape = g.shape(output)
        for x in node_inputs:
            size = g.shape(x)[axis]
            begin = tuple(at if i == axis else 0 for i in range(len(shape)))
            end = tuple(at + size if i == axis else d for i, d in enumerate(shape))
            deltas.append(g.slice(delta, begin=begin, end=end, strides=(1,) * len(shape)))
            at += size
        return deltas

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "columns",
            (i16(4, -1, 2), i16(4, -1, 1)),
            {"axis": 1},
            data=([[1, 2], [3, 4]], [[5], [6]]),
            expected=([[1, 2, 5], [3, 4, 6]],),
            local=2,
        )
        yield Case("channels", (i16(2, -1, 3, 3, 5), i16(2, -1, 3, 3, 8)), {"axis": 3})
        yield Case("rows", (i32(2, 3, -1), i32(2, 4, -1), i32(2, 1, -1)), {"axis": 0})
        yield Case("one", (i16(2, -1, 3),), {"axis": 1})
        yield Case("many", tuple(i16(2, -1, 1 + i % 3) for i in range(64)), {"axis": 1})
        yield Case("accumulators", (i64(2, 3, bound=9), i64(2, 4, bound=2**50)), {"axis": 0})
        yield Case("bytes", (Type("u8", 0, (-1, 3)), Type("u8", 0, (-1, 2))), {"axis": 1})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid(
            "batch", (i16(0, -1, 2), i16(0, -1, 2)), {"axis": 0}, "bad_batch", "batch axis"
        )
        yield Invalid("rank", (i16(0, 2), i16(0, 2)), {"axis": 1}, "bad_attribute", "axis")
        yield Invalid("ranks", (i16(0, 2), i16(0, 2, 2)), {"axis": 0}, "bad_shape", "rank")
        yield Invalid("shapes", (i16(0, 2, 3), i16(0, 2, 4)), {"axis": 0}, "bad_shape", "dimension")
        yield Invalid("formats", (i16(0, 2), i16(1, 2)), {"axis": 0}, "bad_type", "fraction bits")
        yield Invalid("types", (i16(0, 2), i32(0, 2)), {"axis": 0}, "bad_type", "i32")
