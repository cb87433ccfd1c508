"""gvm.importers.tensorflow: layers and small models of Keras, compared with TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gvm.importers.tensorflow import load_tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from tests.tensorflow_models import (  # noqa: E402
    check,
    inputs_of,
    names,
    operators,
    outputs_of,
    randomise,
    sequential,
)

# Keras


def test_dense() -> None:
    model = sequential(
        layers.Dense(7, activation="relu", name="first"), layers.Dense(4, name="second"), shape=(5,)
    )
    graph = check(model)
    assert operators(graph) == ["matmul", "bias_add", "relu", "matmul", "bias_add"]
    assert names(graph) == {"first/kernel", "first/bias", "second/kernel", "second/bias"}
    assert all(p.trainable for p in graph.parameters)
    for parameter, variable in zip(graph.parameters, model.weights, strict=True):
        np.testing.assert_array_equal(parameter.data, np.asarray(variable, dtype=np.float64))


def test_frozen_layers_are_not_trainable() -> None:
    model = sequential(layers.Dense(3, name="a"), layers.Dense(2, name="b"), shape=(4,))
    model.layers[0].trainable = False
    graph = load_tensorflow(model)
    assert names(graph, (True,)) == {"b/kernel", "b/bias"}
    assert names(graph, (False,)) == {"a/kernel", "a/bias"}


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2, (3, 2)])
def test_convolution(padding: str, strides: Any) -> None:
    graph = check(sequential(layers.Conv2D(4, (3, 2), strides=strides, padding=padding)))
    assert operators(graph) == ["conv2d", "bias_add"]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dilated_convolution(padding: str) -> None:
    graph = check(sequential(layers.Conv2D(4, 3, dilation_rate=2, padding=padding)))
    assert operators(graph) == ["conv2d", "bias_add"]
    assert graph.nodes[0].attributes["dilation"] == (2, 2)
    check(sequential(layers.DepthwiseConv2D(2, dilation_rate=2, padding=padding)))
    check(sequential(layers.Conv1D(4, 3, dilation_rate=2, padding=padding), shape=(9, 3)))


def test_grouped_and_depthwise_convolution() -> None:
    graph = check(sequential(layers.Conv2D(6, 3, groups=3)))
    assert graph.nodes[0].attributes["groups"] == 3
    graph = check(
        sequential(layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same"))
    )
    assert graph.nodes[0].attributes["groups"] == 3
    check(sequential(layers.SeparableConv2D(5, 3, padding="same", activation="relu6")))
    check(sequential(layers.DepthwiseConv2D(5, padding="same"), shape=(2, 2, 3)))


def test_one_dimension() -> None:
    check(
        sequential(
            layers.Conv1D(4, 3, padding="causal"),
            layers.MaxPool1D(2),
            layers.AveragePooling1D(2),
            layers.GlobalAveragePooling1D(),
            shape=(12, 3),
        )
    )


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pooling(padding: str) -> None:
    for kind in (layers.MaxPool2D, layers.AveragePooling2D):
        graph = check(sequential(kind((3, 2), strides=2, padding=padding)))
        assert len(graph.nodes) == 1
    for kind in (layers.GlobalMaxPool2D, layers.GlobalAveragePooling2D):
        for keepdims in (False, True):
            check(sequential(kind(keepdims=keepdims)))


def test_padding_before_windows() -> None:
    border = layers.ZeroPadding2D(((1, 0), (2, 1)))
    assert operators(check(sequential(border, layers.Conv2D(2, 3)))) == ["conv2d", "bias_add"]
    graph = check(sequential(layers.ReLU(), layers.ZeroPadding2D(1), layers.MaxPool2D(3, 2)))
    assert operators(graph) == ["relu", "max_pool2d"]
    graph = check(sequential(layers.ZeroPadding2D(1), layers.MaxPool2D(3, 2)))
    assert operators(graph) == ["pad", "max_pool2d"]
    graph = check(sequential(layers.ZeroPadding2D(1), layers.AveragePooling2D(3, 2)))
    assert operators(graph) == ["avg_pool2d"]
    check(sequential(layers.ZeroPadding2D(1), layers.AveragePooling2D(3, 2, padding="same")))
    check(sequential(layers.ZeroPadding2D(1), layers.Flatten()))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("center", [False, True])
def test_batch_normalisation_is_folded(bias: bool, scale: bool, center: bool) -> None:
    model = sequential(
        layers.Conv2D(4, 3, use_bias=bias, name="conv"),
        layers.BatchNormalization(scale=scale, center=center, name="bn"),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(5, use_bias=bias, name="dense"),
        layers.BatchNormalization(scale=scale, center=center, name="bn2"),
    )
    graph = check(model)
    assert operators(graph) == ["conv2d", "bias_add", "relu", "reshape", "matmul", "bias_add"]
    if center:
        assert names(graph) == {"conv/kernel", "bn/beta", "dense/kernel", "bn2/beta"}


def test_batch_normalisation_first_is_kept() -> None:
    graph = check(
        sequential(layers.BatchNormalization(name="bn"), layers.ReLU(), layers.Conv2D(4, 3))
    )
    assert operators(graph) == ["mul", "bias_add", "relu", "conv2d", "bias_add"]
    assert {"bn/gamma", "bn/beta"} < names(graph)


def test_batch_normalisation_is_not_folded_into_what_others_read() -> None:
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3)(x)
    model = randomise(keras.Model(x, layers.Add()([layers.BatchNormalization()(y), y])))
    assert "mul" in operators(check(model))


def test_shared_layer_is_not_scaled_twice() -> None:
    x = keras.Input((6,))
    dense = layers.Dense(6, use_bias=False, name="shared")
    y = layers.BatchNormalization()(dense(layers.ReLU()(layers.BatchNormalization()(dense(x)))))
    graph = check(randomise(keras.Model(x, y)))
    assert operators(graph).count("mul") == 2
    assert sum("shared/kernel" in p.name for p in graph.parameters) == 1


@pytest.mark.parametrize("fused", ["v3", "by_hand", "divided"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_batch_normalisation_spellings(fused: str, layout: str) -> None:
    rng = np.random.default_rng(0)
    w = tf.constant(rng.normal(size=(3, 3, 2, 4)), tf.float32)
    gamma, beta, mean = (tf.constant(rng.normal(size=4), tf.float32) for _ in range(3))
    variance = tf.constant(rng.uniform(0.5, 2.0, size=4), tf.float32)
    first = layout == "NCHW"

    def model(x: Any) -> Any:
        if first:
            x = tf.transpose(x, (0, 3, 1, 2))
        y = tf.nn.conv2d(x, w, 1, "SAME", data_format=layout)
        side = (1, 4, 1, 1) if first else (4,)
        g, b, m, v = (tf.reshape(c, side) for c in (gamma, beta, mean, variance))
        if fused == "v3":
            y = tf.compat.v1.nn.fused_batch_norm(
                y, gamma, beta, mean, variance, epsilon=1e-3, is_training=False, data_format=layout
            )[0]
        elif fused == "by_hand":
            y = (y - m) * (tf.math.rsqrt(v + 1e-3) * g) + b
        else:
            y = g * ((y - m) / tf.sqrt(v + 1e-3)) + b
        return tf.transpose(y, (0, 2, 3, 1)) if first else y

    function = tf.function(model, input_signature=[tf.TensorSpec((None, 6, 5, 2), tf.float32)])
    graph = load_tensorflow(function)
    (data,) = inputs_of(graph)
    y = tf.nn.conv2d(data, w, 1, "SAME")
    expected = (y - mean) * tf.math.rsqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(outputs_of(graph, [data])[0], expected, rtol=2e-5, atol=2e-5)
    assert operators(graph) == ["conv2d", "bias_add"]


@pytest.mark.parametrize("kind", ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
def test_batch_normalisation_of_version_1_files(kind: str, tmp_path: Path) -> None:
    """As a SavedModel of TensorFlow 1 with variables, and as a frozen graph."""
    v1 = tf.compat.v1
    rng = np.random.default_rng(2)
    data = rng.normal(size=(3, 6, 5, 2)).astype(np.float32)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, (None, 6, 5, 2), "x")

        def variable(name: str, *shape: int) -> Any:
            return v1.get_variable(name, initializer=rng.uniform(0.5, 1, shape).astype("f"))

        y = tf.nn.conv2d(x, variable("kernel", 3, 3, 2, 4), 1, "SAME")
        names = ("scale", "offset", "mean", "variance")
        statistics = {name: variable(name, 4) for name in names}
        y = getattr(tf.raw_ops, kind)(x=y, **statistics, epsilon=0.01, is_training=False)[0]
        y = tf.nn.relu(y, name="y")
        session.run(v1.global_variables_initializer())
        expected = session.run(y, {x: data})
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": y})
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
        (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())
    for path in (tmp_path / "saved", tmp_path / "frozen.pb"):
        made = load_tensorflow(path)
        assert operators(made) == ["conv2d", "bias_add", "relu"]
        assert [p.name for p in made.parameters] == ["kernel", "offset"]
        np.testing.assert_allclose(outputs_of(made, [data])[0], expected, rtol=2e-5, atol=2e-5)


def test_residual_and_concatenation() -> None:
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    z = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(y))
    y = layers.ReLU()(layers.Add()([y, z]))
    y = layers.Concatenate()([y, layers.MaxPool2D(3, 1, padding="same")(y), x])
    y = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(y))
    model = randomise(keras.Model(x, layers.Dense(5, activation="softmax")(y)))
    graph = check(model)
    assert graph.names[graph.inputs[0]] == "image"
    assert operators(graph)[-1] == "softmax"


def test_several_inputs_and_outputs() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    y = layers.Dense(5)(layers.Concatenate()([a, b]))
    model = randomise(keras.Model([a, b], [y, layers.Subtract()([a, layers.Dense(4)(b)])]))
    graph = check(model)
    assert [graph.names[v] for v in graph.inputs] == ["a", "b"]


@pytest.mark.parametrize(
    "activation",
    ["relu", "relu6", "tanh", "sigmoid", "softplus", "exponential", "elu", "selu", "leaky_relu"]
    + ["silu", "gelu", "hard_silu", "hard_sigmoid", "softmax", "linear", "softsign", "mish"],
)
def test_activations(activation: str) -> None:
    graph = check(sequential(layers.Dense(6, activation=activation), shape=(5,)), tolerance=5e-5)
    one = {"silu": 1, "gelu": 1, "tanh": 1, "sigmoid": 1, "softplus": 1, "relu": 1, "linear": 0}
    if activation in one:
        assert len(graph.nodes) == 2 + one[activation]


def test_activation_functions_by_number() -> None:
    from gvm.functions import BY_NAME

    for name in ("silu", "gelu", "tanh"):
        graph = load_tensorflow(sequential(layers.Activation(name), shape=(5,)))
        assert graph.nodes[-1].attributes["function"] == BY_NAME[name].number


def test_layers_of_shape() -> None:
    check(
        sequential(
            layers.Permute((2, 1, 3)),
            layers.Reshape((9, 24)),
            layers.Cropping1D((1, 2)),
            layers.Reshape((-1, 12)),
            layers.Flatten(),
            layers.Dense(3),
        )
    )
    check(sequential(layers.RepeatVector(4), layers.Dense(3), shape=(5,)))
    check(sequential(layers.UpSampling2D(2), layers.Cropping2D(1)))


def test_dense_on_sequences_and_normalisation() -> None:
    model = sequential(
        layers.Dense(6, activation="gelu"),
        layers.LayerNormalization(),
        layers.Dense(4),
        shape=(5, 3),
    )
    graph = check(model, tolerance=1e-4)
    assert operators(graph)[:3] == ["matmul", "bias_add", "unary"]
    check(sequential(layers.TimeDistributed(layers.Dense(4)), shape=(5, 3)))


def test_attention() -> None:
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(num_heads=2, key_dim=3)(x, x)
    check(randomise(keras.Model(x, layers.Add()([x, y]))), tolerance=1e-4)


def test_causal_attention() -> None:
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(num_heads=2, key_dim=3)(x, x, use_causal_mask=True)
    graph = check(randomise(keras.Model(x, layers.Add()([x, y]))), tolerance=1e-4)
    assert "logical" not in operators(graph)


def test_rescaling_and_prelu() -> None:
    graph = check(
        sequential(layers.Rescaling(1 / 127.5, offset=-1.0), layers.Conv2D(2, 3), layers.PReLU())
    )
    assert operators(graph)[:2] == ["mul", "bias_add"]


def test_nested_model() -> None:
    inner = sequential(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
    outer = randomise(
        keras.Sequential([keras.Input((8, 9, 3)), inner, layers.Flatten(), layers.Dense(2)])
    )
    assert operators(check(outer)) == [
        "conv2d",
        "bias_add",
        "relu",
        "reshape",
        "matmul",
        "bias_add",
    ]


def test_mobilenet() -> None:
    model = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=7)
    graph = check(model)
    assert "mul" not in operators(graph) and operators(graph).count("conv2d") == 52
