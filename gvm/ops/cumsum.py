"""Running sums."""

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
    integer,
)
from gvm.reads import Factor, Peek, Reads, Shapes, Sum, flat, strides
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


def _running(attributes: Attributes, x: Integers) -> Integers:
    axis = integer(attributes, "axis")
    if integer(attributes, "reverse"):
        x = np.flip(x, axis)
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    if integer(attributes, "exclusive"):
        total = total - x
    return np.asarray(np.flip(total, axis) if integer(attributes, "reverse") else total)


class Cumsum(Operator):
    """The exact sum of the elements up to each along the axis, at the format of x.

    ``exclusive`` leaves out the element itself; ``reverse`` sums from the end. The axis is not the
    batch.
    """

    name = "cumsum"
    opcode = 49
    inputs = (Input("x", ("i16", "i32", "i64"), "rank at least 1"),)
    attributes = (
        Attribute("axis", 0, 7, "the axis that is summed along"),
        Attribute("exclusive", 0, 1, "1: the elements before each only", default=0),
        Attribute("reverse", 0, 1, "1: from the end", default=0),
    )
    result = "exact"

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return _running(attributes, inputs[0])

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return _running(attributes, inputs[0].astype(object))

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        (shape,), axis = node.inputs, node.integer("axis")
        skip, reverse = node.integer("exclusive"), node.integer("reverse")
        step = strides(shape)[axis]
        count = (shape[axis] - at[axis] if reverse else at[axis] + 1) - skip
        base = flat(at, shape) + skip * step if reverse else flat(at, shape) - at[axis] * step
        return Sum((count,), (Factor(0, base, (step,)),))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        turned = {**attributes, "reverse": 1 - integer(attributes, "reverse")}
        return (g.cumsum(delta, **turned),)

    @staticmethod
    def cases() -> Iterator[Case]:
        for name, flags, expected in (
            ("forward", {}, [1, 3, 6, 10]),
            ("exclusive", {"exclusive": 1}, [0, 1, 3, 6]),
            ("reverse", {"reverse": 1}, [10, 9, 7, 4]),
            ("exclusive_reverse", {"exclusive": 1, "reverse": 1}, [9, 7, 4, 0]),
        ):
            yield Case(
                name,
                (i16(3, -1, 4),),
                {"axis": 1, **flags},
                data=([[1, 2, 3, 4]],),
                expected=([expected],),
                local=1,
            )
        yield Case(
            "limits",
            (i32(0, 3),),
            {"axis": 0},
            data=([-(2**31)] * 3,),
            expected=([-(2**31), -(2**32), -3 * 2**31],),
        )
        for reverse in (0, 1):
            for exclusive in (0, 1):
                flags = {"reverse": reverse, "exclusive": exclusive}
                yield Case(f"rows_{reverse}_{exclusive}", (i16(3, -1, 300),), {"axis": 1, **flags})
                yield Case(
                    f"middle_{reverse}_{exclusive}", (i32(3, -1, 5, 33),), {"axis": 1, **flags}
                )
        yield Case("batch_behind", (i16(3, 17, -1, 3),), {"axis": 0})
        yield Case("accumulators", (i64(3, -1, 5, bound=2**40),), {"axis": 1})
        yield Case("one", (i16(3, -1, 1),), {"axis": 1, "exclusive": 1})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("batch", (i16(0, -1, 3),), {"axis": 0}, "bad_batch", "batch axis")
        yield Invalid("rank", (i16(0, 2, 3),), {"axis": 2}, "bad_attribute", "axis")
        yield Invalid(
            "bound", (i64(0, -1, 3, bound=2**61),), {"axis": 1}, "unproved_bound", "magnitude"
        )
        yield Invalid(
            "partial", (i64(0, 3, bound=9, partial=True),), {"axis": 0}, "bad_batch", "partial"
        )
