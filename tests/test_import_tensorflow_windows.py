"""gvm.importers: TensorFlow's convolutions and pooling over one to three axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gvm.importers.tensorflow import load_tensorflow
from tests.tensorflow_models import check, keras, names, operators, randomise, sequential, tf

layers = keras.layers
SHAPES = {1: (9, 4), 2: (7, 8, 4), 3: (5, 6, 7, 4)}
CONVOLUTION = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
MAXIMUM = {1: layers.MaxPooling1D, 2: layers.MaxPooling2D, 3: layers.MaxPooling3D}
AVERAGE = {1: layers.AveragePooling1D, 2: layers.AveragePooling2D, 3: layers.AveragePooling3D}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolution(rank: int, padding: str) -> None:
    inputs = keras.Input(SHAPES[rank])
    made = [
        CONVOLUTION[rank](
            6, (2, 3, 2)[-rank:], padding=padding, name=f"c{i}", strides=strides[-rank:]
        )(inputs)
        for i, strides in enumerate(((1, 1, 1), (2, 3, 2)))
    ]
    model = randomise(keras.Model(inputs, made))
    graph = check(model, lambda x: model(x))
    assert operators(graph).count("conv2d") == 2
    assert names(graph) == {"c0/kernel", "c0/bias", "c1/kernel", "c1/bias"}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_transposed_convolution(rank: int, padding: str) -> None:
    inputs = keras.Input(SHAPES[rank])
    made = [
        TRANSPOSED[rank](
            6, (2, 3, 4)[-rank:], padding=padding, name=f"c{i}", strides=strides[-rank:]
        )(inputs)
        for i, strides in enumerate(((1, 1, 1), (2, 3, 2)))
    ]
    model = randomise(keras.Model(inputs, made))
    graph = check(model, lambda x: model(x))
    assert operators(graph).count("conv2d_grad_input") == 2
    assert names(graph) == {"c0/kernel", "c0/bias", "c1/kernel", "c1/bias"}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pooling(rank: int, padding: str) -> None:
    inputs = keras.Input(SHAPES[rank])
    made = [
        pools[rank](pool_size=(2, 3, 2)[-rank:], strides=strides[-rank:], padding=padding)(inputs)
        for strides in ((1, 1, 1), (2, 3, 2), (2, 1, 3))
        for pools in (MAXIMUM, AVERAGE)
    ]
    model = keras.Model(inputs, made)
    check(model, lambda x: model(x))


def test_padding_before_a_volume() -> None:
    graph = check(
        sequential(
            layers.ZeroPadding3D(((1, 2), (0, 1), (1, 1))),
            layers.Conv3D(3, 3, activation="relu"),
            layers.ZeroPadding3D(1),
            layers.MaxPooling3D(2),
            shape=SHAPES[3],
        )
    )
    assert operators(graph).count("pad") <= 1


def test_a_decoder_folds_its_normalisation() -> None:
    graph = check(
        sequential(
            layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="up"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Conv2D(2, 1, name="last"),
            shape=(3, 4, 6),
        )
    )
    assert "mul" not in operators(graph)


class Direct(tf.Module):
    """One operator with a weight, as TensorFlow itself has it."""

    def __init__(self, shape: tuple[int, ...], call: Any) -> None:
        rng = np.random.default_rng(2)
        self.w = tf.Variable(rng.normal(0, 1, shape).astype(np.float32), name="w")
        self.call = call

    def graph(self, *shape: int) -> Any:
        function = tf.function(
            lambda x: self.call(x, self.w),
            input_signature=[tf.TensorSpec((None, *shape), tf.float32)],
        )
        return function.get_concrete_function()


def test_direct_operators() -> None:
    wanted = {
        "depthwise backwards": (
            (3, 2, 4, 2),
            lambda x, w: tf.nn.depthwise_conv2d_backprop_input(
                [tf.shape(x)[0], 8, 9, 4], w, x, (1, 2, 2, 1), "SAME"
            ),
            (4, 5, 8),
        ),
        "grouped": ((3, 3, 2, 6), lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), (5, 6, 4)),
        "explicit": (
            (3, 3, 4, 6),
            lambda x, w: tf.nn.conv2d(x, w, 2, [[0, 0], [1, 2], [2, 0], [0, 0]]),
            (5, 6, 4),
        ),
        "transposed, explicit": (
            (3, 3, 5, 4),
            lambda x, w: tf.nn.conv2d_transpose(
                x, w, [tf.shape(x)[0], 9, 10, 5], 2, [[0, 0], [1, 1], [0, 1], [0, 0]]
            ),
            (5, 5, 4),
        ),
        "dilated volume": (
            (2, 2, 2, 3, 5),
            lambda x, w: tf.nn.convolution(x, w, padding="VALID", dilations=(2, 1, 3)),
            (5, 4, 7, 3),
        ),
        "with positions": (
            (1,),
            lambda x, w: tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")[0],
            (5, 4, 3),
        ),
    }
    for shape, call, given in wanted.values():
        module = Direct(shape, call)
        source = module.graph(*given)
        check(source, source)


def test_weights_go_back_to_keras() -> None:
    model = sequential(
        layers.Conv3D(3, 2, name="a"),
        layers.ReLU(),
        layers.Conv3DTranspose(2, 2, strides=2, name="b"),
        shape=(3, 4, 3, 2),
    )
    from gvm.importers.keras_weights import with_weights

    graph = load_tensorflow(model)
    copy = with_weights(model, {p.name: p.data * 2 for p in graph.parameters})
    for a, b in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_allclose(2 * a.numpy(), b.numpy(), rtol=1e-6)
    assert randomise(copy) is copy
