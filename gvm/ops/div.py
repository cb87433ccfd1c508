"""Division of one tensor by another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.broadcast import broadcasting_cases, broadcasting_invalid
from gvm.gradients import negate, unbroadcast
from gvm.operator import (
    RANGE,
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
    integer,
    rounding_attribute,
)
from gvm.types import DTYPES, i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value

ROUNDED, DOWN, TOWARDS_ZERO, NEAREST = range(4)


class Div(Operator):
    """quotient(a * 2^(F' + Fb - Fa), b), element by element, rounded once to F'. Shapes broadcast
    as those of add.

    Where F' + Fb < Fa, b takes the shift; the signs of both change where b is negative. Other
    directions: floor(N / D), the same of |N| / |D| with the sign of the quotient, or nearest
    whatever `rounding` says; of real values these give the integers of the type stated. a / 0 is
    the limit with the sign of a, a counted clamp, and 0 / 0 is 0.
    """

    name = "div"
    opcode = 56
    inputs = (
        Input("a", ("i64", "i32", "i16"), "any shape"),
        Input("b", ("i32", "i16"), "a shape that broadcasts with that of a"),
    )
    attributes = (
        Attribute(
            "direction",
            0,
            3,
            "0 = as `rounding` says, 1 = down, 2 = towards zero, 3 = nearest, half to even",
            default=0,
        ),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        a, b = inputs
        with np.errstate(divide="ignore", invalid="ignore"):
            made = np.where(
                (a == 0) & (b == 0), 0.0, a / b * np.where(b == 0, np.copysign(1, b), 1)
            )
        direction = integer(attributes, "direction")
        if direction == ROUNDED:
            return made
        # A quotient by 0 is the limit of its type, which whole numbers have from the start.
        scale = 2.0 ** integer(attributes, "fraction_bits")
        limit = 2.0 ** (15 if integer(attributes, "dtype") == DTYPES["i16"] else 31) / scale
        made = np.where(b == 0, np.clip(made, -limit, limit), made)
        step = {DOWN: np.floor, TOWARDS_ZERO: np.trunc, NEAREST: np.rint}[direction]
        return np.asarray(step(made * scale) / scale)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        a, b = np.broadcast_arrays(*(x.astype(object) for x in inputs))
        (to,) = execution.output_types
        fa, fb = (t.fraction_bits for t in execution.input_types)
        shift = to.fraction_bits + fb - fa
        sign = np.where(b < 0, -1, 1).astype(object)
        none = np.asarray(b == 0, dtype=bool)
        n = a * sign * 2 ** max(shift, 0)
        d = np.where(none, 1, b * sign * 2 ** max(-shift, 0)).astype(object)
        low, high = RANGE[to.dtype]
        direction = integer(attributes, "direction")
        # Quotients by zero are made of 0 here: they neither draw nor clamp.
        n_or_zero = np.where(none, 0, n).astype(object)
        if direction in (ROUNDED, NEAREST):
            rounding = integer(attributes, "rounding") if direction == ROUNDED else 0
            made = execution.quotient(n_or_zero, d, to, rounding)
        else:
            whole = (
                n_or_zero // d if direction == DOWN else np.sign(n_or_zero) * (abs(n_or_zero) // d)
            )
            made = np.clip(whole, low, high)
            execution.clamps.count += int(np.count_nonzero(made != whole))
            made = made.astype(np.int64)
        beyond = none & np.asarray(a != 0, dtype=bool)
        execution.clamps.count += int(np.count_nonzero(beyond))
        return np.where(beyond, np.where(np.asarray(a < 0, dtype=bool), low, high), made)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        a, b = node_inputs
        if integer(attributes, "direction") != ROUNDED:  # steps
            zero = g.sub(delta, delta)
            return unbroadcast(g, zero, g.shape(a)), unbroadcast(g, zero, g.shape(b))
        share = int(g.div(delta, b))
        return (
            unbroadcast(g, share, g.shape(a)),
            negate(g, unbroadcast(g, g.mul(share, output), g.shape(b))),
        )

    @staticmethod
    def cases() -> Iterator[Case]:
        # 1, -1, 3, -3 halves; 7 / 2 and -7 / 2 at both signs of the divisor.
        n, d = [1, -1, 3, -3, 7, 7, -7, -7], [2, 2, 2, 2, 2, -2, 2, -2]
        for direction, expected in (
            (0, [0, 0, 2, -2, 4, -4, -4, 4]),
            (1, [0, -1, 1, -2, 3, -4, -4, 3]),
            (2, [0, 0, 1, -1, 3, -3, -3, 3]),
            (3, [0, 0, 2, -2, 4, -4, -4, 4]),
        ):
            yield Case(
                f"halves_{direction}",
                (i16(4, 8), i16(4, 8)),
                {"direction": direction, "rounding": 2 if direction == 3 else 0},
                data=(n, d),
                expected=(expected,),
            )
        yield Case(
            "zero",
            (i16(8, 6), i16(8, 6)),
            {"fraction_bits": 8},
            data=([0, 5, -5, 32767, -32768, -32768], [0, 0, 0, 1, 1, -1]),
            expected=([0, 32767, -32768, 32767, -32768, 32767],),
        )
        # 2^-8 / 3 at 15 bits: 128 / 3 = 42.67; the shift goes to the divisor: 1 / (3 * 4).
        yield Case("more_bits", (i16(8, 1), i16(0, 1)), {"fraction_bits": 15},
                   data=([1], [3]), expected=([43],))  # fmt: skip
        yield Case("fewer_bits", (i32(8, 3), i16(0, 3)), {"fraction_bits": 6},
                   data=([18, 6, -30], [3, 3, 5]), expected=([2, 0, -2],))  # fmt: skip
        yield from broadcasting_cases(i16(2), i32(3))
        for direction in (0, 1, 2, 3):
            given = {"direction": direction, "fraction_bits": 7}
            for n_ in (1, 33):
                yield Case(f"i16_{n_}_{direction}", (i16(9, -1, n_), i16(5, -1, n_)), given)
            yield Case(f"i32_{direction}", (i32(20, -1, 5), i32(12, 5)), given | {"dtype": 2})
            yield Case(f"i64_{direction}", (i64(30, -1, 5, bound=2**61), i32(3, 5)), given)
            yield Case(f"wide_{direction}", (i64(-30, -1, 5, bound=2**60), i16(0, 5)),
                       {"direction": direction, "dtype": 2, "fraction_bits": 10})  # fmt: skip
            yield Case(f"narrow_{direction}", (i16(30, -1, 5), i32(-20, 5)),
                       {"direction": direction, "fraction_bits": -20})  # fmt: skip

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from broadcasting_invalid()
        yield Invalid("divisor", (i16(0, 3), i64(0, 3, bound=9)), {}, "bad_type", "i64")
        partial = i64(0, 3, bound=9, partial=True)
        yield Invalid("partial", (partial, i16(0, 3)), {}, "bad_batch", "partial")
        wide = (i64(-20, 3, bound=2**60), i16(40, 3))
        yield Invalid("bound", wide, {"fraction_bits": 20}, "unproved_bound", "2^126")
