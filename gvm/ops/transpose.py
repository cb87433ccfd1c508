"""A permutation of axes."""

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
from gvm.types import Type, i16, i32, i64
from gvm.window import integers

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Transpose(Operator):
    """Axis i of the result is axis permutation[i] of x; the batch axis moves along.

    A partial x stays partial.
    """

    name = "transpose"
    opcode = 19
    inputs = (Input("x", ("i16", "i32", "i64", "u8", "bool"), "rank at least 1"),)
    attributes = (
        Attribute("permutation", 0, 7, "each axis of x once, in the new order", length=(1, 8)),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[0].transpose(integers(attributes, "permutation"))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return inputs[0].transpose(integers(attributes, "permutation"))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,), permutation = node.inputs, node.integers("permutation")
        place = [0] * len(at)
        for axis, i in zip(permutation, at, strict=True):
            place[axis] = i
        return copied(0, flat(tuple(place), shape))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        permutation = integers(attributes, "permutation")
        inverse = tuple(permutation.index(i) for i in range(len(permutation)))
        return (g.transpose(delta, permutation=inverse),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "matrix",
            (i16(4, 2, 3),),
            {"permutation": (1, 0)},
            data=([[1, 2, 3], [4, 5, 6]],),
            expected=([[1, 4], [2, 5], [3, 6]],),
        )
        yield Case("to_channels_first", (i16(4, -1, 5, 7, 9),), {"permutation": (0, 3, 1, 2)})
        yield Case("to_channels_last", (i32(4, -1, 9, 5, 7),), {"permutation": (0, 2, 3, 1)})
        yield Case("batch_moves", (i16(4, -1, 33),), {"permutation": (1, 0)})
        yield Case("large", (i16(4, 70, 67),), {"permutation": (1, 0)})
        yield Case("inner_stays", (i64(4, 3, -1, 5, bound=2**50),), {"permutation": (1, 0, 2)})
        yield Case("identity", (i16(4, -1, 3, 2),), {"permutation": (0, 1, 2)})
        yield Case("bytes", (Type("u8", 0, (-1, 4, 3)),), {"permutation": (2, 0, 1)})
        partial = i64(3, 4, 6, bound=2**50, partial=True)
        yield Case("partial", (partial,), {"permutation": (1, 0)})
        yield Case("reverse", (i16(4, 2, 3, 1, 4, 5),), {"permutation": (4, 3, 2, 1, 0)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("short", (i16(0, 2, 3),), {"permutation": (0,)}, "bad_attribute", "rank")
        yield Invalid("twice", (i16(0, 2, 3),), {"permutation": (1, 1)}, "bad_attribute", "once")
        yield Invalid("beyond", (i16(0, 2, 3),), {"permutation": (0, 2)}, "bad_attribute", "rank")
