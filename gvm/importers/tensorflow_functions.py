"""TensorFlow's less frequent functions of elements, reductions and sums along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from gvm.importers.arithmetic import divide, fitting, maximum, minimum, multiply
from gvm.importers.composites import (
    EQUAL,
    NOT,
    cumulative_sum,
    divide_or_zero,
    exponential_of_base,
    least_position,
    local_response,
    log_softmax,
    power_of_each,
    power_of_number,
    power_of_tensor,
    product,
    sign,
)
from gvm.importers.inverses import INVERSES
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import Operand, Tensor, integers_of, must_be_constant
from gvm.importers.tensorflow_nodes import Translator, attribute_of, handles


def _tensor(x: Operand) -> Tensor:
    assert isinstance(x, Tensor)
    return x


def _together(t: Translator, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Two operands as tensors that merge the batch alike, a constant as a parameter."""
    x = a if isinstance(a, Tensor) else _tensor(b)
    made = []
    for operand in (a, b):
        if isinstance(operand, Tensor):
            if operand.merged != x.merged:
                raise Refusal("the batch is merged with another axis in one operand only")
            made.append(operand)
        else:
            made.append(Tensor(t.low.parameter(fitting(t, x, operand)), x.merged))
    return made[0], made[1]


# Quotients and powers


@handles("DivNoNan")
def _divide_or_zero(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    if isinstance(b, Constant):
        data = b.data.astype(np.float64)
        reciprocals = np.divide(1.0, data, out=np.zeros_like(data), where=data != 0)
        return multiply(t, op.name, a, b.derive(reciprocals, "/reciprocal"))
    merged = _tensor(b).merged
    made = divide_or_zero(
        t, _tensor(b).value, lambda v: divide(t, op.name, a, Tensor(v, merged)).value
    )
    return Tensor(made, merged)


@handles("Xdivy", "Xlogy", "Xlog1py")
def _zero_times(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    """x / y, x * log(y), x * log(1 + y): 0 where x is."""
    x, y = _together(t, a, b)
    zero = t.g.compare(x.value, t.low.number(0.0, "number_0"), relation=EQUAL)
    kind = op.type
    if kind == "Xlog1py":
        y = Tensor(t.low.shift_by(y.value, 1.0, f"{op.name}/one"), y.merged)
    safe = int(t.g.select(zero, t.low.number(1.0, "number_1"), y.value))
    if kind == "Xdivy":
        made = divide(t, op.name, x, Tensor(safe, x.merged)).value
    else:
        made = int(t.g.mul(x.value, t.low.unary("log", safe)))
    return Tensor(int(t.g.mask(zero, made, value=0)), x.merged)


@handles("Pow")
def _power(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    name = op.name
    if isinstance(a, Constant):
        x = _tensor(b)
        return Tensor(exponential_of_base(t, fitting(t, x, a), x.value, name), x.merged)
    if isinstance(b, Tensor):
        x, exponent = _together(t, a, b)
        return Tensor(power_of_tensor(t, x.value, exponent.value, name), x.merged)
    x, constant = _tensor(a), fitting(t, _tensor(a), b)
    number = constant.scalar()
    if number is None:
        return Tensor(power_of_each(t, x.value, constant, name), x.merged)
    made = power_of_number(t, x.value, number, name)
    if made is None:
        raise Refusal("an exponent of 0; nearest supported form: 1")
    return Tensor(made, x.merged)


@handles("ClipByValue")
def _clip(t: Translator, op: Any, x: Operand, low: Operand, high: Operand) -> Tensor:
    return minimum(t, maximum(t, x, low), high)


# Functions of one operand


@handles("Expm1")
def _exp_less_one(t: Translator, op: Any, x: Operand) -> Tensor:
    made = t.low.unary("exp", _tensor(x).value)
    return Tensor(t.low.shift_by(made, -1.0, f"{op.name}/one"), _tensor(x).merged)


@handles("Log1p")
def _log_one_more(t: Translator, op: Any, x: Operand) -> Tensor:
    shifted = t.low.shift_by(_tensor(x).value, 1.0, f"{op.name}/one")
    return Tensor(t.low.unary("log", shifted), _tensor(x).merged)


@handles(*INVERSES)
def _inverse(t: Translator, op: Any, x: Operand) -> Tensor:
    return Tensor(INVERSES[op.type](t, _tensor(x).value), _tensor(x).merged)


@handles("Sign")
def _sign(t: Translator, op: Any, x: Operand) -> Tensor:
    return Tensor(sign(t, _tensor(x).value), _tensor(x).merged)


@handles("IsNan", "IsInf", "IsFinite")
def _is_number(t: Translator, op: Any, x: Operand) -> Tensor:
    """Whether an element equals itself: every fixed-point number does, so all are finite."""
    value = _tensor(x).value
    same = t.g.compare(value, value, relation=EQUAL)
    finite = op.type == "IsFinite"
    return Tensor(same if finite else t.g.logical(same, function=NOT), _tensor(x).merged)


@handles("LogSoftmax")
def _log_softmax(t: Translator, op: Any, x: Operand) -> Tensor:
    return Tensor(log_softmax(t, _tensor(x).value, op.name), _tensor(x).merged)


@handles("LRN")
def _local_response(t: Translator, op: Any, x: Operand) -> Tensor:
    radius = int(attribute_of(op, "depth_radius"))
    alpha, beta, bias = (float(attribute_of(op, name)) for name in ("alpha", "beta", "bias"))
    made = local_response(t, t.whole(x), radius, radius, alpha, beta, bias, op.name)
    return Tensor(made)


# Reductions


@handles("Prod")
def _product(t: Translator, op: Any, x: Operand, axes: Operand) -> Tensor:
    given = _tensor(x)
    keep = bool(attribute_of(op, "keep_dims"))
    return Tensor(product(t, given.value, t.axes(given, axes), keep), given.merged)


@handles("EuclideanNorm")
def _norm(t: Translator, op: Any, x: Operand, axes: Operand) -> Tensor:
    given = _tensor(x)
    keep = bool(attribute_of(op, "keep_dims"))
    squares = int(t.g.mul(given.value, given.value))
    return Tensor(t.low.unary("sqrt", t.low.sum(squares, t.axes(given, axes), keep)), given.merged)


@handles("ArgMin")
def _least(t: Translator, op: Any, x: Operand, axis: Operand) -> Tensor:
    value = t.whole(x)
    at = integers_of(axis)[0] % len(t.g.shape(value))
    return Tensor(least_position(t, value, at, op.name))


@handles("Cumsum")
def _cumulative(t: Translator, op: Any, x: Operand, axis: Operand) -> Tensor:
    value = t.whole(x)
    at = integers_of(must_be_constant(axis, "axis"))[0] % len(t.g.shape(value))
    exclusive, reverse = (bool(attribute_of(op, name)) for name in ("exclusive", "reverse"))
    return Tensor(cumulative_sum(t, value, at, exclusive, reverse, op.name))


@handles("TopKV2", "TopK")
def _largest(t: Translator, op: Any, x: Operand, count: Operand | None = None) -> list[Tensor]:
    value = t.whole(x)
    shape = t.g.shape(value)
    k = int(attribute_of(op, "k")) if count is None else integers_of(count)[0]
    if shape[-1] == -1 or not 1 <= k <= shape[-1]:
        raise Refusal(f"k must be in [1, {shape[-1]}], received {k}")
    ordered = int(bool(attribute_of(op, "sorted", True)))
    values, positions = t.g.top_k(value, k=k, axis=len(shape) - 1, sorted=ordered, name=op.name)
    return [Tensor(values), Tensor(positions)]
