"""TensorFlow's operators, one after the other, as operators of the graph.

Nodes are translated on demand from the outputs, so what no output needs is never looked at, and a
pattern (gelu, silu, a dilated convolution, padding before a window) asks only for what feeds it.
Three kinds of value meet here: tensors of the graph, constants, and integers worked out of shapes,
in which the batch is a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError, ImportModelError
from gvm.graph import Graph, Value
from gvm.importers import Problem, UnsupportedModel
from gvm.importers.lowering import Constant, Lowering, Refusal

__all__ = ["translate"]


@dataclass(frozen=True)
class Batch:
    """A dimension that is a multiple of the batch size."""

    times: int

    def __mul__(self, other: int) -> Batch:
        if not isinstance(other, (int, np.integer)):
            raise Refusal("multiplies the batch size by itself")
        return Batch(self.times * int(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Batch) -> int | Batch:
        if isinstance(other, Batch) and self.times % other.times == 0:
            return self.times // other.times
        if not isinstance(other, (int, np.integer)) or self.times % int(other):
            raise Refusal("divides the batch size")
        return Batch(self.times // int(other))


@dataclass(frozen=True, eq=False)
class Dimensions:
    """Integers of which at least one is a :class:`Batch`: an object array."""

    data: NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """A value of the graph; its first ``merged`` axes are the first axis of TensorFlow's tensor."""

    value: Value
    merged: int = 1


class _Poison:
    """Stands for the outputs of a node that has no translation."""


POISON = _Poison()
Operand = Tensor | Constant | Dimensions
Emit = Callable[..., Any]


@dataclass(frozen=True)
class Plan:
    """What a node needs, and how it is made when that is there."""

    inputs: tuple[Any, ...]
    emit: Emit


_SAME = (
    "Identity",
    "StopGradient",
    "PreventGradient",
    "CheckNumerics",
    "Snapshot",
    "EnsureShape",
    "PlaceholderWithDefault",
)
_SHAPES = ("Shape", "Size", "Rank")
POSITIVE = ("Relu", "Relu6", "Sigmoid", "Softmax", "Exp", "Softplus", "Square", "Sqrt")
WINDOWS = ("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool")

_NO_TRANSLATION = (
    "no translation; nearest supported form: MatMul, Conv2D, pooling, arithmetic and activations"
)
HINTS = {
    "GatherV2": "nearest supported form: a one-hot input and MatMul",
    "ResourceGather": "nearest supported form: a one-hot input and MatMul",
    "MirrorPad": "nearest supported form: Pad",
    "Conv2DBackpropInput": "nearest supported form: up-sampling and Conv2D",
    "Conv3D": "nearest supported form: Conv2D",
    "MaxPool3D": "nearest supported form: MaxPool",
    "AvgPool3D": "nearest supported form: AvgPool",
    "LRN": "nearest supported form: batch normalisation",
    "LogSoftmax": "nearest supported form: Softmax, or logits and the loss softmax_cross_entropy",
    "ArgMax": "nearest supported form: the logits themselves",
    "While": "nearest supported form: an unrolled loop",
    "StatelessWhile": "nearest supported form: an unrolled loop",
    "If": "nearest supported form: one branch, chosen before import",
    "StatelessIf": "nearest supported form: one branch, chosen before import",
    "FusedBatchNorm": "nearest supported form: FusedBatchNormV3 with is_training=False",
    "RandomUniform": "nearest supported form: a model in inference mode",
}


def translate(
    description: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, Constant],
) -> Graph:
    """The graph between tensors of a frozen tf.Graph, its constants given by tensor name."""
    translator = Translator(constants)
    for tensor in inputs:
        translator.add_input(description, tensor)
    made = [translator.get(tensor) for tensor in outputs]
    if translator.problems:
        raise UnsupportedModel(description, tuple(translator.problems))
    values = []
    for tensor, result in zip(outputs, made, strict=True):
        if not isinstance(result, Tensor) or result.merged != 1:
            what = (
                "merges the batch with another axis"
                if isinstance(result, Tensor)
                else "does not depend on the inputs"
            )
            raise ImportModelError(f"{description}: output {tensor.name!r} {what}")
        values.append(result.value)
    wrong = translator.low.not_finite
    if wrong:
        raise ImportModelError(
            f"{description}: weights must be finite: "
            + "; ".join(f"{name!r} has {what}" for name, what in wrong.items())
        )
    return translator.low.g.graph(predict=values)


