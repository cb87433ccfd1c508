"""Functions of truth values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gvm.broadcast import broadcasting_cases
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
from gvm.types import Type, i16

AND, OR, XOR, NOT = 0, 1, 2, 3
_FUNCTIONS = {AND: np.logical_and, OR: np.logical_or, XOR: np.logical_xor}


class Logical(Operator):
    """and (0), or (1), exclusive or (2) of two operands, not (3) of one. Shapes broadcast as in
    NumPy."""

    name = "logical"
    opcode = 43
    inputs = (Input("operands", ("bool",), "one for not, else two; any shape"),)
    variadic = 2
    attributes = (Attribute("function", 0, 3, "0 = and, 1 = or, 2 = exclusive or, 3 = not"),)
    result = "discrete"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return np.asarray(_truth(attributes, *inputs), dtype=np.float64)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return _truth(attributes, *inputs)

    @staticmethod
    def cases() -> Iterator[Case]:
        x, y = [0, 0, 1, 1], [0, 1, 0, 1]
        for function, expected in enumerate(([0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0])):
            yield Case(
                f"function_{function}",
                (_bool(4), _bool(4)),
                {"function": function},
                data=(x, y),
                expected=(expected,),
            )
            yield Case(f"long_{function}", (_bool(-1, 67), _bool(67)), {"function": function})
        yield Case("not", (_bool(4),), {"function": 3}, data=(x,), expected=([1, 1, 0, 0],))
        yield Case("not_long", (_bool(-1, 67),), {"function": 3})
        for case in broadcasting_cases(_bool(), _bool()):
            yield replace(case, attributes={"function": 2})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("one", (_bool(3),), {"function": 0}, "bad_graph", "2 inputs")
        yield Invalid("two", (_bool(3), _bool(3)), {"function": 3}, "bad_graph", "1 inputs")
        yield Invalid("type", (_bool(3), i16(0, 3)), {"function": 1}, "bad_type", "i16")
        yield Invalid("sizes", (_bool(3), _bool(4)), {"function": 1}, "bad_shape", "broadcast")


def _truth(attributes: Attributes, *inputs: Integers) -> Integers:
    function = integer(attributes, "function")
    if function == NOT:
        return np.asarray(inputs[0] == 0, dtype=np.int64)
    return np.asarray(_FUNCTIONS[function](inputs[0] != 0, inputs[1] != 0), dtype=np.int64)


def _bool(*shape: int) -> Type:
    return Type("bool", 0, shape)
