"""Recurrent layers, loops and conditions of TensorFlow, unrolled at import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gvm
from benchmarks import zoo_sequence
from gvm.autodiff import with_loss
from gvm.errors import ImportModelError
from gvm.graph import evaluate_real
from gvm.importers import UnsupportedModel
from gvm.importers.tensorflow import load_tensorflow
from tests.tensorflow_models import check, inputs_of, names, operators, randomise, sequential

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

SHAPE = (4, 3)

RECURRENT: dict[str, Callable[[], list[Any]]] = {
    "lstm": lambda: [layers.LSTM(4), layers.Dense(2)],
    "lstm_sequences": lambda: [layers.LSTM(4, return_sequences=True), layers.Dense(2)],
    "lstm_backwards": lambda: [layers.LSTM(4, go_backwards=True, return_sequences=True)],
    "lstm_stacked": lambda: [layers.LSTM(3, return_sequences=True), layers.LSTM(2)],
    "lstm_without_bias": lambda: [layers.LSTM(4, use_bias=False, unit_forget_bias=False)],
    "lstm_unrolled": lambda: [layers.LSTM(4, unroll=True)],
    "gru": lambda: [layers.GRU(4), layers.Dense(2)],
    "gru_reset_before": lambda: [layers.GRU(4, reset_after=False)],
    "rnn": lambda: [layers.SimpleRNN(4, activation="relu")],
    "both_ways": lambda: [layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))],
    "both_ways_summed": lambda: [layers.Bidirectional(layers.GRU(3), merge_mode="sum")],
    "masked": lambda: [layers.Masking(), layers.LSTM(4)],
    "each_time": lambda: [layers.TimeDistributed(layers.Dense(4)), layers.SimpleRNN(3)],
    "convolved": lambda: [layers.Reshape((2, 3, 2)), layers.ConvLSTM1D(2, 2)],
    "repeated": lambda: [layers.Flatten(), layers.RepeatVector(3), layers.SimpleRNN(2)],
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name: str) -> None:
    check(sequential(*RECURRENT[name](), shape=SHAPE))


def test_a_weight_is_one_parameter_of_all_steps() -> None:
    graph = check(sequential(layers.LSTM(4), layers.Dense(2), shape=(9, 3)))
    assert {name.split("/")[-1] for name in names(graph)} == {"kernel", "recurrent_kernel", "bias"}
    assert len(graph.parameters) == 5
    assert sum(node.op == "matmul" for node in graph.nodes) == 9 + 8 + 1
    # The list of results is taken apart again where only the last of them is read.
    assert "concat" not in operators(graph)


def test_nodes_are_named_by_step() -> None:
    graph = load_tensorflow(sequential(layers.SimpleRNN(4), shape=(3, 2)))
    named = [n.name for n in graph.nodes if n.op == "matmul"]
    assert [name.split("while/")[1].split("/")[0] for name in named] == ["0", "1", "1", "2", "2"]
    assert len(set(named)) == len(named)


def test_gradients_flow_through_the_steps() -> None:
    """The gradient of a weight is the sum over the steps, as TensorFlow has it."""
    model = sequential(layers.GRU(4), layers.Dense(3), shape=(5, 2))
    graph = with_loss(load_tensorflow(model), "softmax_cross_entropy")
    (x,) = inputs_of(graph)
    labels = np.array([2, 0, 1])
    values = evaluate_real(graph, [x], [labels])
    trained = [p for p in graph.parameters if p.trainable]
    gradients = [values[v] for v in graph.outputs["grad"][3:]]
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(x))
        loss = tf.reduce_sum(losses)
    expected = dict(
        zip(
            (w.path for w in model.trainable_weights),
            tape.gradient(loss, [w.value for w in model.trainable_weights]),
            strict=True,
        )
    )
    for parameter, gradient in zip(trained, gradients, strict=True):
        wanted = expected[parameter.name.removesuffix("_1")].numpy()
        if "bias" in parameter.name and wanted.ndim == 2:  # its rows are two parameters
            rows = model.layers[0].cell.bias.numpy()
            wanted = wanted[[np.allclose(row, parameter.data) for row in rows].index(True)]
        np.testing.assert_allclose(gradient.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
    assert len(trained) == 6


def test_masks_of_an_embedding() -> None:
    """Row numbers may be compared with a constant: the mask of the padding."""
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(7, 3, mask_zero=True),
            layers.Bidirectional(layers.LSTM(4)),
        ]
    )
    graph = load_tensorflow(model)
    x = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 1, 2, 0], [3, 3, 0, 0, 0, 0]])
    got = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
    np.testing.assert_allclose(got, model(x), rtol=1e-5, atol=1e-6)


def test_a_transformer_encoder_of_letters() -> None:
    """Rows of a table, attention, layer normalisation: that of benchmarks.zoo_sequence."""
    x, _ = zoo_sequence.texts(48)
    given = keras.Input(x.shape[1:], dtype="int32")
    source = randomise(keras.Model(given, zoo_sequence.transformer(layers, given)))
    graph = load_tensorflow(source)
    assert graph.types[graph.inputs[0]].dtype == "i32"
    expected = source(x).numpy()
    got = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    model = gvm.from_tensorflow(source, calibration=x)
    assert np.linalg.norm(model.run(x) - expected) < 2e-3 * np.linalg.norm(expected)


def test_a_trained_model_keeps_its_logits() -> None:
    """Trained as integers: all classes are found, and the logits are those of real numbers."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 150)
    x = rng.normal(0, 0.4, (150, 6, 4)) + rng.normal(0, 1, (3, 6, 4))[labels]
    source = sequential(layers.LSTM(8), layers.Dense(3), shape=(6, 4))
    model = gvm.from_tensorflow(
        source, calibration=x[:64], labels=labels[:64], loss="softmax_cross_entropy"
    )
    optimizer = gvm.SGD(0.1, momentum=0.9)
    model.train(x, labels, optimizer=optimizer, epochs=6, batch_size=25, seed=1, progress=False)
    assert model.evaluate(x, labels).accuracy > 0.98
    real = model.to_keras()(x).numpy()
    assert np.linalg.norm(model.run(x) - real) < 1e-3 * np.linalg.norm(real)


