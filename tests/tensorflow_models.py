"""Small TensorFlow models, and the graphs of them held to TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.graph import Graph, evaluate_real
from gvm.importers.tensorflow import load_tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")


def randomise(model: Any, seed: int = 7) -> Any:
    """Every weight drawn anew, so that no scale is 1, no shift 0; variances stay positive."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if "variance" in variable.name:
            variable.assign(rng.uniform(0.5, 2.0, shape))
        else:
            fan_in = max(1, int(np.prod(shape[:-1])))
            variable.assign(rng.normal(0.1, 1.0, shape) / np.sqrt(fan_in))
    return model


def inputs_of(graph: Graph, seed: int = 3, batch: int = 3) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(0.2, 1.0, graph.types[v].concrete(batch)).astype(np.float32)
        for v in graph.inputs
    ]


def outputs_of(graph: Graph, data: list[NDArray[Any]]) -> list[NDArray[Any]]:
    values = evaluate_real(graph, data)
    return [values[v] for v in graph.outputs["predict"]]


def check(
    source: Any, reference: Callable[..., Any] | None = None, tolerance: float = 2e-5
) -> Graph:
    """Imports and compares with ``reference``, which takes the inputs; returns the graph."""
    graph = load_tensorflow(source)
    data = inputs_of(graph)
    got = outputs_of(graph, data)
    call = reference or (lambda *x: source(list(x) if len(x) > 1 else x[0]))
    expected = tf.nest.flatten(call(*map(tf.constant, data)))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(a, b.numpy(), rtol=tolerance, atol=tolerance)
    return graph


def operators(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def names(graph: Graph, trainable: tuple[bool, ...] = (True, False)) -> set[str]:
    """Layer and variable of each parameter."""
    return {"/".join(p.name.split("/")[-2:]) for p in graph.parameters if p.trainable in trainable}


def sequential(*stack: Any, shape: tuple[int, ...] = (8, 9, 3)) -> Any:
    return randomise(keras.Sequential([keras.Input(shape), *stack]))
