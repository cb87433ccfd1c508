"""ONNX's division and remainder."""

from __future__ import annotations

from gvm.graph import Value
from gvm.importers.arithmetic import divide
from gvm.importers.division import DOWN, TOWARDS_ZERO, whole_quotient
from gvm.importers.onnx_choices import REAL, WHOLE, kind_of, together
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.shapes import Operand, Tensor


def _below_zero(t: Translator, x: Value) -> Value:
    zero = t.low.whole(0, "zero") if t.low.is_whole(x) else t.low.number(0.0, "zero")
    return int(t.g.compare(x, zero, relation=1))


@handles("Div")
def _divide(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    """a / b; of whole numbers, cut towards 0."""
    if WHOLE not in {kind_of(t, x) for x in (a, b) if isinstance(x, Tensor)}:
        return divide(t, node.name, a, b)
    (left, right), merged = together(t, a, b)
    return Tensor(whole_quotient(t, left, right, TOWARDS_ZERO, node.name), merged)


@handles("Mod")
def _rest(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    """What a division leaves: with the sign of b, or of a where ``fmod`` is set."""
    (left, right), merged = together(t, a, b)
    of_first = node.integer("fmod", 0) == 1
    if kind_of(t, Tensor(left)) == REAL:
        made = _real_rest(t, node, left, right)
    else:
        share = whole_quotient(t, left, right, TOWARDS_ZERO if of_first else DOWN)
        return Tensor(t.low.exact(t.g.sub(left, t.low.exact(t.g.mul(right, share)))), merged)
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
    rest = int(t.g.sub(a, t.g.mul(b, whole_quotient(t, a, b, TOWARDS_ZERO))))
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
