"""Whole numbers of ONNX models with a batch: exact, as ONNX's reference computes them, or refused
where a number leaves 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

Array = NDArray[Any]
node = helper.make_node


def network(
    nodes: list[Any], inputs: dict[str, Array], output: str, weights: dict[str, Any] | None = None
) -> Any:
    """A model whose inputs have the type and shape of these arrays but for the batch."""
    kind = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        nodes,
        "whole",
        [
            helper.make_tensor_value_info(n, kind(a.dtype), ["n", *a.shape[1:]])
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info("y", kind(np.dtype(output)), None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def check(model: Any, inputs: dict[str, Array]) -> None:
    (expected,) = ReferenceEvaluator(model).run(None, inputs)
    given = list(inputs.values())
    found = gvm.from_onnx(model, given, progress=False).run(given, progress=False)
    np.testing.assert_array_equal(found, expected)


def numbers(kind: str, most: int, seed: int, shape: tuple[int, ...] = (5, 6)) -> Array:
    limits = np.iinfo(kind)
    rng = np.random.default_rng(seed)
    return rng.integers(max(limits.min, -most), min(limits.max, most) + 1, shape).astype(kind)


KINDS = ["int8", "uint8", "int16", "uint16", "int32", "int64"]


@pytest.mark.parametrize("constant", ["none", "first", "second"])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        *((name, {}) for name in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min")),
        ("Mod", {"fmod": 1}),
        *((name, {}) for name in ("Equal", "Less", "GreaterOrEqual")),
    ],
)
def test_arithmetic_of_two(operator: str, attributes: dict[str, int], constant: str) -> None:
    """Division is cut towards zero, what narrow types cannot hold wraps, nothing is rounded."""
    for kind in KINDS:
        a, b = numbers(kind, 2000, 1), numbers(kind, 60, 2)
        b[b == 0] = 1
        if operator == "Div" and kind == "int8":
            a[a == -128] = 0  # -128 / -1 has no value
        inputs = {"a": a, "b": b}
        weights = {} if constant == "none" else {n: inputs.pop(n)[:1] for n in _named(constant)}
        truth = operator in ("Equal", "Less", "GreaterOrEqual")
        made = node(operator, ["a", "b"], ["y"], **attributes)
        check(network([made], inputs, "bool" if truth else kind, weights), inputs)


def _named(constant: str) -> str:
    return {"first": "a", "second": "b"}[constant]


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize(
    "operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare"]
)
def test_reductions(operator: str, kind: str) -> None:
    inputs = {"a": numbers(kind, 9999, 3)}
    axes = {"axes": np.int64([1])}
    check(network([node(operator, ["a", "axes"], ["y"])], inputs, kind, axes), inputs)


@pytest.mark.parametrize("to", KINDS)
def test_casts_keep_the_low_bits(to: str) -> None:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    for kind in KINDS:
        inputs = {"a": numbers(kind, 3_000_000, 4)}
        check(network([node("Cast", ["a"], ["y"], to=number)], inputs, to), inputs)


def test_real_numbers_are_cut() -> None:
    """And what follows from them is whole."""
    nodes = [
        node("Cast", ["a"], ["whole"], to=onnx.TensorProto.INT32),
        node("Div", ["whole", "three"], ["y"]),
    ]
    inputs = {"a": (np.arange(-40, 40, dtype=np.float32) / 4).reshape(-1, 8)}
    check(network(nodes, inputs, "int32", {"three": np.int32(3)}), inputs)


def test_positions_and_choices() -> None:
    """The remainder of a position of a maximum, where it is even, bounded."""
    nodes = [
        node("ArgMax", ["a"], ["at"], axis=1),
        node("Mul", ["at", "step"], ["far"]),
        node("Mod", ["far", "two"], ["odd"]),
        node("Equal", ["odd", "none"], ["even"]),
        node("Where", ["even", "far", "step"], ["chosen"]),
        node("Clip", ["chosen", "none", "most"], ["y"]),
    ]
    inputs = {"a": numbers("int32", 50, 5)}
    weights = {
        "step": np.int64(-70_001),
        "two": np.int64(2),
        "none": np.int64(0),
        "most": np.int64(2**63 - 1),
    }
    check(network(nodes, inputs, "int64", weights), inputs)


def test_more_digits_than_float32_has() -> None:
    """A remainder of a product beyond 24 bits, and the real numbers that follow from it."""
    nodes = [node("Mul", ["a", "b"], ["p"]), node("Mod", ["p", "c"], ["y"])]
    a, b = np.int32([[46341, 7919, -12345]]), np.int32([[46339, 104729, 99991]])
    inputs = {"a": a, "b": b}
    check(network(nodes, inputs, "int32", {"c": np.int32(1000)}), inputs)
    nodes += [node("Cast", ["y"], ["r"], to=1), node("Mul", ["r", "h"], ["s"])]
    model = network(nodes, inputs, "float32", {"c": np.int32(1000), "h": np.float32(0.125)})
    model.graph.output[0].name = "s"
    found = gvm.from_onnx(model, [a, b], progress=False).run([a, b])
    rest = np.mod(a.astype(np.int64) * b, 1000)
    np.testing.assert_allclose(found, rest / 8, rtol=2e-4)


def test_numbers_beyond_32_bits_are_refused() -> None:
    """At import by the node that makes them, when run by the input."""
    x = np.int64([[3, 70_000], [-5, 123_456]])
    square = network([node("Mul", ["a", "a"], ["y"], name="square")], {"a": x}, "int64")
    with pytest.raises(gvm.ImportModelError, match=r"mul, node 'square'.* 32 bits, received 1524"):
        gvm.from_onnx(square, x, progress=False)
    with pytest.raises(gvm.ImportModelError, match=r"input 'a': .* 32 bits, received 123456000000"):
        gvm.from_onnx(square, x * 1_000_000, progress=False)
    twice = gvm.from_onnx(network([node("Add", ["a", "a"], ["y"])], {"a": x}, "int64"), x)
    with pytest.raises(gvm.GvmError, match="input 0: values must be in .* received 7e"):
        twice.run(x * 1_000_000)


def test_roots_of_whole_numbers_are_refused() -> None:
    inputs = {"a": numbers("int32", 99, 6)}
    made = node("ReduceL2", ["a", "axes"], ["y"])
    norm = network([made], inputs, "int32", {"axes": np.int64([1])})
    with pytest.raises(gvm.ImportModelError, match="of whole numbers; nearest supported form"):
        gvm.from_onnx(norm, inputs["a"], progress=False)
