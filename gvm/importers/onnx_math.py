"""ONNX's arithmetic, activations, products, normalisations and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import (
    SELU_ALPHA,
    SELU_FACTOR,
    absolute,
    add,
    add_all,
    divide,
    maximum,
    minimum,
    multiply,
    softsign,
    subtract,
)
from gvm.importers.batch_norms import BatchNorm, Part, placed
from gvm.importers.division import TOWARDS_ZERO, whole_quotient
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import HANDLERS, Handler, Node, Translator, constant_or, handles
from gvm.importers.onnx_powers import product
from gvm.importers.shapes import Batch, Operand, Tensor, must_be_constant

# Arithmetic


@handles("Add")
def _add(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    return add(t, node.name, a, b)


@handles("Sub")
def _subtract(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    return subtract(t, node.name, a, b)


@handles("Mul")
def _multiply(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        for x, gate in ((a, b), (b, a)):
            if x.merged == gate.merged and t.is_unary("logistic", gate.value, x.value):
                return Tensor(t.low.unary("silu", x.value), x.merged)
    return multiply(t, node.name, a, b)


@handles("Sum")
def _sum(t: Translator, node: Node, *operands: Operand) -> Operand:
    return add_all(t, node.name, operands)


@handles("Mean")
def _mean(t: Translator, node: Node, *operands: Operand) -> Tensor:
    total = add_all(t, node.name, operands)
    if len(operands) == 1 and isinstance(total, Tensor):
        return total
    return divide(t, node.name, total, _number(len(operands), f"{node.name}/count"))


@handles("Max", "Min")
def _extreme(t: Translator, node: Node, *operands: Operand) -> Operand:
    result, *others = sorted(operands, key=lambda x: not isinstance(x, Tensor))
    for other in others:
        result = (maximum if node.type == "Max" else minimum)(t, result, other)
    return result


@handles("Clip")
def _clip(
    t: Translator, node: Node, x: Operand, low: Operand | None = None, high: Operand | None = None
) -> Operand:
    if not isinstance(low, Constant | None) or not isinstance(high, Constant | None):
        return _between(t, x, low, high)
    least = constant_or(low, "min", -math.inf)
    most = constant_or(high, "max", math.inf)
    if isinstance(x, Tensor) and t.low.is_whole(x.value):
        return _between(t, x, low, high)
    # Beyond what any value of the graph can be, a bound is none.
    if least > -1e30:
        x = maximum(t, x, _number(least, f"{node.name}/min"))
    if most < 1e30:
        x = minimum(t, x, _number(most, f"{node.name}/max"))
    return x


def _between(t: Translator, x: Operand, low: Operand | None, high: Operand | None) -> Operand:
    """x between bounds that are computed, or whole numbers."""
    if low is not None:
        x = maximum(t, x, low)
    return x if high is None else minimum(t, x, high)


def _number(value: float, name: str) -> Constant:
    return Constant(np.asarray([value], dtype=np.float64), name)


# Activations


def _each(make: Callable[[Translator, Node, Value], Value]) -> Handler:
    def handle(t: Translator, node: Node, x: Operand) -> Tensor:
        assert isinstance(x, Tensor)
        return Tensor(int(make(t, node, x.value)), x.merged)

    return handle


def _unary(function: str) -> Handler:
    return _each(lambda t, node, x: t.low.unary(function, x))


def _hard_sigmoid(t: Translator, node: Node, x: Value, alpha: float, beta: float) -> Value:
    """max(0, min(1, alpha * x + beta))."""
    line = t.low.scale_by(x, alpha, f"{node.name}/alpha")
    line = t.low.shift_by(line, beta, f"{node.name}/beta")
    return int(t.g.relu(t.low.minimum(line, _number(1.0, f"{node.name}/one"))))


def _gelu(t: Translator, node: Node, x: Value) -> Value:
    if node.attributes.get("approximate", "none") == "none":
        return t.low.unary("gelu", x)
    # 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
    cube = t.low.scale_by(int(t.g.mul(t.g.mul(x, x), x)), 0.044715, f"{node.name}/cube")
    inner = t.low.scale_by(int(t.g.add(x, cube)), math.sqrt(2 / math.pi), f"{node.name}/inner")
    gate = t.low.shift_by(t.low.unary("tanh", inner), 1.0, f"{node.name}/one")
    return t.low.scale_by(int(t.g.mul(x, gate)), 0.5, f"{node.name}/half")


def _swish(t: Translator, node: Node, x: Value) -> Value:
    """x * logistic(alpha * x)."""
    alpha = node.number("alpha", 1.0)
    if alpha == 1.0:
        return t.low.unary("silu", x)
    return int(t.g.mul(x, t.low.unary("logistic", t.low.scale_by(x, alpha, f"{node.name}/alpha"))))


def _celu(t: Translator, node: Node, x: Value) -> Value:
    """max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)."""
    alpha = node.number("alpha", 1.0)
    below = t.low.negative(int(t.g.relu(t.low.negative(x))))
    tail = t.low.unary("exp", t.low.scale_by(below, 1 / alpha, f"{node.name}/reciprocal"))
    tail = t.low.shift_by(tail, -1.0, f"{node.name}/minus_one")
    return int(t.g.add(t.g.relu(x), t.low.scale_by(tail, alpha, f"{node.name}/alpha")))


HANDLERS.update(
    {
        "Relu": _each(lambda t, node, x: t.g.relu(x, name=node.name)),
        "Sigmoid": _unary("logistic"),
        "Tanh": _unary("tanh"),
        "Exp": _unary("exp"),
        "Log": _unary("log"),
        "Erf": _unary("erf"),
        "Sqrt": _unary("sqrt"),
        "Reciprocal": _unary("reciprocal"),
        "Softplus": _unary("softplus"),
        "Sin": _unary("sin"),
        "Cos": _unary("cos"),
        "Neg": _each(lambda t, node, x: t.low.negative(x)),
        "Abs": _each(lambda t, node, x: absolute(t, x)),
        "Softsign": _each(lambda t, node, x: softsign(t, x, node.name)),
        "Gelu": _each(_gelu),
        "Swish": _each(_swish),
        "Celu": _each(_celu),
        "Mish": _each(
            lambda t, node, x: t.g.mul(x, t.low.unary("tanh", t.low.unary("softplus", x)))
        ),
        "LeakyRelu": _each(
            lambda t, node, x: t.low.leaky_relu(x, node.number("alpha", 0.01), node.name)
        ),
        "Elu": _each(lambda t, node, x: t.low.elu(x, node.name, node.number("alpha", 1.0))),
        "Selu": _each(
            lambda t, node, x: t.low.elu(
                x,
                node.name,
                node.number("alpha", 1.6732 if node.version < 6 else SELU_ALPHA),
                node.number("gamma", 1.0507 if node.version < 6 else SELU_FACTOR),
            )
        ),
        "HardSigmoid": _each(
            lambda t, node, x: _hard_sigmoid(
                t, node, x, node.number("alpha", 0.2), node.number("beta", 0.5)
            )
        ),
        "HardSwish": _each(lambda t, node, x: t.g.mul(x, _hard_sigmoid(t, node, x, 1 / 6, 0.5))),
    }
)


@handles("PRelu")
def _prelu(t: Translator, node: Node, x: Operand, slope: Operand) -> Tensor:
    """max(x, 0) - slope * max(-x, 0)."""
    if not isinstance(x, Tensor):
        raise Refusal("the input is constant and the slope is not")
    below = Tensor(int(t.g.relu(t.low.negative(x.value))), x.merged)
    if isinstance(slope, Tensor):
        rest = multiply(t, node.name, below, slope)
        return subtract(t, node.name, Tensor(t.g.relu(x.value), x.merged), rest)
    weight = must_be_constant(slope, "slope")
    if node.version < 7 and weight.data.ndim == 1 and weight.data.size > 1:
        weight = weight.derive(weight.data.reshape((-1,) + (1,) * (t.rank(x) - 2)))
    return subtract(
        t, node.name, Tensor(t.g.relu(x.value), x.merged), multiply(t, node.name, below, weight)
    )


# Softmax


def over_last(t: Translator, node: Node, x: Tensor, make: Callable[[Value], Value]) -> Tensor:
    """Applies ``make``, which works over the last axis, over the axis of a softmax."""
    rank = t.rank(x)
    axis = node.integer("axis", -1 if node.version >= 13 else 1)
    at = axis % rank
    dims = t.dims(x)
    tail = dims[at + 1 :]
    if isinstance(dims[at], Batch):
        raise Refusal("works over the batch; nearest supported form: the same over another axis")
    if all(d == 1 for d in tail) and at < rank - 1 or (node.version < 13 and at < rank - 1):
        flat = t.reshape(x, [*dims[:at], math.prod(dims[at:])])
        return t.reshape(Tensor(make(flat.value), flat.merged), dims)
    if at == rank - 1:
        return Tensor(make(x.value), x.merged)
    order = [i for i in range(rank) if i != at] + [at]
    made = make(t.low.transpose(t.whole(x), order))
    return Tensor(t.low.transpose(made, [order.index(i) for i in range(rank)]))


@handles("Softmax")
def _softmax(t: Translator, node: Node, x: Tensor) -> Tensor:
    return over_last(t, node, x, lambda v: int(t.g.softmax(v, name=node.name)))


@handles("LogSoftmax")
def _log_softmax(t: Translator, node: Node, x: Tensor) -> Tensor:
    def make(v: Value) -> Value:
        last = (len(t.g.shape(v)) - 1,)
        shifted = int(t.g.sub(v, t.low.max(v, last, True)))
        total = t.low.sum(t.low.unary("exp", shifted), last, True)
        return int(t.g.sub(shifted, t.low.unary("log", total), name=node.name))

    return over_last(t, node, x, make)


# Normalisations


def per_channel(t: Translator, x: Operand, make: Callable[[Value], Value]) -> Tensor:
    """Applies ``make``, for which channels are the last axis, where they are the second."""
    value = t.whole(x)
    rank = len(t.g.shape(value))
    if rank < 3:
        return Tensor(make(value))
    made = make(t.low.transpose(value, (0, *range(2, rank), 1)))
    return Tensor(t.low.transpose(made, (0, rank - 1, *range(1, rank - 1))))


@handles("BatchNormalization")
def _batch_norm(t: Translator, node: Node, x: Operand, *statistics: Operand) -> Tensor:
    if node.integer("training_mode", 0):
        raise Refusal("training_mode must be 0")
    if not all(isinstance(s, Constant) for s in statistics):
        return _computed_batch_norm(t, node, x, statistics)
    gamma, beta, mean, variance = (must_be_constant(s, "statistics") for s in statistics)
    if node.integer("spatial", 1) == 0 and gamma.data.ndim > 1:
        raise Refusal("spatial must be 1")
    if t.training:
        moved = [Part(c.name, c.data.astype(np.float64), True) for c in (gamma, beta)]
        held = [Part(c.name, c.data.astype(np.float64), False) for c in (mean, variance)]
        epsilon, keep = node.number("epsilon", 1e-5), node.number("momentum", 0.9)
        layer = BatchNorm(moved[0], moved[1], held[0], held[1], epsilon, keep)
        return per_channel(t, x, lambda v: placed(t.g, v, layer, node.name))
    scale = gamma.data.astype(np.float64) / np.sqrt(
        variance.data.astype(np.float64) + node.number("epsilon", 1e-5)
    )
    shift = beta.data.astype(np.float64) - mean.data.astype(np.float64) * scale
    return per_channel(
        t,
        x,
        lambda v: t.low.bias(t.low.scale(v, gamma.derive(scale), node.name), beta.derive(shift)),
    )


def _computed_batch_norm(
    t: Translator, node: Node, x: Operand, statistics: Sequence[Operand]
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, of statistics that are computed."""
    gamma, beta, mean, variance = (
        t.low.parameter(s) if isinstance(s, Constant) else t.whole(s) for s in statistics
    )
    wide = t.low.shift_by(variance, node.number("epsilon", 1e-5), f"{node.name}/epsilon")
    root = t.low.unary("rsqrt", wide)

    def make(v: Value) -> Value:
        normal = t.g.mul(t.g.mul(t.g.sub(v, mean), root), gamma)
        return int(t.g.add(normal, beta, name=node.name))

    return per_channel(t, x, make)


