"""gvm.formats and gvm.quantize: which formats are chosen, where values are rounded, how far off."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gvm import _core
from gvm.autodiff import with_loss
from gvm.errors import GvmError, ImportModelError, ProgramError
from gvm.formats import Formats, fraction_bits
from gvm.graph import Builder, Graph, Node, Value, evaluate_real
from gvm.model import Model
from gvm.optimizers import SGD
from gvm.program import Step, steps_of, with_optimizer
from gvm.quantize import Quantized, calibrate, calibration_data, quantize
from gvm.shards import TOTALS, ShardRunner
from gvm.types import RANGE, Type
from tests.random_networks import BLOCKS, Layers

EXAMPLES = 48
CROSS_ENTROPY, SQUARED = "softmax_cross_entropy", "mean_squared_error"


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(0, scale, shape)


def dense(g: Builder, x: Value, units: int, name: str, scale: float = 1.0) -> Value:
    """matmul and bias, of about unit scale."""
    inputs = g.shape(x)[-1]
    w = g.parameter(f"{name}/w", normal(inputs, units, scale=scale / math.sqrt(inputs), seed=units))
    b = g.parameter(f"{name}/b", normal(units, scale=0.1))
    return int(g.bias_add(g.matmul(x, w, name=f"{name}/product"), b, name=name))


def mlp(scale: float = 1.0, classes: int = 3) -> Graph:
    g = Builder()
    x = g.input("x", (-1, 6))
    hidden = g.relu(dense(g, x, 16, "first", scale), name="relu")
    return g.graph(predict=(dense(g, hidden, classes, "second"),))


def cnn(smooth: bool = False) -> Graph:
    g = Builder()
    x = g.input("x", (-1, 8, 8, 2))
    for i, channels in enumerate((4, 6)):
        inputs = g.shape(x)[3]
        w = g.parameter(f"w{i}", normal(3, 3, inputs, channels, scale=1 / math.sqrt(9 * inputs)))
        y = g.bias_add(g.conv2d(x, w, padding=(1, 1, 1, 1)), g.parameter(f"b{i}", normal(channels)))
        pool = g.avg_pool2d if smooth or i else g.max_pool2d
        y = g.unary(y, function=3) if smooth else g.relu(y)
        x = pool(y, window=(2, 2), strides=(2, 2))
    return g.graph(predict=(dense(g, g.reshape(x, shape=(-1, 24)), 5, "head"),))


def attention() -> Graph:
    g = Builder()
    x = g.input("x", (-1, 4, 6))
    w = [g.parameter(n, normal(6, 6, scale=0.4, seed=i)) for i, n in enumerate("qkv")]
    q, k, v = (g.matmul(x, p) for p in w)
    scores = g.softmax(g.divide(g.matmul(q, k, transpose_b=1), divisor=2))
    mixed = g.add(g.matmul(scores, v), x)
    y = g.divide(g.reduce_sum(g.unary(mixed, function=6), axes=(1,)), divisor=4)
    return g.graph(predict=(dense(g, y, 4, "head"),))


def examples(graph: Graph, count: int = EXAMPLES, scale: float = 1.0) -> list[NDArray[Any]]:
    shapes = [graph.types[v].concrete(count) for v in graph.inputs]
    return [normal(*shape, scale=scale, seed=7) for shape in shapes]


def labels_for(graph: Graph, loss: str, count: int = EXAMPLES) -> NDArray[Any]:
    shape = graph.types[graph.outputs["predict"][0]].concrete(count)
    if loss == CROSS_ENTROPY:
        return np.arange(count) % shape[-1]
    return normal(*shape, seed=8)


def quantized(
    graph: Graph, loss: str | None = None, formats: Formats | None = None, scale: float = 1.0
) -> Quantized:
    """A graph calibrated on random examples and quantised."""
    whole = graph if loss is None else with_loss(graph, loss)
    chosen = formats or Formats()
    labels = None if loss is None else labels_for(graph, loss)
    data = calibration_data(whole, examples(graph, scale=scale), labels, chosen)
    return quantize(whole, calibrate(whole, *data), chosen)


def modelled(
    graph: Graph, loss: str | None = None, formats: str | Formats | None = None, scale: float = 1.0
) -> Model:
    labels = None if loss is None else labels_for(graph, loss)
    x = examples(graph, scale=scale)
    return Model.from_graph(graph, x, loss, labels, formats, progress=False)


def nodes_of(graph: Graph, op: str) -> list[Node]:
    return [n for n in graph.nodes if n.op == op]


def error(graph: Graph, model: Model, scale: float = 1.0) -> float:
    """The largest error of a run against float64, relative to the largest output."""
    x = examples(graph, scale=scale)
    (y,) = graph.outputs["predict"]
    exact = evaluate_real(graph, x)[y]
    return float(np.abs(model.run(x) - exact).max() / np.abs(exact).max())


# Formats


@given(
    st.floats(2.0**-900, 2.0**900),
    st.sampled_from(["i16", "i32"]),
    st.integers(-2, 6),
)
def test_fraction_bits_are_the_most_that_fit(most: float, dtype: str, headroom: int) -> None:
    bits = fraction_bits(most, dtype, headroom, 10**6)
    limit = RANGE[dtype][1]
    if bits > -32:
        assert math.ldexp(most, bits + headroom) <= limit
    assert math.ldexp(most, bits + headroom + 1) > limit


def test_fraction_bits_at_the_edges() -> None:
    assert fraction_bits(1.0, "i16", 0, 31) == 14
    assert fraction_bits(32767 / 32768, "i16", 0, 31) == 15
    assert fraction_bits(32767.5 / 32768, "i16", 0, 31) == 14
    assert fraction_bits(1.0, "i32", 0, 47) == 30
    assert fraction_bits(0.0, "i16", 3, 31) == 14
    assert fraction_bits(0.0, "i32", 3, 47) == 24
    assert fraction_bits(5e-324, "i16", 0, 18) == 18
    assert fraction_bits(1e300, "i16", 0, 18) == -32


@pytest.mark.parametrize(("text", "bits"), [("<8,8>", 8), ("<1,15>", 15), (" < 20 , -4 > ", -4)])
def test_uniform_formats(text: str, bits: int) -> None:
    assert Formats.parse(text) == Formats(uniform=bits)


@pytest.mark.parametrize("text", ["", "8,8", "<8,9>", "<8,8", "<8.0,8.0>", "<-40,56>", "<49,-33>"])
def test_formats_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ImportModelError, match="formats"):
        Formats.parse(text)


def types_by_name(q: Quantized) -> dict[str, Type]:
    return {name: q.graph.types[v] for v, name in q.graph.names.items()}


def test_formats_of_inference_fit_what_was_seen() -> None:
    graph = mlp()
    q = quantized(graph)
    types = types_by_name(q)
    x = examples(graph)
    seen = {n: np.abs(v).max() for n, v in named_values(graph, x).items()}
    for name, headroom in (("x", 0), ("first/w", 0), ("second/w", 0)):
        assert types[name].dtype == "i16"
        assert types[name].fraction_bits == fraction_bits(seen[name], "i16", headroom, 31)
    rounded = [n for n in nodes_of(q.graph, "convert") if n.name == "first"]
    assert [n.attributes["fraction_bits"] for n in rounded] == [
        fraction_bits(seen["first"], "i16", 1, 31)
    ]
    (result,) = q.graph.outputs["predict"]
    assert q.graph.types[result].dtype == "i32"


def named_values(graph: Graph, x: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    values = evaluate_real(graph, x)
    return {name: values[v] for v, name in graph.names.items()}


def test_formats_of_training_leave_headroom() -> None:
    graph = mlp()
    types = types_by_name(quantized(graph, CROSS_ENTROPY))
    tight = types_by_name(quantized(graph))
    assert types["x"] == tight["x"]
    for name in ("first/w", "second/w"):
        assert types[name].dtype == "i32"
        assert types[name].fraction_bits == tight[name].fraction_bits - 2 + 16
    formats = Formats(activation_headroom=5, weight_headroom=4, delta_headroom=3)
    roomy = types_by_name(quantized(graph, CROSS_ENTROPY, formats))
    assert roomy["first/w"].fraction_bits == types["first/w"].fraction_bits - 2
    assert roomy["first"].fraction_bits == types["first"].fraction_bits - 2


def test_what_starts_tiny_has_room_to_grow() -> None:
    graph = mlp(scale=1e-4)
    q = quantized(graph, CROSS_ENTROPY)
    types = types_by_name(q)
    # Weights between 6 and 16 units grow to about 1/4 (for inputs up to 1), activations to 1.
    assert types["first/w"].fraction_bits - 16 <= 16
    assert types["first"].fraction_bits <= 12
    deltas = [n for n in nodes_of(q.graph, "convert") if n.stage == "backward"]
    assert deltas
    assert all(n.attributes["fraction_bits"] <= 16 for n in deltas)
    # Weights for inputs in the thousands are small, however few inputs there are.
    large = types_by_name(quantized(graph, CROSS_ENTROPY, scale=4096.0))
    assert large["first/w"].fraction_bits > types["first/w"].fraction_bits


def test_uniform_formats_hold_everywhere() -> None:
    for loss in (None, CROSS_ENTROPY, SQUARED):
        q = quantized(cnn(), loss, Formats(uniform=9))
        narrow = [t for t in q.graph.types if t.dtype == "i16"]
        assert narrow
        assert {t.fraction_bits for t in narrow} == {9}
        assert set(q.narrow_bits.values()) <= {9}


def test_overrides() -> None:
    overrides = {"x": 5, "first": 7, "first/w": 6, "second/b": 4}
    q = quantized(mlp(), CROSS_ENTROPY, Formats(overrides=overrides))
    types = types_by_name(q)
    assert types["x"].fraction_bits == 5
    assert types["first"].fraction_bits == 7
    assert types["first/w"].fraction_bits == 6 + 16
    named = {q.graph.names[v]: bits for v, bits in q.narrow_bits.items()}
    assert (named["first/w"], named["second/b"]) == (6, 4)


@pytest.mark.parametrize("name", ["nothing", "relu", "second/product"])
def test_overrides_that_no_value_takes(name: str) -> None:
    with pytest.raises(ImportModelError, match=f"{name!r} names no input, parameter or rounded"):
        quantized(mlp(), None, Formats(overrides={name: 3}))


def test_an_override_that_is_no_format() -> None:
    with pytest.raises(ProgramError, match=r"must be in \[-32, 47\], received 99"):
        modelled(mlp(), None, Formats(overrides={"x": 99}))


# Biases, logits, concat, exact values: over random networks


def random_quantized(seed: int) -> Quantized:
    rng = random.Random(seed)
    layers = Layers(rng, np.random.default_rng(seed))
    x = layers.g.input("x", (-1, rng.randrange(4, 7), rng.randrange(4, 7), rng.randrange(1, 4)))
    for _ in range(rng.randrange(1, 4)):
        x = rng.choice(BLOCKS)(layers, x)
    graph = layers.g.graph(predict=(layers.head(x),))
    scale = 10.0 ** rng.randrange(-5, 6)
    parameters = tuple(
        replace(p, data=p.data * 10.0 ** rng.choice((0, 0, -4, 4))) for p in graph.parameters
    )
    formats = rng.choice((Formats(), Formats(), Formats(uniform=rng.randrange(0, 16))))
    loss = rng.choice((None, CROSS_ENTROPY, SQUARED))
    graph = replace(graph, parameters=parameters)
    return quantized(graph, loss, formats, scale)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_get_formats_that_hold(seed: int) -> None:
    q = random_quantized(seed)
    types = q.graph.types
    parameters = {p.value for p in q.graph.parameters}
    biases = 0
    for node in q.graph.nodes:
        read = [types[v] for v in node.inputs]
        if node.op == "bias_add" and node.inputs[1] in parameters:
            biases += 1
            assert read[1].dtype == "i32"
            assert read[1].fraction_bits <= read[0].fraction_bits
            assert q.narrow_bits[node.inputs[1]] <= read[1].fraction_bits
        elif node.op.startswith("softmax"):
            assert 0 <= read[0].fraction_bits <= 19
        elif node.op == "concat":
            assert len({(t.dtype, t.fraction_bits) for t in read}) == 1
    assert biases


def test_logits_have_32_bits() -> None:
    q = quantized(mlp(), CROSS_ENTROPY)
    for op in ("softmax_cross_entropy", "softmax_cross_entropy_grad", "argmax_correct"):
        (node,) = nodes_of(q.graph, op)
        assert q.graph.types[node.inputs[0]] == Type("i32", 19, (-1, 3))
    # Logits in the thousands of billions are still logits.
    huge = quantized(mlp(scale=1e13), CROSS_ENTROPY)
    (node,) = nodes_of(huge.graph, "softmax_cross_entropy")
    assert huge.graph.types[node.inputs[0]] == Type("i32", 0, (-1, 3))


def test_logits_that_only_a_16_bit_operator_makes() -> None:
    g = Builder()
    x = g.input("x", (-1, 6))
    y = g.mul(g.unary(dense(g, x, 3, "first"), function=3), g.parameter("tiny", np.full(1, 1e-6)))
    for graph in (g.graph(predict=(y,)), g.graph(predict=(g.softmax(y),))):
        for loss in (None, CROSS_ENTROPY):
            q = quantized(graph, loss)
            for node in q.graph.nodes:
                if node.op.startswith("softmax"):
                    assert 0 <= q.graph.types[node.inputs[0]].fraction_bits <= 19


def test_targets_share_the_format_of_outputs() -> None:
    q = quantized(mlp(), SQUARED)
    (node,) = nodes_of(q.graph, "mean_squared_error")
    y, t = (q.graph.types[v] for v in node.inputs)
    assert y == t
    assert y.dtype == "i32"
    # 8 bits above the largest target or output.
    assert 2**8 * 2 < math.ldexp(1.0, 31 - y.fraction_bits) < 2**8 * 16


def test_concatenated_values_take_the_least_format() -> None:
    g = Builder()
    x = g.input("x", (-1, 4))
    small, large = dense(g, x, 3, "small", 0.01), dense(g, x, 3, "large", 100.0)
    graph = g.graph(predict=(dense(g, g.concat(small, large, small, axis=1), 2, "head"),))
    for loss in (None, CROSS_ENTROPY):
        q = quantized(graph, loss)
        (node,) = nodes_of(q.graph, "concat")
        of = [q.graph.types[v] for v in node.inputs]
        least = min(n.attributes["fraction_bits"] for n in nodes_of(q.graph, "convert") if n.name)
        assert {t.fraction_bits for t in of} == {least}
    assert error(graph, modelled(graph)) < 1e-3


def test_a_product_stays_exact_until_its_bias_is_added() -> None:
    q = quantized(cnn(), CROSS_ENTROPY)
    makers = q.graph.producer()
    sums = nodes_of(q.graph, "bias_add")
    assert len(sums) == 3
    for node in sums:
        assert makers[node.inputs[0]].op in ("conv2d", "matmul")
        assert q.graph.types[node.inputs[0]].dtype == "i64"
    # One rounding each, to what the next operator reads; views of weights are the rest.
    rounded = [n for n in nodes_of(q.graph, "convert") if n.stage == "forward"]
    assert [makers[n.inputs[0]].op for n in rounded] == ["bias_add"] * 3


def test_only_rounded_values_gate_the_gradient() -> None:
    q = quantized(mlp(), CROSS_ENTROPY)
    makers = q.graph.producer()
    (gate,) = nodes_of(q.graph, "convert_grad")
    # The hidden layer through its relu; neither the logits nor a product before its bias.
    assert makers[gate.inputs[0]].op == "relu"
    real = with_loss(mlp(), CROSS_ENTROPY)
    assert len([n for n in real.reaching(real.outputs["grad"]) if n.op == "convert_grad"]) == 3


@pytest.mark.parametrize(("target", "moves"), [(1000.0, False), (-1000.0, True)])
def test_a_saturated_value_takes_no_gradient_outwards(target: float, moves: bool) -> None:
    # hidden = 100 * 2, more than <8,8> holds; the output is hidden * 1.
    g = Builder()
    x = g.input("x", (-1, 1))
    hidden = g.matmul(x, g.parameter("w", np.full((1, 1), 100.0)))
    y = g.matmul(hidden, g.parameter("v", np.full((1, 1), 1.0)))
    data, targets = np.full((1, 1), 2.0), np.full((1, 1), target)
    model = Model.from_graph(g.graph(predict=(y,)), data, SQUARED, targets, "<8,8>", progress=False)
    before = model.parameter_arrays()
    history = model.train(data, targets, optimizer=SGD(0.001))
    after = model.parameter_arrays()
    assert history.clamped
    assert (after["w"].integers != before["w"].integers).item() == moves
    assert (after["v"].integers != before["v"].integers).item()


def test_a_value_that_stays_exact_is_not_gated() -> None:
    # 100 * 2 is beyond <8,8>, but it goes to its bias exactly, and 200 - 150 fits.
    g = Builder()
    x = g.input("x", (-1, 1))
    product = g.matmul(x, g.parameter("w", np.full((1, 1), 100.0)))
    hidden = g.bias_add(product, g.parameter("b", np.full(1, -150.0)))
    y = g.matmul(hidden, g.parameter("v", np.full((1, 1), 1.0)))
    data, targets = np.full((1, 1), 2.0), np.full((1, 1), 100.0)
    model = Model.from_graph(g.graph(predict=(y,)), data, SQUARED, targets, "<8,8>", progress=False)
    assert model.run(data) == 50.0
    before = model.parameter_arrays()
    assert not model.train(data, targets, optimizer=SGD(0.001)).clamped
    after = model.parameter_arrays()
    for name in ("w", "b", "v"):
        assert (after[name].integers > before[name].integers).all()


# How far off


@pytest.mark.parametrize("loss", [None, CROSS_ENTROPY])
@pytest.mark.parametrize(
    ("graph", "bound"),
    [(mlp(), 3e-4), (cnn(), 8e-4), (attention(), 8e-4)],
    ids=["mlp", "cnn", "attention"],
)
def test_a_run_is_close_to_float(graph: Graph, bound: float, loss: str | None) -> None:
    # Training formats leave 2 to 3 bits of 16 unused.
    assert error(graph, modelled(graph, loss)) < bound * (1 if loss is None else 4)


def gradients(graph: Graph, model: Model) -> dict[str, NDArray[Any]]:
    """Each parameter's gradient over the examples, to nearest."""
    program = with_optimizer(model.program.rounded("nearest"), SGD())
    native = _core.Program(program.encode())
    session = _core.Session(native, 1, -1)
    session.write(2, model.parameters)
    x = examples(graph)
    y = labels_for(graph, model.info["loss"])
    inputs, labels = model.quantized_inputs(x), model.quantized_labels(y)
    runner = ShardRunner(native, session, inputs, labels, None, 0)
    runner.start(np.arange(EXAMPLES), 0, EXAMPLES, 0)
    sums = np.zeros(runner.total_elements, dtype=np.int64)
    runner.run(0, sums.copy(), sums)
    totals = native.tensors(TOTALS)
    found = {}
    for p in program.info:
        assert p.gradient is not None
        type_, at, _ = totals[p.gradient]
        flat = sums[at : at + math.prod(type_.shape)].astype(np.float64)
        found[p.name] = np.ldexp(flat, -type_.fraction_bits).reshape(type_.shape)
    return found


