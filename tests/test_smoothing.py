"""gvm.smoothing: the gradient of smoothed labels, beside that of the float loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gvm
from gvm.autodiff import with_loss
from gvm.graph import evaluate_real
from gvm.model import Model
from gvm.program import steps_of
from tests.small_models import CLASSES, EXAMPLES, X, Y, mlp

SHARE = 0.2


def probabilities(logits: Any, loss: str) -> Any:
    if loss == "sigmoid_cross_entropy":
        return 1 / (1 + np.exp(-logits))
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def targets(loss: str) -> Any:
    return np.eye(CLASSES, dtype=np.int64)[Y] if loss == "sigmoid_cross_entropy" else Y


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_a_step_is_that_of_smoothed_labels(loss: str, profile: str) -> None:
    graph, labels = mlp(), targets(loss)
    made = Model.from_graph(graph, X, loss, labels, progress=False, label_smoothing=SHARE)
    before = {n: p.real() for n, p in made.parameter_arrays().items()}
    logits = evaluate_real(graph, [X])[graph.outputs["predict"][0]]
    classes = 2 if loss == "sigmoid_cross_entropy" else CLASSES
    smooth = np.eye(CLASSES)[Y] * (1 - SHARE) + SHARE / classes
    terms = EXAMPLES * (CLASSES if loss == "sigmoid_cross_entropy" else 1)
    gradient = (probabilities(logits, loss) - smooth).sum(axis=0) / terms
    rate = 0.5
    made.train(
        X,
        labels,
        optimizer=gvm.SGD(rate),
        batch_size=EXAMPLES,
        profile=profile,
        rounding="nearest",
    )
    after = made.parameter_arrays()["second/b"].real()
    assert np.abs(before["second/b"] - rate * gradient - after).max() < 2e-3
    hard = rate * (probabilities(logits, loss) - np.eye(CLASSES)[Y]).sum(axis=0) / terms
    assert np.abs(rate * gradient - hard).max() > 4e-3  # else this test would say nothing


def test_smoothing_is_in_the_gradient_alone() -> None:
    plain, smooth = (
        Model.from_graph(mlp(), X, "softmax_cross_entropy", Y, progress=False, label_smoothing=s)
        for s in (0.0, SHARE)
    )
    assert smooth.evaluate(X, Y) == plain.evaluate(X, Y)
    assert np.array_equal(smooth.run(X), plain.run(X))
    assert "softmax" in [s.name for s in steps_of(smooth.program.grad)]
    assert "softmax" not in [s.name for s in steps_of(smooth.program.loss)]


def test_smoothing_keeps_logits_smaller() -> None:
    found = {}
    for share in (0.0, SHARE):
        made = Model.from_graph(
            mlp(), X, "softmax_cross_entropy", Y, progress=False, label_smoothing=share
        )
        made.train(X, Y, optimizer=gvm.SGD(0.5, momentum=0.9), epochs=30, batch_size=30, seed=1)
        logits = made.run(X)
        found[share] = float((logits.max(axis=1) - np.median(logits, axis=1)).mean())
    assert found[SHARE] < 0.7 * found[0.0]


@pytest.mark.parametrize(
    ("loss", "share", "message"),
    [
        (
            "softmax_cross_entropy",
            1.0,
            r"label_smoothing must be in \[0, 1\), received 1.0",
        ),
        ("softmax_cross_entropy", -0.1, "received -0.1"),
        ("softmax_cross_entropy", float("nan"), "received nan"),
        (
            "mean_squared_error",
            0.1,
            "label_smoothing: mean_squared_error has no classes",
        ),
    ],
)
def test_what_is_no_smoothing(loss: str, share: float, message: str) -> None:
    with pytest.raises(gvm.ImportModelError, match=message):
        with_loss(mlp(), loss, share)
