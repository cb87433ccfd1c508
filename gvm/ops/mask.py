"""Values where a condition holds."""

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
from gvm.types import Type, i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class Mask(Operator):
    """x where the condition is ``value``, 0 elsewhere. The condition broadcasts to the shape of
    x."""

    name = "mask"
    opcode = 50
    inputs = (
        Input("condition", ("bool",), "a shape that broadcasts to that of x"),
        Input("x", ("i16", "i32", "i64"), "any shape"),
    )
    attributes = (Attribute("value", 0, 1, "the condition with which x stays", default=1),)
    result = "keeps"
    keeps = 1

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        condition, x = inputs
        return np.where(condition == integer(attributes, "value"), x, 0.0)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        condition, x = inputs
        return np.asarray(np.where(condition == integer(attributes, "value"), x, 0))

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        return None, g.mask(node_inputs[0], delta, value=integer(attributes, "value"))

    @staticmethod
    def cases() -> Iterator[Case]:
        for value, expected in ((1, [-32768, 0, 5]), (0, [0, 32767, 0])):
            yield Case(
                f"where_{value}",
                (_bool(3), i16(8, 3)),
                {"value": value},
                data=([1, 0, 1], [-32768, 32767, 5]),
                expected=(expected,),
            )
        yield Case("batch", (_bool(-1, 33), i16(2, -1, 33)))
        yield Case("row", (_bool(17), i32(2, -1, 17)), {"value": 0})
        yield Case("column", (_bool(-1, 1), i64(2, -1, 17, bound=2**62)))
        yield Case("scalar", (_bool(), i16(2, 3, 5)))
        yield Case("images", (_bool(3, 1, 4), i32(2, -1, 3, 5, 4)))

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("condition", (i16(0, 3), i16(0, 3)), {}, "bad_type", "i16")
        yield Invalid("sizes", (_bool(3), i16(0, 4)), {}, "bad_shape", "broadcast")
        yield Invalid("larger", (_bool(2, 3), i16(0, 3)), {}, "bad_shape", "input 1")
        yield Invalid("batch", (_bool(-1, 3), i16(0, 1, 3)), {}, "bad_shape", "input 1")
        partial = (_bool(3), i64(0, 3, bound=9, partial=True))
        yield Invalid("partial", partial, {}, "bad_batch", "partial")


def _bool(*shape: int) -> Type:
    return Type("bool", 0, shape)