def shared_weight() -> Graph:
    g = Builder()
    x = g.input("x", (-1, 5))
    w, b = g.parameter("w", normal(5, 5, scale=0.5)), g.parameter("b", normal(5))
    y = x
    for _ in range(2):
        y = g.unary(g.bias_add(g.matmul(y, w), b), function=3)
    return g.graph(predict=(g.sub(g.matmul(y, w, transpose_b=1), g.mul(y, b)),))


@pytest.mark.parametrize("loss", [CROSS_ENTROPY, SQUARED])
@pytest.mark.parametrize(
    ("graph", "bound"),
    [
        (mlp(), 2e-3),
        (cnn(smooth=True), 2e-3),
        # A maximum or a relu may fall on the other side of its kink.
        (cnn(), 0.05),
        (attention(), 2e-3),
        (shared_weight(), 2e-3),
    ],
    ids=["mlp", "smooth_cnn", "cnn", "attention", "shared_weight"],
)
def test_gradients_are_close_to_float(graph: Graph, bound: float, loss: str) -> None:
    found = gradients(graph, modelled(graph, loss))
    whole = with_loss(graph, loss)
    x, y = examples(graph), [labels_for(graph, loss)]
    values = evaluate_real(whole, x, y)
    totals = whole.outputs["grad"][len(whole.outputs["loss"]) :]
    for p, total in zip(whole.parameters, totals, strict=True):
        exact = values[total]
        assert np.abs(found[p.name] - exact).max() < bound * np.abs(exact).max()


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12])
def test_tiny_and_huge_weights(scale: float) -> None:
    graph = mlp(scale)
    assert error(graph, modelled(graph)) < 1e-3


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12])
def test_tiny_and_huge_inputs(scale: float) -> None:
    graph = mlp()
    assert error(graph, modelled(graph, scale=scale), scale) < 1e-3


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e12])
def test_tiny_and_huge_biases(scale: float) -> None:
    graph = mlp()
    parameters = tuple(
        replace(p, data=p.data * scale) if p.name == "first/b" else p for p in graph.parameters
    )
    graph = replace(graph, parameters=parameters)
    assert error(graph, modelled(graph)) < 1e-3


