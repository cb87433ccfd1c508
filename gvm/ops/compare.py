"""Comparisons."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.broadcast import broadcasting_cases, broadcasting_invalid
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

EQUAL, LESS, LESS_EQUAL = 0, 1, 2
_RELATIONS = {EQUAL: np.equal, LESS: np.less, LESS_EQUAL: np.less_equal}


class Compare(Operator):
    """Whether a = b (relation 0), a < b (1) or a <= b (2), as numbers: formats may differ.

    The result is bool: 1 where it holds. Shapes broadcast as in NumPy.
    """

    name = "compare"
    opcode = 41
    inputs = (
        Input("a", ("i16", "i32", "i64"), "any shape"),
        Input("b", ("i16", "i32", "i64"), "a shape that broadcasts with that of a"),
    )
    attributes = (Attribute("relation", 0, 2, "0 = equal, 1 = less, 2 = less or equal"),)
    result = "discrete"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        a, b = inputs
        return np.asarray(_RELATIONS[integer(attributes, "relation")](a, b), dtype=np.float64)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        a, b = inputs
        fa, fb = (t.fraction_bits for t in execution.input_types)
        f = max(fa, fb)
        left, right = a.astype(object) * 2 ** (f - fa), b.astype(object) * 2 ** (f - fb)
        holds = _RELATIONS[integer(attributes, "relation")](left, right)
        return np.asarray(holds, dtype=np.int64)

    @staticmethod
    def cases() -> Iterator[Case]:
        near = ([1, -1, 1, -1, 0, 2], [8, -8, 9, -9, 0, 15])
        for relation, expected in enumerate(
            ([1, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 0])
        ):
            yield Case(
                f"formats_{relation}",
                (i16(0, 6), i32(3, 6)),
                {"relation": relation},
                data=near,
                expected=(expected,),
            )
            yield Case(
                f"swapped_{relation}",
                (i32(3, 6), i16(0, 6)),
                {"relation": relation},
                data=near[::-1],
                expected=([[1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 1], [1, 1, 0, 1, 1, 1]][relation],),
            )
            for a, b in (
                (i16(2, -1, 33), i16(2, -1, 33)),
                (i32(-32, 17), i32(47, 17)),
                (i64(-32, 17, bound=2**62), i64(47, 17, bound=2**62)),
                (i64(47, 17, bound=2**62), i64(30, 17, bound=2**62)),
            ):
                name = f"{a.dtype}_{a.fraction_bits}_{b.fraction_bits}_{relation}"
                yield Case(name, (a, b), {"relation": relation})
        yield Case(
            "far",
            (i64(-32, 6, bound=2**62), i64(47, 6, bound=2**62)),
            {"relation": 1},
            data=([0, 0, 0, -1, 1, -(2**62)], [1, 0, -1, -(2**62), 2**62, 2**62]),
            expected=([1, 0, 0, 1, 0, 1],),
        )
        for case in broadcasting_cases(i16(2), i32(3)):
            yield Case(case.name, case.inputs, {"relation": 2})

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        for bad in broadcasting_invalid():
            yield Invalid(bad.name, bad.inputs, {"relation": 0}, bad.status, bad.message)
        partial = (i64(0, 3, bound=9, partial=True), i64(0, 3, bound=9))
        yield Invalid("partial", partial, {"relation": 0}, "bad_batch", "partial")
        truths = (Type("bool", 0, (3,)), i16(0, 3))
        yield Invalid("bool", truths, {"relation": 0}, "bad_type", "bool")
