"""Moves transpositions towards the outputs, where they meet and cancel.

A model of the layout NCHW surrounds each convolution, which is NHWC, with two transpositions. What
lies between works element by element, so that one transposition of the input is left, and one
wherever the order of the axes is seen again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Builder, Graph, Node, Parameter, Value

__all__ = ["sink_transposes"]

_ELEMENTS = ("relu", "unary", "divide")
_PAIRS = ("add", "sub", "mul", "bias_add", "maximum", "minimum")
_PER_AXIS = {"pad": ("before", "after"), "slice": ("begin", "end", "strides")}


@dataclass(frozen=True)
class _Turned:
    """A value of the new graph, and the transposition of it that the old graph had."""

    value: Value
    permutation: tuple[int, ...] | None = None


def sink_transposes(graph: Graph) -> Graph:
    """The same function of the same inputs, with fewer transpositions; real-valued graphs only."""
    return _Pass(graph).run()


def _inverse(permutation: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(permutation))


class _Pass:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.g = Builder()
        self.parameters = {p.value: p for p in graph.parameters}
        self.found: dict[Value, _Turned] = {}
        self._made: dict[tuple[Value, tuple[int, ...]], Value] = {}
        self._parameters: dict[tuple[Value, tuple[int, ...], bytes], Value] = {}

    def run(self) -> Graph:
        for v in self.graph.inputs:
            declared = self.graph.types[v]
            made = self.g.input(self.graph.names.get(v, ""), declared.shape, declared.dtype)
            self.found[v] = _Turned(made)
        for node in self.graph.nodes:
            if len(node.outputs) == 1:
                self.found[node.outputs[0]] = self._node(node)
                continue
            given = [self._plain(v) for v in node.inputs]
            several = self.g.node(node.op, given, node.attributes, node.name)
            self.found.update((v, _Turned(m)) for v, m in zip(node.outputs, several, strict=True))
        outputs = {
            name: tuple(self._plain(v) for v in values)
            for name, values in self.graph.outputs.items()
        }
        return self.g.graph(**outputs)

    # Values

    def _parameter(self, parameter: Parameter, data: NDArray[Any] | None = None) -> Value:
        if data is None or np.array_equal(data, parameter.data):
            array, turned = parameter.data, b""
        else:
            array, turned = data, np.ascontiguousarray(data).tobytes()
        key = (parameter.value, array.shape, turned)
        if key not in self._parameters:
            taken = {p.name for p in self.g.parameters}
            name, count = parameter.name, 0
            while name in taken:
                count += 1
                name = f"{parameter.name}_{count}"
            stated = self.graph.types[parameter.value]
            self._parameters[key] = self.g.parameter(
                name, array, stated.dtype, stated.fraction_bits, parameter.trainable
            )
        return self._parameters[key]

    def _of(self, v: Value) -> _Turned:
        if v in self.parameters:
            return _Turned(self._parameter(self.parameters[v]))
        return self.found[v]

    def _plain(self, v: Value) -> Value:
        """The value as the old graph had it."""
        turned = self._of(v)
        return self._transpose(turned.value, turned.permutation)

    def _transpose(self, value: Value, permutation: tuple[int, ...] | None) -> Value:
        if permutation is None:
            return value
        key = (value, permutation)
        if key not in self._made:
            self._made[key] = int(self.g.transpose(value, permutation=permutation))
        return self._made[key]

    # Nodes

    def _node(self, node: Node) -> _Turned:
        turned: _Turned | None = None
        first = self._of(node.inputs[0]) if node.inputs else _Turned(-1)
        permutation = first.permutation
        if node.op == "transpose":
            return self._transposed(node, first)
        if node.op in _PAIRS:
            turned = self._pair(node)
        elif permutation is None:
            pass
        elif node.op in _ELEMENTS:
            turned = _Turned(self._emit(node, [first.value]), permutation)
        elif node.op in _PER_AXIS:
            names = _PER_AXIS[node.op]
            lists = {name: self._list(node, name) for name in names}
            back = _inverse(permutation)
            moved = {name: tuple(values[i] for i in back) for name, values in lists.items()}
            turned = _Turned(self._emit(node, [first.value], **moved), permutation)
        elif node.op == "broadcast_to" and len(self._list(node, "shape")) == len(permutation):
            shape = tuple(self._list(node, "shape")[i] for i in _inverse(permutation))
            turned = _Turned(self._emit(node, [first.value], shape=shape), permutation)
        elif node.op in ("reduce_sum", "reduce_max"):
            turned = self._reduced(node, first.value, permutation)
        elif node.op == "softmax" and permutation[-1] == len(permutation) - 1:
            turned = _Turned(self._emit(node, [first.value]), permutation)
        elif node.op == "normalize" and self._ends_alike(node, permutation):
            turned = _Turned(self._emit(node, [first.value]), permutation)
        elif node.op == "concat":
            turned = self._concat(node, permutation)
        elif node.op == "reshape" and self._keeps_order(first.value, permutation):
            turned = _Turned(self._emit(node, [first.value]))
        if turned is None:
            turned = _Turned(self._emit(node, [self._plain(v) for v in node.inputs]))
        return turned

    def _emit(self, node: Node, inputs: Sequence[Value], **changed: int | tuple[int, ...]) -> Value:
        return self.g.node(node.op, inputs, {**node.attributes, **changed}, node.name)[0]

    def _list(self, node: Node, name: str) -> tuple[int, ...]:
        values = node.attributes[name]
        assert isinstance(values, tuple)
        return values

    def _transposed(self, node: Node, x: _Turned) -> _Turned:
        later = self._list(node, "permutation")
        whole = later if x.permutation is None else tuple(x.permutation[i] for i in later)
        return _Turned(x.value, None if whole == tuple(range(len(whole))) else whole)

    def _keeps_order(self, value: Value, permutation: tuple[int, ...]) -> bool:
        """Whether a transposition moves axes of one element only."""
        shape = self.g.shape(value)
        moved = [i for i in permutation if shape[i] != 1]
        return moved == sorted(moved)

    def _ends_alike(self, node: Node, permutation: tuple[int, ...]) -> bool:
        """Whether the axes that are normalised together are the last ones inside as well."""
        last = node.attributes["trailing_axes"]
        assert isinstance(last, int)
        return sorted(permutation[-last:]) == list(range(len(permutation)))[-last:]

    def _reduced(self, node: Node, value: Value, permutation: tuple[int, ...]) -> _Turned:
        axes = self._list(node, "axes")
        inner = tuple(sorted(permutation[a] for a in axes))
        made = self._emit(node, [value], axes=inner)
        if node.attributes["keepdims"]:
            return _Turned(made, permutation)
        kept = [p for i, p in enumerate(permutation) if i not in axes]
        order = tuple(sum(q < p for q in kept) for p in kept)
        return _Turned(made, None if order == tuple(range(len(order))) else order)

    def _concat(self, node: Node, permutation: tuple[int, ...]) -> _Turned | None:
        operands = [self._of(v) for v in node.inputs]
        if any(x.permutation != permutation for x in operands):
            return None
        axis = node.attributes["axis"]
        assert isinstance(axis, int)
        made = self._emit(node, [x.value for x in operands], axis=permutation[axis])
        return _Turned(made, permutation)

    # Two operands

    def _pair(self, node: Node) -> _Turned | None:
        a, b = node.inputs
        for x, p in ((a, b), (b, a)):
            if p in self.parameters and x not in self.parameters:
                return self._with_parameter(node, x, p)
        left, right = self._of(a), self._of(b)
        rank = len(self.graph.types[a].shape)
        if len(self.graph.types[b].shape) != rank or left.permutation == right.permutation is None:
            return None
        if left.permutation == right.permutation:
            permutation = left.permutation
        else:
            # The smaller one turns: what is left behind costs least.
            larger = max(
                (left, right), key=lambda x: (self._size(x.value), x.permutation is not None)
            )
            permutation = larger.permutation
        inputs = [self._as(v, permutation) for v in (a, b)]
        return _Turned(self._emit(node, inputs), permutation)

    def _as(self, v: Value, permutation: tuple[int, ...] | None) -> Value:
        """A value of the new graph whose transposition by ``permutation`` is v."""
        x = self._of(v)
        if x.permutation == permutation:
            return x.value
        order = x.permutation or tuple(range(len(self.graph.types[v].shape)))
        if permutation is not None:
            order = tuple(order[i] for i in _inverse(permutation))
        return self._transpose(x.value, None if order == tuple(range(len(order))) else order)

    def _size(self, value: Value) -> int:
        return math.prod(abs(d) for d in self.g.shape(value))

    def _with_parameter(self, node: Node, x: Value, p: Value) -> _Turned | None:
        turned, parameter = self._of(x), self.parameters[p]
        data, shape = parameter.data, self.graph.types[x].shape
        if data.ndim > len(shape):
            return None
        data = data.reshape((1,) * (len(shape) - data.ndim) + data.shape)
        if turned.permutation is not None:
            data = data.transpose(_inverse(turned.permutation))
        inner = self.g.shape(turned.value)
        while data.ndim > 1 and data.shape[0] == 1:
            data = data[0]
        # Per channel a shift is a bias, which stays exact until it is rounded with its layer.
        is_bias = data.ndim == 1 and len(inner) > 1 and data.size == inner[-1]
        if turned.permutation is None and not (node.op == "add" and is_bias):
            return None
        if node.op in ("add", "bias_add"):
            op = "bias_add" if is_bias else "add"
            made = self.g.node(op, [turned.value, self._parameter(parameter, data)], {}, node.name)
            return _Turned(made[0], turned.permutation)
        other = self._parameter(parameter, data)
        inputs = [turned.value, other] if node.inputs[0] == x else [other, turned.value]
        return _Turned(self._emit(node, inputs), turned.permutation)
