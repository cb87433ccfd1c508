"""model.to_keras(): the weights of a trained model in the Keras model that it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
layers = keras.layers


def randomise(model: Any, seed: int = 7) -> Any:
    """Every weight drawn anew, statistics too."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if "variance" in variable.name:
            variable.assign(rng.uniform(0.5, 2.0, shape))
        elif "gamma" in variable.name:
            variable.assign(rng.uniform(0.7, 1.3, shape))
        else:
            fan_in = max(1, int(np.prod(shape[:-1])))
            variable.assign(rng.normal(0.0, 1.0, shape) / np.sqrt(fan_in))
    return model


def data(shape: tuple[int, ...], count: int = 48) -> NDArray[Any]:
    return np.random.default_rng(5).uniform(-1, 1, (count, *shape)).astype(np.float32)


def sequential(*stack: Any, shape: tuple[int, ...]) -> Any:
    return randomise(keras.Sequential([keras.Input(shape), *stack]))


def residual() -> Any:
    given = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(given)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    y = layers.BatchNormalization()(layers.Add()([x, y]))
    y = layers.BatchNormalization(center=False)(layers.ReLU()(y))
    y = layers.BatchNormalization(scale=False)(layers.Conv2D(5, 1)(y))
    return randomise(keras.Model(given, layers.Dense(3)(layers.GlobalAveragePooling2D()(y))))


def nested() -> Any:
    inner = keras.Sequential(
        [keras.Input((5,)), layers.Dense(6), layers.BatchNormalization(), layers.ReLU()],
        name="inner",
    )
    given = keras.Input((5,))
    return randomise(keras.Model(given, layers.Dense(3, activation="softmax")(inner(given))))


MODELS: dict[str, Callable[[], Any]] = {
    "dense": lambda: sequential(
        layers.Dense(7, activation="relu"), layers.Dense(3, activation="softmax"), shape=(5,)
    ),
    "dense_normalised": lambda: sequential(
        layers.Dense(7), layers.BatchNormalization(), layers.Activation("tanh"),
        layers.LayerNormalization(), layers.Dense(3), shape=(5,),
    ),
    "separable": lambda: sequential(
        layers.SeparableConv2D(4, 3), layers.BatchNormalization(scale=False), layers.ReLU(),
        layers.Flatten(), layers.Dense(3), shape=(5, 5, 2),
    ),
    "conv1d": lambda: sequential(
        layers.Conv1D(4, 3, dilation_rate=2), layers.BatchNormalization(), layers.ReLU(),
        layers.GlobalAveragePooling1D(), layers.Dense(3), shape=(9, 2),
    ),
    "depth_multiplier": lambda: sequential(
        layers.DepthwiseConv2D(3, depth_multiplier=2), layers.BatchNormalization(),
        layers.PReLU(shared_axes=(1, 2)), layers.Flatten(), layers.Dense(3), shape=(5, 4, 3),
    ),
    "rescaled": lambda: sequential(
        layers.Dense(4), layers.Rescaling(-0.5), layers.ReLU(), layers.Dense(3), shape=(5,)
    ),
    "residual": residual,
    "nested": nested,
}  # fmt: skip


def agrees(model: gvm.Model, keras_model: Any, x: NDArray[Any]) -> None:
    """Within 1 part in 200 of the largest output: what 16 bits leave of a few layers."""
    ours, theirs = model.run(x), np.asarray(keras_model(x))
    assert np.max(np.abs(ours - theirs)) < 0.005 * np.max(np.abs(theirs))


@pytest.mark.parametrize("name", MODELS)
def test_trained_weights_go_back(name: str) -> None:
    source = MODELS[name]()
    before = [w.numpy() for w in source.weights]
    x = data(source.input_shape[1:])
    labels = np.argmax(x.reshape(len(x), -1)[:, :3], axis=1)
    model = gvm.from_tensorflow(source, x, "softmax_cross_entropy", labels, progress=False)
    agrees(model, model.to_keras(), x)
    untrained = model.run(x)
    model.train(x, labels, optimizer=gvm.SGD(0.1), epochs=3, batch_size=8, progress=False)
    assert np.max(np.abs(model.run(x) - untrained)) > 0.02
    made = model.to_keras()
    agrees(model, made, x)
    assert made.get_config()["name"] == source.get_config()["name"]
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, source.weights, strict=True))
    # What was written imports to what was trained.
    again = gvm.from_tensorflow(made, x, progress=False)
    agrees(again, made, x)


