"""Parameters that are read in another form: their gradients are those of the parameter itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import gvm
from gvm.graph import Builder, Value
from gvm.model import Model

SHAPE = (6, 4)
X = np.random.default_rng(0).normal(0, 1, (60, 6))
Y = np.random.default_rng(1).integers(0, 4, 60)


def trained(stored: tuple[int, ...], form: Callable[[Builder, Value], Value]) -> np.ndarray:
    """What a layer predicts whose weights are stored so and read through ``form``."""
    weights = np.arange(-12.0, 12.0) / 16
    g = Builder()
    kernel = g.parameter("kernel", weights.reshape(stored))
    logits = g.matmul(g.input("x", (-1, 6)), form(g, kernel))
    model = Model.from_graph(
        g.graph(predict=(logits,)), X, "softmax_cross_entropy", Y, "<6,10>", progress=False
    )
    model.train(
        X,
        Y,
        optimizer=gvm.SGD(0.5),
        epochs=2,
        batch_size=20,
        seed=3,
        micro_batch=7,
        progress=False,
    )
    return np.asarray(model.run(X))


def straight(g: Builder, w: Value) -> Value:
    return w


def moved(g: Builder, w: Value) -> Value:
    """Three steps that leave the elements in their order."""
    w = g.transpose(g.reshape(w, shape=(2, 1, 12)), permutation=(1, 0, 2))
    return int(g.reshape(w, shape=SHAPE))


def cut(g: Builder, w: Value) -> Value:
    """A part of a larger one, and a border that is cut off again."""
    w = g.pad(w, before=(1, 0), after=(0, 2))
    return int(g.slice(w, begin=(1, 0), end=(7, 4), strides=(1, 1)))


@pytest.mark.parametrize(("stored", "form"), [((24,), moved), ((3, 8), moved), (SHAPE, cut)])
def test_training_is_the_same_to_the_bit(
    stored: tuple[int, ...], form: Callable[[Builder, Value], Value]
) -> None:
    expected = trained(SHAPE, straight)
    np.testing.assert_array_equal(trained(stored, form), expected)


def test_a_parameter_read_in_two_forms() -> None:
    """Tied weights: an encoder and, transposed, its decoder."""
    g = Builder()
    x = g.input("x", (-1, 6))
    kernel = g.parameter("kernel", np.random.default_rng(2).normal(0, 0.4, SHAPE))
    hidden = g.relu(g.matmul(x, kernel))
    out = g.matmul(hidden, g.transpose(kernel, permutation=(1, 0)))
    graph = g.graph(predict=(out,))
    model = Model.from_graph(graph, X, "mean_squared_error", X, progress=False)
    before = float(model.evaluate(X, X))
    model.train(X, X, optimizer=gvm.SGD(0.1), epochs=5, batch_size=20, seed=3, progress=False)
    assert float(model.evaluate(X, X)) < 0.9 * before
