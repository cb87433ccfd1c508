"""Normalisations of imported models: their operators, and those that are spelled out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gvm.graph import Builder, Graph, evaluate_real
from gvm.importers import UnsupportedModel
from gvm.importers.normalization import fuse_normalizations, normalized
from gvm.importers.onnx import load_onnx
from gvm.model import Model
from gvm.optimizers import SGD
from tests.onnx_models import IMAGES, SERIES, check, integers, model, operators, random

SCALES = {"s": random(6) + 1, "b": random(6)}
CHANNELS = {"s": random(4) + 1, "b": random(4)}


# ONNX's operators


@pytest.mark.parametrize(
    ("body", "inputs", "weights"),
    [
        ("y = LayerNormalization (x, s, b)", SERIES, SCALES),
        ("y = LayerNormalization <epsilon = 0.1> (x, s)", SERIES, {"s": random(6)}),
        ("y = LayerNormalization <axis = 1> (x, s)", SERIES, {"s": random(5, 6)}),
        ("y = InstanceNormalization (x, s, b)", IMAGES, CHANNELS),
        ("y = InstanceNormalization (x, s, b)", "float[N,4,7] x", CHANNELS),
        ("y = GroupNormalization <num_groups = 2> (x, s, b)", IMAGES, CHANNELS),
        ("y = MeanVarianceNormalization <axes = [2, 3]> (x)", IMAGES, {}),
        ("y = MeanVarianceNormalization <axes = [1]> (x)", IMAGES, {}),
        ("y = LpNormalization (x)", SERIES, {}),
        ("y = LpNormalization <axis = 1, p = 2> (x)", SERIES, {}),
    ],
)
def test_onnx_operators(body: str, inputs: str, weights: dict[str, Any]) -> None:
    graph = check(model(body, inputs, **weights))
    assert operators(graph).count("normalize") == 1
    assert "unary" not in operators(graph)


def test_old_group_normalization_has_a_scale_for_each_group() -> None:
    body = "y = GroupNormalization <num_groups = 2> (x, s, b)"
    old = model(body, IMAGES, 18, s=random(2), b=random(2))
    new = model(body, IMAGES, 21, s=np.repeat(random(2), 2), b=np.repeat(random(2), 2))
    check(old, like=new)


def test_root_mean_square() -> None:
    made = model("y = RMSNormalization <epsilon = 0.01> (x, s)", SERIES, 23, s=random(6))
    like = model(
        "a = Mul (x, x) m = ReduceMean <axes = [2]> (a) e = Add (m, c) r = Sqrt (e) "
        "d = Div (x, r) y = Mul (d, s)",
        SERIES,
        13,
        s=random(6),
        c=np.float32(0.01),
    )
    for source in (made, like):
        graph = check(source, like=like)
        assert operators(graph) == ["normalize", "mul"]
        assert graph.nodes[0].attributes["centred"] == 0


def test_sum_of_sizes() -> None:
    check(model("a = Abs (x) y = LpNormalization <p = 1> (a)", SERIES), tolerance=1e-4)


def test_a_normalisation_over_the_batch_is_refused() -> None:
    for body in ("MeanVarianceNormalization", "LpNormalization <axis = 0>"):
        with pytest.raises(UnsupportedModel, match="over the batch"):
            load_onnx(model(f"y = {body} (x)", IMAGES))


# Spelled out


SPELLED = """
  m = ReduceMean <axes = [-1]> (x)  d = Sub (x, m)  two = Constant <value_float = 2.0> ()
  q = Pow (d, two)  v = ReduceMean <axes = [-1]> (q)  e = Add (v, c)  r = Sqrt (e)
  n = Div (d, r)  a = Mul (n, s)  y = Add (a, b)
