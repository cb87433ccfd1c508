"""Inverse and hyperbolic functions: small numbers keep their digits, also beside large ones."""

from __future__ import annotations

import numpy as np
import pytest

from gvm.model import Model

onnx = pytest.importorskip("onnx")

from gvm.importers.onnx import load_onnx  # noqa: E402
from tests.onnx_models import ROWS, model, outputs_of  # noqa: E402

CASES = {
    "Asin": (np.arcsin, -1.0, 1.0),
    "Acos": (np.arccos, -1.0, 1.0),
    "Atan": (np.arctan, -30.0, 30.0),
    "Asinh": (np.arcsinh, -30.0, 30.0),
    "Acosh": (np.arccosh, 1.0, 30.0),
    "Atanh": (np.arctanh, -0.97, 0.97),
    "Sinh": (np.sinh, -6.0, 6.0),
}


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_numpy(name: str, scale: float) -> None:
    function, low, high = CASES[name]
    if scale != 1.0 and low > 0:
        high = 1 + scale
    else:
        low, high = low * scale, high * scale
    unit = 2.0 ** np.floor(np.log2(max(high, -low) / 8192))
    high = float(np.floor(high / unit) * unit)
    drawn = np.random.default_rng(1).uniform(low, high, (64, 6))
    x = np.asarray(np.clip(np.rint(drawn / unit) * unit, low, high), np.float32)
    x[0, :3] = [max(low, 0.0) if low > 0 else 0.0, low, high]
    graph = load_onnx(model(f"y = {name} (x)", ROWS))
    expected = function(x.astype(np.float64))
    np.testing.assert_allclose(outputs_of(graph, [x])[0], expected, rtol=2e-6, atol=2e-6)
    found = Model.from_graph(graph, [x], progress=False).run(x)
    # The input's own rounding, where it has more digits than its format, and a few units.
    size = np.abs(expected).max()
    slack = np.abs(function(np.clip(x + unit / 2, low, high)) - expected)
    assert (np.abs(found - expected) <= 4e-4 * size + slack).all()


def test_small_numbers_beside_large_ones() -> None:
    """asinh near 0 was off by twice its largest value beside 850."""
    x = np.concatenate([np.linspace(-4, 4, 96), np.linspace(-850, 850, 96)]).reshape(-1, 6)
    x = np.asarray(np.rint(x * 16) / 16, np.float32)
    found = Model.from_graph(load_onnx(model("y = Asinh (x)", ROWS)), [x], progress=False).run(x)
    assert np.abs(found - np.arcsinh(x)).max() < 0.03


def test_tensorflow_has_the_same() -> None:
    tf = pytest.importorskip("tensorflow")
    from gvm.importers.tensorflow import load_tensorflow

    source = tf.function(
        lambda x: tf.atan(x) + tf.asinh(x) * tf.sinh(x), input_signature=[tf.TensorSpec((None, 6))]
    )
    x = np.linspace(-2, 2, 96, dtype=np.float32).reshape(-1, 6)
    found = outputs_of(load_tensorflow(source), [x])[0]
    np.testing.assert_allclose(found, source(x), rtol=1e-5, atol=1e-5)
