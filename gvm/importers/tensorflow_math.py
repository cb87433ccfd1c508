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
from gvm.importers.lowering import Constant, Refusal
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


# Products


@handles("MatMul")
def _matmul(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    if op.get_attr("transpose_a"):
        raise Refusal("transpose_a must be False: the batch would be summed over")
    if not isinstance(a, Tensor):
        raise Refusal("a constant on the left; nearest supported form: the value on the left")
    transposed = int(op.get_attr("transpose_b"))
    if isinstance(b, Tensor):
        raise Refusal("both factors depend on the input; nearest supported form: BatchMatMulV2")
    weight = t.low.parameter(must_be_constant(b, "weight"))
    return Tensor(t.g.matmul(a.value, weight, transpose_b=transposed, name=op.name), a.merged)


@handles("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    flags = {"transpose_a": int(op.get_attr("adj_x")), "transpose_b": int(op.get_attr("adj_y"))}
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.merged == b.merged:
        return Tensor(t.g.matmul(a.value, b.value, name=op.name, **flags), a.merged)
    left = t.whole(a)
    if isinstance(b, Tensor):
        return Tensor(t.g.matmul(left, t.whole(b), name=op.name, **flags))
    weight = must_be_constant(b, "weight")
    if math.prod(weight.data.shape[:-2]) != 1:
        raise Refusal(
            f"a constant factor must be one matrix, received the shape {list(weight.data.shape)}"
        )
    right = t.low.parameter(weight, weight.data.reshape(weight.data.shape[-2:]))
    return Tensor(t.g.matmul(left, right, name=op.name, **flags))


@handles("Einsum")
def _einsum(t: Translator, op: Any, *operands: Operand) -> Tensor:
    equation = str(attribute_of(op, "equation")).replace(" ", "")
    given, _, out = equation.partition("->")
    labels = given.split(",")
    if (
        len(operands) != 2
        or "." in equation
        or not all(len(set(s)) == len(s) for s in (*labels, out))
    ):
        raise Refusal(f"{equation}: two operands are needed, with each axis named once")
    if not isinstance(operands[0], Tensor):
        operands, labels = operands[::-1], labels[::-1]
    (a, b), (left, right) = operands, labels
    contracted = [s for s in left if s in right and s not in out]
    shared = [s for s in out if s in left and s in right]
    free = (
        [s for s in out if s in left and s not in right],
        [s for s in out if s in right and s not in left],
    )
    if set(left) | set(right) != {*contracted, *shared, *free[0], *free[1]} or not contracted:
        raise Refusal(
            f"{equation}: sums over an axis of one operand; nearest supported form: Sum before"
        )
    x = t.whole(a)
    size = dict(zip(left, t.g.shape(x), strict=True))
    order = [*shared, *free[0], *contracted]
    x = t.low.transpose(x, [left.index(s) for s in order])
    if isinstance(b, Tensor):
        y = t.whole(b)
        size.update(zip(right, t.g.shape(y), strict=True))
        y = t.low.transpose(y, [right.index(s) for s in (*shared, *contracted, *free[1])])
    else:
        weight = must_be_constant(b, "weight")
        if shared:
            raise Refusal(
                f"{equation}: a constant factor keeps a shared axis; nearest supported form: MatMul"
            )
        size.update(zip(right, weight.data.shape, strict=True))
    depth, columns = math.prod(size[s] for s in contracted), math.prod(size[s] for s in free[1])
    outer = [size[s] for s in shared]
    if isinstance(b, Tensor):
        y = t.low.reshape(y, [*outer, depth, columns])
        rows = [math.prod(size[s] for s in free[0])]
    else:
        turned = weight.data.transpose([right.index(s) for s in (*contracted, *free[1])])
        y = t.low.parameter(weight, turned.reshape(depth, columns))
        rows = [size[s] for s in free[0]]
    product = t.g.matmul(t.low.reshape(x, [*outer, *rows, depth]), y, name=op.name)
    product = t.low.reshape(
        product, [*outer, *(size[s] for s in free[0]), *(size[s] for s in free[1])]
    )
    made = [*shared, *free[0], *free[1]]
    return Tensor(t.low.transpose(product, [made.index(s) for s in out]))


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
