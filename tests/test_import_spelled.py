"""Functions that models spell by hand become the operators that they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.functions import by_number
from gvm.graph import Graph
from gvm.model import Model
from gvm.operator import integer

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from gvm.importers.onnx import load_onnx  # noqa: E402
from tests.onnx_models import ROWS, SERIES, model, outputs_of, random  # noqa: E402

NUMBERS = {
    "one": 1.0,
    "two": 2.0,
    "half": 0.5,
    "root": float(np.sqrt(2)),
    "eps": 1e-7,
    "high": 1 - 1e-7,
    "k": 1.702,
    "c": 3.0,
}


def spelled(body: str, inputs: str = ROWS, **weights: Any) -> Any:
    used = {n: np.float32(v) for n, v in NUMBERS.items() if f"{n})" in body or f"{n}," in body}
    return model(body, inputs, **used, **weights)


def functions(graph: Graph) -> list[str]:
    """Operators in order, tables by the name of their function."""
    return [
        by_number(integer(n.attributes, "function")).name if n.op == "unary" else n.op
        for n in graph.nodes
    ]


def held(source: Any, x: NDArray[Any], tolerance: float = 2e-4) -> Graph:
    """Real numbers and integers agree with ONNX's reference in float64."""
    graph = load_onnx(source)
    for tensor in source.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float64), tensor.name))
    with np.errstate(all="ignore"):
        (expected,) = ReferenceEvaluator(source).run(None, {"x": x.astype(np.float64)})
    np.testing.assert_allclose(outputs_of(graph, [x])[0], expected, rtol=2e-6, atol=2e-6)
    found = Model.from_graph(graph, [x], progress=False).run(x)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    return graph


def wide(*shape: int) -> NDArray[np.float32]:
    """From -12 to 12, of which exponentials span ten magnitudes; numbers that 16 bits hold."""
    drawn = np.random.default_rng(5).uniform(-12, 12, shape)
    return np.asarray(np.rint(drawn * 512) / 512, np.float32)


SIGMOIDS = [
    "n = Neg (x) e = Exp (n) d = Add (e, one) y = Div (one, d)",
    "n = Neg (x) e = Exp (n) d = Add (one, e) y = Reciprocal (d)",
    "e = Exp (x) d = Add (e, one) y = Div (e, d)",
    "e = Exp (x) f = Exp (x) d = Add (f, one) y = Div (e, d)",
    "n = Neg (x) e = Exp (n) p = Exp (x) d = Add (e, p) y = Div (p, d)",
    "n = Neg (x) e = Exp (n) d = Add (e, one) q = Div (two, d) y = Mul (q, half)",
]


@pytest.mark.parametrize("body", SIGMOIDS)
def test_a_sigmoid(body: str) -> None:
    assert "logistic" in functions(held(spelled(body), wide(32, 6)))
    assert "exp" not in functions(load_onnx(spelled(body)))


@pytest.mark.parametrize(
    "body",
    [
        "n = Neg (x) a = Exp (x) b = Exp (n) p = Sub (a, b) q = Add (a, b) y = Div (p, q)",
        "t = Mul (x, two) a = Exp (t) p = Sub (a, one) q = Add (a, one) y = Div (p, q)",
        "t = Mul (x, two) n = Neg (t) a = Exp (n) p = Sub (one, a) q = Add (one, a) y = Div (p, q)",
        "a = Sinh (x) b = Cosh (x) y = Div (a, b)",
        "t = Mul (x, two) s = Sigmoid (t) u = Mul (s, two) y = Sub (u, one)",
    ],
)
def test_a_hyperbolic_tangent(body: str) -> None:
    assert functions(held(spelled(body), wide(32, 6)))[-1] == "tanh"


