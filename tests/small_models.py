"""A small classifier, data that it can learn, and a run of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gvm
from gvm.graph import Builder, Graph, Value
from gvm.model import Model
from gvm.train import History

FEATURES, HIDDEN, CLASSES, EXAMPLES = 6, 12, 3, 90
MOMENTUM = gvm.SGD(0.1, momentum=0.9)
Array = NDArray[Any]


def dense(g: Builder, x: Value, units: int, name: str) -> Value:
    inputs = g.shape(x)[-1]
    data = np.random.default_rng(units).normal(0, 1 / math.sqrt(inputs), (inputs, units))
    bias = g.parameter(f"{name}/b", np.zeros(units))
    return int(g.bias_add(g.matmul(x, g.parameter(f"{name}/w", data)), bias, name=name))


def mlp(outputs: int = CLASSES, function: int | None = None) -> Graph:
    g = Builder()
    hidden = dense(g, g.input("x", (-1, FEATURES)), HIDDEN, "first")
    bent = g.relu(hidden) if function is None else g.unary(hidden, function=function)
    return g.graph(predict=(dense(g, bent, outputs, "second"),))


def data(count: int = EXAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """Examples around one centre per class, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    centres = np.random.default_rng(9).normal(0, 1, (CLASSES, FEATURES))
    return centres[labels] + rng.normal(0, 0.9, (count, FEATURES)), labels


X, Y = data()
VALIDATION = data(60, seed=1)


def classifier(**options: Any) -> Model:
    return Model.from_graph(mlp(), X, "softmax_cross_entropy", Y, progress=False, **options)


def trained(**options: Any) -> tuple[Model, History]:
    model = classifier()
    given = {"optimizer": MOMENTUM, "epochs": 3, "batch_size": 16, "seed": 5, "progress": False}
    return model, model.train(X, Y, **given | options)


def ids(history: History) -> tuple[str, str, str]:
    return history.train_id, history.parameters_id, history.state_id