@pytest.mark.parametrize("loss", [None, CROSS_ENTROPY, SQUARED])
def test_zeros_and_constants(loss: str | None) -> None:
    graph = mlp()
    zeros = tuple(replace(p, data=np.zeros_like(p.data)) for p in graph.parameters)
    model = modelled(replace(graph, parameters=zeros), loss)
    assert (model.run(examples(graph)[0]) == 0).all()
    constant = Model.from_graph(
        graph,
        np.zeros((4, 6)),
        loss,
        None if loss is None else labels_for(graph, loss, 4),
        progress=False,
    )
    (y,) = graph.outputs["predict"]
    exact = evaluate_real(graph, [np.zeros((4, 6))])[y]
    np.testing.assert_allclose(constant.run(np.zeros((4, 6))), exact, atol=1e-3)


def test_inputs_too_small_for_16_bits() -> None:
    with pytest.raises(ImportModelError, match="^input 'x': its largest value must be at least"):
        modelled(mlp(), scale=1e-12)


# Bad data


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_must_be_finite(value: float) -> None:
    graph = mlp()
    first, *others = graph.parameters
    data = first.data.copy()
    data[2, 3] = value
    graph = replace(graph, parameters=(replace(first, data=data), *others))
    with pytest.raises(ImportModelError, match="first/w"):
        modelled(graph)
    with pytest.raises(ImportModelError, match="first/w"):
        Model.from_graph(graph, formats="<8,8>")


