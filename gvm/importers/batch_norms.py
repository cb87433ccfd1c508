"""Batch normalisations that train: found again in an import that made them a scale and a shift, and
made that again where nothing of them trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.batch_training import batch_normalized, is_kind
from gvm.errors import ImportModelError
from gvm.graph import Builder, Graph, Node, Value
from gvm.importers.fold import fold_affine
from gvm.normalization import real_epsilon
from gvm.ops.batch_normalize import USE

__all__ = ["BatchNorm", "batch_norms_of", "frozen_folded", "with_batch_norms"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """One of the vectors of a layer."""

    name: str
    data: Array
    trainable: bool


@dataclass(frozen=True)
class BatchNorm:
    """A layer: y = scale * (x - mean) / sqrt(variance + epsilon) + shift."""

    scale: Part | None
    shift: Part | None
    mean: Part
    variance: Part
    epsilon: float
    keep: float

    @property
    def imported_as(self) -> tuple[str, str]:
        """The names of the scale and the shift that an import makes of it."""
        return (self.scale or self.variance).name, (self.shift or self.mean).name


def batch_norms_of(model: Any) -> Iterator[BatchNorm]:
    """The layers of a Keras model that are not frozen."""
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__name__ != "BatchNormalization" or not layer.trainable:
            continue
        parts = [
            None
            if v is None
            else Part(
                str(getattr(v, "path", None) or v.name.split(":")[0]),
                np.asarray(v.numpy(), dtype=np.float64),
                bool(v.trainable),
            )
            for v in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        ]
        scale, shift, mean, variance = parts
        assert mean is not None and variance is not None
        yield BatchNorm(scale, shift, mean, variance, float(layer.epsilon), float(layer.momentum))


def with_batch_norms(graph: Graph, layers: Iterator[BatchNorm], description: str) -> Graph:
    """The graph with each of the layers in the place of the scale and shift that it became.

    Raises ImportModelError for a layer that is not found as such, of channels on the last axis.
    """
    parameter = {p.value: p for p in graph.parameters}
    readers = graph.consumers()
    found: dict[Value, tuple[Value, BatchNorm]] = {}
    for layer in layers:
        scale, shift = layer.imported_as
        for node in graph.nodes:
            x, p = _operands(node, "mul", parameter)
            if x is None or parameter[p].name != scale or parameter[p].data.shape[:-1] != ():
                continue
            behind = readers.get(node.outputs[0], [])
            y, q = _operands(behind[0], "bias_add", parameter) if len(behind) == 1 else (None, 0)
            if y == node.outputs[0] and parameter[q].name == shift:
                found[behind[0].outputs[0]] = x, layer
                break
        else:
            raise ImportModelError(
                f"{description}: batch normalisation {scale!r} cannot train: it must be a layer of "
                "its own with the channels on the last axis, and have a scale or a shift; freeze "
                "it, or import without training=True"
            )
    g = Builder(replace(graph, nodes=()))
    for node in graph.nodes:
        if node.outputs[0] not in found:
            g.append(node)
            continue
        x, layer = found[node.outputs[0]]
        made = placed(g, x, layer, node.name)
        own = g.nodes.pop()
        g.append(replace(own, outputs=node.outputs))
        assert made in own.outputs
    return g.graph()


def placed(g: Builder, x: Value, layer: BatchNorm, name: str) -> Value:
    """The layer on x [..., C]."""
    channels = g.shape(x)[-1]

    def vector(part: Part | None, default: float, own: str) -> Value:
        if part is None:
            other = layer.imported_as[own == "beta"]
            return g.parameter(f"{other}/{own}", np.full(channels, default), trainable=False)
        return g.parameter(part.name, part.data.reshape(-1), trainable=part.trainable)

    return batch_normalized(
        g,
        x,
        mean=vector(layer.mean, 0.0, "mean"),
        variance=vector(layer.variance, 1.0, "variance"),
        scale=vector(layer.scale, 1.0, "gamma"),
        shift=vector(layer.shift, 0.0, "beta"),
        epsilon=layer.epsilon,
        keep=layer.keep,
        name=name,
    )


def _operands(node: Node, op: str, parameter: Mapping[Value, Any]) -> tuple[Value | None, Value]:
    """The value and the parameter that an operator joins, in whatever order."""
    if node.op == op:
        for x, p in (node.inputs, node.inputs[::-1]):
            if p in parameter and x not in parameter:
                return x, p
    return None, 0


def frozen_folded(graph: Graph) -> Graph:
    """The graph in which normalisations of which nothing trains are a scale and a shift, folded
    into the layer before where there is one."""
    data = {p.value: p for p in graph.parameters}
    frozen = [
        n
        for n in graph.nodes
        if is_kind(n, USE) and not any(data[v].trainable for v in n.inputs[3:])
    ]
    if not frozen:
        return graph
    g = Builder(replace(graph, nodes=()))
    for node in graph.nodes:
        if node not in frozen:
            g.append(node)
            continue
        x, *vectors = node.inputs
        mean, variance, scale, shift = (data[v].data for v in vectors)
        factor = scale / np.sqrt(variance + real_epsilon(node.attributes))
        of_scale, of_shift = (data[v].name for v in vectors[2:])
        scaled = g.mul(x, g.parameter(of_scale, factor, trainable=False))
        g.bias_add(
            scaled, g.parameter(of_shift, shift - mean * factor, trainable=False), name=node.name
        )
        g.append(replace(g.nodes.pop(), outputs=node.outputs))
    return fold_affine(g.graph())
