"""ONNX's comparisons, conditions and whole numbers, with a batch and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import gvm  # noqa: E402
from gvm import onnx_backend  # noqa: E402

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def network(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    weights: dict[str, Any] | None = None,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, *t) for n, t in inputs.items()],
        [helper.make_tensor_value_info(n, *t) for n, t in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_conditions_with_a_batch() -> None:
    """Comparisons, functions of truth values and a choice are computed per example."""
    nodes = [
        helper.make_node("Greater", ["x", "limit"], ["above"]),
        helper.make_node("LessOrEqual", ["x", "y"], ["below"]),
        helper.make_node("Xor", ["above", "below"], ["either"]),
        helper.make_node("Where", ["either", "x", "y"], ["z"]),
        helper.make_node("Sign", ["y"], ["sign"]),
    ]
    shape: tuple[int, list[Any]] = (FLOAT, ["n", 3])
    limit = np.asarray([0.5, -1.0, 0.0], np.float32)
    model = network(nodes, {"x": shape, "y": shape}, {"z": shape, "sign": shape}, {"limit": limit})
    x = np.asarray([[0.5, -1.5, 2], [1, -0.5, -3], [0.25, 0, 1]], np.float32)
    y = np.asarray([[0.5, 2, -1], [0, 0.75, -3], [1, -1, 0]], np.float32)
    z, sign = gvm.from_onnx(model, [x, y]).run([x, y])
    np.testing.assert_array_equal(z, np.where((x > limit) ^ (x <= y), x, y))
    np.testing.assert_array_equal(sign, np.sign(y))


def test_whole_numbers_are_exact() -> None:
    """Sums, products and choices of integers keep every digit, up to 32 bits."""
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["product"]),
        helper.make_node("Sub", ["product", "c"], ["rest"]),
        helper.make_node("Neg", ["rest"], ["negative"]),
        helper.make_node("Max", ["negative", "c"], ["most"]),
        helper.make_node("Gather", ["rows", "at"], ["row"], axis=1),
        helper.make_node("OneHot", ["at", "depth", "values"], ["hot"]),
    ]
    whole: tuple[int, list[Any]] = (INT64, [2])
    given = {"a": whole, "b": whole, "at": whole, "rows": (INT64, [2, 3]), "values": whole}
    outputs = {
        "rest": whole,
        "negative": whole,
        "most": whole,
        "row": (INT64, [2, 2]),
        "hot": (INT64, [2, 3]),
    }
    model = network(nodes, given, outputs, {"c": np.int64([-7, 2**31 - 1]), "depth": np.int64(3)})
    a, b = np.int64([123456, -46341]), np.int64([17001, 1])
    rows = np.int64([[1, 2, 3], [2**31 - 1, 5, -(2**31)]])
    rest, negative, most, row, hot = onnx_backend.run_model(
        model, [a, b, np.int64([-1, 0]), rows, np.int64([-5, 6])]
    )
    low = -(2**31)
    assert rest.tolist() == [123456 * 17001 + 7, low]  # the second is clamped: it needs 33 bits
    assert negative.tolist() == [-rest[0], 2**31 - 1] and rest.dtype == np.int64
    assert most.tolist() == [-7, 2**31 - 1]
    assert row.tolist() == [[3, 1], [low, 2**31 - 1]]
    assert hot.tolist() == [[-5, -5, 6], [6, -5, -5]]
