"""``training=True``: batch normalisations of Keras and ONNX train, and go back where they came
from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm

keras = pytest.importorskip("keras")
layers = keras.layers

Array = NDArray[Any]
COUNT = 32


def examples() -> tuple[Array, Array]:
    draw = np.random.default_rng(2)
    x = draw.normal(size=(COUNT, 6, 6, 2)).astype(np.float32)
    return x, (x.mean((1, 2, 3)) > 0).astype(np.int64)


def network(**options: Any) -> Any:
    """Both forms of Keras: behind a convolution and behind a dense layer."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8, name="first", **options)(x))
    x = layers.Dense(5)(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8, epsilon=0.01, name="second")(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            n = layer.moving_mean.shape[0]
            layer.moving_mean.assign(draw.normal(size=n) / 4)
            layer.moving_variance.assign(draw.uniform(0.5, 2, n))
            if layer.gamma is not None:
                layer.gamma.assign(draw.uniform(0.5, 1.5, n))
    return model


def imported(source: Any, **options: Any) -> gvm.Model:
    x, y = examples()
    return gvm.from_tensorflow(
        source, x, "softmax_cross_entropy", y, max_batch=64, training=True, **options
    )


def test_in_use_it_is_what_keras_computes() -> None:
    x, _ = examples()
    model = network()
    assert imported(model).run(x) == pytest.approx(np.asarray(model(x)), abs=0.02)


def test_training_follows_keras() -> None:
    x, y = examples()
    model = network()
    fixed = imported(model)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = fixed.parameter_arrays()["first/moving_variance"].real()
    for _ in range(4):
        model.train_on_batch(x, y)
    optimizer = gvm.SGD(0.05, momentum=0.9)
    fixed.train(x, y, optimizer=optimizer, epochs=4, batch_size=COUNT, micro_batch=5)
    found = {name: v.real() for name, v in fixed.parameter_arrays().items()}
    assert np.abs(found["first/moving_variance"] - before).max() > 0.05
    for variable in model.weights:
        wanted = np.asarray(variable.numpy())
        assert found[variable.path].reshape(wanted.shape) == pytest.approx(wanted, abs=0.01)


def test_to_keras_writes_all_four() -> None:
    x, y = examples()
    model = network(scale=False)
    fixed = imported(model)
    fixed.train(x, y, optimizer=gvm.SGD(0.05), epochs=2, batch_size=8)
    written = fixed.to_keras()
    found = {name: v.real() for name, v in fixed.parameter_arrays().items()}
    for original, variable in zip(model.weights, written.weights, strict=True):
        wanted = found[original.path].reshape(variable.shape)
        assert np.asarray(variable.numpy()) == pytest.approx(wanted, abs=1e-5)
    assert fixed.run(x) == pytest.approx(np.asarray(written(x)), abs=0.02)


def test_a_file_of_keras_trains(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    network().save(path)
    names = [n for n in imported(path).parameter_arrays() if n.endswith("moving_mean")]
    assert len(names) == 2


def test_what_is_frozen_is_folded() -> None:
    x, _ = examples()
    model = network()
    model.get_layer("first").trainable = False
    for made in (imported(model), imported(network(), trainable=["second/*", "dense*"])):
        steps = [s.name for s in made.program.predict.segments[0].steps]
        assert steps.count("batch_normalize") == 1
        assert made.run(x) == pytest.approx(np.asarray(model(x)), abs=0.02)


def test_refusals(tmp_path: Path) -> None:
    x, y = examples()
    with pytest.raises(gvm.ImportModelError, match="needs a loss"):
        gvm.from_tensorflow(network(), x, training=True)
    model = network()
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(gvm.ImportModelError, match="a Keras model or its file"):
        imported(tmp_path / "saved")
    inputs = keras.Input((6, 6, 2))
    twice = layers.BatchNormalization(axis=1)(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(twice)))
    with pytest.raises(gvm.ImportModelError, match="channels on the last axis"):
        imported(model)


def onnx_model() -> Any:
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    draw = np.random.default_rng(4)
    data = {
        "kernel": draw.normal(size=(4, 2, 3, 3)) / 4,
        "gamma": draw.uniform(0.5, 1.5, 4),
        "beta": draw.normal(size=4) / 4,
        "mean": draw.normal(size=4) / 4,
        "variance": draw.uniform(0.5, 2, 4),
        "head": draw.normal(size=(64, 3)) / 8,
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"]),
        helper.make_node(
            "BatchNormalization",
            ["c", "gamma", "beta", "mean", "variance"],
            ["n"],
            epsilon=1e-3,
            momentum=0.75,
        ),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "normalised",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 2, 6, 6))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 3))],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in data.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_onnx_trains_and_is_written_back() -> None:
    runtime = pytest.importorskip("onnxruntime")
    source = onnx_model()
    x, y = examples()
    x = x.transpose(0, 3, 1, 2).copy()
    made = gvm.from_onnx(source, x, "softmax_cross_entropy", y, training=True)
    rules = [p for p in made.program.info if p.running is not None]
    assert [p.name for p in rules] == ["mean", "variance"]
    assert all(0.75 * 2**20 == p.rule.attributes[4] for p in rules if p.rule is not None)
    first = made.train(x, y, optimizer=gvm.SGD(0.1), epochs=6, batch_size=8).epochs
    assert first[-1].loss < first[0].loss
    written = made.to_onnx()
    session = runtime.InferenceSession(written.SerializeToString())
    assert made.run(x) == pytest.approx(session.run(None, {"x": x})[0], abs=0.02)
    for tensor in written.graph.initializer:
        if tensor.name == "variance":
            from onnx import numpy_helper

            wanted = made.parameter_arrays()["variance"].real()
            assert numpy_helper.to_array(tensor) == pytest.approx(wanted, rel=1e-5)
