"""TensorFlow's operators, one after the other, as operators of the graph.

Nodes are translated on demand from the outputs, so what no output needs is never looked at, and a
pattern (gelu, silu, a dilated convolution, padding before a window) asks only for what feeds it.
Three kinds of value meet here: tensors of the graph, constants, and integers worked out of shapes,
in which the batch is a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError, ImportModelError
from gvm.graph import Graph
from gvm.importers import Problem, UnsupportedModel
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import (
    ALONE,
    POISON,
    Dimensions,
    Opaque,
    Operand,
    Poison,
    Shapes,
    Tensor,
    Uniform,
    integers,
    objects_of,
)
from gvm.importers.uniform import settle

__all__ = ["translate"]


Emit = Callable[..., Any]


@dataclass(frozen=True)
class Plan:
    """What a node needs, and how it is made when that is there."""

    inputs: tuple[Any, ...]
    emit: Emit
    is_plain: bool = False
    """Whether it is the node alone, with all that it reads."""


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

_NO_TRANSLATION = (
    "no translation; nearest supported form: MatMul, Conv2D, pooling, arithmetic and activations"
)
HINTS = {
    "GatherV2": "nearest supported form: Embedding of an integer input, or one-hot and MatMul",
    "MirrorPad": "nearest supported form: Pad",
    "LogSoftmax": "nearest supported form: Softmax, or logits and the loss softmax_cross_entropy",
    "FusedBatchNorm": "nearest supported form: FusedBatchNormV3 with is_training=False",
    "RandomUniform": "nearest supported form: a model in inference mode",
}


def translate(
    description: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, Constant],
    is_file: bool = False,
) -> Graph:
    """The graph between tensors of a frozen tf.Graph, its constants given by tensor name.

    ``is_file``: nobody knows which constants were variables.
    """
    translator = Translator(constants, is_file)
    for tensor in inputs:
        translator.add_input(description, tensor)
    made = [translator.get(tensor) for tensor in outputs]
    if translator.problems:
        raise UnsupportedModel(description, tuple(translator.problems))
    values = []
    for tensor, result in zip(outputs, made, strict=True):
        if not isinstance(result, Tensor) or result.merged != ALONE:
            what = (
                "merges the batch with another axis"
                if isinstance(result, Tensor)
                else result.reason
                if isinstance(result, Opaque)
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


class Translator(Shapes):
    """Walks from the outputs to the inputs and back."""

    def __init__(self, constants: Mapping[str, Constant], is_file: bool = False) -> None:
        super().__init__()
        self.problems: list[Problem] = []
        self.done: dict[str, Any] = dict(constants)
        self.is_file = is_file
        self.functions: dict[str, Any] = {}
        """Graphs of functions by name."""
        self._library: Any = None
        self._evaluators: dict[Any, Callable[..., Any]] = {}
        self._session: Any = None

    def library(self, op: Any) -> Any:
        """The definitions of the source's functions."""
        if self._library is None:
            self._library = op.graph.as_graph_def().library.function
        return self._library

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
        whole = _only_names_rows(tensor) or _is_cast_to_rows(tensor)
        dtype = "i32" if whole else "bool" if tensor.dtype.is_bool else "real"
        self.done[tensor.name] = Tensor(self.g.input(tensor.op.name, (-1, *rest), dtype))

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
        return Plan(tuple(op.inputs), partial(self.emit, op), True)

    def run(self, op: Any, plan: Plan) -> None:
        operands = [self.done[t.name] for t in plan.inputs]
        result: Any = POISON
        if not any(isinstance(x, Poison) for x in operands):
            try:
                if any(isinstance(x, Opaque) for x in operands) and not plan.is_plain:
                    raise Refusal(next(x.reason for x in operands if isinstance(x, Opaque)))
                result = plan.emit(*operands)
            except (Refusal, GvmError, ValueError) as error:
                self.problems.append(Problem(op.name, op.type, str(error)))
        elif self._is_at_fault(op):
            self.problems.append(Problem(op.name, op.type, HINTS.get(op.type, _NO_TRANSLATION)))
        results = result if isinstance(result, list) else [result] * len(op.outputs)
        for tensor, value in zip(op.outputs, results, strict=True):
            self.done[tensor.name] = value

    def _is_at_fault(self, op: Any) -> bool:
        """Whether a node has no translation whatever it reads."""
        if op.type in (*HANDLERS, *DECIDED, *_SAME, *_SHAPES, *_OF_CONSTANTS, "IdentityN"):
            return False
        return op.type not in _INTEGER or bool(op.outputs[0].dtype.is_floating)

    def emit(self, op: Any, *operands: Operand) -> Any:
        """An operator by its kind of operands."""
        if op.type == "IdentityN":
            return list(operands)
        if op.type in _SAME:
            return operands[0]
        for decide in DECIDED_FIRST:
            made = decide(self, op, *operands)
            if made is not NotImplemented:
                return made
        if op.type in DECIDED:
            made = DECIDED[op.type](self, op, *operands)
            if made is not NotImplemented:
                return made
        if op.type in _SHAPES:
            return self.shape_of(op.type, operands[0])
        if any(isinstance(x, Uniform) for x in operands):
            settled = settle(self, op.type, operands)
            if not isinstance(settled, list):
                return settled
            operands = tuple(settled)
        if any(isinstance(x, Tensor) for x in operands):
            if op.type not in HANDLERS:
                raise Refusal(HINTS.get(op.type, _NO_TRANSLATION))
            return HANDLERS[op.type](self, op, *operands)
        if any(isinstance(x, Dimensions) for x in operands):
            if op.type not in _INTEGER:
                unknown = op.type not in (*HANDLERS, *DECIDED, *_OF_CONSTANTS)
                hint = HINTS.get(op.type, _NO_TRANSLATION)
                raise Refusal(hint if unknown else "works out a shape from the batch size")
            return integers(_INTEGER[op.type](op, *(objects_of(x) for x in operands)))
        return self.evaluate(op, [x for x in operands if isinstance(x, Constant)])

    def evaluate(self, op: Any, constants: Sequence[Constant]) -> Any:
        """A node of constants that appeared during translation, worked out by TensorFlow."""
        if op.op_def.is_stateful:
            raise Refusal(HINTS.get(op.type, _NO_TRANSLATION))
        if op not in self._evaluators:
            self._evaluators[op] = self._evaluator(op)
        try:
            arrays = self._evaluators[op](*(c.data for c in constants))
        except Exception as error:  # a tf.errors.OpError, or ValueError of a feed
            raise Refusal(
                f"a node of constants that cannot be worked out: {_in_short(error)}"
            ) from error
        trained = {c.name for c in constants if c.trainable}
        name = next(iter(trained)) if len(trained) == 1 else op.name
        return [
            Constant(np.asarray(a), name, bool(trained) and np.asarray(a).dtype.kind == "f")
            for a in arrays
        ]

    def _evaluator(self, op: Any) -> Callable[..., Any]:
        import tensorflow as tf

        if self._session is None:
            self._session = tf.compat.v1.Session(graph=tf.Graph())
        graph = self._session.graph
        with graph.as_default():
            given = [tf.compat.v1.placeholder(t.dtype) for t in op.inputs]
            attributes = {k: v for k, v in op.node_def.attr.items() if not k.startswith("_")}
            made = graph.create_op(
                op.type, given, [t.dtype for t in op.outputs], attrs=attributes, op_def=op.op_def
            )
        run: Callable[..., Any] = self._session.make_callable(list(made.outputs), given)
        return run


