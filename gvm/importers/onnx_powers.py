"""ONNX's powers and products of many, and the functions made of exponentials and logarithms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import power
from gvm.importers.inverses import INVERSES
from gvm.importers.lowering import Refusal
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.parts import cut
from gvm.importers.shapes import Operand, Tensor, must_be_constant

ROOTS = (-1.0, -0.5, 0.5, 1.0, 2.0, 3.0)
"""Exponents that have a shorter form."""
MOST_EXPONENT = 64


@handles("Pow", known=(1,))
def _power(t: Translator, node: Node, x: Operand, exponent: Operand) -> Tensor:
    """x to a known power: whole ones by squaring, each element as often as it needs; others by
    exp(e log x) for x > 0."""
    known = must_be_constant(exponent, "exponent")
    whole_base = isinstance(x, Tensor) and t.low.is_whole(x.value)
    if known.scalar() in ROOTS and not whole_base:
        return power(t, x, known)
    if not isinstance(x, Tensor):
        raise Refusal("the base must be computed")
    e = known.data.astype(np.float64)
    if -1 in t.g.shape(x.value) and e.size > 1:
        raise Refusal("the exponent must be one number")
    if whole_base and (e != np.rint(e)).any():
        raise Refusal("a root of whole numbers; nearest supported form: one of real values")
    if (e != np.rint(e)).any():
        if e.size == 1:
            line = t.low.scale_by(t.low.unary("log", x.value), float(e.reshape(())), node.name)
        else:
            line = int(t.g.mul(t.low.unary("log", x.value), t.low.parameter(known)))
        return Tensor(t.low.unary("exp", line), x.merged)
    if np.abs(e).max() > MOST_EXPONENT or (e < 0).any() != (e <= 0).all():
        raise Refusal(f"whole exponents must have one sign and be at most {MOST_EXPONENT}")
    made = _by_squaring(t, x.value, np.abs(e).astype(np.int64), node.name)
    if (e < 0).any():
        if whole_base:
            raise Refusal("a reciprocal of whole numbers; nearest supported form: real values")
        made = t.low.unary("reciprocal", made)
    return Tensor(made, x.merged)


def _by_squaring(t: Translator, x: Value, e: np.ndarray, name: str) -> Value:
    def where(condition: np.ndarray, value: Value) -> Value:
        """1 where an element needs no more factors."""
        if condition.all():
            return value
        held = t.g.parameter(t.low.unique(f"{name}/where"), condition, "bool", 0, False)
        one = t.low.whole(1, "one") if t.low.is_whole(value) else t.low.number(1.0, "one")
        return int(t.g.select(held, *t.low.alike([value, one])))

    factor, result, bit = x, where(e & 1 == 1, x), 1
    while (e >> bit).any():
        factor = where(e >> bit > 0, factor)
        factor = t.low.exact(t.g.mul(factor, factor))
        result = t.low.exact(t.g.mul(result, where((e >> bit) & 1 == 1, factor)))
        bit += 1
    return result


def product(t: Translator, value: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    """The product over axes: pairs of halves, until one is left."""
    for axis in axes:
        while (size := t.g.shape(value)[axis]) > 1:
            half = size // 2
            first, second = cut(t, value, axis, 0, half), cut(t, value, axis, half, 2 * half)
            made = t.low.exact(t.g.mul(first, second))
            if size % 2:
                last = cut(t, value, axis, size - 1, size)
                if half == 1:
                    made = t.low.exact(t.g.mul(made, last))
                else:
                    made = int(t.g.concat(*t.low.alike([made, last]), axis=axis))
            value = made
    if keepdims:
        return value
    shape = t.g.shape(value)
    return t.low.reshape(value, [d for i, d in enumerate(shape) if i not in axes])


def _function(name: str) -> Callable[[Callable[[Translator, Value], Value]], None]:
    def register(make: Callable[[Translator, Value], Value]) -> None:
        def handle(t: Translator, node: Node, x: Tensor) -> Tensor:
            return Tensor(make(t, x.value), x.merged)

        handles(name)(handle)

    return register


def _half(t: Translator, x: Value) -> Value:
    return int(t.g.divide(x, divisor=2))


def _exponentials(t: Translator, x: Value) -> tuple[Value, Value]:
    return t.low.unary("exp", x), t.low.unary("exp", t.low.negative(x))


@_function("Cosh")
def _cosh(t: Translator, x: Value) -> Value:
    up, down = _exponentials(t, x)
    made = _half(t, int(t.g.add(up, down)))
    t.hyperbolic[made] = ("cosh", x)
    return made


@_function("Tan")
def _tan(t: Translator, x: Value) -> Value:
    slope = t.low.unary("reciprocal", t.low.unary("cos", x))
    return int(t.g.mul(t.low.unary("sin", x), slope))


for _name, _make in INVERSES.items():
    _function(_name)(_make)
