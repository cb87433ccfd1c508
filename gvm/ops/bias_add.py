"""The addition of a bias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.operator import (
    Attributes,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
)
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class BiasAdd(Operator):
    """``y[..., n] = x[..., n] + bias[n]``, exact.

    y has the shape of x and max(Fx, Fb) fraction bits: whichever has fewer is shifted left first,
    without loss, since the bound of the sum is proved to stay within 2^62.
    """

    name = "bias_add"
    opcode = 8
    inputs = (
        Input("x", ("i64", "i32", "i16"), "what is added to, [..., N]"),
        Input("bias", ("i32", "i16"), "shared, [N]"),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        x, bias = inputs
        return np.asarray(x + bias)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (x, bias), (fx, fb) = inputs, (t.fraction_bits for t in execution.input_types)
        f = max(fx, fb)
        return np.asarray(x * 2 ** (f - fx) + bias * 2 ** (f - fb))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        leading = tuple(range(len(g.shape(delta)) - 1))
        return delta, g.reduce_sum(delta, axes=leading, keepdims=0) if leading else delta

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "hand-worked",
            (i64(5, -1, 3, bound=1000), i32(3, 3)),
            data=([[1, -2, 3], [100, 0, -7]], [10, -20, 30]),
            expected=([[41, -82, 123], [140, -80, 113]],),
            local=2,
        )
        yield Case(
            "bias-finer",
            (i16(1, -1, 2), i16(4, 2)),
            data=([[1, -3]], [5, 6]),
            expected=([[13, -18]],),
            local=1,
        )
        yield Case(
            "limits",
            (i32(0, -1, 2), i32(30, 2)),
            data=([[-(2**31), 2**31 - 1]], [-(2**31), 2**31 - 1]),
            expected=([[-(2**61) - 2**31, 2**61 - 2**30 + 2**31 - 1]],),
            local=1,
        )
        yield Case("wide", (i64(11, -1, 67, bound=2**40), i32(9, 67)), local=5)
        yield Case("same-format", (i64(11, -1, 16, bound=2**61), i32(11, 16)))
        yield Case("images", (i64(11, -1, 3, 2, 5, bound=2**33), i32(15, 5)))
        yield Case("narrow", (i16(8, -1, 33), i16(8, 33)), local=2)
        yield Case("i32-i16", (i32(8, 2, -1, 9), i16(12, 9)))
        yield Case("shared-vector", (i32(8, 9), i16(12, 9)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        x = i64(5, -1, 3, bound=1000)
        yield Invalid("type", (x, i64(5, 3, bound=1)), {}, "bad_type", "input 1")
        yield Invalid("scalar", (i32(5), i32(5, 3)), {}, "bad_shape", "rank")
        yield Invalid("rank", (x, i32(5, 1, 3)), {}, "bad_shape", "rank")
        yield Invalid("length", (x, i32(5, 4)), {}, "bad_shape", "received 4")
        yield Invalid("batched-bias", (i32(5, -1), i32(5, -1)), {}, "bad_batch", "shared")
        yield Invalid("batch-last", (i32(5, -1), i32(5, 1)), {}, "bad_shape", "received 1")
        yield Invalid(
            "partial", (i64(5, 2, 3, bound=9, partial=True), i32(5, 3)), {}, "bad_batch", "partial"
        )
        yield Invalid(
            "bound",
            (i64(5, -1, 3, bound=2**62), i32(5, 3)),
            {},
            "unproved_bound",
            "4611686020574871552",
        )
        yield Invalid("shift", (i32(0, -1, 3), i32(40, 3)), {}, "unproved_bound", "")
