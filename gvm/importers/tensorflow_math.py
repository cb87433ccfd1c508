"""TensorFlow's arithmetic, activations and products."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import (
    SELU_ALPHA,
    SELU_FACTOR,
    absolute,
    add,
    add_all,
    divide,
    fitting,
    maximum,
    minimum,
    multiply,
    softsign,
    subtract,
)
from gvm.importers.lowering import Constant
from gvm.importers.shapes import (
    Operand,
    Tensor,
    must_be_constant,
)
from gvm.importers.tensorflow_nodes import (
    HANDLERS,
    PATTERNS,
    Handler,
    Plan,
    Translator,
    attribute_of,
    behind,
    handles,
    known_constant,
)

# Arithmetic


@handles("Add", "AddV2")
def _add(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    return add(t, op.name, a, b)


@handles("AddN")
def _add_n(t: Translator, op: Any, *operands: Operand) -> Operand:
    return add_all(t, op.name, operands)


@handles("BiasAdd")
def _bias_add(t: Translator, op: Any, x: Operand, c: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    bias = must_be_constant(c, "bias")
    if attribute_of(op, "data_format", "NHWC") == "NCHW" and len(t.dims(x)) > 2:
        value = t.whole(x)
        rank = len(t.g.shape(value))
        to_last = (0, *range(2, rank), 1)
        to_first = (0, rank - 1, *range(1, rank - 1))
        return Tensor(t.low.transpose(t.low.bias(t.low.transpose(value, to_last), bias), to_first))
    return Tensor(t.low.bias(x.value, fitting(t, x, bias), op.name), x.merged)


@handles("Sub")
def _sub(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    return subtract(t, op.name, a, b)


@handles("Mul")
def _mul(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    return multiply(t, op.name, a, b)


@handles("RealDiv", "Div")
def _divide(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    return divide(t, op.name, a, b)


@handles("Maximum", "Minimum")
def _extreme(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    return (maximum if op.type == "Maximum" else minimum)(t, a, b)


@handles("SquaredDifference")
def _squared_difference(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    difference = _sub(t, op, a, b)
    return Tensor(t.g.mul(difference.value, difference.value), difference.merged)


def _each(make: Callable[[Translator, Any, Value], Value]) -> Handler:
    def handle(t: Translator, op: Any, x: Operand) -> Tensor:
        assert isinstance(x, Tensor)
        return Tensor(int(make(t, op, x.value)), x.merged)

    return handle


def _unary(function: str) -> Handler:
    return _each(lambda t, op, x: t.low.unary(function, x))


def _leaky(t: Translator, op: Any, x: Value) -> Value:
    return t.low.leaky_relu(x, float(op.get_attr("alpha")), op.name)


HANDLERS.update(
    {
        "Exp": _unary("exp"),
        "Log": _unary("log"),
        "Tanh": _unary("tanh"),
        "Sigmoid": _unary("logistic"),
        "Erf": _unary("erf"),
        "Softplus": _unary("softplus"),
        "Sqrt": _unary("sqrt"),
        "Rsqrt": _unary("rsqrt"),
        "Reciprocal": _unary("reciprocal"),
        "Inv": _unary("reciprocal"),
        "Sin": _unary("sin"),
        "Cos": _unary("cos"),
        "Erfc": _each(
            lambda t, op, x: t.low.subtract_from(
                Constant(np.asarray([1.0]), f"{op.name}/one"), t.low.unary("erf", x)
            )
        ),
        "Relu": _each(lambda t, op, x: t.g.relu(x, name=op.name)),
        "Relu6": _each(lambda t, op, x: t.low.relu6(x, op.name)),
        "LeakyRelu": _each(_leaky),
        "Softsign": _each(lambda t, op, x: softsign(t, x, op.name)),
        "Elu": _each(lambda t, op, x: t.low.elu(x, op.name)),
        "Selu": _each(lambda t, op, x: t.low.elu(x, op.name, SELU_ALPHA, SELU_FACTOR)),
        "Neg": _each(lambda t, op, x: t.low.negative(x)),
        "Square": _each(lambda t, op, x: t.g.mul(x, x)),
        "Abs": _each(lambda t, op, x: absolute(t, x)),
    }
)


@handles("Softmax")
def _softmax(t: Translator, op: Any, x: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    return Tensor(t.g.softmax(x.value, name=op.name), x.merged)


# Activations that are written as several nodes


def _scaled(t: Translator, tensor: Any) -> tuple[float, Any]:
    """A tensor as a number times another: scalar factors, quotients and signs are peeled off."""
    factor = 1.0
    while True:
        tensor = behind(tensor)
        op = tensor.op
        if op.type == "Neg":
            factor, tensor = -factor, op.inputs[0]
            continue
        if op.type in ("Mul", "RealDiv"):
            a, b = op.inputs
            for number, other in ((known_constant(t, b), a), (known_constant(t, a), b)):
                value = number.scalar() if number else None
                if value is not None and (op.type == "Mul" or (other is a and value != 0)):
                    factor, tensor = (factor * value if op.type == "Mul" else factor / value), other
                    break
            else:
                return factor, tensor
            continue
        return factor, tensor


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-5 * abs(b)


def _gated(t: Translator, op: Any) -> Plan | None:
    """x * logistic(x) is silu(x); x times the normal distribution, by erf or erfc, is gelu(x)."""
    first, second = (_scaled(t, operand) for operand in op.inputs)
    for (left, x), (right, gate) in ((first, second), (second, first)):
        if known_constant(t, x) is not None:
            continue
        factor = left * right
        if gate.op.type == "Sigmoid":
            inner, base = _scaled(t, gate.op.inputs[0])
            function, expected = "silu", factor
        elif gate.op.type == "Erfc":
            inner, base = _scaled(t, gate.op.inputs[0])
            function, factor, expected = "gelu", 2 * factor, -2 * factor * math.sqrt(0.5)
        elif gate.op.type in ("Add", "AddV2"):
            one, erf = gate.op.inputs
            if known_constant(t, one) is None:
                one, erf = erf, one
            number = known_constant(t, one)
            erf = behind(erf)
            if number is None or number.scalar() != 1.0 or erf.op.type != "Erf":
                continue
            inner, base = _scaled(t, erf.op.inputs[0])
            function, factor, expected = "gelu", 2 * factor, 2 * factor * math.sqrt(0.5)
        else:
            continue
        if base.name == x.name and _near(inner, expected):
            return Plan((x,), partial(_activation, t, op, function, factor))
    return None


def _activation(t: Translator, op: Any, function: str, factor: float, x: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    value = x.value if _near(factor, 1.0) else t.low.scale_by(x.value, factor, f"{op.name}/factor")
    return Tensor(t.low.unary(function, value), x.merged)


PATTERNS["Mul"] = _gated