@pytest.mark.parametrize(
    ("body", "made"),
    [
        ("e = Exp (x) d = Add (one, e) y = Log (d)", ["softplus"]),
        ("e = Exp (x) d = Add (e, c) y = Log (d)", ["add", "softplus", "add"]),
        ("n = Neg (x) e = Exp (n) d = Add (one, e) l = Log (d) y = Neg (l)", ["softplus"]),
        ("s = Sigmoid (x) y = Log (s)", ["softplus"]),
        ("s = Sigmoid (x) o = Sub (one, s) y = Log (o)", ["softplus"]),
        ("s = Sigmoid (x) o = Add (s, eps) y = Log (o)", ["softplus"]),
        ("s = Sigmoid (x) o = Clip (s, eps, high) y = Log (o)", ["softplus", "maximum"]),
        ("n = Neg (x) e = Exp (n) d = Add (e, one) s = Div (one, d) y = Log (s)", ["softplus"]),
        ("e = Exp (x) l = Log (e) y = Mul (l, half)", []),
    ],
)
def test_a_logarithm_of_exponentials(body: str, made: list[str]) -> None:
    found = functions(held(spelled(body), wide(32, 6)))
    assert "log" not in found and "exp" not in found
    assert set(made) <= set(found)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize(
    "body",
    [
        "s = Softmax <axis = AXIS> (x) y = Log (s)",
        "s = Softmax <axis = AXIS> (x) p = Add (s, eps) y = Log (p)",
        "s = Softmax <axis = AXIS> (x) p = Clip (s, eps, one) y = Log (p)",
        "e = Exp (x) t = ReduceSum <keepdims = 1> (e, at) s = Div (e, t) y = Log (s)",
    ],
)
def test_a_logarithm_of_softmax(body: str, axis: int) -> None:
    source = spelled(body.replace("AXIS", str(axis)), SERIES, at=np.asarray([axis]))
    if "at)" not in body:
        del source.graph.initializer[-1]
    held(source, wide(16, 5, 6))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize(
    "body",
    [
        "e = Exp (x) t = ReduceSum (e, at) y = Div (e, t)",
        "m = ReduceMax (x, at) d = Sub (x, m) e = Exp (d) t = ReduceSum (e, at) y = Div (e, t)",
        "m = ReduceMax (x, at) d = Sub (x, m) e = Exp (d) t = ReduceSum (e, at) "
        "p = Add (t, eps) y = Div (e, p)",
        "e = Exp (x) s = ReduceSum <keepdims = 0> (e, at) t = Unsqueeze (s, at) y = Div (e, t)",
    ],
)
def test_a_softmax(body: str, axis: int) -> None:
    graph = held(spelled(body, SERIES, at=np.asarray([axis])), wide(16, 5, 6))
    assert "softmax" in functions(graph) and "exp" not in functions(graph)


@pytest.mark.parametrize(
    ("body", "made"),
    [
        ("n = Neg (x) e = Exp (n) d = Add (e, one) y = Div (x, d)", "silu"),
        ("s = Sigmoid (x) y = Mul (s, x)", "silu"),
        ("t = Mul (x, k) s = Sigmoid (t) y = Mul (x, s)", "silu"),
        ("d = Div (x, root) e = Erf (d) p = Add (e, one) q = Mul (x, p) y = Mul (q, half)", "gelu"),
        ("d = Div (x, root) e = Erf (d) p = Add (one, e) h = Mul (half, p) y = Mul (x, h)", "gelu"),
        ("h = Mul (x, half) d = Div (x, root) e = Erf (d) p = Add (one, e) y = Mul (h, p)", "gelu"),
    ],
)
def test_a_gate(body: str, made: str) -> None:
    found = functions(held(spelled(body), wide(32, 6)))
    assert made in found and "erf" not in found and "logistic" not in found


@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize(
    "body",
    [
        'y = Gelu <approximate = "tanh"> (x)',
        "a = Pow (x, three) b = Mul (a, cube) s = Add (x, b) d = Mul (s, line) t = Tanh (d) "
        "p = Add (t, one) q = Mul (x, p) y = Mul (q, half)",
        "a = Mul (x, x) b = Mul (a, cube) s = Add (b, one) d = Mul (x, s) e = Mul (d, line) "
        "t = Tanh (e) p = Add (one, t) h = Mul (x, half) y = Mul (h, p)",
    ],
)
def test_a_gate_by_cubes(body: str, scale: int) -> None:
    """Of large inputs, whose cubes leave no digits to those of the others."""
    numbers = {"three": 3.0, "cube": 0.044715, "line": float(np.sqrt(2 / np.pi))}
    used = {n: np.float32(v) for n, v in numbers.items() if f"{n})" in body}
    graph = held(spelled(body, **used), wide(32, 6) * np.float32(scale))
    assert "tanh" not in functions(graph)


