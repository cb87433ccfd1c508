"""Quotients of imported models: exact but for one rounding, of operands that keep 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gvm.model import Model

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from gvm.importers.onnx import load_onnx  # noqa: E402
from tests.onnx_models import ROWS, model, operators, random  # noqa: E402


def test_a_divisor_that_spans_magnitudes_keeps_its_digits() -> None:
    """Of 2e-3 to 9 in one tensor; 16 bits leave the least of them 3 % wrong."""
    source = model("p = Mul (x, x) d = Add (p, c) y = Div (x, d)", ROWS, c=np.float32(0.002))
    x = random(64, 6)
    graph = load_onnx(source)
    assert operators(graph)[-1] == "div"
    found = Model.from_graph(graph, [x], progress=False).run(x)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": x})
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("r = Reciprocal (d) y = Mul (x, r)", ["div"]),
        ("y = Div (one, d)", ["unary"]),
        ("q = Sqrt (d) y = Div (one, q)", ["unary"]),
        ("q = Sqrt (d) y = Div (x, q)", ["unary", "div"]),
    ],
)
def test_a_reciprocal_is_rounded_once(body: str, names: list[str]) -> None:
    source = model(f"a = Abs (x) d = Add (a, one) {body}", ROWS, one=np.float32(1))
    graph = load_onnx(source)
    assert operators(graph)[-len(names) :] == names
    x = random(32, 6)
    found = Model.from_graph(graph, [x], progress=False).run(x)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": x})
    assert np.abs(found - expected).max() < 2e-4


def test_whole_numbers_of_a_quotient_are_exact() -> None:
    """Of every tie and every neighbour of one."""
    x = (np.arange(-96, 96, dtype=np.float32) / 8).reshape(-1, 6)
    for kind in ("Floor", "Ceil", "Round"):
        source = model(f"y = {kind} (x)", ROWS)
        found = Model.from_graph(load_onnx(source), [x], progress=False).run(x)
        (expected,) = ReferenceEvaluator(source).run(None, {"x": x})
        assert np.array_equal(found, expected)


def test_scales_of_quantised_tensors_are_exact() -> None:
    """x / scale of a scale that 16 bits do not hold, at ties: 0.3 has no short binary form."""
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    s, z = np.float32(0.3), np.int8(3)
    x = (np.arange(-120, 120, dtype=np.float32) / 16).reshape(-1, 6)
    from gvm import onnx_backend

    source = model(body.replace("y = Deq", "r = Deq"), ROWS.replace("N", "40"), outputs=("r",))
    del source.graph.node[1:]
    source.graph.node[0].output[0] = "r"
    source.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    source.graph.initializer.extend(
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in (("s", s), ("z", z))]
    )
    (found,) = onnx_backend.run_model(source, [x])
    expected = np.clip(np.rint(x.astype(np.float64) / np.float64(s)) + 3, -128, 127)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("zero", [np.uint8(3), np.int8(-5), np.uint8(128)])
def test_zero_points_are_whole_numbers(zero: np.integer[Any]) -> None:
    """Beside real inputs too, of which a graph may have no others."""
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    source = model(body, ROWS, s=np.float32(0.25), z=zero)
    x = (np.arange(-96, 96, dtype=np.float32) / 16).reshape(-1, 6)
    found = Model.from_graph(load_onnx(source), [x], progress=False).run(x)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": x})
    assert np.array_equal(found, expected)


def test_products_of_quantised_tensors_are_exact() -> None:
    body = (
        "q = QuantizeLinear (x, s, z) p = QLinearMatMul (q, s, z, w, s, zw, t, z) "
        "y = DequantizeLinear (p, t, z)"
    )
    w = np.random.default_rng(2).integers(0, 255, (6, 6)).astype(np.uint8)
    known = {"s": np.float32(0.25), "t": np.float32(2), "z": np.uint8(128), "zw": np.uint8(100)}
    source = model(body, ROWS, w=w, **known)
    x = (np.arange(-96, 96, dtype=np.float32) / 16).reshape(-1, 6)
    found = Model.from_graph(load_onnx(source), [x], progress=False).run(x)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": x})
    assert np.array_equal(found, expected)
