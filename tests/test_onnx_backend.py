"""gvm.onnx_backend: ONNX's own tests that passed must pass, and what the interface promises."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from benchmarks.onnx_cases import SUITES, cases, difference, run  # noqa: E402
from gvm import onnx_backend  # noqa: E402
from gvm.errors import GvmError, ImportModelError  # noqa: E402

PASSING = Path(__file__).with_name("onnx_passing.txt")


def test_conformance() -> None:
    listed = {
        tuple(line.split()) for line in PASSING.read_text().splitlines() if not line.startswith("#")
    }
    suites = [s for s in SUITES if s != "light"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference overflows where a test wants it to
        found = [run(c) for c in cases(suites) if (c.suite, c.name) in listed]
    assert [f"{o.case.name}: {o.reason}" for o in found if o.result != "pass"] == []
    assert {(o.case.suite, o.case.name) for o in found} == listed


def model(
    nodes: list[Any], inputs: dict[str, tuple[int, Any]], outputs: dict[str, tuple[int, Any]]
) -> Any:
    given = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()]
    made = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in outputs.items()]
    graph = helper.make_graph(nodes, "small", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_axis_zero_is_an_axis() -> None:
    """No axis is the batch: the first one is transposed, summed and cut."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"]),
        helper.make_node("ReduceSum", ["turned"], ["total"], keepdims=0),
        helper.make_node("Split", ["x"], ["first", "second"], axis=0, num_outputs=2),
    ]
    shapes = {"turned": [3, 4], "total": [], "first": [2, 3], "second": [2, 3]}
    given = {"x": (TensorProto.FLOAT, [4, 3])}
    x = np.arange(-6, 6, dtype=np.float32).reshape(4, 3)
    turned, total, first, second = onnx_backend.run_model(
        model(nodes, given, {n: (TensorProto.FLOAT, s) for n, s in shapes.items()}), [x]
    )
    np.testing.assert_array_equal(turned, x.T)
    assert total == x.sum() and total.shape == () and total.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([first, second]), x)


def test_known_inputs_make_programs() -> None:
    """A shape that is an input is a constant of the program; another one makes another program."""
    given = {"x": (TensorProto.FLOAT, ["n"]), "shape": (TensorProto.INT64, [2])}
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    prepared = onnx_backend.prepare(model([node], given, {"y": (TensorProto.FLOAT, ["a", "b"])}))
    assert prepared.known == {"shape"}
    x = np.arange(6, dtype=np.float32)
    for shape in ([2, 3], [3, -1], [2, 3], [1, 6]):
        (y,) = prepared.run([x, np.asarray(shape)])
        np.testing.assert_array_equal(y, x.reshape(shape))
    assert len(prepared._programs) == 3
    (y,) = prepared.run({"shape": np.asarray([2, 3]), "x": x / 2})
    np.testing.assert_array_equal(y, x.reshape(2, 3) / 2)
    assert len(prepared._programs) == 3


def test_tolerance() -> None:
    """Four units of the format of the largest value, with one bit of headroom."""
    for most, unit in ((0.75, 2.0**-14), (1.0, 2.0**-13), (1.5, 2.0**-13), (300.0, 2.0**-5)):
        expected = np.asarray([most, -most / 3])
        assert onnx_backend.tolerance(expected) == 4 * unit
        assert difference(expected + 4 * unit, expected) == ""
        assert "off by" in difference(expected + 4.001 * unit, expected)
    assert difference(np.asarray([1, 2]), np.asarray([1, 3])) == (
        "1 of 2 differ, first 2, expected 3"
    )
    assert "element type" in difference(np.asarray([1]), np.asarray([1.0]))
    assert "shape" in difference(np.zeros((1, 1)), np.zeros(1))


def test_refusals() -> None:
    given = {"x": (TensorProto.INT64, [2])}
    prepared = onnx_backend.prepare(
        model(
            [helper.make_node("Flatten", ["x"], ["y"], axis=0)],
            given,
            {"y": (TensorProto.INT64, [1, 2])},
        )
    )
    with pytest.raises(GvmError, match="'x': whole numbers must fit in 32 bits, received 21474"):
        prepared.run([np.asarray([0, 2**31])])
    with pytest.raises(GvmError, match="expected 1 inputs, received 2"):
        prepared.run([np.zeros(2, np.int64)] * 2)
    with pytest.raises(ImportModelError, match="input 'x' is not given"):
        prepared.run([])
    with pytest.raises(GvmError, match="device must be CPU, received 'CUDA'"):
        onnx_backend.prepare(prepared.model, "CUDA")
    assert onnx_backend.supports_device("CPU:0") and not onnx_backend.supports_device("CUDA")


def test_one_node() -> None:
    x = np.asarray([-1.5, 0.0, 2.0], dtype=np.float32)
    (y,) = onnx_backend.run_node(helper.make_node("Relu", ["x"], ["y"]), [x])
    np.testing.assert_array_equal(y, [0, 0, 2])
