"""ONNX's operators, one after the other, as operators of the graph.

Each node is brought to one form first: what old operator sets say by attributes (axes, shapes,
bounds, broadcasting) becomes operands. Then it is worked out where all of it is constant, computed
with the batch as a symbol where it is made of shapes, and translated where it is a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError
from gvm.functions import BY_NAME
from gvm.importers import Problem
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_integers import INTEGER_FORMS
from gvm.importers.onnx_misfits import broken_rule, check_axis, misfit
from gvm.importers.onnx_whole import stated
from gvm.importers.shapes import (
    POISON,
    Opaque,
    Operand,
    Poison,
    Shapes,
    Tensor,
    TensorList,
    Uniform,
    integers,
    objects_of,
)
from gvm.importers.uniform import settle

__all__ = ["HANDLERS", "Node", "Translator", "constant_or", "handles", "is_trained"]

SAME = ("Identity", "Dropout")
_SHAPES = ("Shape", "Size")
_NO_TRANSLATION = (
    "no translation; nearest supported form: Conv, MatMul, Gemm, pooling, arithmetic, activations"
)
HINTS = {
    "Einsum": "nearest supported form: Transpose and MatMul",
    "Attention": "nearest supported form: MatMul, Softmax, MatMul",
    "Equal": "nearest supported form: arithmetic without conditions on values",
    "Where": "nearest supported form: arithmetic without conditions on values",
}

KNOWN: dict[str, tuple[int, ...]] = {
    "CenterCropPad": (1,),
    "ConstantOfShape": (0,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "If": (0,),
    "Loop": (0, 1),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "SequenceAt": (1,),
    "SequenceErase": (1,),
    "SequenceInsert": (2,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "STFT": (1, 3),
    "Tile": (1, 2),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **dict.fromkeys(
        (
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
            *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
        ),
        (1,),
    ),
}
"""Operands from which shapes, axes, indices or trip counts are worked out: their values must be
known when a model is translated. A handler adds its own by ``handles(..., known=...)``."""

# Attributes of old operator sets that are operands of newer ones, in the order of the operands.
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
_OPERANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Reshape": (("shape",),),
    "Squeeze": (("axes",),),
    "Unsqueeze": (("axes",),),
    "Slice": (("starts",), ("ends",), ("axes",)),
    "Pad": (("pads", "paddings"), ("value",)),
    "Split": (("split",),),
    "Clip": (("min",), ("max",)),
    "TopK": (("k",),),
    **dict.fromkeys(_REDUCTIONS, (("axes",),)),
}
_IGNORED = ("consumed_inputs",)
_BROADCASTING = (
    *("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "And", "Or", "Xor"),
    *("Equal", "Greater", "Less"),
)


@dataclass(frozen=True)
class Node:
    """A node of the source, with its attributes as Python values and arrays."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    version: int
    """Of the operator set."""

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        return float(self.attributes.get(name, default))

    def integers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        return [int(v) for v in self.attributes.get(name, default)]


def node_of(proto: Any, version: int) -> Node:
    """From a NodeProto."""
    from onnx import helper

    attributes = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        attributes[attribute.name] = (
            value.decode(errors="replace") if isinstance(value, bytes) else value
        )
    kind = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    outputs = tuple(proto.output)
    name = proto.name or next((o for o in outputs if o), "")
    return Node(name, kind, tuple(proto.input), outputs, attributes, version)


def is_trained(array: NDArray[Any]) -> bool:
    """Whether training may change an array of the source: weights, not single numbers."""
    return array.dtype.kind == "f" and array.ndim > 0 and array.size > 1


