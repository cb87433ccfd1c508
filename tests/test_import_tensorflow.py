"""gvm.importers.tensorflow: kinds of source, arithmetic, refusals, and models of others."""

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
    sequential,
)

MODELS = Path(__file__).parents[2] / "shared" / "models"


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
    (tmp_path / "served" / "00000123").mkdir(parents=True)
    (tmp_path / "served" / "00000123" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ImportModelError, match="missing; it is in 00000123"):
        load_tensorflow(tmp_path / "served")


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


def test_weights_are_read_from_their_variables() -> None:
    """Not from a graph that holds them as constants, of which TensorFlow makes many copies."""
    from gvm.importers import tensorflow

    source = sequential(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    frozen = tensorflow._freeze(source)
    assert len(frozen.weights) == 6 and frozen.graph_def.ByteSize() < 10_000
    assert {v.name.split("/")[-1] for v in frozen.variables.values()} == {
        *("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    }
    rows = sequential(keras.layers.Embedding(3000, 8), shape=(5,))
    assert tensorflow._freeze(rows).graph_def.ByteSize() < 10_000
