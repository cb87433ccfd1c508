"""gvm.importers.tensorflow: the graphs of small models of every kind compared with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm.errors import ImportModelError
from gvm.importers import UnsupportedModel
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

MODELS = Path(__file__).parents[2] / "shared" / "models"


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


# Other sources


@pytest.fixture(scope="module")
def small() -> Any:
    return sequential(
        layers.Conv2D(4, 3, padding="same", name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.ReLU(),
        layers.MaxPool2D(2),
        layers.Flatten(),
        layers.Dense(3, name="dense"),
    )


SMALL_NAMES = {"conv/kernel", "bn/beta", "dense/kernel", "dense/bias"}


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_files(small: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    small.save(path)
    graph = check(path, small)
    assert names(graph) == SMALL_NAMES
    assert names(check(str(path), small)) == SMALL_NAMES


def test_saved_model(small: Any, tmp_path: Path) -> None:
    small.export(tmp_path / "exported", verbose=False)
    graph = check(tmp_path / "exported", small)
    assert len(graph.nodes) == 7 and names(graph) == SMALL_NAMES
    assert all(p.trainable for p in graph.parameters)
    loaded = tf.saved_model.load(tmp_path / "exported")
    assert names(check(loaded, small)) == names(graph)
    check(tmp_path / "exported" / "saved_model.pb", small)


def frozen_graph(path: Path, model: Any, shape: tuple[int | None, ...]) -> None:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    frozen = convert_variables_to_constants_v2(concrete)
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())


@pytest.mark.parametrize("batch", [None, 1])
def test_frozen_graph_file(small: Any, tmp_path: Path, batch: int | None) -> None:
    frozen_graph(tmp_path / "model.pb", small, (batch, 8, 9, 3))
    graph = check(tmp_path / "model.pb", small)
    assert len(graph.nodes) == 7 and all(p.trainable for p in graph.parameters)


def test_first_version_graph(tmp_path: Path) -> None:
    """A SavedModel of TensorFlow 1 whose signature starts behind its placeholder."""
    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        raw = v1.placeholder(tf.float32, (None, 12), "raw")
        x = tf.reshape(raw, (-1, 2, 6), name="x")
        w = v1.get_variable(
            "w", (12, 3), initializer=v1.glorot_uniform_initializer(seed=1), use_resource=False
        )
        y = tf.identity(tf.matmul(tf.reshape(x, (-1, 12)), w) + 0.5, name="y")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "v1"), {"x": x}, {"y": y})
        weights = session.run(w)
    imported = check(tmp_path / "v1", lambda x: tf.reshape(x, (-1, 12)) @ weights + 0.5)
    assert "w" in names(imported)
    assert [p.trainable for p in imported.parameters if p.name == "w"] == [True]
    assert imported.types[imported.inputs[0]].shape == (-1, 2, 6)


class Module(tf.Module):  # type: ignore[misc]
    """Two layers by hand."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(5)
        self.w = tf.Variable(rng.normal(size=(6, 4)), dtype=tf.float32, name="w")
        self.b = tf.Variable(rng.normal(size=4), dtype=tf.float32, name="b", trainable=False)

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32)])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return tf.nn.relu(tf.matmul(x, self.w) + self.b)


def test_module_and_functions(tmp_path: Path) -> None:
    module = Module()
    graph = check(module, module)
    assert {p.name: p.trainable for p in graph.parameters} == {"w": True, "b": False}
    check(module.__call__, module)
    check(module.__call__.get_concrete_function(), module)
    tf.saved_model.save(module, tmp_path / "module")
    assert operators(check(tmp_path / "module", module)) == ["matmul", "bias_add", "relu"]


def function(shape: tuple[int | None, ...]) -> Callable[[Any], Any]:
    return lambda body: tf.function(body, input_signature=[tf.TensorSpec(shape, tf.float32)])