# Plain helpers


def _in_short(error: Exception) -> str:
    """What TensorFlow says of an operator, without where it was called from."""
    lines = str(getattr(error, "message", error)).splitlines() or [type(error).__name__]
    after = next((i + 1 for i, line in enumerate(lines[:-1]) if line.startswith("Node: ")), 0)
    return lines[after].strip()


def _only_names_rows(tensor: Any) -> bool:
    """Whether an integer tensor is read as the row numbers of tables and as nothing else, but
    compared with constants."""
    if not tensor.dtype.is_integer:
        return False
    readers = tensor.consumers()
    return bool(readers) and all(_names_rows(tensor, op) for op in readers)


def _is_cast_to_rows(tensor: Any) -> bool:
    """Whether real numbers are only cast to such an integer tensor, as Keras does."""
    readers = tensor.consumers()
    return bool(readers) and all(
        op.type == "Cast" and _only_names_rows(op.outputs[0]) for op in readers
    )


_COMPARISONS = ("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")


_HANDS_ON = (
    *("Identity", "Cast", "ExpandDims", "Pack", "Reshape", "Slice", "Split", "SplitV", "Squeeze"),
    *("StridedSlice", "Transpose", "Unpack"),
)
"""Operators whose results are elements of their operand."""


def _names_rows(tensor: Any, op: Any) -> bool:
    if op.type in ("GatherV2", "GatherNd", "ResourceGather", "OneHot"):
        place = 0 if op.type == "OneHot" else 1
        return bool(op.inputs[place].name == tensor.name)
    if op.type in _COMPARISONS and all(t.op.type == "Const" for t in op.inputs if t is not tensor):
        return True
    if op.type == "AddV2":
        return all(from_the_end(r.outputs[0], tensor) for r in op.outputs[0].consumers())
    passes = op.type in _HANDS_ON or from_the_end(op.outputs[0], tensor)
    return passes and all(_only_names_rows(made) for made in op.outputs)


