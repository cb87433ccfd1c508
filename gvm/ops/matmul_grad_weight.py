"""The gradient of a shared right factor."""

from __future__ import annotations

from collections.abc import Iterator

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
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, strides
from gvm.types import i16, i32


class MatmulGradWeight(Operator):
    """``y[k, n] = sum over all leading axes of a[..., k] * d[..., n]``, exact.

    a is [*, K] and d is [*, N] with equal leading axes; y is [K, N] with Fa + Fd fraction bits. It
    is a partial sum when the batch is one of the leading axes.
    """

    name = "matmul_grad_weight"
    opcode = 4
    inputs = (
        Input("a", ("i16",), "what the shared factor was multiplied with, [*, K]"),
        Input("d", ("i16",), "gradient of the product, [*, N]"),
    )
    result = "exact"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return _product(*inputs)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return _product(*inputs)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        a, d = node.inputs
        return Sum(
            a[:-1],
            (Factor(0, at[0], strides(a)[:-1]), Factor(1, at[1], strides(d)[:-1])),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "hand-worked",
            (i16(3, -1, 2), i16(4, -1, 3)),
            data=([[1, -2], [3, 4]], [[5, 6, 7], [8, -9, 10]]),
            expected=([[29, -21, 37], [22, -48, 26]],),
            local=2,
        )
        yield Case(
            "four-minima-pass-32-bits",
            (i16(8, -1, 1), i16(8, -1, 1)),
            data=([[-32768]] * 4, [[-32768]] * 4),
            expected=([[4294967296]],),
            local=4,
        )
        yield Case("one-by-one", (i16(0, -1, 1), i16(0, -1, 1)), local=1)
        for k, b, n in (
            (13, 3, 31),
            (14, 4, 32),
            (15, 5, 33),
            (29, 33, 65),
            (1, 17, 16),
            (6, 7, 1),
        ):
            yield Case(f"tile-{k}-{b}-{n}", (i16(5, -1, k), i16(6, -1, n)), local=b, batch=b + 3)
        yield Case("blocks", (i16(5, -1, 127), i16(6, -1, 131)), local=9, batch=11)
        yield Case("long-sum", (i16(5, -1, 15), i16(6, -1, 5)), local=1031, batch=1033)
        yield Case(
            "carry-past-2-to-the-47", (i16(0, -1, 2), i16(0, -1, 3)), local=140001, batch=140003
        )
        yield Case("more-leading", (i16(5, -1, 4, 9), i16(6, -1, 4, 34)))
        yield Case("batch-in-the-middle", (i16(5, 2, -1, 9), i16(6, 2, -1, 34)))
        yield Case("shared", (i16(5, 7, 9), i16(6, 7, 34)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("type", (i32(0, -1, 2), i16(0, -1, 3)), {}, "bad_type", "input 0")
        yield Invalid("rank", (i16(0, 2), i16(0, 2)), {}, "bad_shape", "rank")
        yield Invalid("ranks", (i16(0, -1, 2), i16(0, -1, 2, 2)), {}, "bad_shape", "rank")
        yield Invalid("leading", (i16(0, -1, 4, 2), i16(0, -1, 5, 3)), {}, "bad_shape", "4 and 5")
        yield Invalid("one-batch", (i16(0, -1, 2), i16(0, 5, 3)), {}, "bad_shape", "-1 and 5")
        yield Invalid("batch-kept", (i16(0, 4, -1), i16(0, 4, 3)), {}, "bad_batch", "last")
        yield Invalid("format", (i16(30, -1, 2), i16(20, -1, 3)), {}, "bad_type", "received 50")


def _product(a: Integers, d: Integers) -> Integers:
    return np.asarray(a.reshape(-1, a.shape[-1]).T @ d.reshape(-1, d.shape[-1]))
