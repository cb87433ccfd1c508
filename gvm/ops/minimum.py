"""The smaller of two operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.broadcast import broadcasting_cases, broadcasting_invalid, one_type_invalid
from gvm.gradients import unbroadcast
from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.types import i16, i32

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Minimum(Operator):
    """The smaller of a and b, which have one element type and format. Shapes broadcast as in NumPy.

    The gradient goes to the smaller; of equals, to a.
    """

    name = "minimum"
    opcode = 40
    inputs = (
        Input("a", ("i16", "i32"), "any shape"),
        Input("b", ("i16", "i32"), "of the type of a, a shape that broadcasts with that of a"),
    )
    result = "keeps"
    same_format = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return np.minimum(inputs[0], inputs[1])

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return np.asarray(np.minimum(inputs[0], inputs[1]))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        a, b = node_inputs
        to_a = g.compare(a, b, relation=2)
        return (
            unbroadcast(g, g.mask(to_a, delta, value=1), g.shape(a)),
            unbroadcast(g, g.mask(to_a, delta, value=0), g.shape(b)),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "signs",
            (i16(8, 4), i16(8, 4)),
            data=([3, -32768, 32767, 7], [-2, -1, 0, 7]),
            expected=([-2, -32768, 0, 7],),
        )
        yield from broadcasting_cases(i16(2), i16(2))
        yield Case("wide", (i32(3, -1, 17), i32(3, 17)))
        for n in (1, 31, 33):
            yield Case(f"i16_{n}", (i16(2, -1, n), i16(2, -1, n)))
            yield Case(f"i32_{n}", (i32(-2, n), i32(-2, n)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from broadcasting_invalid()
        yield from one_type_invalid()