def test_a_root_of_a_square() -> None:
    x = wide(32, 6) / np.float32(40)
    assert "sqrt" not in functions(held(spelled("p = Mul (x, x) y = Sqrt (p)"), x, 1e-4))


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("e = Exp (x) f = Exp (z) d = Add (f, one) y = Div (e, d)", "exp"),
        ("n = Neg (x) e = Exp (n) d = Sub (e, one) y = Div (one, d)", "exp"),
        ("e = Exp (x) f = Exp (z) t = ReduceSum (e, at) y = Div (f, t)", "exp"),
        ("e = Exp (x) t = ReduceSum (e, at) p = Add (t, c) y = Div (e, p)", "exp"),
        ("d = Div (x, root) e = Erf (d) p = Add (e, c) q = Mul (x, p) y = Add (q, z)", "erf"),
        ("d = Div (x, two) e = Erf (d) p = Add (e, one) y = Mul (z, p)", "erf"),
        ("s = Sigmoid (z) y = Mul (x, s)", "logistic"),
        ("p = Mul (x, z) q = Abs (p) y = Sqrt (q)", "sqrt"),
        ("s = Sigmoid (x) p = Add (s, z) q = Abs (p) r = Add (q, c) y = Log (r)", "log"),
    ],
)
def test_what_only_looks_alike_stays(body: str, kept: str) -> None:
    """Operands must be the same tensors, constants the very numbers."""
    source = spelled(body, f"{ROWS}, float[N,6] z", at=np.asarray([1]))
    if "at)" not in body:
        del source.graph.initializer[-1]
    graph = load_onnx(source)
    assert kept in functions(graph)
    x, z = random(8, 6), random(8, 6, seed=2)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": x, "z": z})
    given = {"x": x, "z": z}
    data = [given[graph.names[v]] for v in graph.inputs]
    np.testing.assert_allclose(outputs_of(graph, data)[0], expected, rtol=1e-5, atol=1e-6)


def test_an_intermediate_that_is_read_elsewhere_stays() -> None:
    source = model(
        "n = Neg (x) e = Exp (n) d = Add (e, one) y = Div (one, d)",
        outputs=("y", "e"),
        inputs=ROWS,
        one=np.float32(1),
    )
    x = random(16, 6)
    graph = load_onnx(source)
    assert sorted(functions(graph)) == ["exp", "logistic", "mul"]
    found = outputs_of(graph, [x])
    for a, b in zip(found, ReferenceEvaluator(source).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_functions_spelled_in_tensorflow() -> None:
    """The same pass reads TensorFlow's graphs."""
    tf = pytest.importorskip("tensorflow")
    from gvm.importers.tensorflow import load_tensorflow

    class Spelled(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 6])])
        def __call__(self, x: Any) -> Any:
            gate = 1.0 / (1.0 + tf.exp(-x))
            parts = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
            shares = parts / tf.reduce_sum(parts, -1, keepdims=True)
            return tf.math.log1p(tf.exp(x)) + gate * tf.math.log(shares + 1e-7)

    x = wide(32, 6)
    graph = load_tensorflow(Spelled())
    assert not {"reciprocal", "div"} & set(functions(graph))
    expected = Spelled()(x).numpy()
    np.testing.assert_allclose(outputs_of(graph, [x])[0], expected, rtol=1e-5, atol=1e-5)
    model = Model.from_graph(graph, [x], progress=False)
    assert np.abs(model.run(x) - expected).max() < 4e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "kind",
    ["L1", "L2", "SumSquare", "LogSum", "LogSumExp", "Sum", "Mean", "Max", "Min", "Prod"],
)
def test_a_reduction_over_no_axes(kind: str) -> None:
    """Its steps besides the reduction are done: squares, roots, logarithms."""
    x = np.abs(wide(16, 6)) + np.float32(0.5) if kind == "LogSum" else wide(16, 6)
    held(model(f"y = Reduce{kind} <noop_with_empty_axes = 1> (x)", ROWS), x)
    given = model(
        f"y = Reduce{kind} <noop_with_empty_axes = 1> (x, none)", ROWS, none=np.zeros(0, np.int64)
    )
    held(given, x)
