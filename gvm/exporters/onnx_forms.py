"""The ONNX form of each operator of inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gvm.errors import GvmError
from gvm.exporters.onnx import FIRST, FORMS, PLAIN, Emitter, Value, form
from gvm.functions import by_number
from gvm.normalization import real_epsilon
from gvm.operator import AttributeValue, integer

Attributes = Mapping[str, AttributeValue]

NO_FORM = (
    "divide_by_count",
    "mean_squared_error",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
)
"""Operators that no inference has."""


def _list(a: Attributes, name: str) -> list[int]:
    given = a[name]
    assert isinstance(given, tuple)
    return list(given)


def _elements(op: str) -> Callable[..., Value]:
    return lambda e, a, *values: e.elements(op, *values)


FORMS.update(
    {
        "add": _elements("Add"),
        "sub": _elements("Sub"),
        "mul": _elements("Mul"),
        "maximum": _elements("Max"),
        "minimum": _elements("Min"),
        "relu": _elements("Relu"),
        "select": _elements("Where"),
        "compare": lambda e, a, *xs: e.elements(
            ("Equal", "Less", "LessOrEqual")[a["relation"]], *xs
        ),
        "logical": lambda e, a, *xs: e.elements(("And", "Or", "Xor", "Not")[a["function"]], *xs),
    }
)


@form("convert")
def _convert(e: Emitter, a: Attributes, x: Value) -> Value:
    return Value(x.type, names=dict(x.names))


@form("dropout")
def _dropout(e: Emitter, a: Attributes, x: Value) -> Value:
    return x  # inference keeps all


# Functions


@form("unary")
def _unary(e: Emitter, a: Attributes, x: Value) -> Value:
    function = by_number(integer(a, "function")).name
    if function not in _UNARY and function not in ("silu", "rsqrt"):
        raise GvmError(f"to_onnx: unary, node {e.node}: {function} has no ONNX form")
    layout = e.layout(x)
    given = e.name(x, layout)
    if e.qdq and function in ("log", "sqrt", "rsqrt"):
        given = e.add("Relu", [given])  # left of 0 the function keeps its value at 0
    if function == "silu":
        made = e.labelled("Mul", [given, e.add("Sigmoid", [given])])
    elif function == "rsqrt":
        made = e.labelled("Reciprocal", [e.add("Sqrt", [given])])
    else:
        made = e.labelled(_UNARY[function], [given])
    return e.value(made, layout)


_UNARY = {
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "erf": "Erf",
    "gelu": "Gelu",
    "softplus": "Softplus",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
}


@form("softmax")
def _softmax(e: Emitter, a: Attributes, x: Value) -> Value:
    return e.value(e.labelled("Softmax", [e.name(x)], axis=-1))


@form("normalize")
def _normalize(e: Emitter, a: Attributes, x: Value) -> Value:
    trailing = integer(a, "trailing_axes")
    dims = x.type.shape[x.rank - trailing :]
    epsilon = math.ldexp(integer(a, "epsilon_multiplier"), -integer(a, "epsilon_exponent"))
    # The program adds at least one unit of n * sum x^2.
    least = math.ldexp(1 / math.prod(dims) ** 2, -2 * x.type.fraction_bits)
    epsilon = max(epsilon, least)
    given = e.name(x)
    if a["centred"]:
        ones = e.constant(np.ones(dims, dtype=np.float32), "ones")
        made = e.labelled("LayerNormalization", [given, ones], axis=-trailing, epsilon=epsilon)
        return e.value(made)
    axes = e.integers(*range(-trailing, 0))
    spread = e.add("ReduceMean", [e.add("Mul", [given, given]), axes], keepdims=1)
    root = e.add("Sqrt", [e.add("Add", [spread, e.number(epsilon)])])
    return e.value(e.labelled("Div", [given, root]))


@form("div")
def _div(e: Emitter, a: Attributes, x: Value, y: Value) -> Value:
    made = _elements("Div")(e, a, x, y)
    direction = integer(a, "direction")
    if direction == 0:
        return made
    layout = e.layout(made)
    if direction != 2:
        kind = "Floor" if direction == 1 else "Round"
        return e.value(e.labelled(kind, [e.name(made, layout)]), layout)
    size = e.add("Floor", [e.add("Abs", [e.name(made, layout)])])
    return e.value(e.labelled("Mul", [size, e.add("Sign", [e.name(made, layout)])]), layout)


@form("batch_normalize")
def _batch_normalize(e: Emitter, a: Attributes, x: Value, *vectors: Value) -> Value:
    """In use: scale / sqrt(variance + epsilon), and what the mean leaves of the shift."""
    mean, variance, scale, shift = (e.name(v) for v in vectors)
    root = e.add("Sqrt", [e.add("Add", [variance, e.number(real_epsilon(a))])])
    factor = e.add("Div", [scale, root])
    offset = e.add("Sub", [shift, e.add("Mul", [mean, factor])])
    return e.value(e.labelled("Add", [e.add("Mul", [e.name(x), factor]), offset]))


@form("divide")
def _divide(e: Emitter, a: Attributes, x: Value) -> Value:
    divisor = integer(a, "divisor")
    layout = e.layout(x)
    return e.value(e.labelled("Div", [e.name(x, layout), e.number(divisor)]), layout)


@form("mask")
def _mask(e: Emitter, a: Attributes, condition: Value, x: Value) -> Value:
    layout = e.layout(condition, x)
    rank = x.rank
    names = [e.operand(condition, layout, rank), e.operand(x, layout, rank)]
    names.insert(1 if a["value"] == 0 else 2, e.number(0.0))
    return e.value(e.labelled("Where", names), layout)


# Products


@form("bias_add")
def _bias_add(e: Emitter, a: Attributes, x: Value, bias: Value) -> Value:
    conv = e.made.get(x.names.get(FIRST, ""))
    if (
        conv is not None
        and conv.op_type in ("Conv", "ConvTranspose")
        and len(conv.input) == 2
        and bias.data is not None
        and PLAIN not in x.names
        and e.reads_alone
    ):
        name = e.name(bias)
        conv.input.append(name)
        e.move_last(conv)  # behind what makes the bias
        return e.value(x.names[FIRST], FIRST)
    return e.elements("Add", x, bias)


@form("matmul")
def _matmul(e: Emitter, a: Attributes, left: Value, right: Value) -> Value:
    names = []
    for value, flag in ((left, a["transpose_a"]), (right, a["transpose_b"])):
        order = (*range(value.rank - 2), value.rank - 1, value.rank - 2)
        if not flag:
            names.append(e.name(value))
        elif value.data is not None:
            names.append(e.stored(value, value.data.transpose(order)))
        else:
            names.append(e.add("Transpose", [e.name(value)], perm=order))
    return e.value(e.labelled("MatMul", names))


def _kernel(e: Emitter, w: Value) -> str:
    """[..., in, out] as [out, in, ...]."""
    order = (w.rank - 1, w.rank - 2, *range(w.rank - 2))
    if w.data is not None:
        return e.stored(w, w.data.transpose(order))
    return e.add("Transpose", [e.name(w)], perm=order)


@form("conv2d")
def _convolution(e: Emitter, a: Attributes, x: Value, w: Value) -> Value:
    made = e.labelled(
        "Conv",
        [e.name(x, FIRST), _kernel(e, w)],
        kernel_shape=w.type.shape[:-2],
        strides=_list(a, "strides"),
        dilations=_list(a, "dilation"),
        pads=_pads(a),
        group=a["groups"],
    )
    return e.value(made, FIRST)


@form("conv2d_grad_input")
def _transposed_convolution(e: Emitter, a: Attributes, d: Value, w: Value) -> Value:
    window, strides, dilation = w.type.shape[:-2], _list(a, "strides"), _list(a, "dilation")
    pads, size = _pads(a), _list(a, "size")
    rest = [
        size[i]
        - (d.type.shape[1 + i] - 1) * strides[i]
        - (window[i] - 1) * dilation[i]
        - 1
        + pads[i]
        + pads[i + len(window)]
        for i in range(len(window))
    ]
    made = e.labelled(
        "ConvTranspose",
        [e.name(d, FIRST), _kernel(e, w)],
        kernel_shape=window,
        strides=strides,
        dilations=dilation,
        pads=pads,
        output_padding=rest,
        group=a["groups"],
    )
    return e.value(made, FIRST)


def _pads(a: Attributes) -> list[int]:
    """Borders of axis after axis, as all the first ones and then all the last ones."""
    given = _list(a, "padding")
    return given[0::2] + given[1::2]


def _window(a: Attributes) -> dict[str, Any]:
    return {
        "kernel_shape": _list(a, "window"),
        "strides": _list(a, "strides"),
        "dilations": _list(a, "dilation"),
        "pads": _pads(a),
    }


@form("max_pool2d")
def _max_pool(e: Emitter, a: Attributes, x: Value) -> Value:
    return e.value(e.labelled("MaxPool", [e.name(x, FIRST)], **_window(a)), FIRST)


@form("avg_pool2d")
def _average_pool(e: Emitter, a: Attributes, x: Value) -> Value:
    made = e.labelled(
        "AveragePool",
        [e.name(x, FIRST)],
        count_include_pad=a["count_include_pad"],
        **_window(a),
    )
    return e.value(made, FIRST)


# Reductions


@form("reduce_sum", "reduce_max")
def _reduce(e: Emitter, a: Attributes, x: Value) -> Value:
    op = "ReduceSum" if e.operator == "reduce_sum" else "ReduceMax"
    axes, keep = _list(a, "axes"), a["keepdims"]
    layout = e.layout(x)
    spatial = list(range(1, x.rank - 1))
    if layout == FIRST and not (keep or axes == spatial):
        layout = PLAIN
    if layout == FIRST:
        axes = sorted(axis if axis == 0 else 1 if axis == x.rank - 1 else axis + 1 for axis in axes)
    made = e.labelled(op, [e.name(x, layout), e.integers(*axes)], keepdims=keep)
    return e.value(made, layout if keep else PLAIN)


@form("argmax")
def _argmax(e: Emitter, a: Attributes, x: Value) -> Value:
    from onnx import TensorProto

    found = e.add("ArgMax", [e.name(x)], axis=a["axis"], keepdims=0)
    return e.value(e.labelled("Cast", [found], to=TensorProto.INT32))


@form("top_k")
def _top_k(e: Emitter, a: Attributes, x: Value) -> list[Value]:
    from onnx import TensorProto

    axis, largest, given = integer(a, "axis"), integer(a, "largest"), e.name(x)
    count = e.integers(integer(a, "k"))
    values, found = e.pair("TopK", [given, count], axis=axis, largest=largest)
    if not a["sorted"]:
        _, order = e.pair("TopK", [found, count], axis=axis, largest=0)
        found = e.add("GatherElements", [found, order], axis=axis)
        values = e.add("GatherElements", [given, found], axis=axis)
    positions = e.value(e.add("Cast", [found], to=TensorProto.INT32))
    positions.whole = True
    return [e.value(values), positions]


@form("cumsum")
def _cumsum(e: Emitter, a: Attributes, x: Value) -> Value:
    flags = {n: integer(a, n) for n in ("exclusive", "reverse")}
    axis = e.constant(np.asarray(integer(a, "axis"), dtype=np.int64), "axis")
    return e.value(e.labelled("CumSum", [e.name(x), axis], **flags))


# Shapes


@form("reshape")
def _reshape(e: Emitter, a: Attributes, x: Value) -> Value:
    return e.value(e.labelled("Reshape", [e.name(x), e.integers(*_list(a, "shape"))]))


@form("transpose")
def _transpose(e: Emitter, a: Attributes, x: Value) -> Value:
    return e.value(e.labelled("Transpose", [e.name(x)], perm=_list(a, "permutation")))


@form("concat")
def _concat(e: Emitter, a: Attributes, *xs: Value) -> Value:
    layout, axis = e.layout(*xs), integer(a, "axis")
    if layout == FIRST:
        axis = axis if axis == 0 else 1 if axis == xs[0].rank - 1 else axis + 1
    return e.value(e.labelled("Concat", [e.name(x, layout) for x in xs], axis=axis), layout)


@form("slice")
def _slice(e: Emitter, a: Attributes, x: Value) -> Value:
    lists = [_list(a, name) for name in ("begin", "end", "strides")]
    rows = [
        (begin, end, axis, step)
        for axis, (begin, end, step) in enumerate(zip(*lists, strict=True))
        if x.type.shape[axis] != -1 and (begin, end, step) != (0, x.type.shape[axis], 1)
    ]
    if not rows:
        return Value(x.type, names=dict(x.names))
    parts = [e.integers(*column) for column in zip(*rows, strict=True)]
    return e.value(e.labelled("Slice", [e.name(x), *parts]))


@form("pad")
def _pad(e: Emitter, a: Attributes, x: Value) -> Value:
    before, after = _list(a, "before"), _list(a, "after")
    layout = e.layout(x)
    if layout == FIRST:
        before, after = ([v[0], v[-1], *v[1:-1]] for v in (before, after))
    return e.value(
        e.labelled("Pad", [e.name(x, layout), e.integers(*before, *after)], mode="constant"), layout
    )


@form("broadcast_to")
def _broadcast(e: Emitter, a: Attributes, x: Value) -> Value:
    wanted = _list(a, "shape")
    given = e.name(x)
    if -1 not in x.type.shape and -1 in wanted:
        at = wanted.index(-1)
        parts = [e.integers(*wanted[:at])] if at else []
        parts.append(e.batch_size())
        parts += [e.integers(*wanted[at + 1 :])] if wanted[at + 1 :] else []
        shape = parts[0] if len(parts) == 1 else e.add("Concat", parts, axis=0)
    else:
        shape = e.integers(*(1 if d == -1 else d for d in wanted))
    return e.value(e.labelled("Expand", [given, shape]))


@form("gather")
def _gather(e: Emitter, a: Attributes, x: Value, indices: Value) -> Value:
    return e.value(e.labelled("Gather", [e.name(x), e.name(indices)], axis=0))