class Translator:
    """Walks from the outputs to the inputs and back."""

    def __init__(self, constants: Mapping[str, Constant]) -> None:
        self.low = Lowering()
        self.g = self.low.g
        self.problems: list[Problem] = []
        self.done: dict[str, Any] = dict(constants)
        self.stored_batch: int | None = None

    def add_input(self, description: str, tensor: Any) -> None:
        if tensor.shape.rank is None or tensor.shape.rank == 0:
            raise ImportModelError(
                f"{description}: input {tensor.name!r} needs a batch axis and a known rank, "
                f"its shape is {tensor.shape}"
            )
        first, *rest = tensor.shape.as_list()
        if None in rest:
            raise ImportModelError(
                f"{description}: input {tensor.name!r}: every dimension but the batch must be "
                f"known, received {tensor.shape}"
            )
        self.stored_batch = self.stored_batch or first
        self.done[tensor.name] = Tensor(self.g.input(tensor.op.name, (-1, *rest)))

    # Walking

    def get(self, tensor: Any) -> Any:
        """The translation of a tensor, after that of everything it needs."""
        waiting = [tensor]
        plans: dict[str, Plan] = {}
        while waiting:
            current = waiting[-1]
            if current.name in self.done:
                waiting.pop()
                continue
            name = current.op.name
            if name not in plans:
                plans[name] = self.plan(current.op)
                waiting.extend(t for t in plans[name].inputs if t.name not in self.done)
            else:
                self.run(current.op, plans[name])
        return self.done[tensor.name]

    def plan(self, op: Any) -> Plan:
        pattern = PATTERNS.get(op.type)
        found = pattern(self, op) if pattern else None
        if found is not None:
            return found
        if (
            op.type == "IdentityN"
            or op.type in _SAME
            or op.type in HANDLERS
            or op.type in _SHAPES
            or op.type in _INTEGER
        ):
            return Plan(tuple(op.inputs), partial(self.emit, op))
        hint = HINTS.get(op.type, _NO_TRANSLATION)
        self.problems.append(Problem(op.name, op.type, hint))
        return Plan(tuple(op.inputs), lambda *operands: POISON)

    def run(self, op: Any, plan: Plan) -> None:
        operands = [self.done[t.name] for t in plan.inputs]
        result: Any = POISON
        if not any(isinstance(x, _Poison) for x in operands):
            try:
                result = plan.emit(*operands)
            except (Refusal, GvmError, ValueError) as error:
                self.problems.append(Problem(op.name, op.type, str(error)))
        elif op.type not in HANDLERS and op.type in _INTEGER and op.outputs[0].dtype.is_floating:
            self.problems.append(Problem(op.name, op.type, HINTS.get(op.type, _NO_TRANSLATION)))
        results = result if isinstance(result, list) else [result] * len(op.outputs)
        for tensor, value in zip(op.outputs, results, strict=True):
            self.done[tensor.name] = value

    def emit(self, op: Any, *operands: Operand) -> Any:
        """An operator by its kind of operands."""
        if op.type == "IdentityN":
            return list(operands)
        if op.type in _SAME:
            return operands[0]
        if op.type in _SHAPES:
            return self.shape_of(op.type, operands[0])
        if any(isinstance(x, Tensor) for x in operands):
            if op.type not in HANDLERS:
                raise Refusal(HINTS.get(op.type, _NO_TRANSLATION))
            return HANDLERS[op.type](self, op, *operands)
        if any(isinstance(x, Dimensions) for x in operands):
            if op.type not in _INTEGER:
                raise Refusal("works out a shape from the batch size")
            return _integers(_INTEGER[op.type](op, *(objects_of(x) for x in operands)))
        return self.evaluate(op, [x.data for x in operands if isinstance(x, Constant)])

    def evaluate(self, op: Any, arrays: Sequence[NDArray[Any]]) -> Any:
        """A node of constants that appeared during translation, worked out by TensorFlow."""
        import tensorflow as tf

        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            given = [tf.constant(a, dtype=t.dtype) for a, t in zip(arrays, op.inputs, strict=True)]
            definition = tf.compat.v1.NodeDef()
            definition.CopyFrom(op.node_def)
            del definition.input[:]
            definition.input.extend(t.name for t in given)
            graph_def = graph.as_graph_def()
            graph_def.node.append(definition)
            tf.graph_util.import_graph_def(graph_def, name="evaluated")
            made = graph.get_operation_by_name(f"evaluated/{op.name}")
            return [Constant(np.asarray(a), op.name) for a in session.run(list(made.outputs))]

    # Shapes

    def dims(self, x: Tensor) -> list[Any]:
        """TensorFlow's shape of a tensor."""
        shape: list[Any] = [Batch(1) if d == -1 else d for d in self.g.shape(x.value)]
        first: Any = 1
        for d in shape[: x.merged]:
            first = first * d
        return [first, *shape[x.merged :]]

    def shape_of(self, kind: str, x: Operand) -> Operand:
        dims = self.dims(x) if isinstance(x, Tensor) else list(x.data.shape)
        if kind == "Rank":
            return Constant(np.asarray(len(dims)), "rank")
        if kind == "Size":
            size: Any = 1
            for d in dims:
                size = size * d
            dims = [size]
        array = np.empty(len(dims), dtype=object)
        array[:] = dims
        return _integers(array if kind == "Shape" else array.reshape(()))

    def reshape(self, x: Tensor, target: Sequence[Any]) -> Tensor:
        """TensorFlow's reshape; -1 is worked out, a stored batch size becomes the batch."""
        source = self.g.shape(x.value)
        axis = source.index(-1)
        total = math.prod(source[:axis]) * math.prod(source[axis + 1 :])
        wanted = self._with_batch(list(target), total)
        at = next(i for i, d in enumerate(wanted) if isinstance(d, Batch))
        before, rest = [int(d) for d in wanted[:at]], [int(d) for d in wanted[at + 1 :]]
        times = wanted[at].times
        if math.prod(before) * times * math.prod(rest) != total:
            raise Refusal(
                f"reshapes {text_of(self.dims(x))} to {text_of(target)}: the sizes differ"
            )
        if math.prod(before) != math.prod(source[:axis]) or (before and times > 1):
            raise Refusal(
                f"reshapes {text_of(self.dims(x))} to {text_of(target)}: "
                "the batch must stay an axis of its own"
            )
        if times == 1:
            return Tensor(self.low.reshape(x.value, [*before, -1, *rest]))
        kept = source[: len(source) - len(rest)]
        if axis == 0 and tuple(source[len(kept) :]) == tuple(rest) and math.prod(kept[1:]) == times:
            return Tensor(x.value, len(kept))
        return Tensor(self.low.reshape(x.value, [-1, times, *rest]), 2)

    def _with_batch(self, wanted: list[Any], total: int) -> list[Any]:
        free = [i for i, d in enumerate(wanted) if not isinstance(d, Batch) and d == -1]
        batches = [d for d in wanted if isinstance(d, Batch)]
        known = math.prod(
            int(d) for i, d in enumerate(wanted) if not isinstance(d, Batch) and i not in free
        )
        if len(batches) > 1 or len(free) > 1 or known == 0:
            raise Refusal(f"reshapes to {text_of(wanted)}, which is not definite")
        if batches:
            rest = batches[0].times * known
        elif free and total % known == 0 and (total == known or wanted[0] != self.stored_batch):
            wanted[free[0]] = Batch(total // known)
            return wanted
        elif self.stored_batch is not None and wanted and wanted[0] == self.stored_batch:
            wanted[0], rest = Batch(1), known // self.stored_batch
        else:
            raise Refusal(
                f"reshapes to {text_of(wanted)}: no axis is the batch; nearest supported form: -1"
            )
        if free:
            if total % rest:
                raise Refusal(f"reshapes to {text_of(wanted)}: {total} elements do not divide")
            wanted[free[0]] = total // rest
        return wanted

    def whole(self, x: Operand) -> Value:
        """The value of a tensor whose axes are TensorFlow's."""
        if not isinstance(x, Tensor):
            raise Refusal(
                "supported with a constant in this place only when the other operand is one too"
            )
        if x.merged != 1:
            raise Refusal(
                "the batch is merged with another axis; nearest supported form: the same before"
            )
        return x.value

    def axes(self, x: Tensor, given: Operand) -> tuple[int, ...]:
        """Axes to reduce over, none of them the batch, as axes of the value."""
        rank = len(self.dims(x))
        found = sorted({int(a) % rank for a in integers_of(given)})
        out = tuple(a + x.merged - 1 for a in found)
        if any(a == 0 and x.merged > 1 for a in found) or self.g.shape(x.value).index(-1) in out:
            raise Refusal(
                "reduces over the batch; nearest supported form: the same over the other axes"
            )
        return out


# Plain helpers


def text_of(dims: Sequence[Any]) -> str:
    return (
        "["
        + ", ".join(
            "batch" + (f"*{d.times}" if d.times != 1 else "") if isinstance(d, Batch) else str(d)
            for d in dims
        )
        + "]"
    )


def objects_of(x: Operand) -> NDArray[Any]:
    if isinstance(x, Tensor):
        raise Refusal("works out a shape from values")
    return x.data.astype(object)


def _integers(array: NDArray[Any]) -> Operand:
    """Integers as a constant once none of them is the batch."""
    if any(isinstance(d, Batch) for d in array.reshape(-1)):
        return Dimensions(array)
    return Constant(array.astype(np.int64), "shape")


def integers_of(x: Operand) -> list[int]:
    if not isinstance(x, Constant):
        raise Refusal("needs constant integers, received values that depend on the input")
    return [int(v) for v in x.data.reshape(-1)]


def behind(tensor: Any) -> Any:
    """The tensor behind operators that pass it on."""
    while True:
        op = tensor.op
        if op.type == "IdentityN":
            tensor = op.inputs[tensor.value_index]
        elif op.type in _SAME and op.type != "PlaceholderWithDefault" and op.inputs:
            tensor = op.inputs[0]
        else:
            return tensor


def attribute_of(op: Any, name: str, default: Any = None) -> Any:
    try:
        value = op.get_attr(name)
    except ValueError:
        return default
    return value.decode() if isinstance(value, bytes) else value


def layout_of(op: Any) -> str:
    layout = attribute_of(op, "data_format", "NHWC") or "NHWC"
    if layout not in ("NHWC", "NCHW"):
        raise Refusal(f"data_format must be NHWC or NCHW, received {layout}")
    return str(layout)


def spatial_of(op: Any, name: str) -> tuple[int, int]:
    """The two spatial entries of a list attribute; the others must be 1."""
    given = list(attribute_of(op, name) or [1, 1, 1, 1])
    first = layout_of(op).index("H")
    h, w = given[first : first + 2]
    if any(v != 1 for v in given[:first] + given[first + 2 :]):
        raise Refusal(f"{name} must be 1 outside of height and width, received {given}")
    return int(h), int(w)


def must_be_constant(x: Operand, what: str) -> Constant:
    if not isinstance(x, Constant):
        raise Refusal(f"the {what} must be constant, it depends on the input")
    return x


# Integers worked out of shapes: object arrays in, an object array out


def indices_of(op: Any, begin: Any, end: Any, step: Any) -> tuple[Any, ...]:
    masks = {
        m: int(op.get_attr(f"{m}_mask"))
        for m in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    index: list[Any] = []
    for i, (b, e, s) in enumerate(zip(begin, end, step, strict=True)):
        bit = 1 << i
        if masks["ellipsis"] & bit:
            index.append(Ellipsis)
        elif masks["new_axis"] & bit:
            index.append(None)
        elif masks["shrink_axis"] & bit:
            index.append(int(b))
        else:
            index.append(
                slice(
                    None if masks["begin"] & bit else int(b),
                    None if masks["end"] & bit else e,
                    int(s),
                )
            )
    return tuple(index)


def _sliced_integers(
    op: Any, x: NDArray[Any], begin: NDArray[Any], end: NDArray[Any], step: NDArray[Any]
) -> NDArray[Any]:
    return np.asarray(
        x[indices_of(op, begin, [int(e) for e in end.reshape(-1)], step)], dtype=object
    )


def _product(op: Any, x: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
    kept = bool(op.get_attr("keep_dims"))
    over = tuple(int(a) for a in axes.reshape(-1))
    return np.asarray(np.prod(x, axis=over, keepdims=kept), dtype=object)


def _packed(op: Any, *xs: NDArray[Any]) -> NDArray[Any]:
    return np.stack([np.asarray(x, dtype=object) for x in xs], axis=int(op.get_attr("axis")))


def _gathered(op: Any, x: NDArray[Any], indices: NDArray[Any], axis: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(
        np.take(x, indices.astype(np.int64), axis=int(axis.reshape(-1)[0])), dtype=object
    )


def _cast(op: Any, x: NDArray[Any]) -> NDArray[Any]:
    if not op.outputs[0].dtype.is_integer:
        raise Refusal("computes with the batch size")
    return x


_INTEGER: dict[str, Callable[..., NDArray[Any]]] = {
    "StridedSlice": _sliced_integers,
    "Prod": _product,
    "Pack": _packed,
    "GatherV2": _gathered,
    "Cast": _cast,
    "ConcatV2": lambda op, *xs: np.concatenate(
        [np.atleast_1d(x) for x in xs[:-1]], axis=int(xs[-1].reshape(-1)[0])
    ),
    "Mul": lambda op, a, b: np.asarray(a * b, dtype=object),
    "FloorDiv": lambda op, a, b: np.asarray(a // b, dtype=object),
    "Reshape": lambda op, x, shape: x.reshape([int(d) for d in shape.reshape(-1)]),
    "Squeeze": lambda op, x: x.reshape([d for d in x.shape if d != 1]),
    "ExpandDims": lambda op, x, axis: np.expand_dims(x, int(axis.reshape(-1)[0])),
    "Fill": lambda op, dims, value: np.full(
        [int(d) for d in dims.reshape(-1)], value, dtype=object
    ),
}


Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}
PATTERNS: dict[str, Callable[[Translator, Any], Plan | None]] = {}


def handles(*types: str) -> Callable[[Handler], Handler]:
    """Registers a function as the translation of these operators."""

    def register(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(types, function))
        return function

    return register


def known_constant(t: Translator, tensor: Any) -> Constant | None:
    found = t.done.get(tensor.name)
    if found is None:
        found = t.done.get(behind(tensor).name)
    return found if isinstance(found, Constant) else None
