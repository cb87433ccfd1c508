"""model.to_onnx(): operator by operator, in float and quantised, as ONNX Runtime computes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm
from gvm.batch_training import batch_normalized
from gvm.graph import Builder, Graph, Value, evaluate_real
from gvm.model import Model

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

Array = NDArray[Any]
IMAGE = (-1, 5, 6, 4)
ROW = (-1, 7)


def run(model: Any, *inputs: Array) -> list[Array]:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
    feeds = {
        given.name: x.astype(kinds[given.type])
        for given, x in zip(session.get_inputs(), inputs, strict=True)
    }
    return list(session.run(None, feeds))


def normal(*shape: int, seed: int = 4) -> Array:
    return np.random.default_rng(seed).normal(0, 0.8, shape)


def kernel(g: Builder, *shape: int) -> Value:
    return g.parameter("w", normal(*shape), trainable=True)


def two(op: str, **attributes: Any) -> Callable[[Builder, Value], Value]:
    """Of a value and a part of it, a per-channel constant, and a tensor of lower rank."""

    def make(g: Builder, x: Value) -> Value:
        c = g.parameter("c", normal(g.shape(x)[-1]), trainable=True)
        rows = g.reduce_max(x, axes=(1,), keepdims=1)
        return g.node(op, [g.node(op, [x, rows], attributes)[0], c], attributes)[0]

    return make


def windowed(op: str, **attributes: Any) -> Callable[[Builder, Value], Value]:
    given = {"window": (2, 3), "strides": (2, 1), "padding": (0, 1, 1, 2)} | attributes
    return lambda g, x: g.node(op, [x], given)[0]


def chosen(g: Builder, x: Value) -> Value:
    other = g.unary(x, function=3)
    return g.select(g.logical(g.compare(x, other, relation=1), function=3), x, other)


def quotient(direction: int) -> Callable[[Builder, Value], Value]:
    """x / (x + exp(x))."""
    return lambda g, x: int(g.div(x, g.add(x, g.unary(x, function=1)), direction=direction))


def normalized(g: Builder, x: Value) -> Value:
    parts = {name: normal(4, seed=i) for i, name in enumerate(("mean", "scale", "shift"))}
    made = {name: g.parameter(name, data) for name, data in parts.items()}
    variance = g.parameter("variance", np.array([0.5, 1.0, 2.0, 4.0]))
    return batch_normalized(g, x, variance=variance, epsilon=1e-3, keep=0.9, **made)


CASES: dict[str, tuple[tuple[int, ...], Callable[[Builder, Value], Value]]] = {
    **{op: (IMAGE, two(op)) for op in ("add", "sub", "mul", "maximum", "minimum")},
    "relu": (ROW, lambda g, x: g.relu(x)),
    "bias_add": (IMAGE, lambda g, x: g.bias_add(x, kernel(g, 4))),
    "matmul": (ROW, lambda g, x: g.matmul(x, kernel(g, 7, 3))),
    "matmul_turned": (ROW, lambda g, x: g.matmul(x, kernel(g, 3, 7), transpose_b=1)),
    "matmul_batched": ((-1, 3, 4), lambda g, x: g.matmul(x, x, transpose_a=1)),
    "conv2d": (
        IMAGE,
        lambda g, x: g.conv2d(
            x, kernel(g, 2, 3, 2, 6), strides=(1, 2), padding=(0, 1, 2, 1), dilation=(2, 1),
            groups=2,
        ),
    ),
    "conv2d_grad_input": (
        (-1, 3, 4, 6),
        lambda g, x: g.conv2d_grad_input(
            x, kernel(g, 2, 3, 2, 6), strides=(2, 2), padding=(0, 1, 2, 1), dilation=(1, 2),
            groups=2, size=(6, 9),
        ),
    ),
    "max_pool2d": (IMAGE, windowed("max_pool2d")),
    "avg_pool2d": (IMAGE, windowed("avg_pool2d")),
    "avg_pool2d_whole": (IMAGE, windowed("avg_pool2d", count_include_pad=1)),
    "reshape": (IMAGE, lambda g, x: g.reshape(x, shape=(-1, 10, 12))),
    "transpose": (IMAGE, lambda g, x: g.transpose(x, permutation=(0, 3, 1, 2))),
    "concat": (IMAGE, lambda g, x: g.concat(x, g.relu(x), axis=2)),
    "slice": (IMAGE, lambda g, x: g.slice(
        x, begin=(0, 1, 0, 1), end=(-1, 5, 6, 4), strides=(1, 2, 1, 2))),
    "slice_all": (ROW, lambda g, x: g.slice(x, begin=(0, 0), end=(-1, 7), strides=(1, 1))),
    "reduce_sum": (IMAGE, lambda g, x: g.reduce_sum(x, axes=(1, 3), keepdims=0)),
    "reduce_max": (IMAGE, lambda g, x: g.reduce_max(x, axes=(2,), keepdims=1)),
    "normalize": (IMAGE, lambda g, x: g.normalize(x, trailing_axes=2)),
    "normalize_uncentred": (ROW, lambda g, x: g.normalize(x, trailing_axes=1, centred=0)),
    **{f"div_{n}": (ROW, quotient(n)) for n in range(4)},
    "batch_normalize": (IMAGE, normalized),
    "divide": (ROW, lambda g, x: g.divide(x, divisor=3)),
    "softmax": (ROW, lambda g, x: g.softmax(x)),
    "broadcast_to": ((-1, 1, 4), lambda g, x: g.broadcast_to(x, shape=(-1, 3, 4))),
    "pad": (IMAGE, lambda g, x: g.pad(x, before=(0, 1, 0, 2), after=(0, 0, 3, 1))),
    "select": (ROW, chosen),
    "mask": (ROW, lambda g, x: g.mask(g.compare(x, g.relu(x), relation=0), x, value=0)),
    "compare": (ROW, lambda g, x: g.compare(x, g.relu(x), relation=2)),
    "argmax": (IMAGE, lambda g, x: g.argmax(x, axis=3)),
    **{
        f"top_k_{largest}{by_value}_{output}": (
            IMAGE,
            (lambda i, given: lambda g, x: g.top_k(x, k=3, axis=2, **given)[i])(
                output, {"largest": largest, "sorted": by_value}
            ),
        )
        for largest, by_value, output in ((1, 1, 0), (1, 1, 1), (0, 0, 0), (0, 0, 1))
    },
    "cumsum": (IMAGE, lambda g, x: g.cumsum(x, axis=2)),
    "cumsum_turned": (IMAGE, lambda g, x: g.cumsum(x, axis=1, exclusive=1, reverse=1)),
    "argmax_added": (IMAGE, lambda g, x: g.add(g.argmax(x, axis=3), g.argmax(x, axis=3))),
    **{
        f"unary_{name}": (ROW, (lambda n: lambda g, x: g.unary(x, function=n))(number))
        for number, name in enumerate(
            ("exp", "log", "tanh", "logistic", "erf", "gelu", "silu", "softplus", "sqrt", "rsqrt",
             "reciprocal", "sin", "cos"), 1)
    },
    # Channels first all the way, and where the order of the axes is seen again.
    "network": (
        IMAGE,
        lambda g, x: g.matmul(
            g.reshape(
                g.max_pool2d(
                    g.add(
                        g.relu(g.bias_add(g.conv2d(x, kernel(g, 1, 1, 4, 4)), kernel(g, 4))), x),
                    window=(2, 2), strides=(2, 2)),
                shape=(-1, 24)),
            kernel(g, 24, 3)),
    ),
    "pooled": (
        IMAGE,
        lambda g, x: g.divide(
            g.reduce_sum(
                g.concat(windowed("max_pool2d")(g, x), windowed("avg_pool2d")(g, x), axis=3),
                axes=(1, 2), keepdims=0),
            divisor=15),
    ),
    "scaled": (
        IMAGE,
        lambda g, x: g.mul(
            g.pad(windowed("max_pool2d")(g, x), before=(0, 1, 0, 0), after=(0, 0, 1, 2)),
            g.unary(g.reduce_sum(windowed("max_pool2d")(g, g.pad(
                x, before=(0, 0, 0, 0), after=(0, 0, 0, 2))), axes=(1, 2), keepdims=1),
                function=4)),
    ),
}  # fmt: skip


def example(name: str) -> tuple[Graph, Array, Model]:
    shape, make = CASES[name]
    g = Builder()
    out = make(g, g.input("x", shape))
    graph = g.graph(predict=(out,))
    x = np.rint(normal(9, *shape[1:]) * 256) / 256
    if name in ("unary_log", "unary_sqrt", "unary_rsqrt", "unary_reciprocal"):
        x = np.abs(x) + 0.25
    return graph, x, Model.from_graph(graph, x, progress=False)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    graph, x, model = example(name)
    real = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
    ours = model.run_integers(x)
    unit = 2.0**-ours.fraction_bits
    largest = float(np.max(np.abs(real)))
    (made,) = run(model.to_onnx(), x)
    assert made.shape == real.shape
    # Weights are 16-bit integers where nothing trains.
    assert np.max(np.abs(made - real)) <= 2e-4 * largest + 1e-6
    (made,) = run(model.to_onnx(qdq=True), x)
    # float32 may fall on the other side of a tie.
    assert np.max(np.abs(made - ours.real())) <= unit + 2e-6 * largest


def test_beyond_the_format_is_clamped_and_left_of_zero_is_a_limit() -> None:
    g = Builder()
    x = g.input("x", ROW)
    roots = [g.unary(x, function=n) for n in (2, 9, 10)]
    graph = g.graph(predict=tuple(roots))
    typical = np.abs(normal(20, 7)) + 0.1
    model = Model.from_graph(graph, typical, progress=False)
    beyond = np.asarray([[-3.0, -0.5, 0.0, 0.25, 9.0, 1e4, -1e4]])
    for ours, theirs in zip(model.run(beyond), run(model.to_onnx(qdq=True), beyond), strict=True):
        assert np.array_equal(ours, theirs)


def test_rows_of_a_table_by_integers() -> None:
    g = Builder()
    x = g.input("tokens", (-1, 4), "i32")
    rows = g.gather(g.parameter("table", normal(6, 3), trainable=True), x)
    graph = g.graph(predict=(rows, x))
    tokens = np.random.default_rng(1).integers(0, 6, (5, 4))
    model = Model.from_graph(graph, tokens, progress=False)
    for qdq in (False, True):
        rows, same = run(model.to_onnx(qdq=qdq), tokens)
        assert np.max(np.abs(rows - model.run(tokens)[0])) < 1e-6
        assert same.dtype == np.int32 and np.array_equal(same, tokens)


@pytest.mark.parametrize("qdq", [False, True])
def test_trained_templates(qdq: bool, tmp_path: Path) -> None:
    x = normal(40, 8, 8, 3)
    labels = np.argmax(x[:, 0, 0], axis=1)
    model = gvm.templates.resnet(
        8, (8, 8, 3), 3, width=4, calibration=x, labels=labels, progress=False
    )
    model.train(x, labels, epochs=1, progress=False)
    made = model.to_onnx(tmp_path / "m.onnx", qdq=qdq)
    assert onnx.load(tmp_path / "m.onnx") == made
    (theirs,) = run(made, x)
    ours = model.run(x)
    assert np.max(np.abs(ours - theirs)) < (0.02 if not qdq else 1e-3) * np.max(np.abs(ours))
    kinds = {t.data_type for t in made.graph.initializer}
    assert (onnx.TensorProto.INT16 in kinds) == qdq
    properties = {p.key: p.value for p in made.metadata_props}
    assert properties["gvm.parameters_id"] == model.parameters_id
    # Channels first throughout: one turn in front, and none but those of the flattening behind.
    assert sum(n.op_type == "Transpose" for n in made.graph.node) <= 2
    if not qdq:
        again = gvm.from_onnx(made, x, progress=False)
        assert np.max(np.abs(again.run(x) - theirs)) < 0.02 * np.max(np.abs(ours))


def test_what_has_no_form_is_named() -> None:
    g = Builder()
    graph = g.graph(predict=(g.unary(g.input("x", ROW), function=14),))
    model = Model.from_graph(graph, normal(9, 7), progress=False)
    with pytest.raises(gvm.GvmError, match="unary, node 0: tanh_derivative has no ONNX form"):
        model.to_onnx()