# Reductions


def _truths(t: Translator, kind: str, value: Value, over: tuple[int, ...], keep: bool) -> Value:
    """Whether any holds (the greatest) or all do (the least)."""
    if kind not in ("ReduceMax", "ReduceMin"):
        raise Refusal("reduces truth values; nearest supported form: ReduceMax")
    ones, zeros = (1, 0) if kind == "ReduceMax" else (0, 1)
    made = t.g.select(value, t.low.whole(ones), t.low.whole(zeros))
    made = t.low.max(int(made), over, keep)
    return int(t.g.compare(made, t.low.whole(ones), relation=0))


@handles(
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"),
    *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd"),
)
def _reduce(t: Translator, node: Node, x: Operand, axes: Operand | None = None) -> Tensor:
    assert isinstance(x, Tensor)
    if axes is None or (isinstance(axes, Constant) and axes.data.size == 0):
        every = 0 if node.integer("noop_with_empty_axes", 0) else t.rank(x)
        axes = Constant(np.arange(every), f"{node.name}/axes")
    over, keep = t.axes(x, axes), node.integer("keepdims", 1) == 1
    value = x.value
    low, g = t.low, t.g
    if g.types[value].dtype == "bool":
        return Tensor(_truths(t, node.type, value, over, keep), x.merged)
    match node.type:
        case "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" if low.is_whole(value):
            raise Refusal("of whole numbers; nearest supported form: behind a Cast to FLOAT")
        case "ReduceProd":
            value = product(t, value, over, keep)
        case "ReduceSum":
            value = low.sum(value, over, keep)
        case "ReduceMean" if low.is_whole(value):
            count = math.prod(g.shape(value)[a] for a in over)
            total = low.sum(value, over, keep)
            value = whole_quotient(t, total, low.whole(count, "count"), TOWARDS_ZERO, node.name)
        case "ReduceMean":
            value = low.mean(value, over, keep)
        case "ReduceMax":
            value = low.max(value, over, keep)
        case "ReduceMin":
            value = low.negative(low.max(low.negative(value), over, keep))
        case "ReduceL1":
            size = g.add(g.relu(value), g.relu(low.negative(value)))
            value = low.sum(int(size), over, keep)
        case "ReduceLogSum":
            value = low.unary("log", low.sum(value, over, keep))
        case "ReduceLogSumExp":
            most = low.max(value, over, True)
            total = low.sum(low.unary("exp", int(g.sub(value, most))), over, keep)
            most = most if keep else low.reshape(most, t.g.shape(total))
            value = int(g.add(low.unary("log", total), most))
        case _:
            value = low.sum(low.exact(g.mul(value, value)), over, keep)
            if node.type == "ReduceL2":
                value = low.unary("sqrt", value)
    return Tensor(value, x.merged)
