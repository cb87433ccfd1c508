"""The largest elements along an axis, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
    integer,
)
from gvm.reads import Part, Peek, Reads, Shapes, along
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


def _chosen(attributes: Attributes, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    axis, k = integer(attributes, "axis"), integer(attributes, "k")
    key = -x if integer(attributes, "largest") else x
    found = np.argsort(key, axis=axis, kind="stable").take(range(k), axis=axis)
    if not integer(attributes, "sorted"):
        found = np.sort(found, axis=axis)
    return np.take_along_axis(x, found, axis), found


class TopK(Operator):
    """The k largest elements along the axis, which is not the batch, and their positions, i32 with
    F = 0.

    Of equals the one at the lowest position counts as the larger, or with ``largest`` 0 as the
    smaller. ``sorted``: the first result is the largest; else they stand in the order of their
    positions.
    """

    name = "top_k"
    opcode = 51
    inputs = (Input("x", ("i16", "i32"), "rank at least 1"),)
    attributes = (
        Attribute("k", 1, 2**31 - 1, "how many"),
        Attribute("axis", 0, 7, "the axis that is searched"),
        Attribute("largest", 0, 1, "1: the largest; 0: the smallest", default=1),
        Attribute("sorted", 0, 1, "1: in the order of values; 0: of positions", default=1),
    )
    outputs = 2
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> tuple[Reals, Reals]:
        values, positions = _chosen(attributes, inputs[0])
        return values, positions.astype(np.float64)

    @staticmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> tuple[Integers, Integers]:
        return _chosen(attributes, inputs[0].astype(np.int64))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,), axis = node.inputs, node.integer("axis")
        return Part((along(at, (axis,), shape),), along(at, (axis,), node.outputs[0]))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        # To each position the deltas of the results that were read there: of one at most.
        node = next(n for n in reversed(g.nodes) if output in n.outputs)
        axis, shape = integer(attributes, "axis"), g.shape(node_inputs[0])
        n, behind = shape[axis], shape[axis + 1 :]
        column = (*g.shape(output)[: axis + 1], 1, *behind)
        positions = np.arange(n).reshape(n, *(1,) * len(behind))
        every = g.parameter(f"positions {output}", positions, "i32", 0, False)
        here = g.compare(g.reshape(node.outputs[1], shape=column), every, relation=0)
        wide = g.broadcast_to(
            g.reshape(delta, shape=column), shape=(*column[: axis + 1], n, *behind)
        )
        return (g.reduce_sum(g.mask(here, wide), axes=(axis,), keepdims=0),)

    @staticmethod
    def cases() -> Iterator[Case]:
        x = [[3, -32768, 7, 7, 0, 32767]]
        for name, flags, values, positions in (
            ("largest", {}, [32767, 7, 7], [5, 2, 3]),
            ("smallest", {"largest": 0}, [-32768, 0, 3], [1, 4, 0]),
            ("in_place", {"sorted": 0}, [7, 7, 32767], [2, 3, 5]),
            ("smallest_in_place", {"sorted": 0, "largest": 0}, [3, -32768, 0], [0, 1, 4]),
        ):
            yield Case(
                name,
                (i16(8, -1, 6),),
                {"k": 3, "axis": 1, **flags},
                data=(x,),
                expected=([values], [positions]),
                local=1,
            )
        yield Case("rows", (i32(3, -1, 300),), {"k": 20, "axis": 1})
        yield Case("all", (i16(3, -1, 33),), {"k": 33, "axis": 1, "largest": 0})
        yield Case("columns", (i16(3, 40, -1, 3),), {"k": 5, "axis": 0, "sorted": 0})
        yield Case("middle", (i16(3, -1, 17, 5),), {"k": 2, "axis": 1})
        yield Case("vector", (i16(3, 9),), {"k": 1, "axis": 0})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("batch", (i16(0, -1, 3),), {"k": 1, "axis": 0}, "bad_batch", "batch axis")
        yield Invalid("rank", (i16(0, 2, 3),), {"k": 1, "axis": 2}, "bad_attribute", "axis")
        yield Invalid("k", (i16(0, -1, 3),), {"k": 4, "axis": 1}, "bad_attribute", "k must be")
        yield Invalid("type", (i64(0, 2, bound=9),), {"k": 1, "axis": 0}, "bad_type", "i64")
        yield Invalid("size", (i16(0, 2**31),), {"k": 1, "axis": 0}, "bad_shape", "2^31")
