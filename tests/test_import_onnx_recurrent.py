"""Recurrent operators, loops, conditions and sequences of ONNX, held to onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_models import SERIES, inputs_of, integers, operators, outputs_of, random
from onnx_models import model as model_of

import gvm
from gvm.errors import ImportModelError
from gvm.graph import Graph
from gvm.importers.onnx import load_onnx

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

HIDDEN, INPUT, STEPS = 3, 6, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OUTPUTS = {"LSTM": ["y", "y_h", "y_c"], "GRU": ["y", "y_h"], "RNN": ["y", "y_h"]}


def recurrent(kind: str, given: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """A model of one node behind the transposition that brings time first."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[kind] * HIDDEN
    weights: dict[str, Any] = {
        "w": random(directions, gates, INPUT, seed=1),
        "r": random(directions, gates, HIDDEN, seed=2),
        "b": random(directions, 2 * gates, seed=3),
    } | (given or {})
    names = ["w", "r", "b", "lengths", "h", *(["c", "p"] if kind == "LSTM" else [])]
    first = "x" if attributes.get("layout") else "turned"
    inputs = [first, *(n if weights.get(n) is not None else "" for n in names)]
    nodes = [helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2])]
    attributes.setdefault("hidden_size", HIDDEN)
    nodes.append(helper.make_node(kind, inputs, OUTPUTS[kind], name="cell", **attributes))
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", 1, ["N", STEPS, INPUT])],
        [helper.make_tensor_value_info(n, 1, None) for n in OUTPUTS[kind]],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items() if a is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check(source: Any, batch: int = 3) -> Graph:
    """Imports and compares with onnxruntime."""
    graph = load_onnx(source)
    data = inputs_of(graph, batch)
    session = runtime.InferenceSession(source.SerializeToString())
    names = [i.name for i in session.get_inputs()]
    expected = session.run(None, dict(zip(names, data, strict=True)))
    for a, b in zip(outputs_of(graph, data), expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    return graph


def states(directions: int = 1, batch: int = 1, seed: int = 9) -> NDArray[np.float32]:
    """One initial state for every example."""
    return np.repeat(random(directions, 1, HIDDEN, seed=seed), batch, axis=1)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{kind}_plain": (kind, {}) for kind in GATES},
    **{f"{kind}_reverse": (kind, {"direction": "reverse"}) for kind in GATES},
    **{f"{kind}_both_ways": (kind, {"direction": "bidirectional"}) for kind in GATES},
    "GRU_clip": ("GRU", {"clip": 0.4}),
    "GRU_reset_after": ("GRU", {"linear_before_reset": 1}),
    "LSTM_coupled": ("LSTM", {"input_forget": 1}),
    "LSTM_activations": (
        "LSTM",
        {
            "activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
            "activation_alpha": [0.3, 0.8],
            "activation_beta": [0.4, 0.6],
        },
    ),
    "GRU_activations": (
        "GRU",
        {
            "activations": ["Sigmoid", "Affine", "HardSigmoid", "Elu"],
            "activation_alpha": [0.5, 0.25, 0.75],
            "activation_beta": [0.1, 0.5],
            "direction": "bidirectional",
        },
    ),
    "RNN_relu": ("RNN", {"activations": ["Relu"]}),
    "RNN_leaky": ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.1]}),
    "RNN_thresholded": ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]}),
    "RNN_softplus": ("RNN", {"activations": ["Softplus"]}),
}


@pytest.mark.parametrize("name", CASES)
def test_cells(name: str) -> None:
    kind, attributes = CASES[name]
    check(recurrent(kind, **attributes))


def test_what_a_cell_clips() -> None:
    """The inputs of all activations, the cell state among them, which onnxruntime leaves out."""
    source = recurrent("LSTM", clip=0.3)
    graph = load_onnx(source)
    (x,) = inputs_of(graph)
    w, r, b = (numpy_helper.to_array(i)[0].astype(np.float64) for i in source.graph.initializer)

    def clipped(v: Any) -> Any:
        return np.clip(v, -0.3, 0.3)

    h = c = np.zeros((3, HIDDEN))
    for i in range(STEPS):
        gates = clipped(x[:, i] @ w.T + h @ r.T + b[:12] + b[12:])
        taken, out, kept, new = np.split(gates, 4, axis=1)
        c = c / (1 + np.exp(-kept)) + np.tanh(new) / (1 + np.exp(-taken))
        h = np.tanh(clipped(c)) / (1 + np.exp(-out))
    _, y_h, y_c = outputs_of(graph, [x])
    np.testing.assert_allclose(y_h[0], h, rtol=1e-5)
    np.testing.assert_allclose(y_c[0], c, rtol=1e-5)


@pytest.mark.parametrize("kind", GATES)
def test_without_a_bias(kind: str) -> None:
    check(recurrent(kind, {"b": None}))