def test_values_that_are_not_finite_for_the_calibration() -> None:
    g = Builder()
    x = g.input("x", (-1, 6))
    logarithm = g.unary(x, function=2, name="logarithm")
    graph = g.graph(predict=(dense(g, logarithm, 3, "head"),))
    with pytest.raises(ImportModelError, match="value logarithm is not finite"):
        Model.from_graph(graph, np.zeros((3, 6)), progress=False)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (None, None, "calibration: inputs are needed, or a uniform format"),
        (np.zeros((3, 5)), None, r"calibration 0: expected shape \(batch, 6\), received \(3, 5\)"),
        (np.zeros((0, 6)), None, "calibration 0: expected at least one example"),
        ([np.zeros((3, 6))] * 2, None, "calibration: expected 1 arrays, received 2"),
        (np.full((3, 6), np.nan), None, "calibration 0: values must be finite"),
        (np.full((3, 6), "a"), None, "calibration 0: expected numbers"),
        (np.zeros((3, 6)), [0, 1], "labels: expected 3, received 2"),
        (np.zeros((3, 6)), [0, 1, 3], r"labels: must be whole and in \[0, 3\), received 3"),
        (np.zeros((3, 6)), [0, 1, -1], r"labels: must be whole and in \[0, 3\), received -1"),
        (np.zeros((3, 6)), [0, 1, 0.5], r"labels: must be whole and in \[0, 3\), received 0.5"),
        (np.zeros((3, 6)), [[0], [1], [2]], r"labels: expected shape \(batch\)"),
    ],
)
def test_calibration_data_that_does_not_fit(inputs: Any, labels: Any, message: str) -> None:
    with pytest.raises(GvmError, match=f"^{message}"):
        Model.from_graph(mlp(), inputs, CROSS_ENTROPY, labels, progress=False)


