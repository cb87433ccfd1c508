"""Minus infinity in ONNX models: masks of attention, beside ONNX's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gvm.errors import ImportModelError
from gvm.graph import evaluate_real
from gvm.importers.onnx import load_onnx
from gvm.model import Model
from gvm.optimizers import SGD

onnx = pytest.importorskip("onnx")

from tests.onnx_models import check, inputs_of, model, operators, outputs_of, random  # noqa: E402
from tests.small_networks import SQUARED  # noqa: E402

INF = np.float32(np.inf)
SCORES = "float[N,4,5] x"
CAUSAL = np.where(np.tril(np.ones((4, 5), bool)), 0, -INF).astype(np.float32)
KEPT = np.isfinite(CAUSAL)


def masked(body: str, inputs: str = SCORES, **weights: Any) -> Any:
    return model(body, inputs, low=-INF, zero=np.float32(0), **weights)


@pytest.mark.parametrize(
    "body",
    [
        "s = Add (x, m) y = Softmax (s)",
        "p = Less (x, zero) s = Where (p, x, low) t = Max (s, m) y = Softmax <axis = 2> (t)",
        "s = Where (k, x, low) y = Softmax (s)",
        "n = Not (k) s = Where (n, low, x) y = Softmax (s)",
        "p = Less (zero, x) s = Where (p, x, low) t = Add (s, x) e = Exp (t) y = Mul (e, x)",
        "p = Less (zero, x) s = Where (p, x, low) y = Relu (s)",
        "p = Less (zero, x) s = Where (p, x, low) u = Mul (s, two) t = Sub (u, x) y = Sigmoid (t)",
        "p = Less (zero, x) s = Where (p, x, low) y = Max (s, x)",
        "p = Less (zero, x) s = Where (p, x, low) t = Max (s, m, zero) y = Add (t, x)",
        "s = Add (x, m) t = Cast <to = 1> (s) u = CastLike (t, x) y = Softmax (u)",
        "s = Add (x, m) t = Transpose <perm = [0, 2, 1]> (s) y = Softmax <axis = 1> (t)",
        "s = Add (x, m) t = Unsqueeze (s, one) u = Softmax (t) y = Squeeze (u, one)",
        "s = Add (x, m) t = Concat <axis = 2> (x, s) y = Softmax (t)",
        "s = Add (x, m) t = Concat <axis = 1> (s, x) u = Slice (t, one, six, one) y = Softmax (u)",
        "s = Pad (x, pads, low) y = Softmax (s)",
        "s = Add (x, m) t = Pad (s, pads, low) y = Softmax (t)",
        "s = Add (x, m) t = Pad (s, pads) y = Softmax (t)",
        "s = Add (x, m) t = ReduceMax (s, one) y = Relu (t)",
        "p = Less (zero, x) s = Where (p, x, low) t = ReduceMax (s, one) y = Exp (t)",
        "p = Less (zero, x) s = Where (p, x, low) q = Equal (s, low) y = Where (q, two, x)",
        "p = Less (zero, x) s = Where (p, x, low) q = Less (s, x) y = Where (q, two, x)",
        "p = Less (zero, x) s = Where (p, x, low) q = LessOrEqual (low, s) y = Where (q, two, x)",
        "p = Less (zero, x) s = Where (p, x, low) q = Greater (low, s) y = Where (q, two, x)",
        "p = Less (zero, x) s = Where (p, x, low) q = IsInf (s) y = Where (q, two, x)",
        "s = Add (x, m) z = Softmax (s) q = IsNaN (z) y = Where (q, zero, z)",
    ],
)
def test_what_is_known_of_minus_infinity(body: str) -> None:
    check(
        masked(
            body,
            m=CAUSAL,
            k=KEPT,
            two=np.float32(2),
            one=np.asarray([1]),
            six=np.asarray([6]),
            pads=np.asarray([0, 0, 1, 0, 0, 2]),
        )
    )


def test_a_mask_for_each_example() -> None:
    """Of an input: what lies below 0 is left out of every row, and Where guards empty ones."""
    source = masked(
        "p = Less (x, zero) b = Where (p, low, zero) t = Unsqueeze (b, two) s = Add (w, t)"
        "a = Softmax (s) r = ReduceMax (t, last) q = Equal (r, low) y = Where (q, zero, a)",
        "float[N,5] x",
        w=random(5, 4, 5),
        two=np.asarray([1, 2]),
        last=np.asarray([-1]),
    )
    graph = load_onnx(source)
    x = np.asarray(inputs_of(graph)[0])
    x[1] = -1
    (found,) = outputs_of(graph, [x])
    assert not found[1].any() and (found[0][..., x[0] < 0] == 0).all()
    from onnx.reference import ReferenceEvaluator

    with np.errstate(invalid="ignore"):
        (expected,) = ReferenceEvaluator(source).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_row_of_nothing_else_is_zero() -> None:
    rows = CAUSAL.copy()
    rows[2] = -INF
    graph = load_onnx(masked("s = Add (x, m) y = Softmax (s)", m=rows))
    (found,) = outputs_of(graph, inputs_of(graph))
    assert not found[:, 2].any() and np.allclose(found.sum(-1)[:, [0, 1, 3]], 1)


def test_what_is_left_out_has_no_weight_in_fixed_point() -> None:
    """Also of scores that calibration has not seen, up to the ends of the format and beyond."""
    graph = load_onnx(masked("s = Where (k, x, low) y = Softmax (s)", k=KEPT))
    x = inputs_of(graph, 8)[0]
    made = Model.from_graph(graph, [x], progress=False)
    for size in (1.0, 3.0, 1e3):
        found = made.run(size * x)
        assert (found[:, ~KEPT] == 0).all()
    (real,) = outputs_of(graph, [x])
    assert np.abs(made.run(x) - real).max() < 2e-4


def test_masks_train() -> None:
    """Nothing flows to what is left out."""
    body = "h = MatMul (x, w) s = Add (h, m) a = Softmax (s) y = ReduceSum <keepdims = 0> (a, one)"
    source = masked(body, "float[N,4,3] x", m=CAUSAL, w=random(3, 5), one=np.asarray([1]))
    graph = load_onnx(source)
    x = inputs_of(graph, 16)[0]
    target = np.random.default_rng(2).uniform(0, 1, (16, 5)).astype(np.float32)
    made = Model.from_graph(graph, [x], SQUARED, target, progress=False)
    before, drawn = made.evaluate(x, target), made.parameter_arrays()["w"].integers
    made.train(x, target, optimizer=SGD(0.5), epochs=20, batch_size=16, progress=False)
    after = made.evaluate(x, target)
    assert after.total < 0.9 * before.total
    # The last key is read by no query: its column is 0 whatever the weights are.
    w = made.parameter_arrays()["w"].integers
    assert (w[:, 4] == drawn[:, 4]).all() and (w[:, :4] != drawn[:, :4]).any()


def test_nothing_is_left_of_a_mask_that_is_only_added() -> None:
    graph = load_onnx(masked("s = Add (x, m) y = Softmax (s)", m=CAUSAL))
    assert operators(graph).count("select") == 1 and "add" not in operators(graph)
    values = evaluate_real(graph, inputs_of(graph))
    assert all(np.isfinite(v).all() for v in values.values())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("s = Add (x, m) y = MatMul (s, w)", "MatMul.*may be minus infinity.*Softmax"),
        ("s = Add (x, m) y = Neg (s)", "Neg.*may be minus infinity"),
        ("s = Sub (x, m) y = Softmax (s)", "Sub.*may be minus infinity"),
        ("y = Mul (x, m)", "Mul.*may be minus infinity"),
        ("y = Add (x, m)", "output 'y': .*may be minus infinity"),
        ("s = Add (x, p) y = Softmax (s)", "weights must be finite: 'p' has inf"),
        ("s = Add (x, nan) y = Softmax (s)", "weights must be finite: 'nan' has nan"),
    ],
)
def test_refusals(body: str, message: str) -> None:
    with pytest.raises(ImportModelError, match=message):
        load_onnx(masked(body, m=CAUSAL, w=random(5, 5), p=-CAUSAL, nan=0 * CAUSAL))
