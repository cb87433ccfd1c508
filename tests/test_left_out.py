"""Very low numbers take no bits from what is beside them, however a model makes and reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm
from gvm.left_out import Histogram

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from tests.onnx_models import model, random  # noqa: E402

KEPT = np.tril(np.ones((4, 5), bool))
SCORES, KEYS = "float[N,4,5] x", ", float[N,5] p"
KEY_MASK = "i = Sub (one, p) b = Mul (i, low) u = Unsqueeze (b, at) "
MASKED = KEY_MASK + "s = Add (x, u) "

CASES = {
    "chosen, then scaled": "s = Where (k, x, low) t = Mul (s, c) y = Softmax (t)",
    "added, then scaled": "s = Add (x, m) t = Mul (s, c) y = Softmax (t)",
    "added, then divided": "s = Add (x, m) t = Div (s, eight) y = Softmax (t)",
    "mask times low": "b = Mul (q, low) u = Unsqueeze (b, at) s = Add (x, u) y = Softmax (s)",
    "the same, scaled": "b = Mul (q, low) u = Unsqueeze (b, at) s = Add (x, u) t = Mul (s, c) "
    "y = Softmax (t)",
    "a shared mask": MASKED
    + "e = Softmax (s) v = Mul (x, c) w = Add (v, u) f = Softmax (w) y = Add (e, f)",
    "a shared sum": MASKED + "e = Softmax (s) v = Mul (s, c) f = Softmax (v) y = Add (e, f)",
    "softmax by hand": MASKED + "g = ReduceMax <keepdims = 1> (s, last) d = Sub (s, g) e = Exp (d) "
    "z = ReduceSum <keepdims = 1> (e, last) y = Div (e, z)",
    "largest": MASKED + "y = ReduceMax <keepdims = 0> (s, last)",
    "largest of a choice": "s = Where (k, x, low) r = ReduceMax <keepdims = 0> (s, last) "
    "y = MatMul (r, weights)",
    "the two largest": "s = Where (most, x, low) y, i = TopK (s, two)",
    "position of the largest": "s = Where (k, x, low) i = ArgMax <axis = 2> (s) "
    "j = Cast <to = 1> (i) y = Mul (j, one)",
    "pooled": "i = Sub (one, first) b = Mul (i, low) u = Unsqueeze (b, at) s = Add (x, u) "
    "y = MaxPool <kernel_shape = [3], strides = [2]> (s)",
    "a mask as an input": "u = Unsqueeze (added, at) s = Add (x, u) y = Softmax (s)",
    "the same input, scaled": "u = Unsqueeze (added, at) s = Add (x, u) t = Mul (s, c) "
    "y = Softmax (t)",
    "beside a bias": "s = Add (x, slopes) y = Softmax (s)",
    "beside a bias, scaled": "s = Add (x, slopes) t = Mul (s, c) y = Softmax (t)",
    "two masks": MASKED + "t = Add (s, m) y = Softmax (t)",
    "two masks together": KEY_MASK + "v = Add (u, m) s = Add (x, v) y = Softmax (s)",
    "bounded below": KEY_MASK + "v = Add (u, m) w = Max (v, lowest) s = Add (x, w) "
    "t = Max (s, lowest) y = Softmax (t)",
    "a mask that is chosen": KEY_MASK + "v = Where (k, u, low) s = Add (x, v) y = Softmax (s)",
    "zero or low": "e = Equal (p, zero) u = Unsqueeze (e, at) v = Where (u, low, zero) "
    "s = Add (x, v) y = Softmax (s)",
    "subtracted": "i = Sub (one, p) b = Mul (i, high) u = Unsqueeze (b, at) s = Sub (x, u) "
    "y = Softmax (s)",
    "as GPT-2": "f = Cast <to = 1> (k) h = Mul (x, f) i = Sub (one, f) z = Mul (i, low) "
    "s = Add (h, z) y = Softmax (s)",
    "a gate": "s = Where (k, x, low) y = Sigmoid (s)",
    "exponentials": "s = Add (x, m) y = Exp (s)",
    "rectified": "s = Where (k, x, low) y = Relu (s)",
    "infinity replaced": "q1 = IsInf (x) s = Where (q1, huge, x) y = Mul (s, c)",
    "never above": "q1 = Greater (x, huge) s = Where (q1, huge, x) y = Mul (s, c)",
}


@pytest.mark.parametrize("low", [-1e4, np.finfo(np.float32).min])
@pytest.mark.parametrize("name", CASES)
def test_scores_keep_their_bits(name: str, low: float) -> None:
    body = CASES[name]
    x, keys = 3 * random(32, 4, 5), np.random.default_rng(1).uniform(size=(32, 5)) < 0.6
    keys[:, 0] = True
    if name == "infinity replaced":
        x[0, 0, 0] = 20
    first = keys | np.isin(np.arange(5), [2])  # one key in each window
    floats = {
        "p": keys,
        "q": ~keys,
        "first": first,
        "added": np.where(keys, 0, low),
    }
    weights: dict[str, Any] = {
        "low": np.float32(low),
        "high": np.float32(-low),
        "k": KEPT,
        "most": np.tril(KEPT.T.any() * np.ones((4, 5), bool), 1),
        "m": np.where(KEPT, 0, low).astype(np.float32),
        "slopes": np.where(KEPT, -0.3 * np.arange(5), low).astype(np.float32),
        "c": np.float32(0.125),
        "eight": np.float32(8),
        "one": np.float32(1),
        "zero": np.float32(0),
        "at": np.int64([1]),
        "last": np.int64([-1]),
        "two": np.int64([2]),
        "weights": random(4, 3),
        "lowest": np.finfo(np.float32).min,
        "huge": np.float32(3e38),
    }
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    others = {n: a.astype(np.float32) for n, a in floats.items() if n in words}
    inputs = SCORES + "".join(f", float[N,5] {n}" for n in others)
    used = {n: a for n, a in weights.items() if n in words}
    source = model(body, inputs, **used)
    given: list[NDArray[Any]] = [x, *others.values()]
    with np.errstate(over="ignore", invalid="ignore"):
        (expected, *_) = ReferenceEvaluator(source).run(
            None, dict(zip(["x", *others], given, strict=True))
        )
    data: Any = given if others else x
    found = gvm.from_onnx(source, data, progress=False).run(data, progress=False)
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_low_number_that_is_a_result_keeps_its_value() -> None:
    """What others read of it is the number itself."""
    source = model("y = Where (k, x, low)", SCORES, k=KEPT, low=np.float32(-1e4))
    x = random(8, 4, 5)
    found = gvm.from_onnx(source, x, progress=False).run(x, progress=False)
    assert np.abs(found[:, ~KEPT] + 1e4).max() < 0.5


@pytest.mark.parametrize(
    ("numbers", "low"),
    [
        ([1.0, -3.0, -1e4, -1e9], (3.0, 1e4, 0.5)),
        ([1.0, -3.0, -40.0], None),
        ([0.0, -90.0, 0.0, 0.0], (0.0, 90.0, 0.25)),
        ([100.0, -3.0, -200.0, -600.0], (200.0, 600.0, 0.25)),
        ([-50.0], (0.0, 50.0, 1.0)),
        ([], None),
    ],
)
def test_the_gap(numbers: list[float], low: tuple[float, float, float] | None) -> None:
    seen = Histogram()
    seen.add(np.asarray(numbers))
    found = seen.low()
    assert (found and (found.kept, found.least, found.share)) == low


@pytest.mark.parametrize("form", ["given", "causal", "softmax"])
def test_keras_masks(form: str) -> None:
    """Of attention, given beside the sequence or by position, and of a softmax."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    x = keras.Input((6, 8))
    mask = keras.Input((6,), dtype="bool")
    attention = keras.layers.MultiHeadAttention(2, 4)
    if form == "softmax":
        y = keras.layers.Softmax()(keras.layers.Dense(6)(x)[:, 0], mask=mask)
    else:
        kept = keras.layers.Reshape((1, 6))(mask)
        y = attention(x, x, attention_mask=kept, use_causal_mask=form == "causal")
        y = keras.layers.Dense(3)(y)
    source = keras.Model([x, mask], y)
    data = random(32, 6, 8)
    keys = np.random.default_rng(2).uniform(size=(32, 6)) < 0.6
    keys[:, 0] = True
    expected = source.predict([data, keys], verbose=0)
    made = gvm.from_tensorflow(source, calibration=[data, keys], progress=False)
    found = made.run([data, keys], progress=False)
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)
