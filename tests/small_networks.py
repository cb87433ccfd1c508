"""Small networks of real numbers, and models of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.autodiff import with_loss
from gvm.calibration import calibrate, calibration_data
from gvm.formats import Formats
from gvm.graph import Builder, Graph, Node, Value, evaluate_real
from gvm.model import Model
from gvm.quantize import Quantized, quantize

EXAMPLES = 48
CROSS_ENTROPY, SQUARED = "softmax_cross_entropy", "mean_squared_error"


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(0, scale, shape)


def dense(g: Builder, x: Value, units: int, name: str, scale: float = 1.0) -> Value:
    """matmul and bias, of about unit scale."""
    inputs = g.shape(x)[-1]
    w = g.parameter(f"{name}/w", normal(inputs, units, scale=scale / math.sqrt(inputs), seed=units))
    b = g.parameter(f"{name}/b", normal(units, scale=0.1))
    return int(g.bias_add(g.matmul(x, w, name=f"{name}/product"), b, name=name))


def mlp(scale: float = 1.0, classes: int = 3) -> Graph:
    g = Builder()
    x = g.input("x", (-1, 6))
    hidden = g.relu(dense(g, x, 16, "first", scale), name="relu")
    return g.graph(predict=(dense(g, hidden, classes, "second"),))


def cnn(smooth: bool = False) -> Graph:
    g = Builder()
    x = g.input("x", (-1, 8, 8, 2))
    for i, channels in enumerate((4, 6)):
        inputs = g.shape(x)[3]
        w = g.parameter(f"w{i}", normal(3, 3, inputs, channels, scale=1 / math.sqrt(9 * inputs)))
        y = g.bias_add(g.conv2d(x, w, padding=(1, 1, 1, 1)), g.parameter(f"b{i}", normal(channels)))
        pool = g.avg_pool2d if smooth or i else g.max_pool2d
        y = g.unary(y, function=3) if smooth else g.relu(y)
        x = pool(y, window=(2, 2), strides=(2, 2))
    return g.graph(predict=(dense(g, g.reshape(x, shape=(-1, 24)), 5, "head"),))


def attention() -> Graph:
    g = Builder()
    x = g.input("x", (-1, 4, 6))
    w = [g.parameter(n, normal(6, 6, scale=0.4, seed=i)) for i, n in enumerate("qkv")]
    q, k, v = (g.matmul(x, p) for p in w)
    scores = g.softmax(g.divide(g.matmul(q, k, transpose_b=1), divisor=2))
    mixed = g.add(g.matmul(scores, v), x)
    y = g.divide(g.reduce_sum(g.unary(mixed, function=6), axes=(1,)), divisor=4)
    return g.graph(predict=(dense(g, y, 4, "head"),))


def examples(graph: Graph, count: int = EXAMPLES, scale: float = 1.0) -> list[NDArray[Any]]:
    shapes = [graph.types[v].concrete(count) for v in graph.inputs]
    return [normal(*shape, scale=scale, seed=7) for shape in shapes]


def labels_for(graph: Graph, loss: str, count: int = EXAMPLES) -> NDArray[Any]:
    shape = graph.types[graph.outputs["predict"][0]].concrete(count)
    if loss == CROSS_ENTROPY:
        return np.arange(count) % shape[-1]
    return normal(*shape, seed=8)


def quantized(
    graph: Graph, loss: str | None = None, formats: Formats | None = None, scale: float = 1.0
) -> Quantized:
    """A graph calibrated on random examples and quantised."""
    whole = graph if loss is None else with_loss(graph, loss)
    chosen = formats or Formats()
    labels = None if loss is None else labels_for(graph, loss)
    data = calibration_data(whole, examples(graph, scale=scale), labels, chosen)
    return quantize(whole, calibrate(whole, *data), chosen)


def modelled(
    graph: Graph, loss: str | None = None, formats: str | Formats | None = None, scale: float = 1.0
) -> Model:
    labels = None if loss is None else labels_for(graph, loss)
    x = examples(graph, scale=scale)
    return Model.from_graph(graph, x, loss, labels, formats, progress=False)


def nodes_of(graph: Graph, op: str) -> list[Node]:
    return [n for n in graph.nodes if n.op == op]


def error(graph: Graph, model: Model, scale: float = 1.0) -> float:
    """The largest error of a run against float64, relative to the largest output."""
    x = examples(graph, scale=scale)
    (y,) = graph.outputs["predict"]
    exact = evaluate_real(graph, x)[y]
    return float(np.abs(model.run(x) - exact).max() / np.abs(exact).max())
