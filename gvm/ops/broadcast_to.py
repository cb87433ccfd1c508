"""Repetition along axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.gradients import unbroadcast
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
from gvm.types import MAX_ELEMENTS, Type, i16, i32, i64
from gvm.window import integers

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class BroadcastTo(Operator):
    """x repeated to a shape as in NumPy: aligned at the right, dimensions equal, 1 or missing.

    -1 is the batch; a shared x may be repeated for each example.
    """

    name = "broadcast_to"
    opcode = 33
    inputs = (Input("x", ("i16", "i32", "i64", "u8", "bool"), "any shape"),)
    attributes = (
        Attribute("shape", -1, MAX_ELEMENTS, "the new shape; -1 is the batch", length=(1, 8)),
    )
    result = "keeps"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        shape, given = integers(attributes, "shape"), inputs[0].shape
        if -1 in shape:  # the examples at hand
            at = shape.index(-1)
            own = at - len(shape) + len(given)
            shape = (*shape[:at], given[own] if own >= 0 else 1, *shape[at + 1 :])
        return np.broadcast_to(inputs[0], shape)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        shape = execution.output_types[0].concrete(execution.local)
        return np.broadcast_to(inputs[0], shape)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        return (unbroadcast(g, delta, g.shape(node_inputs[0])),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "rows",
            (i16(4, 2),),
            {"shape": (3, 2)},
            data=([1, 2],),
            expected=([[1, 2], [1, 2], [1, 2]],),
        )
        yield Case(
            "to_the_batch",
            (i32(4, 1, 2),),
            {"shape": (-1, 2)},
            data=([[7, -7]],),
            expected=([[7, -7], [7, -7]],),
            local=2,
        )
        yield Case("columns", (i16(4, -1, 1),), {"shape": (-1, 17)})
        yield Case("images", (i16(4, -1, 1, 1, 9),), {"shape": (-1, 3, 4, 9)})
        yield Case("interleaved", (i64(4, 2, 1, 3, 1, bound=9),), {"shape": (2, 5, 3, 4)})
        yield Case("scalar", (i16(4),), {"shape": (2, -1, 2)})
        yield Case("same", (i16(4, -1, 3),), {"shape": (-1, 3)})
        yield Case("bytes", (Type("u8", 0, (5, 1)),), {"shape": (5, 40)})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("sizes", (i16(0, 3),), {"shape": (4,)}, "bad_shape", "broadcast")
        yield Invalid("shrinks", (i16(0, 3),), {"shape": (1,)}, "bad_shape", "broadcast")
        yield Invalid("rank", (i16(0, 1, 3),), {"shape": (3,)}, "bad_shape", "rank")
        yield Invalid("zero", (i16(0, 1),), {"shape": (0,)}, "bad_shape", "at least 1")
        yield Invalid("loses_batch", (i16(0, -1, 3),), {"shape": (4, 3)}, "bad_batch", "batch")
        yield Invalid("two", (i16(0, 1, 3),), {"shape": (-1, -1, 3)}, "bad_batch", "batch")