@pytest.mark.parametrize("kind", GATES)
def test_initial_states(kind: str) -> None:
    given: dict[str, Any] = {"h": states(batch=3)}
    if kind == "LSTM":
        given |= {"c": states(batch=3, seed=8), "p": random(1, 3 * HIDDEN, seed=5)}
    check(recurrent(kind, given))


@pytest.mark.parametrize("kind", GATES)
def test_lengths(kind: str) -> None:
    products = []
    for length in (3, STEPS):
        given = {"lengths": np.full(3, length, np.int32)}
        graph = check(recurrent(kind, given, direction="bidirectional"))
        products.append(operators(graph).count("matmul"))
    assert products[0] < products[1]


def test_lengths_of_each_example() -> None:
    """As an input: each example's own, also backwards."""
    source = recurrent("LSTM", {"lengths": None}, direction="bidirectional")
    node = source.graph.node[1]
    node.input[4] = "lengths"
    source.graph.input.append(helper.make_tensor_value_info("lengths", 6, ["N"]))
    graph = load_onnx(source)
    (x, _), lengths = inputs_of(graph), np.array([5, 1, 3], np.int32)
    session = runtime.InferenceSession(source.SerializeToString())
    expected = session.run(None, {"x": x, "lengths": lengths})
    for a, b in zip(outputs_of(graph, [x, lengths]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_batch_first() -> None:
    """Layout 1, which onnxruntime does not know: Y is [batch, time, direction, hidden]."""
    graph = load_onnx(
        recurrent("GRU", {"h": states(2).transpose(1, 0, 2)}, layout=1, direction="bidirectional")
    )
    turned = load_onnx(recurrent("GRU", {"h": states(2)}, direction="bidirectional"))
    data = inputs_of(graph)
    y, h = outputs_of(graph, data)
    other, last = outputs_of(turned, data)
    np.testing.assert_allclose(y, other.transpose(2, 0, 1, 3))
    np.testing.assert_allclose(h, last.transpose(1, 0, 2))


def test_one_parameter_of_all_steps() -> None:
    graph = load_onnx(recurrent("LSTM"))
    assert {p.name for p in graph.parameters if p.trainable} == {"w", "r", "b"}
    named = [n.name for n in graph.nodes if n.op == "matmul"]
    assert named[:3] == ["cell/0/inputs", "cell/1/inputs", "cell/1/state"]


def test_an_exported_classifier() -> None:
    """PyTorch's way: zeros of the batch's size expanded, the last state through a dense layer."""
    source = model_of(
        """
          shape = Shape (x)
          n = Gather (shape, zero)
          one = Unsqueeze (n, axes)
          dims = Concat <axis = 0> (front, one, back)
          start = ConstantOfShape (dims)
          t = Transpose <perm = [1, 0, 2]> (x)
          y, h, c = LSTM <hidden_size = 3> (t, w, r, b, , start, start)
          s = Squeeze (h, axes)
          l = Gemm <transB = 1> (s, v, k)
        """,
        SERIES,
        outputs=("l",),
        zero=np.asarray(0),
        axes=integers(0),
        front=integers(1),
        back=integers(HIDDEN),
        w=random(1, 12, 6),
        r=random(1, 12, 3, seed=2),
        b=random(1, 24, seed=3),
        v=random(2, 3, seed=4),
        k=random(2, seed=5),
    )
    check(source)
    x = np.random.default_rng(0).normal(0.2, 1, (64, 5, 6)).astype(np.float32)
    made = gvm.from_onnx(source, calibration=x)
    expected = runtime.InferenceSession(source.SerializeToString()).run(None, {"x": x})[0]
    assert np.linalg.norm(made.run(x) - expected) < 1e-3 * np.linalg.norm(expected)


REFUSED = {
    "sequence_is_the_batch": (
        "y, h = RNN <hidden_size = 3> (x, w, r)",
        "axis 0 is the sequence, of a known length",
    ),
    "direction": (
        "t = Transpose <perm = [1, 0, 2]> (x) "
        'y, h = RNN <hidden_size = 3, direction = "up"> (t, w, r)',
        "direction is 'up'",
    ),
    "activation": (
        "t = Transpose <perm = [1, 0, 2]> (x) "
        'y, h = RNN <hidden_size = 3, activations = ["Gelu"]> (t, w, r)',
        "activation 'Gelu'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    body, message = REFUSED[name]
    source = model_of(body, SERIES, w=random(1, 3, 6), r=random(1, 3, 3))
    with pytest.raises(ImportModelError, match=message):
        load_onnx(source)


# Loops, conditions, sequences

VARIABLES = "int64 i, bool go"


def test_a_loop_with_a_count() -> None:
    graph = check(
        model_of(
            """
              y, rows = Loop (count, yes, x) <body = step (int64 i, bool go, float[N,6] s)
                => (bool again, float[N,6] next, float[N,6] row) {
                  again = Identity (go)
                  k = Constant <value = float[6] {1, 2, 3, 4, 5, 6}> ()
                  f = Cast <to = 1> (i)
                  scaled = Mul (s, half)
                  moved = Add (scaled, k)
                  next = Add (moved, f)
                  row = Relu (next)
                }>
            """,
            "float[N,6] x",
            outputs=("y", "rows"),
            count=np.asarray(3),
            yes=np.asarray(True),
            half=np.float32([0.5]),
        )
    )
    assert [p.name for p in graph.parameters if p.trainable] == ["k"]
    assert sum(n.op == "relu" for n in graph.nodes) == 3


def test_a_loop_until_a_condition() -> None:
    graph = check(
        model_of(
            """
              y, last = Loop (, yes, x, one) <body = step
                (int64 i, bool go, float[N,6] s, int64[1] n)
                => (bool again, float[N,6] next, int64[1] double) {
                  double = Add (n, n)
                  again = Less (double, limit)
                  next = Relu (s)
                }>
              f = Cast <to = 1> (last)
              z = Add (y, f)
            """,
            "float[N,6] x",
            outputs=("z",),
            yes=np.asarray(True),
            one=integers(1),
            limit=integers(9),
        )
    )
    assert operators(graph).count("relu") == 4


def test_a_scan_both_ways() -> None:
    check(
        model_of(
            """
              zero = ReduceMax <keepdims = 0> (x, axes)
              s, y, z = Scan <num_scan_inputs = 2, scan_input_axes = [1, 1],
                scan_input_directions = [0, 1], scan_output_axes = [1, -1],
                scan_output_directions = [1, 0],
                body = step (float[N,6] s, float[N,6] a, float[N,6] b)
                => (float[N,6] next, float[N,6] first, float[N,6] second) {
                  p = MatMul (s, w)
                  q = Add (p, a)
                  next = Tanh (q)
                  first = Sub (next, b)
                  second = Identity (next)
                }> (zero, x, x)
            """,
            SERIES,
            outputs=("s", "y", "z"),
            w=random(6, 6),
            axes=integers(1),
        )
    )


def test_loops_with_conditions() -> None:
    check(
        model_of(
            """
              y = Loop (count, yes, x) <body = step (int64 i, bool go, float[N,6] s)
                => (bool again, float[N,6] next) {
                  again = Identity (go)
                  m = Mod (i, two)
                  odd = Equal (m, one)
                  next = If (odd) <
                    then_branch = a () => (float[N,6] l) { l = MatMul (s, w) },
                    else_branch = b () => (float[N,6] r) { r = Sub (s, x) }
                  >
                }>
            """,
            "float[N,6] x",
            count=np.asarray(4),
            yes=np.asarray(True),
            one=np.asarray(1),
            two=np.asarray(2),
            w=random(6, 6),
        )
    )


def test_sequences() -> None:
    check(
        model_of(
            """
              parts = SplitToSequence <axis = 1, keepdims = 0> (x)
              second = SequenceAt (parts, one)
              fewer = SequenceErase (parts, first)
              more = SequenceInsert (fewer, second)
              y = ConcatFromSequence <axis = 1, new_axis = 1> (more)
              pairs = SplitToSequence <axis = 2> (x, two)
              last = SequenceAt (pairs, minus)
              own = SequenceConstruct (second, second)
              wide = ConcatFromSequence <axis = -1> (own)
              n = SequenceLength (own)
              f = Cast <to = 1> (n)
              z = Mul (wide, f)
            """,
            SERIES,
            outputs=("y", "last", "z"),
            one=np.asarray(1),
            first=np.asarray(0),
            two=np.asarray(2),
            minus=np.asarray(-1),
        )
    )


def test_a_sequence_turned_round() -> None:
    graph = check(
        model_of(
            "y = ReverseSequence <batch_axis = 0, time_axis = 1> (x, lengths)",
            SERIES,
            lengths=integers(3, 3, 3),
        )
    )
    assert operators(graph)[-1] == "concat"


LOOPS = {
    "count_of_the_input": (
        "c = ReduceMax <keepdims = 0> (x, axes) n = Cast <to = 7> (c)",
        "",
    ),
    "many": ("n = Identity (large)", "more than 4096 steps"),
    "batch": ("s = Shape (x) n = Gather (s, zero)", "depends on the batch size"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_refused(name: str) -> None:
    before, message = LOOPS[name]
    source = model_of(
        before
        + """
          y = Loop (n, yes, x) <body = step (int64 i, bool go, float[N,6] s)
            => (bool again, float[N,6] next) { again = Identity (go) next = Relu (s) }>
        """,
        "float[N,6] x",
        yes=np.asarray(True),
        axes=integers(1),
        large=np.asarray(5000),
        zero=np.asarray(0),
    )
    with pytest.raises(ImportModelError, match=message):
        load_onnx(source)
