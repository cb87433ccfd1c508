"""ONNX's roundings to whole numbers, and its quantised operators: exact integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import add, subtract
from gvm.importers.division import DOWN, NEAREST, TOWARDS_ZERO, floor_or_ceiling, whole_quotient
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_choices import REAL, as_real, kind_of
from gvm.importers.onnx_nodes import HANDLERS, Node, Translator, handles
from gvm.importers.shapes import Operand, Tensor, must_be_constant
from gvm.types import DTYPES

RANGES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
}
"""Of the types that quantised tensors have."""


def rounded(t: Translator, x: Value) -> Value:
    """The nearest whole number, half to even."""
    return int(t.g.convert(x, dtype=DTYPES["i32"], fraction_bits=0))


def toward_zero(t: Translator, x: Value) -> Value:
    """The whole number next to x on the side of 0."""
    return floor_or_ceiling(t, x, TOWARDS_ZERO)


@handles("Round", "Floor", "Ceil")
def _round(t: Translator, node: Node, x: Tensor) -> Tensor:
    if kind_of(t, x) != REAL:
        return x
    direction = NEAREST if node.type == "Round" else DOWN
    made = floor_or_ceiling(t, x.value, direction, up=node.type == "Ceil")
    return Tensor(as_real(t, made), x.merged)


# Quantised tensors: scales and zero points are known


def _along(t: Translator, x: Tensor, parameter: Operand | None, axis: int) -> Constant | None:
    """A scale or zero point as it broadcasts with x."""
    if parameter is None:
        return None
    known = must_be_constant(parameter, "scale or zero point")
    if known.data.size == 1:
        return known.derive(known.data.reshape(()))
    rank = t.rank(x)
    if known.data.ndim != 1:
        if known.data.ndim == rank and all(
            d in (1, n) for d, n in zip(known.data.shape, t.dims(x), strict=True)
        ):
            return known
        raise Refusal("scales by block; nearest supported form: one for each channel")
    return known.derive(known.data.reshape([-1 if i == axis % rank else 1 for i in range(rank)]))


def _centred(t: Translator, x: Tensor, zero: Constant | None) -> Tensor:
    if zero is None or not zero.data.any():
        return x
    return subtract(t, "", x, zero)


def _times(t: Translator, x: Value, factor: Any, name: str) -> Value:
    """Real values, or whole numbers, times a constant."""
    data = np.asarray(factor, np.float64)
    return int(t.g.mul(x, t.low.parameter(Constant(data, name)), name=name))


def _over(t: Translator, x: Value, divisor: Any, name: str) -> Value:
    """The nearest whole number to x over a constant of 32 bits."""
    data = np.asarray(divisor, np.float64)
    return whole_quotient(t, x, t.low.parameter(Constant(data, name)), NEAREST)


def _saturated(t: Translator, x: Value, zero: Constant | None, kind: str) -> Tensor:
    """Whole numbers plus a zero point, within the range of an element type."""
    if kind not in RANGES:
        raise Refusal(f"quantises to {kind}; nearest supported form: 8 or 16 bits")
    made = Tensor(x)
    if zero is not None and zero.data.any():
        made = add(t, "", made, zero)
    low, high = (t.low.whole(v, "limit") for v in RANGES[kind])
    return Tensor(t.g.minimum(t.g.maximum(made.value, low), high))


@handles("QuantizeLinear", known=(1, 2))
def _quantize(
    t: Translator, node: Node, x: Tensor, scale: Operand, zero: Operand | None = None
) -> Tensor:
    """saturate(round(x / scale) + zero)."""
    from onnx import helper

    axis = node.integer("axis", 1)
    by, shift = _along(t, x, scale, axis), _along(t, x, zero, axis)
    assert by is not None
    kind = "uint8" if shift is None else shift.data.dtype.name
    if shift is None and node.integer("output_dtype", 0):
        kind = helper.tensor_dtype_to_np_dtype(node.integer("output_dtype", 0)).name
    value = _over(t, t.whole(x), by.data, f"{node.name}/scale")
    return _saturated(t, value, shift, kind)


@handles("DequantizeLinear", known=(1, 2))
def _dequantize(
    t: Translator, node: Node, x: Tensor, scale: Operand, zero: Operand | None = None
) -> Tensor:
    """(x - zero) * scale."""
    axis = node.integer("axis", 1)
    by = _along(t, x, scale, axis)
    assert by is not None
    centred = _centred(t, x, _along(t, x, zero, axis))
    return Tensor(_times(t, t.whole(centred), by.data, f"{node.name}/scale"))


@handles("DynamicQuantizeLinear")
def _dynamic(t: Translator, node: Node, x: Tensor) -> list[Tensor]:
    """x as uint8 by a scale and zero point from its range, which holds 0."""
    value = t.whole(x)
    axes = tuple(range(len(t.g.shape(value))))
    most = t.g.relu(t.low.max(value, axes, False))
    least = t.g.relu(t.low.max(t.low.negative(value), axes, False))
    span = t.g.add(most, least)
    steps = t.low.parameter(Constant(np.asarray(255.0), "steps"))
    scale = int(t.g.divide(span, divisor=255))
    zero, made = (whole_quotient(t, t.g.mul(x, steps), span, NEAREST) for x in (least, value))
    low, high = t.low.whole(0), t.low.whole(255, "limit")
    zero = int(t.g.minimum(zero, high))
    shifted = t.low.exact(t.g.add(made, zero))
    return [Tensor(t.g.minimum(t.g.maximum(shifted, low), high)), Tensor(scale), Tensor(zero)]


def _narrow(t: Translator, x: Tensor) -> Tensor:
    """Whole numbers as a product takes them."""
    if t.g.types[x.value].dtype == "i16":
        return x
    return Tensor(t.g.convert(x.value, dtype=DTYPES["i16"], fraction_bits=0))


def _tensor(t: Translator, x: Operand) -> Tensor:
    if isinstance(x, Tensor):
        return x
    return Tensor(t.low.parameter(must_be_constant(x, "factor")))


def _product(
    t: Translator,
    node: Node,
    a: Operand,
    b: Operand,
    a_zero: Operand | None,
    b_zero: Operand | None,
) -> Value:
    """(a - a_zero) (b - b_zero), exactly."""
    left, right = _tensor(t, a), _tensor(t, b)
    # A zero point for each row of a, for each column of b.
    left = _narrow(t, _centred(t, left, _along(t, left, a_zero, t.rank(left) - 2)))
    right = _narrow(t, _centred(t, right, _along(t, right, b_zero, t.rank(right) - 1)))
    return t.low.exact(t.g.matmul(left.value, right.value, name=node.name))


@handles("MatMulInteger", known=(2, 3))
def _matmul_integer(
    t: Translator,
    node: Node,
    a: Operand,
    b: Operand,
    a_zero: Operand | None = None,
    b_zero: Operand | None = None,
) -> Tensor:
    return Tensor(_product(t, node, a, b, a_zero, b_zero))


@handles("QLinearMatMul", known=(1, 2, 4, 5, 6, 7))
def _qlinear_matmul(t: Translator, node: Node, a: Operand, *rest: Operand) -> Tensor:
    a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = rest
    made = _product(t, node, a, b, a_zero, b_zero)
    scale_a, scale_b, scale_y = (
        must_be_constant(s, "scale").data.astype(np.float64) for s in (a_scale, b_scale, y_scale)
    )
    if scale_a.ndim == 1 and scale_a.size > 1:
        scale_a = scale_a[:, None]
    per_unit = scale_y / (scale_a * scale_b)
    zero = must_be_constant(y_zero, "zero point")
    value = _over(t, made, per_unit, f"{node.name}/scale")
    return _saturated(t, value, zero.derive(zero.data.reshape(())), zero.data.dtype.name)


def _convolution(
    t: Translator,
    node: Node,
    x: Operand,
    w: Operand,
    x_zero: Operand | None,
    w_zero: Operand | None,
) -> Value:
    """The convolution of x - x_zero with w - w_zero, exactly."""
    image = _tensor(t, x)
    image = _narrow(t, _centred(t, image, _along(t, image, x_zero, 1)))
    weight = must_be_constant(w, "weight")
    data = weight.data.astype(np.float64)
    if w_zero is not None:
        shift = must_be_constant(w_zero, "zero point").data.astype(np.float64)
        data = data - shift.reshape((-1,) + (1,) * (data.ndim - 1) if shift.size > 1 else ())
    plain = replace(node, type="Conv")
    made = HANDLERS["Conv"](t, plain, image, Constant(data, weight.name))
    return rounded(t, t.whole(made))


@handles("ConvInteger", known=(1, 2, 3))
def _conv_integer(
    t: Translator,
    node: Node,
    x: Operand,
    w: Operand,
    x_zero: Operand | None = None,
    w_zero: Operand | None = None,
) -> Tensor:
    return Tensor(_convolution(t, node, x, w, x_zero, w_zero))


@handles("QLinearConv", known=(1, 2, 3, 4, 5, 6, 7, 8))
def _qlinear_conv(t: Translator, node: Node, x: Operand, *rest: Operand) -> Tensor:
    x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *more = rest
    made: Tensor = Tensor(_convolution(t, node, x, w, x_zero, w_zero))
    if more:
        made = add(t, node.name, made, _along(t, made, more[0], 1) or more[0])
    of_x, of_w, of_y = (
        must_be_constant(s, "scale").data.astype(np.float64) for s in (x_scale, w_scale, y_scale)
    )
    per_unit = (of_y.reshape(()) / (of_x.reshape(()) * of_w)).reshape(-1)
    by = _along(t, made, Constant(per_unit, f"{node.name}/scale"), 1)
    assert by is not None
    zero = must_be_constant(y_zero, "zero point")
    value = _over(t, made.value, by.data, f"{node.name}/scale")
    return _saturated(t, value, zero.derive(zero.data.reshape(())), zero.data.dtype.name)
