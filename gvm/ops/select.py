"""One of two operands, by a condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.gradients import unbroadcast
from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.types import Type, i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Select(Operator):
    """a where the condition holds, else b. a and b have one element type and format.

    The three shapes broadcast as in NumPy.
    """

    name = "select"
    opcode = 42
    inputs = (
        Input("condition", ("bool",), "any shape"),
        Input("a", ("i16", "i32"), "a shape that broadcasts with the others"),
        Input("b", ("i16", "i32"), "of the type of a, a shape that broadcasts with the others"),
    )
    result = "keeps"
    keeps = 1
    same_format = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        condition, a, b = inputs
        return np.where(condition != 0, a, b)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        condition, a, b = inputs
        return np.asarray(np.where(condition != 0, a, b))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        condition, a, b = node_inputs
        return (
            None,
            unbroadcast(g, g.mask(condition, delta, value=1), g.shape(a)),
            unbroadcast(g, g.mask(condition, delta, value=0), g.shape(b)),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "chosen",
            (_bool(3), i16(8, 3), i16(8, 3)),
            data=([1, 0, 1], [-32768, 2, 3], [4, 32767, 6]),
            expected=([-32768, 32767, 3],),
        )
        for n in (1, 31, 33):
            yield Case(f"same_{n}", (_bool(-1, n), i16(2, -1, n), i16(2, -1, n)))
        yield Case("column", (_bool(-1, 1), i32(2, -1, 17), i32(2, -1, 17)))
        yield Case("rows", (_bool(-1, 17), i32(2, 17), i32(2, 17)))
        yield Case("scalars", (_bool(5, 9), i16(2), i16(2)))
        yield Case("one_scalar", (_bool(-1, 9), i16(2, -1, 9), i16(2)))
        yield Case("all_differ", (_bool(3, 1, 1), i16(2, 1, 4, 1), i16(2, 1, 1, 5)))
        yield Case("batch_of_condition", (_bool(-1, 1), i16(2, 1, 4), i16(2, 4)))
        yield Case("batch_of_values", (_bool(4), i16(2, -1, 1), i16(2, 4)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("condition", (i16(0, 3),) * 3, {}, "bad_type", "i16")
        yield Invalid("types", (_bool(3), i16(0, 3), i32(0, 3)), {}, "bad_type", "i32")
        yield Invalid("formats", (_bool(3), i16(0, 3), i16(1, 3)), {}, "bad_type", "fraction")
        yield Invalid("sizes", (_bool(3), i16(0, 3), i16(0, 4)), {}, "bad_shape", "broadcast")
        yield Invalid("sizes_of_all", (_bool(4), i16(0, 3), i16(0, 3)), {}, "bad_shape", "4 and 3")
        yield Invalid("batches", (_bool(1, -1), i16(0, -1, 1), i16(0)), {}, "bad_batch", "batch")
        sums = (_bool(3), *(i64(0, 3, bound=9),) * 2)
        yield Invalid("exact", sums, {}, "bad_type", "i64")


def _bool(*shape: int) -> Type:
    return Type("bool", 0, shape)