class Translator(Shapes):
    """Walks through a graph, whose nodes follow what they read."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.low.whole_numbers = True
        self.version = version
        self.training = False
        """Whether batch normalisations train."""
        self.problems: list[Problem] = []
        self.done: dict[str, Any] = {}
        self.read: set[str] = set()
        """Names that some node, or the outside, reads."""
        self._bodies: dict[int, Body] = {}

    def walk(self, graph: Any, outputs: Iterable[str]) -> None:
        """Translates the nodes that the outputs need."""
        for node in self.nodes_of(graph, outputs):
            self.run(node)

    def nodes_of(self, graph: Any, outputs: Iterable[str]) -> list[Node]:
        """The nodes that the outputs need, in order."""
        needed = set(outputs)
        kept = []
        for proto in reversed(graph.node):
            if needed.intersection(proto.output):
                kept.append(proto)
                needed.update(_reads(proto))
        self.read |= needed
        found = []
        for proto in reversed(kept):
            try:
                found.append(node_of(proto, self.version))
            except ValueError as error:  # an attribute of a type that ONNX does not know
                self.problems.append(Problem(proto.name, proto.op_type, str(error)))
                self.done.update(dict.fromkeys(proto.output, POISON))
        return found

    def run(self, node: Node) -> None:
        result: Any = POISON
        operands: list[Any] = []
        try:
            operands = [self._operand(name) for name in node.inputs]
            for i, x in enumerate(operands):
                if isinstance(x, Opaque) and node.type not in (*SAME, *x.readers):
                    operands[i] = x.tensor()
            if not any(isinstance(x, Poison) for x in operands):
                check_axis(self, node, operands)
                result = self._emit(node, operands)
            elif not self._is_known(node.type):
                raise Refusal(HINTS.get(node.type, _NO_TRANSLATION))
        except (Refusal, GvmError) as error:
            self.problems.append(Problem(node.name, node.type, str(error)))
        except ValueError as error:  # a rule of an operator, or an attribute of another type
            rule = broken_rule(node) or str(error)
            self.problems.append(Problem(node.name, node.type, rule))
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError):
            self.problems.append(Problem(node.name, node.type, misfit(self, node, operands)))
        results = list(result) if isinstance(result, list) else [result]
        if result is not POISON:
            results = stated(self, node, operands, results)
        for i, name in enumerate(node.outputs):
            if i < len(results):
                self.done[name] = results[i]
                continue
            self.done[name] = POISON
            if name in self.read and results[0] is not POISON:
                rule = f"its output {i + 1} is read; nearest supported form: the first one alone"
                self.problems.append(Problem(node.name, node.type, rule))

    def _operand(self, name: str) -> Any:
        if not name:
            return None
        if name not in self.done:
            raise Refusal(f"reads {name!r}, which nothing before it makes")
        return self.done[name]

    def _is_known(self, kind: str) -> bool:
        return (
            kind in HANDLERS
            or kind in DECIDED
            or kind in SAME
            or kind in _SHAPES
            or kind in INTEGER_FORMS
        )

    def _emit(self, node: Node, operands: list[Operand | None]) -> Any:
        """A node by the kind of its operands."""
        node, operands = self._one_form(node, operands)
        for decide in (DECIDED.get(node.type), *DECIDED_FIRST):
            made = NotImplemented if decide is None else decide(self, node, *operands)
            if made is not NotImplemented:
                return made
        if node.type in SAME:
            return self._same(node, operands)
        if node.type in _SHAPES and operands[0] is not None:
            return self._shape(node, operands[0])
        if any(isinstance(x, TensorList) for x in operands):
            raise Refusal(
                "reads a sequence; nearest supported form: SequenceAt, ConcatFromSequence"
            )
        if any(isinstance(x, Uniform) for x in operands):
            settled = settle(self, node.type, operands)
            if not isinstance(settled, list):
                return settled
            operands = settled
        given = [x for x in operands if x is not None]
        if node.type == "Constant" or all(isinstance(x, Constant) for x in given):
            return self.evaluate(node, operands)
        if any(isinstance(x, Tensor) for x in given):
            if node.type not in HANDLERS:
                raise Refusal(HINTS.get(node.type, _NO_TRANSLATION))
            while operands and operands[-1] is None:
                operands.pop()
            return HANDLERS[node.type](self, node, *operands)
        if node.type not in INTEGER_FORMS:
            raise Refusal("works out a shape from the batch size")
        arrays = [None if x is None else objects_of(x) for x in operands]
        try:
            return integers(INTEGER_FORMS[node.type](node, *arrays))
        except TypeError as error:  # a sum or comparison of the symbol
            raise Refusal("computes with the batch size") from error

    def _one_form(
        self, node: Node, operands: list[Operand | None]
    ) -> tuple[Node, list[Operand | None]]:
        attributes = {k: v for k, v in node.attributes.items() if k not in _IGNORED}
        operands = list(operands)
        for i, names in enumerate(_OPERANDS.get(node.type, ()), start=1):
            for name in names:
                if name in attributes:
                    operands += [None] * (i + 1 - len(operands))
                    array = np.asarray(attributes.pop(name))
                    if array.dtype.kind == "f":
                        array = array.astype(np.float32)
                    operands[i] = Constant(array, f"{node.name}/{name}")
        if node.type in _BROADCASTING and node.version < 7:
            axis = attributes.pop("axis", None)
            if attributes.pop("broadcast", 0) and axis is not None:
                operands[1] = self._aligned(operands[0], operands[1], int(axis))
        return Node(
            node.name, node.type, node.inputs, node.outputs, attributes, node.version
        ), operands

    def rank(self, x: Operand | None) -> int:
        """Number of axes in the source."""
        if x is None:
            raise Refusal("an operand is missing")
        return len(self.dims(x)) if isinstance(x, Tensor) else x.data.ndim

    def is_unary(self, function: str, value: int, of: int) -> bool:
        """Whether a value is ``function`` of another."""
        node = self.g.maker.get(value)
        if node is None or node.op != "unary":
            return False
        return node.attributes["function"] == BY_NAME[function].number and node.inputs == (of,)

    def _aligned(self, a: Operand | None, b: Operand | None, axis: int) -> Operand:
        """The second operand of an old broadcast: its first axis meets ``axis`` of the first."""
        behind = self.rank(a) - axis % self.rank(a) - self.rank(b)
        if isinstance(b, Constant):
            return b.derive(b.data.reshape(b.data.shape + (1,) * behind))
        if not isinstance(b, Tensor):
            raise Refusal("computes with the batch size")
        return self.reshape(b, [*self.dims(b), *[1] * behind])

    def _same(self, node: Node, operands: Sequence[Operand | None]) -> Any:
        if node.type == "Dropout" and len(operands) > 2 and operands[2] is not None:
            training = operands[2]
            if not isinstance(training, Constant):
                raise Refusal("training_mode must be constant")
            ratio = operands[1]
            none = isinstance(ratio, Constant) and not ratio.data.any()
            if bool(training.data.any()) and not none:
                raise Refusal("training_mode must be constant and false: it draws at random")
        x = operands[0]
        if node.type == "Dropout" and isinstance(x, Tensor) and self.batch_axis(x.value) is None:
            kept = np.ones(self.g.shape(x.value), bool if node.version >= 10 else np.float32)
            return [x, Constant(kept, f"{node.name}/mask")]
        return x

    def _shape(self, node: Node, x: Operand) -> Operand:
        made = self.shape_of(node.type, x)
        if node.type == "Size":
            return made
        start = node.integer("start", 0)
        end = node.attributes.get("end")
        part = objects_of(made)[start : None if end is None else int(end)]
        return integers(part)

    def body(self, graph: Any) -> Body:
        """A graph in an attribute of a node, its weights read once."""
        if id(graph) not in self._bodies:
            self._bodies[id(graph)] = Body(self, graph)
        return self._bodies[id(graph)]

    # Constants

    def evaluate(self, node: Node, operands: Sequence[Operand | None]) -> Any:
        """A node of constants, worked out by ONNX's reference."""
        import onnx
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        constants = [x for x in operands if isinstance(x, Constant)]
        names = ["" if x is None else f"operand{i}" for i, x in enumerate(operands)]
        attributes = dict(node.attributes)
        if node.type == "Cast" and isinstance(attributes.get("to"), str):
            attributes["to"] = onnx.TensorProto.DataType.Value(attributes["to"])
        if node.type == "Concat":
            attributes.setdefault("axis", 1)
        if "." in node.type:
            raise Refusal(HINTS.get(node.type, _NO_TRANSLATION))
        version = max(node.version, 18)
        if node.type in ("Softmax", "LogSoftmax", "Hardmax"):
            version = node.version
        try:
            made = helper.make_node(node.type, names, list(node.outputs), **attributes)
            graph = helper.make_graph(
                [made],
                "constant",
                [helper.make_tensor_value_info(n, 1, None) for n in names if n],
                [helper.make_tensor_value_info(n, 1, None) for n in node.outputs if n],
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
            feeds = dict(zip((n for n in names if n), (c.data for c in constants), strict=True))
            results = ReferenceEvaluator(model).run(None, feeds)
        except Exception as error:  # the reference raises whatever NumPy does, and its own
            raise Refusal(f"a node of constants that cannot be worked out: {error}") from error
        trained = [c for c in constants if c.trainable]
        found = iter(results)
        return [
            _made(node, np.asarray(next(found)), output, trained) if output else None
            for output in node.outputs
        ]


class Body:
    """A graph in an attribute: a branch, or the body of a loop."""

    def __init__(self, t: Translator, graph: Any) -> None:
        from onnx import numpy_helper

        self.graph = graph  # its id stays taken
        self.inputs = [i.name for i in graph.input]
        self.outputs = [o.name for o in graph.output]
        self.weights: dict[str, Any] = {}
        for tensor in graph.initializer:
            array = np.asarray(numpy_helper.to_array(tensor))
            self.weights[tensor.name] = Constant(array, tensor.name, is_trained(array))
        self.nodes = []
        for node in t.nodes_of(graph, self.outputs):
            if node.type == "Constant":
                t.run(node)
                self.weights.update((name, t.done[name]) for name in node.outputs)
            else:
                self.nodes.append(node)

    def outside(self, t: Translator) -> set[str]:
        """The names that are the same in every step."""
        own = {*self.inputs, *(name for node in self.nodes for name in node.outputs)}
        return {*t.done, *self.weights} - own

    def run(self, t: Translator, operands: Sequence[Any], fixed: set[str]) -> list[Any]:
        """The results for these operands. ``fixed``: names that are the same in every step; what
        follows from them alone joins them and is not translated again."""
        t.done.update(self.weights)
        t.done.update(zip(self.inputs, operands, strict=True))
        for node in self.nodes:
            if fixed.issuperset(node.outputs):
                continue
            t.run(node)
            if fixed and fixed.issuperset(name for name in node.inputs if name) and _is_plain(node):
                fixed.update(node.outputs)
        return [t.done.get(name, POISON) for name in self.outputs]


def _is_plain(node: Node) -> bool:
    """Whether a node reads its operands alone: no graph in it reads anything else."""
    return not any(hasattr(value, "node") for value in node.attributes.values())


def _made(node: Node, array: NDArray[Any], output: str, trained: Sequence[Constant]) -> Constant:
    if node.type == "Constant":
        return Constant(array, output, is_trained(array))
    if len({c.name for c in trained}) == 1:
        return Constant(array, trained[0].name, array.dtype.kind == "f")
    return Constant(array, output, bool(trained) and array.dtype.kind == "f")


def _reads(proto: Any) -> set[str]:
    """Names that a node, and the graphs in it, read from outside."""
    found = {name for name in proto.input if name}
    for attribute in proto.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {name for node in graph.node for name in node.output}
            own |= {tensor.name for tensor in graph.initializer}
            inner: set[str] = {o.name for o in graph.output}
            for node in graph.node:
                inner |= _reads(node)
            found |= inner - own
    return found


Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}
DECIDED: dict[str, Handler] = {}
"""Operators that take operands of every kind; NotImplemented leaves them to the others."""
DECIDED_FIRST: list[Handler] = []
"""The same for every operator: what some kind of operand makes of each."""


def handles(*types: str, known: tuple[int, ...] = ()) -> Callable[[Handler], Handler]:
    """Registers a function as the translation of these operators; ``known``: the positions of
    operands whose values it must know."""

    def register(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(types, function))
        if known:
            KNOWN.update(dict.fromkeys(types, known))
        return function

    return register


def decides(*types: str) -> Callable[[Handler], Handler]:
    """Registers a function as the translation of these operators, whatever their operands are."""

    def register(function: Handler) -> Handler:
        DECIDED.update(dict.fromkeys(types, function))
        return function

    return register


def constant_or(x: Operand | None, what: str, default: float) -> float:
    """A constant number, or the default where the operand is absent."""
    if x is None:
        return default
    number = x.scalar() if isinstance(x, Constant) else None
    if number is None:
        raise Refusal(f"the {what} must be one constant number")
    return number
