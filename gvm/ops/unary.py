"""Unary functions by table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.functions import BY_NAME, FUNCTIONS, by_number, exact_entry
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
    dtype_attribute,
    fraction_bits_attribute,
    rounding_attribute,
)
from gvm.types import i16, i32
from gvm.window import integer

if TYPE_CHECKING:
    from gvm.graph import Builder, Value

_NUMBERS = ", ".join(f"{f.number} = {f.name}" for f in FUNCTIONS)


class Unary(Operator):
    """f(x), each element the correctly rounded real value; of any shape.

    To nearest: rounded half to even and clamped. Stochastic, for i16 only: f(x) at 16 more fraction
    bits, rounded half to even to i32, then Convert; an element beyond the i32 counts as one clamp.
    The values at poles and undefined inputs stand in gvm/functions.py. numerics section 6.
    """

    name = "unary"
    opcode = 25
    inputs = (Input("x", ("i16",), "any shape"),)
    attributes = (
        Attribute("function", 1, len(FUNCTIONS), _NUMBERS),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return by_number(integer(attributes, "function")).real(inputs[0])

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        name = by_number(integer(attributes, "function")).name
        rounding = integer(attributes, "rounding")
        given, to = execution.input_types[0], execution.output_types[0]
        bits = to.bits if rounding == 0 else 32
        out_bits = to.fraction_bits if rounding == 0 else to.fraction_bits + 16
        values = np.empty(inputs[0].size, dtype=object)
        for i, q in enumerate(inputs[0].reshape(-1).tolist()):
            value, clamped = exact_entry(name, q, given.fraction_bits, out_bits, bits)
            # What lies beyond the table's type lies beyond the result's, whatever is drawn.
            values[i] = value << 16 if clamped else value
        return execution.convert(values.reshape(inputs[0].shape), out_bits, to, rounding)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        function = by_number(integer(attributes, "function"))
        if function.derivative is None:
            raise ValueError(f"unary: {function.name} has no gradient")
        if function.derivative == function.name:
            return (g.mul(delta, output),)
        derivative = g.unary(node_inputs[0], function=BY_NAME[function.derivative].number)
        return (g.mul(delta, derivative),)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "exp_by_hand",
            (i16(0, 5),),
            {"function": 1, "fraction_bits": 8},
            data=([-32768, -1, 0, 1, 5],),
            expected=([0, 94, 256, 696, 32767],),
        )
        yield Case(
            "logistic_by_hand",
            (i16(12, -1),),
            {"function": 4, "fraction_bits": 14},
            data=([-32768, 0, 32767],),
            expected=([5, 8192, 16379],),
        )
        yield Case(
            "reciprocal_by_hand",
            (i16(0, -1, 5),),
            {"function": 11, "fraction_bits": 2},
            data=([[-8, -3, 0, 3, 8]],),
            expected=([[0, -1, 32767, 1, 0]],),
            local=1,
        )
        smooth = ("exp", "tanh", "logistic", "erf", "gelu", "silu", "softplus", "sin", "cos")
        for name in smooth:
            attributes = {"function": BY_NAME[name].number, "fraction_bits": 13}
            yield Case(name, (i16(12, -1, 5),), attributes)
        # Without poles among the inputs that difference quotients take: more than those tests run.
        for name in ("log", "sqrt", "rsqrt", "reciprocal"):
            attributes = {"function": BY_NAME[name].number, "fraction_bits": 10}
            yield Case(name, (i16(12, 67, -1, 3),), attributes)
        yield Case("wide", (i16(12, -1, 7),), {"function": 3, "dtype": 2, "fraction_bits": 30})
        yield Case("batch_inside", (i16(11, 3, -1, 5),), {"function": 6, "fraction_bits": 11})
        yield Case("narrow_range", (i16(8, -1, 33),), {"function": 7, "fraction_bits": 15})
        yield Case("coarse", (i16(-3, -1, 9),), {"function": 7, "fraction_bits": -5})
        yield Case("scalar", (i16(12),), {"function": 13, "fraction_bits": 14})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid("type", (i32(8, 3),), {"function": 1}, "bad_type", "i16")
        yield Invalid(
            "wide_stochastic",
            (i16(8, 3),),
            {"function": 1, "dtype": 2, "rounding": 1},
            "bad_attribute",
            "rounding",
        )
