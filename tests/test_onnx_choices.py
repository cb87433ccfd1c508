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
    others = [b, np.int64([-1, 0]), rows, np.int64([-5, 6])]
    with pytest.raises(gvm.ImportModelError, match="must fit in 32 bits, received 2147529988"):
        onnx_backend.run_model(model, [a, *others])
    prepared = onnx_backend.prepare(model)
    prepared.run([np.abs(a), *others])
    rest, negative, most, row, hot = prepared.run([a, *others])
    low = -(2**31)
    assert rest.tolist() == [123456 * 17001 + 7, low]  # the second is clamped: it needs 33 bits
    assert negative.tolist() == [-rest[0], 2**31 - 1] and rest.dtype == np.int64
    assert most.tolist() == [-7, 2**31 - 1]
    assert row.tolist() == [[3, 1], [low, 2**31 - 1]]
    assert hot.tolist() == [[-5, -5, 6], [6, -5, -5]]


def test_division_of_whole_numbers() -> None:
    """Cut towards 0; a remainder has the sign of the divisor, or of the dividend."""
    nodes = [
        helper.make_node("Div", ["a", "b"], ["quotient"]),
        helper.make_node("Mod", ["a", "b"], ["rest"]),
        helper.make_node("Mod", ["a", "b"], ["left"], fmod=1),
    ]
    a = np.int64([[7, -7, 7, -7, 0, 2**31 - 1, -(2**31 - 1), 5, 2**31 - 1]])
    b = np.int64([[2, 2, -2, -2, 3, 46341, 2**31 - 1, 2**31 - 1, 1]])
    given = {n: (INT64, list(a.shape)) for n in ("a", "b")}
    names = ("quotient", "rest", "left")
    outputs = {n: (INT64, list(a.shape)) for n in names}
    quotient, rest, left = onnx_backend.run_model(network(nodes, given, outputs), [a, b])
    cut = np.trunc(a / b).astype(np.int64)
    assert quotient.tolist() == cut.tolist()
    assert rest.tolist() == np.mod(a, b).tolist()
    assert left.tolist() == np.fmod(a, b).tolist()
    (by_zero, _, _) = onnx_backend.run_model(network(nodes, given, outputs), [a, 0 * b])
    limits = {1: 2**31 - 1, 0: 0, -1: -(2**31)}
    assert by_zero.tolist() == [[limits[v] for v in np.sign(a[0]).tolist()]]


def test_whole_numbers_from_real_ones() -> None:
    """Half to even, and next to a number on either side, also where it has many fraction bits."""
    nodes = [
        helper.make_node(op, ["x"], [op], **attributes)
        for op, attributes in (
            ("Round", {}),
            ("Floor", {}),
            ("Ceil", {}),
            ("Cast", {"to": INT64}),
        )
    ]
    fine = [2.0**-20, -(2.0**-20), 0.0, 2.0**-6]
    for x in ([0.5, 1.5, -0.5, -1.5, 2.25, -2.75, 3.0, 0.0], fine):
        given = np.float32([x])
        shape: list[Any] = list(given.shape)
        outputs: dict[str, tuple[int, list[Any]]] = dict.fromkeys(
            ("Round", "Floor", "Ceil"), (FLOAT, shape)
        )
        model = network(nodes, {"x": (FLOAT, shape)}, {**outputs, "Cast": (INT64, shape)})
        near, below, above, cut = onnx_backend.run_model(model, [given])
        np.testing.assert_array_equal(near, np.rint(given))
        np.testing.assert_array_equal(below, np.floor(given))
        np.testing.assert_array_equal(above, np.ceil(given))
        assert cut.tolist() == np.trunc(given).astype(int).tolist()


def test_powers_and_products_of_whole_numbers() -> None:
    nodes = [
        helper.make_node("Pow", ["x", "e"], ["power"]),
        helper.make_node("ReduceProd", ["x"], ["product"], keepdims=0),
    ]
    whole: tuple[int, list[Any]] = (INT64, [5])
    model = network(nodes, {"x": whole, "e": whole}, {"power": whole, "product": (INT64, [])})
    x, e = np.int64([3, -2, 46340, 7, -11]), np.int64([19, 31, 2, 0, 1])
    power, product = onnx_backend.run_model(model, [x, e])
    assert power.tolist() == [3**19, (-2) ** 31, 46340**2, 1, -11]
    assert product == 3 * 2 * 46340 * 7 * 11


def test_quantised_operators_are_exact() -> None:
    """Worked by hand: products of centred bytes, scaled, rounded half to even and clamped."""
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b", "az", "bz"], ["exact"]),
        helper.make_node("QLinearMatMul", ["a", "s", "az", "b", "s", "bz", "ys", "yz"], ["y"]),
        helper.make_node("QuantizeLinear", ["x", "s", "az"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "az"], ["back"]),
    ]
    byte, signed = TensorProto.UINT8, TensorProto.INT8
    weights = {
        "az": np.uint8(255),
        "bz": np.int8(-128),
        "s": np.float32(0.5),
        "ys": np.float32(0.5),
        "yz": np.uint8(128),
    }
    model = network(
        nodes,
        {"a": (byte, [1, 2]), "b": (signed, [2, 2]), "x": (FLOAT, [4])},
        {
            "exact": (TensorProto.INT32, [1, 2]),
            "y": (byte, [1, 2]),
            "q": (byte, [4]),
            "back": (FLOAT, [4]),
        },
        weights,
    )
    a, b = np.uint8([[0, 254]]), np.int8([[127, -128], [-127, 0]])
    exact, y, q, back = onnx_backend.run_model(model, [a, b, np.float32([0, -0.25, -0.75, -200])])
    assert exact.tolist() == [[-255 * 255 - 1, -128]] and exact.dtype == np.int32
    assert y.tolist() == [[0, 64]]  # -128 * 0.5 + 128
    assert q.tolist() == [255, 255, 253, 0]  # -0.5 to 0, -1.5 to -2, -400 beyond the range
    assert back.tolist() == [0, 0, -1, -127.5]
