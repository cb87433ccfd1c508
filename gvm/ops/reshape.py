"""Another shape over the same elements."""

from __future__ import annotations

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


class Reshape(Operator):
    """The elements of x in row-major order under another shape; -1 is the batch, as in x.

    The products of the dimensions before and after the batch axis are each preserved, so that
    examples stay whole. A partial x stays partial.
    """

    name = "reshape"
    opcode = 18
    inputs = (Input("x", ("i16", "i32", "i64", "u8", "bool"), "any shape"),)
    attributes = (
        Attribute("shape", -1, MAX_ELEMENTS, "the new shape; -1 is the batch", length=(1, 8)),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[0].reshape(integers(attributes, "shape"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return inputs[0].reshape(execution.output_types[0].concrete(execution.local))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return copied(0, flat(at, node.outputs[0]))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        shape = g.shape(node_inputs[0])
        if not shape:
            return (g.reduce_sum(delta, axes=tuple(range(len(g.shape(delta))))),)
        return (g.reshape(delta, shape=shape),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "flatten",
            (i16(4, -1, 2, 2),),
            {"shape": (-1, 4)},
            data=([[[1, 2], [3, 4]], [[5, 6], [7, 8]]],),
            expected=([[1, 2, 3, 4], [5, 6, 7, 8]],),
            local=2,
        )
        yield Case("unflatten", (i32(3, -1, 12),), {"shape": (-1, 2, 3, 2)})
        yield Case("batch_moves_over_ones", (i16(3, 1, -1, 6),), {"shape": (-1, 6, 1)})
        yield Case("batch_inside", (i64(3, 6, -1, 4, bound=9),), {"shape": (2, 3, -1, 2, 2)})
        yield Case("shared", (i16(3, 4, 6),), {"shape": (24,)})
        yield Case("bytes", (Type("u8", 0, (-1, 4)),), {"shape": (-1, 2, 2)})
        yield Case("scalar", (i16(3),), {"shape": (1, 1)})
        partial = i64(3, 4, 6, bound=2**50, partial=True)
        yield Case("partial", (partial,), {"shape": (3, 8)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("elements", (i16(0, 4),), {"shape": (5,)}, "bad_shape", "elements")
        yield Invalid("zero", (i16(0, 4),), {"shape": (4, 0)}, "bad_shape", "at least 1")
        yield Invalid("mixes", (i16(0, 2, -1),), {"shape": (-1, 2)}, "bad_batch", "batch")
        yield Invalid("loses_batch", (i16(0, -1, 2),), {"shape": (2,)}, "bad_batch", "batch")
        yield Invalid("gains_batch", (i16(0, 2),), {"shape": (-1, 2)}, "bad_batch", "batch")
        yield Invalid("two", (i16(0, -1, 2),), {"shape": (-1, -1, 2)}, "bad_batch", "batch")