def test_shape_arithmetic() -> None:
    @function((None, 4, 6))
    def model(x: Any) -> Any:
        batch = tf.shape(x)[0]
        y = tf.reshape(x, (batch * 4, 6))
        y = tf.nn.tanh(y @ tf.constant(np.eye(6, 5) + 0.1, tf.float32))
        y = tf.reshape(y, tf.concat([[batch], [2, 10]], 0))
        y = tf.reshape(y, (tf.shape(y)[0], tf.size(y) // tf.shape(y)[0]))
        return tf.squeeze(tf.expand_dims(y, 1), 1)

    check(model)


def test_slices() -> None:
    @function((None, 6, 5))
    def model(x: Any) -> Any:
        a, b = tf.split(x, 2, axis=1)
        c, d = tf.split(x, [2, 3], axis=-1)
        e = tf.unstack(x, axis=2)[3]
        return [
            a + b[:, ::-1][:, ::1] if False else a * b,
            c,
            d,
            e,
            x[:, 1:-1:2, ..., 2:],
            x[:, 3],
            x[:, -1, tf.newaxis, :],
        ]

    check(model)


def test_arithmetic() -> None:
    @function((None, 5))
    def model(x: Any) -> Any:
        p = tf.nn.softplus(x) + 0.5
        return [
            tf.exp(-x),
            tf.math.log(p),
            tf.sqrt(p),
            tf.math.rsqrt(p),
            1.0 / p,
            x / p,
            tf.sin(x) * tf.cos(x),
            tf.math.erf(x),
            tf.abs(x),
            tf.maximum(x, 0.3),
            tf.minimum(x, p),
            tf.square(x),
            x**3,
            x**2,
            2.0 - x,
            x - 2.0,
            x / 8.0,
            x / 0.3,
            tf.nn.leaky_relu(x, 0.1),
            tf.clip_by_value(x, -0.5, 0.5),
            tf.add_n([x, p, x]),
            tf.math.squared_difference(x, p),
            tf.nn.gelu(x, approximate=True),
            tf.reduce_min(x, 1),
            tf.reduce_sum(x, 1, keepdims=True),
            tf.cast(x, tf.float64),
            0.5 * x * (1.0 + tf.math.erf(x / np.sqrt(2.0))),
            x * tf.sigmoid(x),
            x * tf.sigmoid(1.7 * x),
        ]

    graph = check(model, tolerance=1e-4)
    assert operators(graph).count("softmax") == 0


def test_dynamic_products() -> None:
    @function((None, 3, 4))
    def model(x: Any) -> Any:
        y = tf.matmul(x, x, transpose_b=True)
        return [
            y,
            tf.matmul(y, x),
            tf.einsum("bij,bkj->bki", x, x),
            tf.einsum("bij,jk->bik", x, tf.ones((4, 2))),
        ]

    check(model)


# Refusals


def test_every_unsupported_node_is_listed() -> None:
    @function((None, 6))
    def model(x: Any) -> Any:
        y = tf.math.digamma(x, name="running")
        turned = tf.math.lgamma(tf.nn.relu(y), name="turned")
        return tf.raw_ops.BesselI0(x=turned, name="picked")

    with pytest.raises(UnsupportedModel) as caught:
        load_tensorflow(model)
    assert {(p.node, p.operator) for p in caught.value.problems} == {
        ("running", "Digamma"),
        ("turned", "Lgamma"),
        ("picked", "BesselI0"),
    }
    text = str(caught.value)
    assert text.startswith("tf.function: 3 nodes cannot be imported:")
    assert all(
        part in text
        for part in ("'running' (Digamma)", "'turned'", "'picked'", "nearest supported form")
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda x: tf.reduce_sum(x, 0), "reduces over the batch"),
        (lambda x: tf.reshape(x, (3, -1)), "no axis is the batch|batch must stay"),
        (lambda x: tf.matmul(x, x, transpose_a=True), "sums over the batch"),
        (lambda x: x[:2], "takes a part of the batch"),
        (lambda x: tf.cast(tf.shape(x)[0], tf.float32) * x, "computes with the batch size"),
        (lambda x: (-1.0) ** x, "constant base must be > 0, received -1"),
        (lambda x: tf.reduce_prod(tf.tile(x, (1, 17)), 1), "68 elements; at most 64"),
        (lambda x: tf.gather(x, [0, 1], batch_dims=0), "takes a part of the batch"),
        (lambda x: tf.gather_nd(x, [[0, 1]]), "takes a part of the batch"),
        (lambda x: tf.cumsum(x, 0), "works over the batch"),
        (lambda x: x[:, 3:1], "takes 3:1:1, which is nothing"),
        (lambda x: tf.constant([1.0, 2.0]), "does not depend on the inputs"),
    ],
)
def test_refusals(body: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ImportModelError, match=message):
        load_tensorflow(function((None, 4))(body))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(bad: float) -> None:
    model = sequential(layers.Dense(3, name="dense"), shape=(2,))
    kernel = np.ones((2, 3), np.float32)
    kernel[1, 2] = bad
    model.layers[0].kernel.assign(kernel)
    with pytest.raises(
        ImportModelError, match=rf"weights must be finite: '.*dense/kernel' has {bad} at \[1, 2\]"
    ):
        load_tensorflow(model)


