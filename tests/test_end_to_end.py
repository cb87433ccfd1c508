"""A Keras model imported, run and trained in fixed point on scikit-learn's digits, beside Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm

keras = pytest.importorskip("keras")
datasets = pytest.importorskip("sklearn.datasets")

TRAINED, EPOCHS, BATCH, RATE = 1437, 6, 32, 0.05
Pair = tuple[NDArray[Any], NDArray[Any]]


@pytest.fixture(scope="module")
def digits() -> tuple[Pair, Pair]:
    """Training and test images in [0, 1] and their classes."""
    found = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    x = (found.images / 16.0)[order, :, :, np.newaxis].astype(np.float32)
    y = found.target[order]
    return (x[:TRAINED], y[:TRAINED]), (x[TRAINED:], y[TRAINED:])


def build() -> Any:
    """A residual block, two branches side by side, batch normalisation, average pooling."""
    keras.utils.set_random_seed(11)
    layers = keras.layers
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    inner = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    inner = layers.Conv2D(8, 3, padding="same")(inner)
    x = layers.ReLU()(layers.Add()([x, inner]))
    x = layers.AveragePooling2D(2)(x)
    left = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    right = layers.Conv2D(12, 1, activation="tanh")(x)
    x = layers.Concatenate()([left, right])
    x = layers.AveragePooling2D(2, strides=1, padding="same")(x)
    x = layers.MaxPooling2D(2)(x)
    return keras.Model(image, layers.Dense(10, name="logits")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def control(digits: tuple[Pair, Pair]) -> Any:
    """The same model trained by Keras in float32."""
    (x, y), _ = digits
    model = build()
    model.compile(
        keras.optimizers.SGD(RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model


def accuracy(model: Any, data: Pair) -> float:
    return float((model.predict(data[0], verbose=0).argmax(1) == data[1]).mean())


def test_a_trained_model_runs_close_to_keras(digits: tuple[Pair, Pair], control: Any) -> None:
    (x, y), (tested, classes) = digits
    expected = control.predict(tested, verbose=0)
    model = gvm.from_tensorflow(control, calibration=x[:300])
    found = model.run(tested)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.995
    # With the formats of training, and a uniform one that needs no calibration.
    scored = gvm.from_tensorflow(control, x[:300], "softmax_cross_entropy", y[:300])
    loss = scored.evaluate(tested, classes)
    assert abs(loss.accuracy - accuracy(control, (tested, classes))) < 0.01
    uniform = gvm.from_tensorflow(control, formats="<8,8>")
    assert np.abs(uniform.run(tested) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("profile", "formats"), [("w32", None), ("w16", None), ("w32", "<6,10>"), ("w16", "<6,10>")]
)
def test_training_beside_keras(
    digits: tuple[Pair, Pair], control: Any, profile: str, formats: str | None
) -> None:
    (x, y), tested = digits
    model = gvm.from_tensorflow(
        build(), x[:300], loss="softmax_cross_entropy", labels=y[:300], formats=formats
    )
    history = model.train(
        x,
        y,
        optimizer=gvm.SGD(RATE, momentum=0.9),
        epochs=EPOCHS,
        batch_size=BATCH,
        seed=1,
        profile=profile,
        validation=tested,
    )
    in_float, loss = accuracy(control, tested), model.evaluate(*tested)
    assert history.epochs[-1].validation == loss
    assert history.epochs[-1].accuracy > 0.94
    assert in_float > 0.93
    assert loss.accuracy > max(0.93, in_float - 0.03)


def test_a_trained_model_goes_on_in_fixed_point(digits: tuple[Pair, Pair], control: Any) -> None:
    (x, y), tested = digits
    model = gvm.from_tensorflow(control, x[:300], "softmax_cross_entropy", y[:300])
    before = model.evaluate(x, y)
    model.train(x, y, optimizer=gvm.SGD(0.01, momentum=0.9), epochs=2, batch_size=BATCH)
    assert model.evaluate(x, y) < before
    assert model.evaluate(*tested).accuracy > accuracy(control, tested) - 0.02
