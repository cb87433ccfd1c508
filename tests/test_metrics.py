"""Metrics: exact integers, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from gvm.errors import GvmError
from gvm.metrics import Metric, mean_absolute_error, top_k
from gvm.model import Model
from tests.small_models import CLASSES, EXAMPLES, X, Y, classifier, mlp


def test_top_one_is_correct() -> None:
    model = classifier()
    loss = model.evaluate(X, Y)
    assert top_k(model, X, Y, 1) == Metric(loss.correct, EXAMPLES)
    assert top_k(model, X, Y, CLASSES) == Metric(EXAMPLES, EXAMPLES)
    two = top_k(model, X, Y, 2, batch_size=7, threads=2)
    assert loss.correct < two.total < EXAMPLES
    assert top_k(model, X[:40], Y[:40], 2) + top_k(model, X[40:], Y[40:], 2) == two
    logits = model.run(X)
    assert two.total == sum(y in np.argsort(-z)[:2] for z, y in zip(logits, Y, strict=True))


def test_ties_go_to_the_lower_index(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier()
    # Zero inputs and zero biases: all logits are equal.
    zeros = np.zeros((3, X.shape[1]))
    assert [top_k(model, zeros, np.array([0, 1, 2]), k).total for k in (1, 2, 3)] == [1, 2, 3]


def test_mean_absolute_error_is_exact() -> None:
    y = np.random.default_rng(1).uniform(-3, 3, (EXAMPLES, 2))
    model = Model.from_graph(mlp(2), X, "mean_squared_error", y, progress=False)
    found = mean_absolute_error(model, X, y)
    assert found.count == 2 * EXAMPLES
    assert float(found) == pytest.approx(np.abs(model.run(X) - y).mean(), abs=1e-6)
    assert mean_absolute_error(model, X, y, batch_size=11) == found


def test_what_has_no_metric() -> None:
    y = np.zeros((EXAMPLES, 2))
    regression = Model.from_graph(mlp(2), X, "mean_squared_error", y, progress=False)
    with pytest.raises(GvmError, match="does not classify"):
        top_k(regression, X, y)
    with pytest.raises(GvmError, match="has no targets"):
        mean_absolute_error(classifier(), X, Y)
    with pytest.raises(GvmError, match=r"labels must be in \[0, 3\), received 3"):
        top_k(classifier(), X, np.full(EXAMPLES, 3))
    with pytest.raises(ValueError, match="k must be at least 1, received 0"):
        top_k(classifier(), X, Y, 0)
    with pytest.raises(GvmError, match="one kind and model"):
        Metric(1, 2, 3) + Metric(1, 2, 4)