def test_inputs_must_have_known_shapes() -> None:
    with pytest.raises(ImportModelError, match="every dimension but the batch"):
        load_tensorflow(function((None, None, 3))(tf.nn.relu))
    with pytest.raises(ImportModelError, match="needs a batch axis"):
        load_tensorflow(function(())(tf.nn.relu))
    with pytest.raises(ImportModelError, match="no inputs yet"):
        load_tensorflow(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(ImportModelError, match="input_signature"):
        load_tensorflow(tf.function(tf.nn.relu))


def test_bad_files(tmp_path: Path) -> None:
    for name in ("model.h5", "model.keras", "model.pb", "saved_model.pb"):
        (tmp_path / name).write_bytes(b"not a model")
        with pytest.raises(ImportModelError, match=str(tmp_path)):
            load_tensorflow(tmp_path / name)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "missing.h5", tmp_path / "empty", tmp_path / "model.txt"):
        with pytest.raises(ImportModelError, match=path.name):
            load_tensorflow(path)
    with pytest.raises(ImportModelError, match="received int"):
        load_tensorflow(3)


# Models of others


def _shared(*parts: str) -> Path:
    path = MODELS.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"1 model is not on this machine: {path.name}")
    return path


def test_mlperf_tiny_resnet() -> None:
    path = _shared("mlperf_tiny", "image_classification", "trained_models", "pretrainedResnet.h5")
    graph = check(path, keras.models.load_model(path, compile=False), tolerance=1e-4)
    assert "mul" not in operators(graph)


def test_mlperf_tiny_keyword_spotting() -> None:
    path = _shared("mlperf_tiny", "keyword_spotting", "trained_models", "kws_ref_model")
    graph = load_tensorflow(path)
    assert "mul" not in operators(graph)
    (data,) = inputs_of(graph)
    v1 = tf.compat.v1
    with tf.Graph().as_default() as whole, v1.Session(graph=whole) as session:
        meta = v1.saved_model.load(session, ["serve"], str(path))
        signature = meta.signature_def["serving_default"]
        (x,), (y,) = signature.inputs.values(), signature.outputs.values()
        expected = session.run(y.name, {x.name: data})
    np.testing.assert_allclose(outputs_of(graph, [data])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["matrix_half_plus_two/1", "saved_model_half_plus_two_cpu/00000123"]
)
def test_serving_models(name: str) -> None:
    graph = load_tensorflow(_shared("tf_serving_testdata", *name.split("/")))
    (data,) = inputs_of(graph)
    np.testing.assert_allclose(outputs_of(graph, [data])[0], data / 2 + 2, rtol=1e-6)


def test_what_is_left_open_is_as_in_the_calibration(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((None, None, 2)), keras.layers.Conv2D(3, 3), keras.layers.ReLU()]
    )
    x = np.random.default_rng(1).normal(size=(4, 6, 5, 2)).astype(np.float32)
    with pytest.raises(ImportModelError, match="must be known"):
        load_tensorflow(model)
    np.testing.assert_allclose(gvm.from_tensorflow(model, x).run(x), model(x), atol=1e-3)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
    def rankless(x: Any) -> Any:
        return x * 2.0 + 1.0

    y = x.reshape(4, -1)
    made = gvm.from_tensorflow(rankless.get_concrete_function(), y).run(y)
    np.testing.assert_allclose(made, 2 * y + 1, atol=1e-3)


def test_an_old_graph_that_says_nothing_of_a_shape(tmp_path: Path) -> None:
    graph = tf.Graph()
    with graph.as_default():
        tf.add(tf.compat.v1.placeholder(tf.float32, name="x") * 2.0, 1.0, name="y")
    stored = graph.as_graph_def()
    for node in stored.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.Clear()
    stored.versions.producer = 21  # an empty shape was an unknown one
    (tmp_path / "old.pb").write_bytes(stored.SerializeToString())
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        gvm.from_tensorflow(tmp_path / "old.pb", x).run(x), 2 * x + 1, atol=1e-3
    )


def test_a_model_that_changes_a_variable_is_refused() -> None:
    path = _shared("tf_serving_testdata", "saved_model_counter", "00000123")
    with pytest.raises(UnsupportedModel, match="AssignAdd.* changes a variable"):
        load_tensorflow(path)
