"""The loss of labels 0 and 1, and gradients through what orders: positions, running sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gvm.autodiff import with_loss
from gvm.errors import GvmError
from gvm.graph import Builder, Graph
from gvm.model import Model
from gvm.optimizers import SGD
from tests import test_autodiff
from tests.test_autodiff import Network, gradients_of, loss_with

RNG = np.random.default_rng(5)
X = RNG.normal(size=(400, 8)).astype(np.float32)


def labels(columns: int) -> Any:
    return (X[:, :columns] + X[:, 3 : 3 + columns] > 0).astype(np.int64)


def classifier(columns: int, logistic: bool = True) -> Graph:
    n = Network(8)
    y = n.dense(n.g.relu(n.dense(n.x, 12)), columns)
    return n.g.graph(predict=(n.unary(y, "logistic") if logistic else y,))


@pytest.mark.parametrize("logistic", [False, True])
def test_the_gradient_is_that_of_the_loss(logistic: bool) -> None:
    graph = with_loss(classifier(3, logistic), "sigmoid_cross_entropy")
    assert len(graph.outputs["loss"]) == 3
    given = [X[:6]], [labels(3)[:6]]
    for p in graph.parameters:
        for place in range(0, p.data.size, 7):
            step = np.zeros(p.data.size)
            step[place] = 1e-5
            step = step.reshape(p.data.shape)
            rise = loss_with(graph, p.name, p.data + step, given)
            rise -= loss_with(graph, p.name, p.data - step, given)
            found = gradients_of(graph, given)[p.name].reshape(-1)[place]
            assert found == pytest.approx(rise / 2e-5, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("columns", [1, 3])
def test_it_trains(columns: int) -> None:
    y = labels(columns)
    model = Model.from_graph(classifier(columns), X, "sigmoid_cross_entropy", progress=False)
    before = model.evaluate(X, y)
    model.train(X, y, optimizer=SGD(0.2, momentum=0.9), epochs=8, progress=False)
    after = model.evaluate(X, y)
    assert float(after) < float(before) / 4
    assert after.accuracy > 0.9
    # What predict says of each label is what counts as correct, and the loss is that of predict.
    p = np.asarray(model.run(X), dtype=np.float64).reshape(y.shape)
    assert after.correct == np.count_nonzero(((p > 0.5) == (y == 1)).all(axis=1))
    right = np.clip(np.where(y == 1, p, 1 - p), 2**-14, 1)
    assert float(after) == pytest.approx(-np.log(right).mean(), rel=0.05)


def test_invalid_labels() -> None:
    graph = classifier(2)
    with pytest.raises(GvmError, match=r"\[0, 2\), received 2"):
        Model.from_graph(graph, X, "sigmoid_cross_entropy", labels(2) * 2, progress=False)
    model = Model.from_graph(graph, X, "sigmoid_cross_entropy", labels(2), progress=False)
    with pytest.raises(GvmError, match=r"label must be in \[0, 2\), received 3"):
        model.evaluate(X, labels(2) * 3)
    with pytest.raises(GvmError, match=r"expected shape \(batch, 2\)"):
        model.evaluate(X, labels(1))


def test_through_the_largest_and_running_sums() -> None:
    n = Network(6)
    values, _ = n.g.top_k(n.dense(n.x, 6), k=3, axis=1)
    test_autodiff.check(n.g, n.g.cumsum(n.dense(values, 4), axis=1, reverse=1))


def test_positions_are_integers_beside_their_values() -> None:
    g = Builder()
    x = g.input("x", (-1, 8))
    h = g.matmul(x, g.parameter("w", RNG.normal(size=(8, 8))))
    values, positions = g.top_k(h, k=3, axis=1)
    assert g.types[values].dtype == "real" and g.types[positions].dtype == "i32"
    model = Model.from_graph(g.graph(predict=(values, positions)), X, progress=False)
    found, at = model.run_integers(X[:5])
    assert at.fraction_bits == 0
    wanted = np.argsort(-(X[:5] @ g.parameters[0].data), axis=1)[:, :3]
    assert at.integers.tolist() == wanted.tolist()
    assert (np.diff(found.integers.astype(np.int64), axis=1) <= 0).all()