# Loops, conditions and lists


def function(body: Callable[..., Any], *shapes: tuple[int | None, ...]) -> Any:
    return tf.function(body, input_signature=[tf.TensorSpec(s, tf.float32) for s in shapes])


def test_loops_in_loops() -> None:
    def body(x: Any) -> Any:
        for _ in tf.range(3):
            for j in tf.range(2):
                x = x * 0.5 + tf.cast(j, tf.float32)
        return x

    graph = check(function(body, (None, 3)))
    assert sum(node.op == "mul" for node in graph.nodes) == 6


def test_conditions_of_constants() -> None:
    def body(x: Any) -> Any:
        for i in tf.range(4):
            if i % 2 == 0:
                x = tf.nn.relu(x)
            else:
                x = x - 0.25
        return x

    graph = check(function(body, (None, 3)))
    assert operators(graph) == ["relu", "bias_add", "relu", "bias_add"]


def test_lists_of_tensors() -> None:
    def body(x: Any) -> Any:
        pieces = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False)
        rows = tf.TensorArray(tf.float32, 3).unstack(tf.transpose(x, [1, 0, 2]))
        state = tf.zeros_like(x[:, 0])
        for i in tf.range(3):
            state = state + rows.read(2 - i) * tf.cast(rows.size() - i, tf.float32)
            pieces = pieces.write(i, state)
        return tf.transpose(pieces.gather([2, 0, 1]), [1, 0, 2]), pieces.stack()[1]

    check(function(body, (None, 3, 2)))


def test_constants_of_a_loop_are_worked_out() -> None:
    w = tf.Variable(np.arange(12, dtype=np.float32).reshape(3, 4) / 8)

    def body(x: Any) -> Any:
        for _ in tf.range(3):
            x = tf.matmul(x, tf.matmul(w, w, transpose_b=True)) - w[:, 0]
        return x

    graph = check(function(body, (None, 3)))
    assert len(graph.parameters) == 2


def test_states_of_every_example() -> None:
    first = tf.Variable([[0.5, -1.0]])

    def body(x: Any) -> Any:
        batch = tf.shape(x)[0]
        state = tf.tile(first, [batch, 1])
        ones = tf.fill([batch, 2], 2.0)
        for _ in tf.range(2):
            state = tf.concat([state[:, 1:], ones[:, :1] * x[:, :1]], 1)
        return state, tf.broadcast_to(first, [batch, 2]) + x

    check(function(body, (None, 2)))


def test_sequences() -> None:
    def body(x: Any) -> Any:
        lengths = tf.fill([tf.shape(x)[0]], 2)
        return (
            tf.reverse(x, [1, 2]),
            tf.linalg.band_part(x, 1, 0),
            tf.reverse_sequence(x, lengths, seq_axis=1),
            tf.cast(tf.reduce_all(x > -0.5, axis=2), tf.float32),
            tf.cast(tf.reduce_any(x > 0.5, axis=1, keepdims=True), tf.float32),
        )

    check(function(body, (None, 3, 4)))


def test_one_hot_rows() -> None:
    def body(i: Any) -> Any:
        return tf.one_hot(i, 5, on_value=2.0, off_value=-1.0)

    source = tf.function(body, input_signature=[tf.TensorSpec((None, 2), tf.int32)])
    graph = load_tensorflow(source)
    x = np.array([[0, 4], [2, 2]])
    np.testing.assert_array_equal(
        evaluate_real(graph, [x])[graph.outputs["predict"][0]], source(x.astype(np.int32))
    )


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "steps_of_the_input": (
        lambda x: tf.while_loop(lambda y: tf.reduce_sum(y[0]) < 9, lambda y: (y + 1,), (x,)),
        "takes a part of the batch",
    ),
    "steps_of_the_batch": (
        lambda x: tf.while_loop(
            lambda i, y: i < tf.shape(x)[0], lambda i, y: (i + 1, y * 0.5), (0, x)
        )[1],
        "batch",
    ),
    "many_steps": (
        lambda x: tf.while_loop(lambda i, y: i < 10**6, lambda i, y: (i + 1, y), (0, x))[1],
        "more than 4096 steps",
    ),
    "condition_of_the_input": (
        lambda x: tf.cond(x[0, 0] > 0, lambda: x, lambda: -x),
        "takes a part of the batch",
    ),
    "examples_taken_apart": (
        lambda x: tf.TensorArray(tf.float32, 3).unstack(x).read(0)[None],
        "examples of a batch",
    ),
    "body_without_translation": (
        lambda x: tf.while_loop(
            lambda i, y: i < 3, lambda i, y: (i + 1, tf.math.lgamma(y)), (0, x)
        )[1],
        "Lgamma",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    body, message = REFUSED[name]
    with pytest.raises(ImportModelError, match=message) as error:
        load_tensorflow(function(body, (None, 3)))
    if isinstance(error.value, UnsupportedModel):
        assert len({p.node for p in error.value.problems}) == len(error.value.problems)
