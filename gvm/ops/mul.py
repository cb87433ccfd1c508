"""Multiplication with broadcasting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.broadcast import broadcasting_cases, broadcasting_invalid
from gvm.gradients import unbroadcast
from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Mul(Operator):
    """a * b, element by element, exact, at F = Fa + Fb. Shapes broadcast as those of add."""

    name = "mul"
    opcode = 11
    inputs = (
        Input("a", ("i16", "i32"), "any shape"),
        Input("b", ("i16", "i32"), "a shape that broadcasts with that of a"),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        a, b = inputs
        return a * b

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        a, b = inputs
        return np.asarray(a.astype(object) * b.astype(object), dtype=object)

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
            unbroadcast(g, g.mul(delta, b), g.shape(a)),
            unbroadcast(g, g.mul(delta, a), g.shape(b)),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "extremes",
            (i16(4, 4), i16(6, 4)),
            data=([-32768, -32768, 3, 0], [-32768, 32767, -5, 7]),
            expected=([2**30, -32768 * 32767, -15, 0],),
        )
        yield Case(
            "extremes_i32",
            (i32(4, 2), i32(6, 2)),
            data=([-(2**31), 2**31 - 1], [-(2**31), -(2**31)]),
            expected=([2**62, -(2**62) + 2**31],),
        )
        yield from broadcasting_cases(i16(2), i32(3))
        for n in (1, 15, 17, 33):
            yield Case(f"same_{n}", (i16(2, -1, n), i16(2, -1, n)))
        yield Case("i32_i32", (i32(2, -1, 5), i32(2, -1, 5)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from broadcasting_invalid()
        yield Invalid("accumulator", (i64(0, 3, bound=9), i16(0, 3)), {}, "bad_type", "i64")
        yield Invalid("format", (i16(40, 3), i16(40, 3)), {}, "bad_type", "fraction bits")