def test_without_training_dense_weights_are_the_sources() -> None:
    source = MODELS["dense"]()
    made = gvm.from_tensorflow(
        source, data((5,)), "softmax_cross_entropy", progress=False
    ).to_keras()
    for a, b in zip(source.weights, made.weights, strict=True):
        assert np.max(np.abs(a.numpy() - b.numpy())) < 2.0**-24


def test_a_loaded_model_needs_its_source(tmp_path: Path) -> None:
    source = MODELS["residual"]()
    x = data((6, 6, 3))
    gvm.from_tensorflow(source, x, progress=False).save(tmp_path / "m.dmodel")
    loaded = gvm.load(tmp_path / "m.dmodel")
    with pytest.raises(gvm.GvmError, match="source is needed"):
        loaded.to_keras()
    agrees(loaded, loaded.to_keras(source), x)
    source.save(tmp_path / "source.keras")
    agrees(loaded, loaded.to_keras(tmp_path / "source.keras"), x)
    imported = gvm.from_tensorflow(tmp_path / "source.keras", x, progress=False)
    agrees(imported, imported.to_keras(), x)


def test_a_sequential_may_be_saved_in_between(tmp_path: Path) -> None:
    """Its variables are named after it before, and not after."""
    source, x = MODELS["dense"](), data((5,))
    source.save(tmp_path / "m.keras")
    for given, other in ((source, tmp_path / "m.keras"), (tmp_path / "m.keras", source)):
        model = gvm.from_tensorflow(given, x, progress=False)
        agrees(model, model.to_keras(other), x)


def test_other_sources_are_refused(tmp_path: Path) -> None:
    x = data((5,))
    model = gvm.from_tensorflow(MODELS["dense"](), x, progress=False)
    with pytest.raises(gvm.GvmError, match="has none of the parameters"):
        model.to_keras(MODELS["nested"]())
    with pytest.raises(gvm.GvmError, match="must be a Keras model or its file, received int"):
        model.to_keras(3)
    with pytest.raises(gvm.GvmError, match="must be a Keras model or its file, received m.pb"):
        model.to_keras("m.pb")
    (tmp_path / "m.keras").write_text("no model")
    with pytest.raises(gvm.GvmError, match="Keras cannot load it"):
        model.to_keras(tmp_path / "m.keras")
    assert gvm.templates.mlp((3, 2), formats="<8,8>").source is None


def named(*stack: Any) -> Any:
    model = keras.Sequential([keras.Input((5,)), *stack], name="named")
    return randomise(model)


def test_shapes_and_layers_that_differ_are_refused() -> None:
    x = data((5,))
    model = gvm.from_tensorflow(
        named(layers.Dense(4, name="a"), layers.Dense(2, name="b")), x, progress=False
    )
    with pytest.raises(gvm.GvmError, match=r"named/a/kernel has shape \(5, 3\), the param"):
        model.to_keras(named(layers.Dense(3, name="a"), layers.Dense(2, name="b")))
    with pytest.raises(gvm.GvmError, match="another than was imported: parameter 'named/c"):
        model.to_keras(
            named(layers.Dense(4, name="a"), layers.Dense(2, name="b"), layers.Dense(2, name="c"))
        )


def test_what_the_variable_is_not_is_refused() -> None:
    """A constant shift behind a layer is folded into its bias."""
    x = data((5,))
    model = gvm.from_tensorflow(
        named(layers.Dense(4, name="a"), layers.Rescaling(1.0, 3.0), layers.Dense(2, name="b")),
        x,
        progress=False,
    )
    with pytest.raises(gvm.GvmError, match="named/a/bias cannot be written back"):
        model.to_keras()
