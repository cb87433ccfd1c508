"""Row numbers, one-hot rows and integers of fixed widths in imported models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.errors import GvmError
from gvm.model import Model

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from gvm.importers.tensorflow import load_tensorflow  # noqa: E402
from tests.tensorflow_models import randomise  # noqa: E402


def held(source: Any, x: NDArray[Any], tolerance: float = 0.0) -> Model:
    """Integers agree with TensorFlow; the model."""
    model = Model.from_graph(load_tensorflow(source), [x], progress=False)
    expected = source(x).numpy()
    assert np.abs(model.run(x) - expected).max() <= tolerance * np.abs(expected).max()
    return model


def function(body: Any, *shape: int | None, dtype: Any = tf.int32) -> Any:
    return tf.function(body, input_signature=[tf.TensorSpec((None, *shape), dtype)])


def test_an_embedding_behind_an_input_of_real_numbers() -> None:
    """Keras casts what an Input of the default type is given."""
    source = randomise(
        keras.Sequential(
            [keras.Input((7,)), keras.layers.Embedding(40_000, 4), keras.layers.Dense(3)]
        )
    )
    x = np.random.default_rng(1).integers(0, 40_000, (16, 7)).astype(np.float32)
    model = held(source, x, 2e-4)
    assert model.program.inputs[0].dtype == "i32"
    with pytest.raises(GvmError, match="whole numbers, received fractions"):
        model.run(x + 0.5)
    with pytest.raises(GvmError, match="calibration 0: expected whole numbers, received fractions"):
        Model.from_graph(load_tensorflow(source), [x + 0.5], progress=False)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_what_no_row_stands_for_is_nothing(axis: int) -> None:
    """tf.one_hot makes zeros of numbers outside of its depth, negative ones too."""
    source = function(lambda i: tf.one_hot(i, 5, 2.0, -1.0, axis=axis), 4)
    x = np.asarray([[0, 4, 5, -1], [-5, 100, 2, 3]], np.int32)
    graph = load_tensorflow(source)
    found = Model.from_graph(graph, [x], progress=False).run(x)
    assert np.array_equal(found, source(x).numpy())


@pytest.mark.parametrize("row", [-1, 6, 1000])
def test_a_row_outside_of_a_table(row: int) -> None:
    """The node, the number and the size of the table, in calibration as when it runs."""
    source = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(6, 4)])
    good, bad = np.asarray([[0, 5, 2]]), np.asarray([[0, 5, row]])
    graph = load_tensorflow(source)
    with pytest.raises(
        GvmError, match=rf"gather, node .*embedding.*: index must be in \[0, 6\), received {row}"
    ):
        Model.from_graph(graph, [bad], progress=False)
    model = Model.from_graph(graph, [good], progress=False)
    with pytest.raises(GvmError, match=rf"index must be in \[0, 6\), received {row}"):
        model.run(bad)


@pytest.mark.parametrize("width", ["int8", "uint8"])
def test_narrow_integers_wrap(width: str) -> None:
    """A cast keeps the low bits."""
    source = function(lambda i: tf.cast(tf.cast(i, width), tf.float32), 4)
    x = np.asarray([[0, 1, 127, 128], [255, 130, 200, 77]], np.int32)
    held(source, np.concatenate([x, -x, x * 20, -x * 20 - 3]).astype(np.int32))


@pytest.mark.parametrize("width", ["int8", "uint8", "int16", "uint16"])
def test_narrow_row_numbers_wrap(width: str) -> None:
    def body(i: Any) -> Any:
        return tf.gather(tf.range(256.0) / 16, tf.cast(tf.cast(i, width), tf.int32))

    x = np.asarray([[0, 1, 127, 128], [255, 130, 200, 77]], np.int32)
    x = x % 128 if width == "int8" else x
    held(function(body, 4), (x + 65536 * np.asarray([[3], [-5]])).astype(np.int32))


def test_wider_integers_are_the_numbers() -> None:
    source = function(lambda i: tf.cast(tf.cast(i, tf.int64), tf.float32) * 0.5, 4)
    assert "div" not in [n.op for n in load_tensorflow(source).nodes]
