"""Rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, flat
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Gather(Operator):
    """y[i..., ...] = x[indices[i...], ...]: the rows of a shared table, by their numbers.

    x is [V, ...] and shared; the shape of y is that of indices, then that of a row. An index
    outside [0, V) is the status bad_input.
    """

    name = "gather"
    opcode = 44
    inputs = (
        Input("x", ("i16", "i32"), "the table [V, ...], shared"),
        Input("indices", ("i32",), "any shape, F = 0, in [0, V)"),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        x, indices = inputs
        rows = indices.astype(np.int64)
        check_indices("gather", rows, len(x))
        out: Reals = x[rows]
        return out

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        x, indices = inputs
        check_indices("gather", indices, len(x))
        return np.asarray(x[indices])

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        table, indices = node.inputs
        place, rest = at[: len(indices)], at[len(indices) :]
        row = peek(1, flat(place, indices))
        if not 0 <= row < table[0]:
            raise ValueError(f"gather: index must be in [0, {table[0]}), received {row}")
        return Sum(
            (), (Factor(0, flat((row, *rest), table)),), Factor(1, flat(place, indices)), row
        )

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        x, indices = node_inputs
        return g.gather_grad(delta, indices, size=g.shape(x)[0]), None

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "rows",
            (i16(8, 3, 2), i32(0, -1)),
            data=([[1, 2], [-32768, 32767], [5, 6]], [2, 0, 1, 1]),
            expected=([[5, 6], [1, 2], [-32768, 32767], [-32768, 32767]],),
            local=4,
            low=0,
            high=2,
        )
        yield Case("sequence", (i16(8, 11, 17), i32(0, -1, 5)), low=0, high=10)
        yield Case("scalars", (i32(8, 300), i32(0, -1, 2, 3)), low=0, high=299)
        yield Case("shared", (i32(8, 7, 2, 3), i32(0, 4, 5)), low=0, high=6)
        yield Case("one", (i16(8, 1, 4), i32(0)), low=0, high=0)
        yield Case("batch_inside", (i16(8, 5, 4), i32(0, 2, -1)), low=0, high=4)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        indices = i32(0, -1)
        yield Invalid("batched", (i16(0, -1, 3), indices), {}, "bad_batch", "shared")
        yield Invalid("scalar", (i16(0), indices), {}, "bad_shape", "rank")
        yield Invalid("narrow", (i16(0, 3), i16(0, -1)), {}, "bad_type", "i16")
        yield Invalid("format", (i16(0, 3), i32(1, -1)), {}, "bad_type", "fraction bits")
        yield Invalid("exact", (i64(0, 3, bound=9), indices), {}, "bad_type", "i64")
        yield Invalid("rows", (i16(0, 2**31), indices), {}, "bad_shape", "2^31")
        deep = (i16(0, *(2,) * 5), i32(0, -1, *(2,) * 4))
        yield Invalid("rank", deep, {}, "bad_shape", "received 9")


def check_indices(name: str, indices: Integers, rows: int) -> None:
    """A ValueError for an index that is no row, as the core's bad_input."""
    wrong = indices[(indices < 0) | (indices >= rows)]
    if wrong.size:
        raise ValueError(f"{name}: index must be in [0, {rows}), received {int(wrong[0])}")
