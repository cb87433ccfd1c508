"""The matrix product."""

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
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, strides
from gvm.types import i16, i32

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Matmul(Operator):
    """``y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]``, exact.

    a is [L..., M, K], or [L..., K, M] with ``transpose_a``; b is [K, N], shared by all of L, or
    [L..., K, N] with the same L; with ``transpose_b`` its last two axes are swapped. y is
    [L..., M, N] with Fa + Fb fraction bits. The batch axis may be in L of both, or anywhere but in
    K of a when b is shared.
    """

    name = "matmul"
    opcode = 3
    inputs = (
        Input("a", ("i16",), "left factor, [L..., M, K]"),
        Input("b", ("i16",), "right factor, [K, N] or [L..., K, N]"),
    )
    attributes = (
        Attribute("transpose_a", 0, 1, "1: the last two axes of a are swapped", default=0),
        Attribute("transpose_b", 0, 1, "1: the last two axes of b are swapped", default=0),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        a, b = _turned(attributes, *inputs)
        return np.asarray(a @ b)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        a, b = _turned(attributes, *inputs)
        return np.asarray(a @ b)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (a, b), (row, column) = node.inputs, at[-2:]
        m, k = (-1, -2) if node.integer("transpose_a") else (-2, -1)
        n, j = (-2, -1) if node.integer("transpose_b") else (-1, -2)
        of_a, of_b = strides(a), strides(b)
        left = sum(i * s for i, s in zip(at[:-2], of_a[:-2], strict=True)) + row * of_a[m]
        right = column * of_b[n]
        if len(b) > 2:
            right += sum(i * s for i, s in zip(at[:-2], of_b[:-2], strict=True))
        return Sum((a[k],), (Factor(0, left, (of_a[k],)), Factor(1, right, (of_b[j],))))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        a, b = node_inputs
        turned_a, turned_b = attributes["transpose_a"] == 1, attributes["transpose_b"] == 1
        delta_a = g.matmul(delta, b, transpose_b=0 if turned_b else 1)
        left, rank = _swap(g, a) if turned_a else a, len(g.shape(b))
        return (
            _swap(g, delta_a) if turned_a else delta_a,
            _summed(g, delta, left, rank) if turned_b else _summed(g, left, delta, rank),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "hand-worked",
            (i16(3, -1, 2), i16(4, 2, 3)),
            data=([[1, -2], [3, 4]], [[5, 6, 7], [8, -9, 10]]),
            expected=([[-11, 24, -13], [47, -18, 61]],),
            local=2,
        )
        yield Case(
            "both-transposed",
            (i16(0, 2, -1), i16(0, 3, 2)),
            {"transpose_a": 1, "transpose_b": 1},
            data=([[1, 3], [-2, 4]], [[5, 8], [6, -9], [7, 10]]),
            expected=([[-11, 24, -13], [47, -18, 61]],),
            local=2,
        )
        yield Case(
            "four-minima-pass-32-bits",
            (i16(8, -1, 4), i16(8, 4, 1)),
            data=([[-32768] * 4], [[-32768]] * 4),
            expected=([[4294967296]],),
            local=1,
        )
        yield Case(
            "two-minima-pass-31-bits",
            (i16(8, -1, 2), i16(8, 2, 2)),
            data=([[-32768] * 2], [[-32768, 32767]] * 2),
            expected=([[2147483648, -2147418112]],),
            local=1,
        )
        yield Case("one-by-one", (i16(0, -1, 1), i16(0, 1, 1)), local=1)
        for m, k, n in (
            (13, 3, 31),
            (14, 4, 32),
            (15, 5, 33),
            (29, 33, 65),
            (1, 65, 16),
            (6, 7, 1),
        ):
            yield Case(f"tile-{m}-{k}-{n}", (i16(5, -1, k), i16(6, k, n)), local=m, batch=m + 3)
        yield Case("blocks", (i16(5, -1, 9), i16(6, 9, 131)), local=127, batch=131)
        yield Case("long-sum", (i16(5, -1, 1031), i16(6, 1031, 5)), local=15, batch=17)
        yield Case("carry-past-2-to-the-47", (i16(0, -1, 140001), i16(0, 140001, 2)), local=2)
        yield Case(
            "b-transposed", (i16(5, -1, 37), i16(6, 35, 37)), {"transpose_b": 1}, local=17, batch=20
        )
        yield Case(
            "a-transposed", (i16(5, 37, -1), i16(6, 37, 35)), {"transpose_a": 1}, local=17, batch=20
        )
        yield Case("batch-in-leading", (i16(5, -1, 15, 9), i16(6, -1, 9, 33)))
        yield Case("attention", (i16(5, -1, 2, 7, 16), i16(6, -1, 2, 7, 16)), {"transpose_b": 1})
        yield Case(
            "leading-all-transposed",
            (i16(5, 2, -1, 9, 15), i16(6, 2, -1, 33, 9)),
            {"transpose_a": 1, "transpose_b": 1},
        )
        yield Case("one-b-for-all-leading", (i16(5, -1, 5, 9), i16(6, 9, 34)))
        yield Case("one-b-a-transposed", (i16(5, -1, 9, 5), i16(6, 9, 34)), {"transpose_a": 1})
        yield Case("leading-of-a-shared-b", (i16(5, 3, -1, 9), i16(6, 3, 9, 4)))
        yield Case("shared", (i16(5, 15, 9), i16(6, 9, 33)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("type", (i16(0, -1, 2), i32(0, 2, 3)), {}, "bad_type", "input 1")
        yield Invalid("rank", (i16(0, -1), i16(0, 2, 3)), {}, "bad_shape", "rank")
        yield Invalid("rank-of-b", (i16(0, -1, 4, 2), i16(0, 1, 4, 2, 3)), {}, "bad_shape", "rank")
        yield Invalid("inner", (i16(0, -1, 2), i16(0, 3, 3)), {}, "bad_shape", "received 2 and 3")
        yield Invalid(
            "leading", (i16(0, 2, -1, 3), i16(0, 4, 3, 5)), {}, "bad_shape", "received 2 and 4"
        )
        yield Invalid(
            "batch-summed", (i16(0, -1, 2), i16(0, 5, 3)), {"transpose_a": 1}, "bad_batch", "K"
        )
        yield Invalid("batch-in-n", (i16(0, 5, 2), i16(0, 2, -1)), {}, "bad_batch", "N")
        yield Invalid(
            "batch-of-one-only", (i16(0, -1, 5, 2), i16(0, 3, 2, 4)), {}, "bad_shape", "leading"
        )
        yield Invalid("format", (i16(30, -1, 2), i16(20, 2, 3)), {}, "bad_type", "received 50")
        yield Invalid(
            "attribute",
            (i16(0, -1, 2), i16(0, 2, 3)),
            {"transpose_a": 2},
            "bad_attribute",
            "[0, 1]",
        )
        yield Invalid("inputs", (i16(0, -1, 2),), {}, "bad_graph", "received 1")
        yield Invalid(
            "bound",
            (i16(0, -1, 2**33), i16(0, 2**33, 1)),
            {},
            "bad_shape",
            "2^42",
        )
        yield Invalid(
            "bound-2-to-the-63", (i16(0, 1, 2**33), i16(0, 2**33, 1)), {}, "unproved_bound", ""
        )


def _turned(attributes: Attributes, a: Integers, b: Integers) -> tuple[Integers, Integers]:
    """The factors with their transpositions done."""
    return (
        a.swapaxes(-1, -2) if attributes["transpose_a"] else a,
        b.swapaxes(-1, -2) if attributes["transpose_b"] else b,
    )


def _swap(g: Builder, value: Value) -> Value:
    """The last two axes swapped."""
    rank = len(g.shape(value))
    return int(g.transpose(value, permutation=(*range(rank - 2), rank - 1, rank - 2)))


def _summed(g: Builder, left: Value, right: Value, rank: int) -> Value:
    """The sum over m of left [..., m, p] times right [..., m, q], of the rank that b has."""
    if rank == 2:
        return int(g.matmul_grad_weight(left, right))
    shape, other = g.shape(left), g.shape(right)
    if shape[-2] != -1:
        return int(g.matmul(left, right, transpose_a=1))
    # Within each of L, m is the batch: products [..., m, p, q], then their partial sum.
    columns = g.reshape(left, shape=(*shape, 1))
    rows = g.reshape(right, shape=(*other[:-1], 1, other[-1]))
    return int(g.reduce_sum(g.mul(columns, rows), axes=(rank - 2,), keepdims=0))
