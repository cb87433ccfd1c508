"""Passes of importers: constant scales and shifts go into the weights, what is unused goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Graph, Node, Parameter, Value

__all__ = ["fold_affine", "remove_unused"]

SMALLEST = 2.0**-16
"""A weight all of whose elements are smaller has no 16 bits: formats end at 31 fraction bits. The
scales of fresh ConvNeXt blocks (1e-6) stay operators of their own."""


def fold_affine(graph: Graph) -> Graph:
    """Folds constant scales and shifts of the last axis into the layer or bias that they follow.

    A fold happens where nothing else reads the values and weights concerned. A merged bias carries
    the name of the later shift: of batch normalisation, beta.
    """
    return remove_unused(_Fold(remove_unused(graph)).run())


class _Fold:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parameters = {p.value: p for p in graph.parameters}
        self.alias: dict[Value, Value] = {}
        self.producer: dict[Value, Node] = {}
        self.readers: dict[Value, int] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self.readers[value] = self.readers.get(value, 0) + 1
        for values in graph.outputs.values():
            for value in values:
                self.readers[value] = self.readers.get(value, 0) + 1

    def run(self) -> Graph:
        kept = []
        for original in self.graph.nodes:
            node = replace(original, inputs=tuple(self._now(v) for v in original.inputs))
            if self._fold(node):
                continue
            kept.append(node)
            self.producer.update(dict.fromkeys(node.outputs, node))
        outputs = {
            name: tuple(self._now(v) for v in values) for name, values in self.graph.outputs.items()
        }
        parameters = tuple(self.parameters[p.value] for p in self.graph.parameters)
        return replace(self.graph, nodes=tuple(kept), outputs=outputs, parameters=parameters)

    def _now(self, value: Value) -> Value:
        return self.alias.get(value, value)

    def _fold(self, node: Node) -> bool:
        if node.op not in ("mul", "add", "sub", "bias_add"):
            return False
        x, p = node.inputs
        if x in self.parameters and node.op != "sub":
            x, p = p, x
        if p not in self.parameters or x not in self.producer or self.readers[x] != 1:
            return False
        channels = self._per_channel(p, x)
        if channels is None:
            return False
        done = (
            self._scale(x, channels)
            if node.op == "mul"
            else self._shift(x, -channels if node.op == "sub" else channels, p)
        )
        if done:
            self.alias[node.outputs[0]] = x
            self.readers[x] = self.readers.get(node.outputs[0], 0)
        return done

    def _per_channel(self, p: Value, x: Value) -> NDArray[Any] | None:
        data, shape = self.parameters[p].data, self.graph.types[x].shape
        if (
            data.ndim > len(shape)
            or len(shape) < 2
            or any(d != 1 for d in data.shape[:-1])
            or data.size not in (1, shape[-1])
        ):
            return None
        return np.broadcast_to(data.reshape(-1), (shape[-1],))

    def _own(self, value: Value) -> bool:
        return value in self.parameters and self.readers[value] == 1

    def _scale(self, x: Value, channels: NDArray[Any]) -> bool:
        node = self.producer[x]
        if node.op == "bias_add":
            below, bias = node.inputs
            if (
                not self._own(bias)
                or self.readers[below] != 1
                or below not in self.producer
                or not self._scale(below, channels)
            ):
                return False
            self._set(bias, self.parameters[bias].data * channels)
            return True
        if node.op in ("reshape", "slice"):
            (below,) = node.inputs
            shapes = [self.graph.types[v].shape for v in (below, x)]
            kept = bool(shapes[0]) and shapes[0][-1] == shapes[1][-1]
            alone = below in self.producer and self.readers[below] == 1
            return kept and alone and self._scale(below, channels)
        layers = ("conv2d", "conv2d_grad_input", "matmul")
        if node.op not in layers or not self._own(node.inputs[1]):
            return False
        weight = self.parameters[node.inputs[1]]
        if node.op == "conv2d_grad_input":
            *_, inner, outer = weight.data.shape
            each = outer // (channels.size // inner)
            channels = np.repeat(channels.reshape(-1, inner).T, each, axis=1)
        elif node.attributes.get("transpose_b"):
            channels = channels[:, None]
        scaled = weight.data * channels
        if np.abs(scaled).max(initial=0.0) < SMALLEST <= np.abs(weight.data).max(initial=0.0):
            return False
        self._set(weight.value, scaled)
        return True

    def _shift(self, x: Value, channels: NDArray[Any], p: Value) -> bool:
        node = self.producer[x]
        if node.op != "bias_add" or not self._own(node.inputs[1]):
            return False
        bias, later = self.parameters[node.inputs[1]], self.parameters[p]
        name = later.name if later.trainable or not bias.trainable else bias.name
        merged = Parameter(
            bias.value, name, bias.data + channels, bias.trainable or later.trainable
        )
        self.parameters[bias.value] = merged
        return True

    def _set(self, value: Value, data: NDArray[Any]) -> None:
        self.parameters[value] = replace(self.parameters[value], data=data)


def remove_unused(graph: Graph) -> Graph:
    """The graph without what no output needs, its values numbered anew."""
    nodes = graph.reaching(v for values in graph.outputs.values() for v in values)
    read = {v for node in nodes for v in node.inputs} | {
        v for values in graph.outputs.values() for v in values
    }
    parameters = [p for p in graph.parameters if p.value in read]
    order = [
        *graph.inputs,
        *graph.labels,
        *(p.value for p in parameters),
        *(v for node in nodes for v in node.outputs),
    ]
    number = {old: new for new, old in enumerate(order)}

    def renamed(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(number[v] for v in values)

    return Graph(
        types=tuple(graph.types[v] for v in order),
        nodes=tuple(
            replace(n, inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in nodes
        ),
        inputs=renamed(graph.inputs),
        labels=renamed(graph.labels),
        parameters=tuple(replace(p, value=number[p.value]) for p in parameters),
        outputs={name: renamed(values) for name, values in graph.outputs.items()},
        names={number[v]: name for v, name in graph.names.items() if v in number},
    )