def test_labels_without_their_inputs_or_loss() -> None:
    with pytest.raises(GvmError, match="^labels: the calibration inputs"):
        Model.from_graph(mlp(), None, CROSS_ENTROPY, np.zeros(3), "<8,8>")
    with pytest.raises(GvmError, match="^labels: a model without a loss has none"):
        Model.from_graph(mlp(), np.zeros((3, 6)), None, np.zeros(3))


def test_several_inputs_have_as_many_examples() -> None:
    g = Builder()
    a, b = g.input("a", (-1, 2)), g.input("b", (-1, 2))
    graph = g.graph(predict=(g.add(a, b),))
    with pytest.raises(GvmError, match="^calibration 1: expected 3 examples, received 4"):
        Model.from_graph(graph, [np.zeros((3, 2)), np.zeros((4, 2))])


# Labels that nobody gave


def test_classes_are_drawn() -> None:
    graph = with_loss(mlp(classes=5), CROSS_ENTROPY)
    x = np.zeros((1000, 6))
    _, (drawn,) = calibration_data(graph, x, None, Formats())
    _, (again,) = calibration_data(graph, x, None, Formats())
    np.testing.assert_array_equal(drawn, again)
    assert np.bincount(drawn, minlength=5).min() > 150
    assert drawn.max() == 4


