"""Minus infinity in TensorFlow's models: what it leaves out has no weight, in any spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gvm.errors import GvmError
from gvm.importers import UnsupportedModel
from gvm.model import Model

tf = pytest.importorskip("tensorflow")

from gvm.importers.tensorflow import load_tensorflow  # noqa: E402
from tests.tensorflow_models import outputs_of  # noqa: E402

KEPT = np.tril(np.ones((4, 5), bool))
LOW = tf.constant(np.where(KEPT, 0, -np.inf).astype(np.float32))
INF = float("inf")


def batch(x: Any) -> Any:
    return tf.shape(x)[0]


CASES: dict[str, Callable[[Any], Any]] = {
    "where": lambda x: tf.nn.softmax(tf.where(KEPT, x, -INF)),
    "where else": lambda x: tf.nn.softmax(tf.where(~KEPT, -INF, x)),
    "sum": lambda x: tf.nn.softmax(x + LOW),
    "difference": lambda x: tf.nn.softmax(LOW - x),
    "scaled sum": lambda x: tf.nn.softmax((x + LOW) / 8.0 * 3.0),
    "mask of the data": lambda x: tf.nn.softmax(tf.where(x > -0.5, x, -INF)),
    "filled": lambda x: tf.nn.softmax(tf.where(KEPT, x, tf.fill([batch(x), 4, 5], -INF))),
    "shaped": lambda x: tf.squeeze(tf.nn.softmax(tf.expand_dims(x + LOW, 1)), 1),
    "turned": lambda x: tf.nn.softmax(tf.transpose(tf.where(KEPT, x, -INF), [0, 2, 1])),
    "flat": lambda x: tf.nn.softmax(tf.reshape(x + LOW, [-1, 20])),
    "part": lambda x: tf.nn.softmax((x + LOW)[:, 1:, :4]),
    "joined": lambda x: tf.nn.softmax(tf.concat([x + LOW, x], -1)),
    "padded": lambda x: tf.nn.softmax(tf.pad(x, [[0, 0], [0, 0], [1, 2]], constant_values=-INF)),
    "other axis": lambda x: tf.nn.softmax(x + LOW, axis=1),
    "logarithm": lambda x: tf.nn.softmax(tf.nn.log_softmax(x + LOW)),
    "greatest": lambda x: tf.reduce_max(x + LOW, -1),
    "greatest kept": lambda x: tf.reduce_max(tf.where(KEPT, x, -INF), [1, 2], keepdims=True),
    "exponential": lambda x: tf.reduce_sum(tf.exp(x + LOW), -1),
    "sigmoid": lambda x: tf.sigmoid(tf.where(x > 0, x, -INF)),
    "relu": lambda x: tf.nn.relu(x + LOW),
    "maximum": lambda x: tf.maximum(x + LOW, -0.25),
    "infinite": lambda x: tf.where(tf.math.is_inf(x + LOW), 0.5, x),
    "finite": lambda x: tf.where(tf.math.is_finite(x + LOW), x, 0.5),
    "compared": lambda x: tf.where(x + LOW > -0.5, x, 0.25),
    "not equal": lambda x: tf.where(tf.not_equal(x + LOW, -INF), x, 0.25),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_tensorflow(name: str) -> None:
    source = tf.function(CASES[name], input_signature=[tf.TensorSpec((None, 4, 5))])
    x = np.random.default_rng(1).normal(0, 0.7, (16, 4, 5)).astype(np.float32)
    x = np.asarray(np.rint(x * 256) / 256, np.float32)
    if name == "mask of the data":
        x[..., 0] = np.abs(x[..., 0])  # a row of nothing is NaN there, 0 here
    graph = load_tensorflow(source)
    expected = source(x).numpy()
    if name in ("other axis", "turned"):
        expected = np.nan_to_num(expected)
    np.testing.assert_allclose(outputs_of(graph, [x])[0], expected, atol=2e-6)
    found = Model.from_graph(graph, [x], progress=False).run(x)
    assert np.abs(found - expected).max() < 3e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (lambda x: x + LOW, "may be minus infinity"),
        (lambda x: tf.nn.softmax(x - LOW), "Sub.*may be minus infinity"),
        (lambda x: tf.tanh(x + LOW), "Tanh.*may be minus infinity"),
        (lambda x: (x + LOW) * tf.sigmoid(x + LOW), "may be minus infinity"),
        (lambda x: x * tf.constant(np.full(5, -np.inf, np.float32)), "-inf|minus infinity"),
    ],
)
def test_refusals(body: Callable[[Any], Any], rule: str) -> None:
    source = tf.function(body, input_signature=[tf.TensorSpec((None, 4, 5))])
    with pytest.raises((UnsupportedModel, GvmError), match=rule):
        load_tensorflow(source)