def from_the_end(tensor: Any, index: Any) -> bool:
    """Whether this is an index that counts from the end where it is negative: Keras's wrap."""
    op = tensor.op
    if op.type != "SelectV2" or op.inputs[2].name != index.name:
        return False
    condition, added = op.inputs[0].op, op.inputs[1].op
    return bool(
        condition.type == "Less"
        and added.type == "AddV2"
        and condition.inputs[0].name == added.inputs[0].name == index.name
    )


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
    """The axes of an image, a letter each."""
    layout = attribute_of(op, "data_format", "NHWC") or "NHWC"
    if layout not in ("NHWC", "NCHW", "NDHWC", "NCDHW"):
        raise Refusal(f"data_format must be NHWC, NCHW, NDHWC or NCDHW, received {layout}")
    return str(layout)


def spatial_of(op: Any, name: str, rank: int = 2) -> tuple[int, ...]:
    """The spatial entries of a list attribute; the others must be 1."""
    given = [int(v) for v in attribute_of(op, name) or [1] * (rank + 2)]
    first = 1 if layout_of(op)[-1] == "C" else 2
    if any(v != 1 for v in given[:first] + given[first + rank :]):
        raise Refusal(f"{name} must be 1 outside of the spatial axes, received {given}")
    return tuple(given[first : first + rank])


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


_OF_CONSTANTS = ("Range", "LinSpace")
"""Understood where constants are left of what they read."""

Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}
DECIDED: dict[str, Handler] = {}
"""Operators that take operands of every kind; NotImplemented leaves them to the others."""
DECIDED_FIRST: list[Handler] = []
"""The same for every operator: what some kind of operand makes of each."""
PATTERNS: dict[str, Callable[[Translator, Any], Plan | None]] = {}


def handles(*types: str) -> Callable[[Handler], Handler]:
    """Registers a function as the translation of these operators."""

    def register(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(types, function))
        return function

    return register


def decides(*types: str) -> Callable[[Handler], Handler]:
    """Registers a function as the translation of these operators, whatever their operands are."""

    def register(function: Handler) -> Handler:
        DECIDED.update(dict.fromkeys(types, function))
        return function

    return register


def known_constant(t: Translator, tensor: Any) -> Constant | None:
    found = t.done.get(tensor.name)
    if found is None:
        found = t.done.get(behind(tensor).name)
    return found if isinstance(found, Constant) else None
