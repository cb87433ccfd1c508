"""TensorFlow's comparisons, conditions and embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gvm
from gvm.errors import GvmError, ProgramError
from gvm.graph import evaluate_real
from gvm.importers.tensorflow import load_tensorflow

tf = pytest.importorskip("tensorflow")
keras = tf.keras

WORDS, LENGTH, CLASSES = 30, 6, 3


def test_comparisons_and_conditions_agree() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 7], tf.float32)])  # type: ignore[untyped-decorator]
    def choose(x: Any) -> Any:
        y = tf.nn.relu(x) - 0.25
        inside = tf.logical_and(tf.less(y, 0.5), tf.greater_equal(x, -0.5))
        other = tf.logical_or(tf.equal(y, -0.25), tf.logical_not(tf.less_equal(x, y)))
        z = tf.where(inside, x, tf.where(other, y, tf.constant(3.0)))
        return z + tf.cast(tf.not_equal(y, -0.25), tf.float32) * tf.cast(x > y, tf.float32)

    x = np.random.default_rng(2).normal(size=(50, 7)).astype(np.float32)
    graph = load_tensorflow(choose)
    (output,) = graph.outputs["predict"]
    np.testing.assert_allclose(evaluate_real(graph, [x])[output], choose(x).numpy(), atol=1e-6)
    model = gvm.from_tensorflow(choose, x)
    # Where x is within a rounding of a limit the condition may fall the other way.
    assert (np.abs(model.run(x) - choose(x).numpy()) < 1e-2).mean() > 0.99


def test_positions_agree() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 7], tf.float32)])  # type: ignore[untyped-decorator]
    def positions(x: Any) -> Any:
        return tf.argmax(x, axis=-1)

    x = np.random.default_rng(2).normal(size=(50, 4, 7)).astype(np.float32)
    assert gvm.from_tensorflow(positions, x).run(x).tolist() == positions(x).numpy().tolist()


def texts(count: int) -> tuple[Any, Any]:
    """Rows of word numbers, and which of three words is the most frequent of them."""
    x = np.random.default_rng(5).integers(0, WORDS, (count, LENGTH))
    return x, np.argmax([(x % CLASSES == k).sum(1) for k in range(CLASSES)], axis=0)


def test_an_embedding_agrees_and_trains() -> None:
    keras.utils.set_random_seed(3)
    source = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(WORDS, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(CLASSES),
        ]
    )
    x, y = texts(240)
    model = gvm.from_tensorflow(source, x, loss="softmax_cross_entropy", labels=y)
    assert np.abs(model.run(x) - source(x).numpy()).max() < 1e-2
    before = model.evaluate(x, y)
    model.train(x, y, epochs=60, batch_size=16, optimizer=gvm.SGD(0.5), seed=1)
    after = model.evaluate(x, y)
    assert float(after) < 0.5 * float(before)
    assert after.accuracy > 0.85
    with pytest.raises(ProgramError, match=rf"index must be in \[0, {WORDS}\), received {WORDS}"):
        model.run(np.full((1, LENGTH), WORDS))
    with pytest.raises(GvmError, match="expected whole numbers"):
        model.run(np.full((1, LENGTH), 0.5))


def test_other_reads_are_refused() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 7], tf.float32)])  # type: ignore[untyped-decorator]
    def columns(x: Any) -> Any:
        return tf.gather(tf.constant([1.0, 2.0]), tf.cast(x > 0, tf.int32))

    with pytest.raises(GvmError, match="GatherV2.*nearest supported form: Embedding"):
        load_tensorflow(columns)
