"""A border of zeros."""

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
from gvm.reads import NOTHING, Peek, Reads, Shapes, copied, flat
from gvm.types import MAX_ELEMENTS, Type, i16, i32, i64
from gvm.window import integers

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Pad(Operator):
    """x with before[i] zeros in front of axis i and after[i] behind; none along the batch axis.

    A partial x stays partial.
    """

    name = "pad"
    opcode = 38
    inputs = (Input("x", ("i16", "i32", "i64", "u8", "bool"), "rank at least 1"),)
    attributes = (
        Attribute("before", 0, MAX_ELEMENTS, "zeros in front of each axis", length=(1, 8)),
        Attribute("after", 0, MAX_ELEMENTS, "zeros behind each axis", length=(1, 8)),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return np.pad(inputs[0], _border(attributes))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return np.pad(inputs[0], _border(attributes))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,) = node.inputs
        place = tuple(i - b for i, b in zip(at, node.integers("before"), strict=True))
        if not all(0 <= i < n for i, n in zip(place, shape, strict=True)):
            return NOTHING
        return copied(0, flat(place, shape))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        before, shape = integers(attributes, "before"), g.shape(node_inputs[0])
        end = tuple(-1 if d == -1 else b + d for b, d in zip(before, shape, strict=True))
        return (g.slice(delta, begin=before, end=end, strides=(1,) * len(shape)),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "row",
            (i16(4, -1, 2),),
            {"before": (0, 1), "after": (0, 2)},
            data=([[1, 2], [3, 4]],),
            expected=([[0, 1, 2, 0, 0], [0, 3, 4, 0, 0]],),
            local=2,
        )
        yield Case(
            "images", (i32(2, -1, 3, 4, 5),), {"before": (0, 1, 0, 0), "after": (0, 2, 3, 0)}
        )
        yield Case("batch_inside", (i16(2, 3, -1, 17),), {"before": (1, 0, 2), "after": (0, 0, 2)})
        partial = i64(3, 4, 6, bound=2**50, partial=True)
        yield Case("partial", (partial,), {"before": (1, 0), "after": (0, 2)})
        yield Case("nothing", (i64(2, 3, bound=2**50),), {"before": (0,), "after": (0,)})
        yield Case("bytes", (Type("u8", 0, (-1, 3)),), {"before": (0, 40), "after": (0, 1)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        x = (i16(0, -1, 4),)
        yield Invalid("batch", x, {"before": (1, 0), "after": (0, 0)}, "bad_batch", "batch axis")
        yield Invalid("rank", x, {"before": (0,), "after": (0, 0)}, "bad_attribute", "rank")
        yield Invalid(
            "elements", x, {"before": (0, MAX_ELEMENTS), "after": (0, 0)}, "bad_shape", "2^42"
        )


def _border(attributes: Attributes) -> list[tuple[int, int]]:
    return list(zip(integers(attributes, "before"), integers(attributes, "after"), strict=True))