"""


def test_as_pytorch_exports_it() -> None:
    graph = check(model(SPELLED, SERIES, 13, c=np.float32(1e-5), **SCALES))
    assert operators(graph) == ["normalize", "mul", "bias_add"]
    assert graph.nodes[0].attributes["epsilon_multiplier"] == 21475
    assert {p.name for p in graph.parameters} == {"s", "b"}


def test_over_channels_in_front() -> None:
    """As ConvNeXt writes it: the mean over the second axis, between two convolutions."""
    body = (
        "z = Conv (x, k) "
        + SPELLED.replace("[-1]", "[1]").replace("(x)", "(z)").replace("(x, m)", "(z, m)")
    ).replace("y = Add (a, b)", "t = Add (a, b) y = Conv (t, k)")
    wide = {"s": random(4, 1, 1) + 1, "b": random(4, 1, 1), "c": np.float32(1e-6)}
    graph = check(model(body, IMAGES, 13, k=random(4, 4, 1, 1), **wide))
    assert [op for op in operators(graph) if op != "transpose"] == [
        "conv2d",
        "normalize",
        "mul",
        "bias_add",
        "conv2d",
    ]
    # One transposition of the input and one of the output: none around the normalisation.
    assert operators(graph).count("transpose") == 2


def test_a_mean_that_drops_its_axis() -> None:
    body = SPELLED.replace(
        "v = ReduceMean <axes = [-1]> (q)",
        "w = ReduceMean <axes = [-1], keepdims = 0> (q) v = Unsqueeze (w, last)",
    )
    made = model(body, SERIES, 13, c=np.float32(1e-5), last=integers(-1), **SCALES)
    assert "normalize" in operators(check(made))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("q = Pow (d, two)", "q = Pow (x, two)"),  # the mean square, of what is centred
        ("n = Div (d, r)", "n = Div (x, r)"),  # centred below only
        ("e = Add (v, c)", "e = Mul (v, c)"),
    ],
)
def test_what_is_not_quite_one_stays(old: str, new: str) -> None:
    body = SPELLED.replace(old, new)
    made = model(body, SERIES, 13, c=np.float32(1.1), **SCALES)
    assert "normalize" not in operators(check(made))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v = ReduceMean <axes = [-1]>", "v = ReduceMean <axes = [1]>"),  # over other axes
        ("d = Sub (x, m)", "d = Sub (m, x)"),  # turned around
    ],
)
def test_a_difference_is_divided_by_its_root_mean_square(old: str, new: str) -> None:
    made = model(SPELLED.replace(old, new), SERIES, 13, c=np.float32(0.1), **SCALES)
    found = [n for n in check(made).nodes if n.op == "normalize"]
    assert [n.attributes["centred"] for n in found] == [0]


def _values(graph: Graph, x: Any) -> Any:
    return evaluate_real(graph, [x])[graph.outputs["predict"][0]]


@pytest.mark.parametrize("shift_first", [False, True])
def test_x_times_root_less_mean_times_root(shift_first: bool) -> None:
    """shift - mean * root, or x * root - mean * root, in every order of operands."""
    g = Builder()
    x = g.input("x", (-1, 6))
    mean = g.divide(g.reduce_sum(x, axes=(1,), keepdims=1), divisor=6)
    d = g.sub(x, mean)
    variance = g.divide(g.reduce_sum(g.mul(d, d), axes=(1,), keepdims=1), divisor=6)
    epsilon = g.parameter("e", np.asarray([0.01]), trainable=False)
    root = g.mul(g.unary(g.add(variance, epsilon), function=10), g.parameter("s", random(6)))
    beta = g.parameter("b", random(6))
    if shift_first:
        y = g.add(g.sub(beta, g.mul(mean, root)), g.mul(root, x))
    else:
        y = g.sub(g.mul(x, root), g.mul(root, mean))
    graph = g.graph(predict=(y,))
    fused = fuse_normalizations(graph)
    assert [n.op for n in fused.reaching(fused.outputs["predict"])][0] == "normalize"
    data = np.random.default_rng(1).normal(0.5, 2, (4, 6))
    np.testing.assert_allclose(_values(fused, data), _values(graph, data), atol=1e-5)
    # The other sign is another function.
    g = Builder(graph)
    wrong = g.sub(g.mul(root, mean), g.mul(x, root))
    again = fuse_normalizations(g.graph(predict=(wrong,)))
    assert "normalize" not in [n.op for n in again.reaching(again.outputs["predict"])]


def test_axes_in_front_are_turned_to_the_end() -> None:
    g = Builder()
    x = g.input("x", (-1, 3, 4, 5))
    graph = g.graph(predict=(normalized(g, x, (1, 3), 0.5, True),))
    data = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    spread = data - data.mean((1, 3), keepdims=True)
    wanted = spread / np.sqrt((spread**2).mean((1, 3), keepdims=True) + 0.5)
    np.testing.assert_allclose(_values(graph, data), wanted, atol=1e-12)


# Order


def test_positions_sums_and_the_largest() -> None:
    body = """
      a = ArgMax <axis = 1, keepdims = 0> (x)  b = ArgMin <axis = 2, select_last_index = 1> (x)
      c = ArgMax <axis = -1, select_last_index = 1> (x)  d = Hardmax <axis = 1> (x)
      e = CumSum (x, last)  f = CumSum <exclusive = 1, reverse = 1> (x, one)
      g, h = TopK (x, k)  i, j = TopK <axis = 1, largest = 0> (x, k)
    """
    given = {"last": np.int64(-1), "one": np.int64(1), "k": integers(3)}
    check(model(body, SERIES, outputs=tuple("abcdefghij"), **given))


def test_k_of_old_operator_sets() -> None:
    new = model("y, z = TopK (x, k)", SERIES, outputs=("y", "z"), k=integers(2))
    old = model("y, z = TopK <k = 2> (x)", SERIES, 1, outputs=("y", "z"))
    check(old, like=new)


def test_beyond_the_axis_and_over_the_batch_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"k must be in \[1, 6\], received 7"):
        load_onnx(model("y, z = TopK (x, k)", SERIES, k=integers(7)))
    with pytest.raises(UnsupportedModel, match="over the batch"):
        load_onnx(model("y = ArgMax (x)", SERIES))


def test_an_order_of_integers() -> None:
    """The integers of the program are the positions of the frameworks, ties included."""
    x = np.round(np.random.default_rng(3).normal(size=(50, 7)) * 2) / 2
    body = "v, p = TopK (x, k) a = ArgMin <axis = 1> (x) y = CumSum (x, one)"
    made = model(body, "float[N,7] x", outputs=("v", "p", "a", "y"), k=integers(4), one=np.int64(1))
    values, positions, least, sums = Model.from_graph(load_onnx(made), x, progress=False).run(x)
    wanted = np.argsort(-x, axis=1, kind="stable")[:, :4]
    assert positions.tolist() == wanted.tolist()
    assert values.tolist() == np.take_along_axis(x, wanted, 1).tolist()
    assert least.tolist() == x.argmin(axis=1)[:, None].tolist()
    assert sums.tolist() == np.cumsum(x, axis=1).tolist()


# Keras


def test_tensorflow_order() -> None:
    tf = pytest.importorskip("tensorflow")
    from tests import test_import_tensorflow as tf_tests

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 6), tf.float32)])  # type: ignore[untyped-decorator]
    def order(x: Any) -> Any:
        values, positions = tf.math.top_k(x, 3)
        return values, positions, tf.argmin(x, 1), tf.cumsum(x, 2, exclusive=True)

    graph = tf_tests.check(order, order)
    assert [op for op in operators(graph) if op != "reshape"] == ["top_k", "top_k", "cumsum"]


def test_keras_layers() -> None:
    keras = pytest.importorskip("keras")
    from gvm.importers.tensorflow import load_tensorflow
    from tests import test_import_tensorflow as tf_tests

    layers = keras.layers
    for layer, wanted in (
        (layers.LayerNormalization(), ["normalize", "mul", "bias_add"]),
        (layers.LayerNormalization(center=False), ["normalize", "mul"]),
        (layers.LayerNormalization(scale=False), ["normalize", "bias_add"]),
        (layers.LayerNormalization(center=False, scale=False), ["normalize"]),
        (layers.LayerNormalization(axis=(1, 2)), ["normalize", "mul", "add"]),
        (layers.RMSNormalization(), ["normalize", "mul"]),
        (layers.UnitNormalization(), ["normalize", "mul"]),
    ):
        graph = tf_tests.check(tf_tests.sequential(layer, shape=(5, 6)))
        assert operators(graph) == wanted
    graph = load_tensorflow(tf_tests.sequential(layers.GroupNormalization(2), shape=(5, 3, 6)))
    assert operators(graph).count("normalize") == 1
    tf_tests.check(tf_tests.sequential(layers.GroupNormalization(2), shape=(5, 3, 6)))


# To the end


def test_it_trains() -> None:
    """A stack of normalised layers learns, and its gradient is exact in every shard."""
    g = Builder()
    rng = np.random.default_rng(4)
    value = g.input("x", (-1, 6))
    for i in range(2):
        weight = g.parameter(f"w{i}", rng.normal(0, 0.4, (6, 6)))
        value = g.bias_add(g.matmul(value, weight), g.parameter(f"b{i}", np.zeros(6)))
        value = normalized(g, value, (1,), 1e-3, True)
        value = g.mul(value, g.parameter(f"gamma{i}", np.ones(6)))
        value = g.relu(g.bias_add(value, g.parameter(f"beta{i}", np.zeros(6))))
    value = g.matmul(value, g.parameter("out", rng.normal(0, 0.4, (6, 3))))
    x = rng.normal(0, 1, (600, 6)).astype(np.float32)
    y = np.argmax(x[:, :3] + x[:, 3:], axis=1)
    graph = g.graph(predict=(value,))
    made = Model.from_graph(graph, x, "softmax_cross_entropy", y, progress=False)
    before = made.evaluate(x, y)
    first = made.train(x, y, optimizer=SGD(0.1, momentum=0.9), epochs=5, batch_size=50, seed=1)
    after = made.evaluate(x, y)
    assert after.accuracy > 0.93 > before.accuracy
    assert len(first.state_id) == 64