def test_targets_must_be_given_unless_formats_are_uniform() -> None:
    graph = with_loss(mlp(), SQUARED)
    with pytest.raises(GvmError, match="^labels: the targets of the calibration inputs"):
        calibration_data(graph, np.zeros((4, 6)), None, Formats())
    _, (drawn,) = calibration_data(graph, np.zeros((500, 6)), None, Formats(uniform=8))
    assert drawn.shape == (500, 3)
    assert -1 <= drawn.min() < -0.9
    assert 0.9 < drawn.max() < 1


def test_a_uniform_format_needs_no_calibration() -> None:
    for loss in (None, CROSS_ENTROPY, SQUARED):
        model = Model.from_graph(cnn(), loss=loss, formats="<6,10>")
        same = modelled(cnn(), loss, "<6,10>")
        x = examples(cnn())[0]
        # The logits are wide in both, at the one or another format.
        np.testing.assert_allclose(model.run(x), same.run(x), atol=2**-9)


def test_calibration_takes_every_example() -> None:
    graph = mlp()
    x = np.zeros((150, 6))
    x[140] = 1000.0
    assert calibrate(graph, [x], [])[graph.inputs[0]] == 1000.0


def test_what_nothing_reads_has_no_node() -> None:
    g = Builder()
    x = g.input("x", (-1, 6))
    y = dense(g, x, 3, "head")
    g.unary(g.matmul(y, g.parameter("unused", np.zeros((3, 3)))), function=3)
    model = modelled(g.graph(predict=(y,)))
    assert [p.name for p in model.program.info] == ["head/w", "head/b"]
    assert [s.name for s in steps_of(model.program.predict)] == ["matmul", "bias_add", "convert"]


def test_rounding_of_steps_by_stage() -> None:
    program = modelled(mlp(), CROSS_ENTROPY).program

    def roundings(steps: Any) -> set[Any]:
        return {s.get("rounding", None) for s in steps if isinstance(s, Step)} - {None}

    assert roundings(steps_of(program.predict)) == {0}
    assert roundings(steps_of(program.loss)) == {0}
    assert roundings(steps_of(program.grad)) == {0, 1, 2}
    assert roundings(steps_of(program.rounded("nearest").grad)) == {0}
    assert (program.rounding, program.rounded("nearest").rounding) == ("stochastic", "nearest")
