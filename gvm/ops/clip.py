"""Gradient clipping by value and by global norm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.fixed import isqrt, quotient_nearest
from gvm.operator import (
    Attribute,
    Attributes,
    AttributeValue,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
    integer,
)
from gvm.ops.sgd import MAX_COUNT, check_count
from gvm.reads import Part, Peek, Reads, Shapes, elementwise, point
from gvm.types import i64

VALUE, NORM, SCALE = range(3)
"""The kinds: to an interval, the norm of many, to a norm."""
MAX_GRADIENTS = 4096


class Clip(Operator):
    """Three kinds. L = multiplier·2^-exponent is the limit; gradients are totals over `count`
    examples, and the limit holds for total/count.

    0, by value: y = min(max(g, -B), B), B = floor(L·count·2^F(g)). One gradient; y keeps its type.
    1, norm: y = isqrt(the sum of q² over all elements of all gradients), a scalar with F = Fn,
    q = quotient(g·2^(Fn - F(g)), count), nearest, clamped to 32 bits. At most 2^40 elements in all.
    2, by norm: `count` is the norm of kind 1, with F = Fn: y = g where norm <= M, else quotient(g ·
    M, norm), nearest, M = max(1, floor(L·2^Fn)). One gradient; y keeps its type.

    Fn is `fraction_bits`, which kind 0 does not use and kind 2 finds in its norm. For a count <= 0,
    y = g, or a norm of 0; a count above 2^22 is the status bad_input. `real` of kind 2 takes what
    is given as the norm.
    """

    name = "clip"
    opcode = 60
    inputs = (
        Input("gradient", ("i64",), "total of a gradient, shared; for kind 1 many of them"),
        Input(
            "count", ("i64",), "last: number of examples, scalar with F = 0, shared; or the norm"
        ),
    )
    variadic = MAX_GRADIENTS
    attributes = (
        Attribute("kind", 0, 2, "0: by value; 1: the global norm; 2: by that norm"),
        Attribute("multiplier", 1 << 14, (1 << 15) - 1, "limit = multiplier·2^-exponent"),
        Attribute("exponent", -16, 62, "limit = multiplier·2^-exponent"),
        Attribute("fraction_bits", -32, 47, "fraction bits of the norm", default=0),
    )
    result = "keeps"
    differentiable = False
    units = 1.0

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        limit = integer(attributes, "multiplier") * 2.0 ** -integer(attributes, "exponent")
        gradient, count = inputs[0], inputs[-1]
        if integer(attributes, "kind") == NORM:
            if count <= 0:
                return np.asarray(0.0)
            return np.asarray(np.sqrt(sum(((g / count) ** 2).sum() for g in inputs[:-1])))
        if integer(attributes, "kind") == VALUE:
            return np.clip(gradient, -limit * count, limit * count) if count > 0 else gradient
        return gradient * np.minimum(1.0, limit / count) if count > 0 else gradient

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        kind, count = integer(attributes, "kind"), int(inputs[-1])
        bits = [t.fraction_bits for t in execution.input_types]
        if kind != SCALE:
            check_count("clip", count)
        if kind == NORM:
            fraction_bits = integer(attributes, "fraction_bits")
            total = 0
            for f, gradient in zip(bits[:-1], inputs[:-1], strict=True):
                up = fraction_bits - f
                for g in gradient.reshape(-1) if count > 0 else ():
                    divisor = count << max(0, -up)
                    q = quotient_nearest(int(g) << max(0, up), divisor, 32, execution.clamps)
                    total += q * q
            return np.asarray(isqrt(total))
        gradient = inputs[0].astype(object)
        if count <= 0:
            return inputs[0]
        limit = integer(attributes, "multiplier")
        if kind == VALUE:
            shift = bits[0] - integer(attributes, "exponent")
            most = _shifted(limit * count, shift)
            return np.asarray(np.clip(gradient, -most, most), dtype=object)
        most = max(1, _shifted(limit, bits[-1] - integer(attributes, "exponent")))
        if count <= most:
            return inputs[0]
        made = [quotient_nearest(int(g) * most, count, 64) for g in gradient.reshape(-1)]
        return np.asarray(made, dtype=object).reshape(gradient.shape)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        if node.integer("kind") == NORM:
            boxes = tuple(tuple(range(n) for n in shape) for shape in node.inputs)
            return Part(boxes, point(at))
        return elementwise(node, at)

    @staticmethod
    def cases() -> Iterator[Case]:
        half: dict[str, AttributeValue] = {"multiplier": 1 << 14, "exponent": 15}
        one: dict[str, AttributeValue] = {"multiplier": 1 << 14, "exponent": 14}
        count, g, few = i64(0), i64(3, 5, bound=1 << 40), [9, 8, 7, 6, 5]
        # Four examples: totals within 4·(1/2) = 2.0, that is 16.
        yield Case(
            "value",
            (g, count),
            half | {"kind": VALUE},
            ([16, 17, -17, 0, 3], 4),
            ([16, 16, -16, 0, 3],),
            low=1,
            high=100,
        )
        # Means 3 and 4 have the norm 5, at 2 fraction bits 20.
        yield Case(
            "norm",
            (i64(3, 1), i64(0, 2), count),
            half | {"kind": NORM, "fraction_bits": 2},
            ([48], [8, 0], 2),
            (20,),
            low=1,
            high=100,
        )
        # A norm of 2.0 is twice the limit of 1.0; half to even. One of 1.0 is not above it.
        for norm, expected in ((8, [8, -8, 2, 2, 0]), (4, [16, -16, 3, 5, 0])):
            yield Case(
                f"scale {norm}",
                (g, i64(2)),
                one | {"kind": SCALE},
                ([16, -16, 3, 5, 0], norm),
                (expected,),
                low=1,
                high=100,
            )
        yield Case(
            "no examples", (g, count), half | {"kind": VALUE}, (few, 0), (few,), low=0, high=1
        )
        yield Case(
            "norm of none", (g, count), half | {"kind": NORM}, (few, -1), (0,), low=-1, high=0
        )
        wide = i64(20, 7, 33)
        for kind in (VALUE, NORM):
            for bound in (1 << 30, 1 << 62):
                yield Case(
                    f"kind {kind} b{bound.bit_length()}",
                    (i64(20, 7, 33, bound=bound), count),
                    half | {"kind": kind, "fraction_bits": 24},
                    low=1,
                    high=MAX_COUNT,
                )
        for most in (1 << 20, 1 << 51):
            yield Case(f"to {most}", (wide, i64(24)), half | {"kind": SCALE}, low=1, high=most)
        yield Case(
            "many",
            (i64(30, 3), i64(-4, 2, 2), i64(40, 700), count),
            half | {"kind": NORM, "fraction_bits": 6},
            low=1,
            high=100,
        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        good: dict[str, AttributeValue] = {"kind": 0, "multiplier": 1 << 14, "exponent": 15}
        g, count = i64(8, 4), i64(0)
        yield Invalid("kind", (g, count), good | {"kind": 3}, "bad_attribute", "received 3")
        yield Invalid("two", (g, g, count), good, "bad_graph", "one gradient and a scalar")
        yield Invalid("count", (g, i64(1)), good, "bad_type", "0 fraction bits, received 1")
        yield Invalid("norm", (g, i64(1, 2)), good | {"kind": 2}, "bad_shape", "rank")
        yield Invalid(
            "scale",
            (i64(-32, 4), count),
            good | {"kind": 1, "fraction_bits": 40},
            "bad_type",
            "at most 62, received 72",
        )


def _shifted(value: int, shift: int) -> int:
    """floor(value·2^shift)."""
    return value << shift if shift >= 0 else value >> -shift
