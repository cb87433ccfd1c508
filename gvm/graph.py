"""The graph: frozen nodes over typed values, real-valued before quantisation and integer after it.

A :class:`Builder` adds nodes one at a time; shapes come from the core (``infer``), the one judge of
validity. A real-valued value has
the type ``real``: the core is asked with stand-in formats, so shape rules are written once, in
``_core/ops/*.cc``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.errors import GvmError
from gvm.operator import AttributeValue
from gvm.ops import OPERATORS
from gvm.types import RANGE, Type

Value = int
"""A value is its number in the graph."""

TOTAL = "total"
"""The marker node of a reduce: a partial sum in, the sum over all shards out. No primitive: it
separates segments."""


@dataclass(frozen=True)
class Node:
    """An operator applied to values."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, AttributeValue]
    name: str = ""
    stage: str = "forward"
    """forward, backward or update: decides the Philox purpose of its rounding in training."""


@dataclass(frozen=True)
class Parameter:
    """A named tensor that training changes, or a constant when not ``trainable``."""

    value: Value
    name: str
    data: NDArray[Any]
    trainable: bool = True


@dataclass(frozen=True)
class Graph:
    """Nodes in an order where each follows its inputs; ``outputs`` names what a function of the
    program returns."""

    types: tuple[Type, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    labels: tuple[Value, ...]
    parameters: tuple[Parameter, ...]
    outputs: Mapping[str, tuple[Value, ...]]
    names: Mapping[Value, str] = field(default_factory=dict)
    running: Mapping[Value, Node] = field(default_factory=dict)
    """By its value, what a batch normalisation in training is in use: a node of running
    statistics."""

    def producer(self) -> dict[Value, Node]:
        """The node of each value that a node produces."""
        return {v: node for node in self.nodes for v in node.outputs}

    def consumers(self) -> dict[Value, list[Node]]:
        """The nodes that read each value."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for v in node.inputs:
                found.setdefault(v, []).append(node)
        return found

    def reaching(self, outputs: Iterable[Value]) -> tuple[Node, ...]:
        """The nodes that the given outputs need, in graph order."""
        needed = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        return tuple(reversed(kept))


def infer(
    op: str,
    types: Sequence[Type],
    attributes: Mapping[str, AttributeValue],
    max_batch: int = 1 << 20,
    node: int = -1,
) -> tuple[Type, ...]:
    """Output types of a node, as the core derives them. Raises :class:`gvm.errors.ProgramError`
    with the core's message."""
    operator = OPERATORS[op]
    return tuple(
        _core.infer(
            operator.opcode,
            list(types),
            list(operator.complete(attributes).values()),
            max_batch,
            node,
        )
    )


class Builder:
    """Adds nodes to a growing graph. ``g.matmul(a, b, transpose_b=1)`` adds a node and returns its
    output value.

    ``max_batch``: the examples for which bounds are judged here; a program is judged for its own.
    """

    def __init__(self, base: Graph | None = None, max_batch: int = 1 << 12) -> None:
        self.types: list[Type] = list(base.types) if base else []
        self.nodes: list[Node] = list(base.nodes) if base else []
        self.inputs: list[Value] = list(base.inputs) if base else []
        self.labels: list[Value] = list(base.labels) if base else []
        self.parameters: list[Parameter] = list(base.parameters) if base else []
        self.names: dict[Value, str] = dict(base.names) if base else {}
        self.outputs: dict[str, tuple[Value, ...]] = dict(base.outputs) if base else {}
        self.running: dict[Value, Node] = dict(base.running) if base else {}
        self.stage = "forward"
        self.max_batch = max_batch
        self.scope: Callable[[str], str] | None = None
        """What becomes of the names of nodes that are added now: each step's of a loop differ."""
        self.maker: dict[Value, Node] = {v: n for n in self.nodes for v in n.outputs}
        """The node of each value that a node makes."""
        self._totals = {n.inputs[0]: n.outputs[0] for n in self.nodes if n.op == TOTAL}

    def append(self, node: Node) -> None:
        """Adds a node whose values exist already."""
        self.nodes.append(node)
        self.maker.update(dict.fromkeys(node.outputs, node))
        if node.op == TOTAL:
            self._totals[node.inputs[0]] = node.outputs[0]

    def _add(self, type_: Type, name: str = "") -> Value:
        self.types.append(type_)
        value = len(self.types) - 1
        if name:
            self.names[value] = name
        return value

    def input(
        self, name: str, shape: Sequence[int], dtype: str = "real", fraction_bits: int = 0
    ) -> Value:
        """A graph input; its batch axis is -1."""
        value = self._add(Type(dtype, fraction_bits, tuple(shape)), name)
        self.inputs.append(value)
        return value

    def label(
        self, name: str, shape: Sequence[int], dtype: str = "i32", fraction_bits: int = 0
    ) -> Value:
        """What the loss compares with; its batch axis is -1."""
        value = self._add(Type(dtype, fraction_bits, tuple(shape)), name)
        self.labels.append(value)
        return value

    def parameter(
        self,
        name: str,
        data: NDArray[Any],
        dtype: str = "real",
        fraction_bits: int = 0,
        trainable: bool = True,
    ) -> Value:
        """A parameter with its initial values (float64 when real)."""
        array = np.asarray(data, dtype=np.float64 if dtype == "real" else np.int64)
        value = self._add(Type(dtype, fraction_bits, tuple(array.shape)), name)
        self.parameters.append(Parameter(value, name, array, trainable))
        return value

    def node(
        self,
        op: str,
        inputs: Sequence[Value],
        attributes: Mapping[str, AttributeValue] | None = None,
        name: str = "",
    ) -> tuple[Value, ...]:
        """Adds one node and returns its outputs; the core judges it.

        Results of real values are real, except what is discrete and what a convert or a division to
        whole numbers states: that is of the type its attributes say.
        """
        operator = OPERATORS[op]
        complete = operator.complete(attributes or {})
        given = [self.types[v] for v in inputs]
        real = any(t.dtype == "real" for t in given)
        asked = (
            [_stand_in(operator, i, t, complete) for i, t in enumerate(given)] if real else given
        )
        derived = infer(op, asked, complete, self.max_batch, len(self.nodes))
        if real:
            stated = op == "convert" or bool(complete.get("direction"))
            if operator.result != "discrete" and not stated:
                kept = asked[operator.keeps].dtype if operator.result == "keeps" else None
                derived = tuple(
                    replace(t, dtype="real", fraction_bits=0, bound=0)
                    if kept in (None, t.dtype)
                    else t
                    for t in derived
                )
        outputs = tuple(self._add(t) for t in derived)
        if name and self.scope:
            name = self.scope(name)
        if name and outputs:
            self.names[outputs[0]] = name
        made = Node(op, tuple(inputs), outputs, complete, name, self.stage)
        self.nodes.append(made)
        self.maker.update(dict.fromkeys(outputs, made))
        return outputs

    def total(self, value: Value) -> Value:
        """The sum of a partial value over all shards: what a reduce makes of it. Asked twice, the
        same one."""
        if value not in self._totals:
            out = self._add(replace(self.types[value], partial=False))
            self.append(Node(TOTAL, (value,), (out,), {}, "", self.stage))
        return self._totals[value]

    def __getattr__(self, op: str) -> Any:
        if op.startswith("_") or op not in OPERATORS:
            raise AttributeError(f"no operator {op!r}")

        def add(*inputs: Value, name: str = "", **attributes: AttributeValue) -> Any:
            outputs = self.node(op, inputs, attributes, name)
            return outputs[0] if len(outputs) == 1 else outputs

        return add

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape of a value; -1 is the batch."""
        return self.types[value].shape

    def graph(self, **outputs: Sequence[Value]) -> Graph:
        """The frozen graph, with more named outputs."""
        named = self.outputs | {k: tuple(v) for k, v in outputs.items()}
        return Graph(
            tuple(self.types),
            tuple(self.nodes),
            tuple(self.inputs),
            tuple(self.labels),
            tuple(self.parameters),
            named,
            dict(self.names),
            dict(self.running),
        )


def _stand_in(operator: Any, position: int, type_: Type, attributes: Any) -> Type:
    """The integer type in whose place a real value is shown to the core: the first that the operand
    accepts, 0 fraction bits."""
    if type_.dtype != "real":
        return type_
    dtype = "i64" if type_.partial else operator.accepted(position, attributes)[0]
    return Type(dtype, 0, type_.shape, type_.partial, bound=1 if dtype == "i64" else 0)


def evaluate_real(
    graph: Graph,
    inputs: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]] = (),
    outputs: Sequence[Value] | None = None,
) -> dict[Value, NDArray[Any]]:
    """Every value of a real-valued graph in float64, each operator by its ``real()``: for
    calibration and tests, above the trust boundary."""
    given = [np.asarray(x, dtype=np.float64) for x in inputs]
    return dict(real_values(graph, given, labels, outputs))


def _at_node(error: ValueError, node: Node, number: int) -> GvmError:
    """An operator's refusal of its data, with the node that it is of."""
    _, _, rule = str(error).rpartition(f"{node.op}: ")
    return GvmError(f"{node.op}, node {node.name or number}: {rule}")


def _stated(type_: Type, values: NDArray[Any]) -> NDArray[Any]:
    """Real values at the format of a type, half to even."""
    low, high = (math.ldexp(q, -type_.fraction_bits) for q in RANGE[type_.dtype])
    made = np.ldexp(np.rint(np.ldexp(values, type_.fraction_bits)), -type_.fraction_bits)
    return np.asarray(np.clip(made, low, high))


def real_values(
    graph: Graph,
    inputs: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]] = (),
    outputs: Sequence[Value] | None = None,
    dtype: type[np.floating[Any]] | None = None,
) -> Iterator[tuple[Value, NDArray[Any]]]:
    """The values of :func:`evaluate_real` one after the other, each forgotten once the last node
    that reads it is done. Operators compute in the type of the inputs and the parameters, float32
    or float64; ``dtype``: the type of real results beside whole numbers, which may be wider."""
    values: dict[Value, NDArray[Any]] = {p.value: p.data for p in graph.parameters}
    values.update(zip(graph.inputs, inputs, strict=True))
    values.update(zip(graph.labels, (np.asarray(y) for y in labels), strict=False))
    batched = ((values[v].shape, graph.types[v].batch_axis) for v in graph.inputs)
    batch = next((shape[axis] for shape, axis in batched if axis is not None), 1)
    nodes = graph.nodes if outputs is None else graph.reaching(outputs)
    last = {v: i for i, node in enumerate(nodes) for v in node.inputs}
    yield from list(values.items())
    for i, node in enumerate(nodes):
        if node.op == TOTAL:
            made: Any = values[node.inputs[0]]
        else:
            attributes = OPERATORS[node.op].at_batch(node.attributes, batch)
            try:
                made = (
                    OPERATORS[node.op].real(attributes, *(values[v] for v in node.inputs))
                    if node.inputs
                    else np.float64(batch)
                )
            except ValueError as error:  # an index of no row, found in the data alone
                raise _at_node(error, node, i) from error
        if node.op == "convert" and graph.types[node.inputs[0]].dtype == "real":
            made = _stated(graph.types[node.outputs[0]], made)
        arrays = made if isinstance(made, tuple) else (made,)
        for v, array in zip(node.outputs, arrays, strict=True):
            values[v] = np.asarray(array)
            if dtype is not None and values[v].dtype.kind == "f" and graph.types[v].dtype == "real":
                values[v] = values[v].astype(dtype, copy=False)
            yield v, values[v]
        for v in (*node.inputs, *node.outputs):
            if last.get(v, i) <= i:
                values.pop(v, None)
