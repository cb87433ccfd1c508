"""ONNX's division and remainder of whole numbers, exact: long division in binary."""

from __future__ import annotations

from itertools import zip_longest

from gvm.graph import Value
from gvm.importers.arithmetic import divide
from gvm.importers.onnx_choices import REAL, WHOLE, kind_of, together
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.onnx_rounding import toward_zero
from gvm.importers.shapes import Operand, Tensor


def _size(t: Translator, x: Value) -> Value:
    """|x|; of the least number of 32 bits the greatest."""
    return int(t.g.maximum(*t.low.alike([t.low.wide(x), t.low.negative(x)])))


def _wide_as(t: Translator, x: Value, other: Value) -> Value:
    """x repeated to the shape that it broadcasts to with another value."""
    own, given = t.g.shape(x), t.g.shape(other)
    shape = tuple(
        -1 if -1 in pair else max(pair)
        for pair in zip_longest(reversed(own), reversed(given), fillvalue=1)
    )[::-1]
    return x if own == shape else int(t.g.broadcast_to(x, shape=shape))


def divided(t: Translator, a: Value, b: Value) -> tuple[Value, Value]:
    """|a| / |b| cut to a whole number, and the rest. Of 0 the quotient is all ones."""
    narrow = all(t.g.types[v].dtype == "i16" for v in (a, b))
    rest, by = _size(t, a), _wide_as(t, _size(t, b), a)
    quotient = t.low.whole(0, "zero")
    for bit in range(15 if narrow else 30, -1, -1):
        power = t.low.whole(1 << bit, "power_of_two")
        part = t.g.mul(by, power)
        fits = t.g.compare(part, rest, relation=2)
        rest = t.low.exact(t.g.sub(rest, t.low.exact(t.g.mask(fits, part, value=1))))
        taken = t.g.select(fits, power, t.low.whole(0, "zero"))
        quotient = t.low.exact(t.g.add(quotient, taken))
    return quotient, rest


def _below_zero(t: Translator, x: Value) -> Value:
    zero = t.low.whole(0, "zero") if t.low.is_whole(x) else t.low.number(0.0, "zero")
    return int(t.g.compare(x, zero, relation=1))


@handles("Div")
def _divide(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    """a / b; of whole numbers, cut towards 0."""
    if WHOLE not in {kind_of(t, x) for x in (a, b) if isinstance(x, Tensor)}:
        return divide(t, node.name, a, b)
    (left, right), merged = together(t, a, b)
    quotient, _ = divided(t, left, right)
    apart = t.g.logical(_below_zero(t, left), _below_zero(t, right), function=2)
    return Tensor(t.g.select(apart, t.low.negative(quotient), quotient), merged)


@handles("Mod")
def _rest(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    """What a division leaves: with the sign of b, or of a where ``fmod`` is set."""
    (left, right), merged = together(t, a, b)
    of_first = node.integer("fmod", 0) == 1
    if kind_of(t, Tensor(left)) == REAL:
        made = _real_rest(t, node, left, right)
    else:
        _, size = divided(t, left, right)
        made = int(t.g.select(_below_zero(t, left), t.low.negative(size), size))
    if of_first:
        return Tensor(made, merged)
    zero = t.low.whole(0, "zero") if t.low.is_whole(made) else t.low.number(0.0, "zero")
    same = t.g.logical(_below_zero(t, made), _below_zero(t, right), function=2)
    none = t.g.logical(t.g.compare(made, zero, relation=0), function=3)
    wrong = t.g.logical(same, none, function=0)
    moved = t.low.exact(t.g.add(made, right))
    return Tensor(t.g.select(wrong, *t.low.alike([moved, made])), merged)


def _real_rest(t: Translator, node: Node, a: Value, b: Value) -> Value:
    """a - b * trunc(a / b), the quotient set right by one where its rounding misled it."""
    share = int(t.g.mul(a, t.low.unary("reciprocal", b)))
    rest = int(t.g.sub(a, t.g.mul(b, toward_zero(t, share))))
    zero, size = t.low.number(0.0, "zero"), _real_size(t, b)
    low = _below_zero(t, a)
    more = t.g.select(low, t.low.negative(size), size)  # a step away from 0
    beyond = t.g.compare(size, _real_size(t, rest), relation=2)
    rest = int(t.g.select(beyond, t.g.sub(rest, more), rest))
    across = t.g.logical(_below_zero(t, rest), low, function=2)
    none = t.g.compare(rest, zero, relation=0)
    wrong = t.g.logical(across, t.g.logical(none, function=3), function=0)
    return int(t.g.select(wrong, t.g.add(rest, more), rest))


def _real_size(t: Translator, x: Value) -> Value:
    return int(t.g.maximum(x, t.low.negative(x)))
