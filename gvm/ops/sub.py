"""Subtraction with broadcasting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.broadcast import broadcasting_cases, broadcasting_invalid
from gvm.gradients import negate, unbroadcast
from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Sub(Operator):
    """a - b, exact, at F = max(Fa, Fb): the other operand is shifted left, and the bound is proved.

    Shapes broadcast as in NumPy: aligned at the right, equal or 1 or missing. A batch axis may meet
    a batch axis, 1 or nothing. Two partial operands of one shape give a partial.
    """

    name = "sub"
    opcode = 10
    inputs = (
        Input("a", ("i16", "i32", "i64"), "any shape"),
        Input("b", ("i16", "i32", "i64"), "a shape that broadcasts with that of a"),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        a, b = inputs
        return a - b

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        a, b = inputs
        fa, fb = (t.fraction_bits for t in execution.input_types)
        f = max(fa, fb)
        out = a.astype(object) * 2 ** (f - fa) - b.astype(object) * 2 ** (f - fb)
        return np.asarray(out, dtype=object)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        a, b = node_inputs
        return (
            unbroadcast(g, delta, g.shape(a)),
            negate(g, unbroadcast(g, delta, g.shape(b))),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "formats",
            (i16(4, 3), i32(6, 3)),
            data=([1, -32768, 32767], [5, -1, 2**31 - 1]),
            expected=([-1, -131071, 131068 - (2**31 - 1)],),
        )
        yield Case(
            "bias_of_a_batch",
            (i16(0, -1, 2), i16(0, 2)),
            data=([[1, 2], [3, 4], [5, 6]], [10, -20]),
            expected=([[-9, 22], [-7, 24], [-5, 26]],),
        )
        yield from broadcasting_cases(i16(2), i32(3))
        for n in (1, 15, 17, 33):
            yield Case(f"same_{n}", (i16(2, -1, n), i16(2, -1, n)))
        yield Case("i16_i64", (i16(2, 5), i64(3, 5, bound=2**61)))
        yield Case("i64_i64", (i64(2, -1, 5, bound=2**58), i64(4, -1, 5, bound=2**60)))
        yield Case(
            "partial",
            (i64(2, 5, bound=2**50, partial=True), i64(2, 5, bound=2**60, partial=True)),
        )
        yield Case("far_formats", (i16(-32, 5), i16(12, 5)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from broadcasting_invalid()
        yield Invalid("bound", (i16(-32, 3), i16(24, 3)), {}, "unproved_bound", "magnitude")
        yield Invalid(
            "partial_and_shared",
            (i64(0, 3, bound=9, partial=True), i64(0, 3, bound=9)),
            {},
            "bad_batch",
            "partial",
        )
        yield Invalid(
            "partial_shapes",
            (i64(0, 3, bound=9, partial=True), i64(0, 1, bound=9, partial=True)),
            {},
            "bad_shape",
            "same shape",
        )
