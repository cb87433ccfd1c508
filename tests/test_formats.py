"""gvm.formats: which formats are chosen, and where values are rounded."""

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

from gvm.autodiff import with_loss
from gvm.calibration import calibrate
from gvm.errors import ImportModelError, ProgramError
from gvm.formats import Chooser, Formats, fraction_bits
from gvm.graph import Builder, Graph, evaluate_real
from gvm.model import Model
from gvm.optimizers import SGD
from gvm.quantize import Quantized
from gvm.types import RANGE, Type
from tests.random_networks import BLOCKS, Layers
from tests.small_networks import (
    CROSS_ENTROPY,
    SQUARED,
    cnn,
    dense,
    error,
    examples,
    mlp,
    modelled,
    nodes_of,
    quantized,
)


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


def test_formats_of_kinds() -> None:
    text = "weights=<2,14>  activations = <6,10> gradients=<4,12>"
    formats = Formats.parse(text)
    assert formats == Formats(kinds={"weights": 14, "activations": 10, "gradients": 12})
    assert formats.given
    assert not Formats.parse("weights=<2,14>").given


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "weight=<2,14>",
            "each of weights, activations, gradients at most once, received 'weight'",
        ),
        ("weights=<2,14> weights=<8,8>", "at most once, received 'weights'"),
        ("weights=<2,15>", "formats must be \"<IL,FL>\" with IL \\+ FL = 16, received '<2,15>'"),
        ("weights=2,14", "received '2,14'"),
        ("weights=<2,14> and more", "each of weights, .* received 'and'"),
    ],
)
def test_kinds_that_cannot_be_read(text: str, match: str) -> None:
    with pytest.raises(ImportModelError, match=match):
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


def test_kinds_hold_everywhere() -> None:
    formats = Formats(kinds={"weights": 14, "activations": 10, "gradients": 12})
    q = quantized(cnn(), CROSS_ENTROPY, formats)
    g = q.graph
    assert set(q.narrow_bits.values()) == {14}
    made = {v: n for n in g.nodes for v in n.outputs}
    seen = set()
    for v, t in enumerate(g.types):
        if t.dtype == "i16":
            stage = made[v].stage if v in made else "forward"
            wanted = {"view": 14, "forward": 10, "backward": 12}[stage]
            assert t.fraction_bits == wanted
            seen.add(wanted)
    assert seen == {10, 12, 14}
    # What no kind names is calibrated.
    some = quantized(cnn(), CROSS_ENTROPY, Formats(kinds={"weights": 9}))
    calibrated = quantized(cnn(), CROSS_ENTROPY)
    assert some.graph.types[some.graph.inputs[0]] == calibrated.graph.types[g.inputs[0]]
    assert set(some.narrow_bits.values()) == {9}


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


def test_outliers_take_the_room_above_them() -> None:
    """relu(x) of values near 1 keeps a bit free; with one of 60 among them it does not."""
    g = Builder()
    x = g.input("x", (-1, 1000))
    graph = g.graph(predict=(g.unary(g.mul(x, g.parameter("two", np.array([2.0]))), function=3),))
    product = graph.nodes[0].outputs[0]
    even = np.random.default_rng(1).uniform(-0.9, 0.9, (4, 1000))
    peaked = even.copy()
    peaked[0, 0] = 30.0
    found = {}
    for name, data in (("even", even), ("peaked", peaked)):
        ranges = calibrate(graph, [data], [])
        found[name] = Chooser(graph, ranges, Formats()).i16(product)
        unknown = Chooser(graph, dict(ranges), Formats()).i16(product)
        # Where no spread is known a bit stays free.
        assert unknown == fraction_bits(ranges[product], "i16", 1, 31)
    assert found == {"even": 13, "peaked": 9}


@pytest.mark.parametrize(("quiet", "bits"), [(5.0, 11), (0.2, 12), (0.01, 11)])
def test_a_branch_gives_up_room_for_a_quiet_one_beside_it(quiet: float, bits: int) -> None:
    """One of 5 to one of 0.2; none to one that is as large, or that one bit does not save."""
    g = Builder()
    x = g.input("x", (-1, 1000))
    sizes = (5.0, quiet)
    scaled = [g.mul(x, g.parameter(f"s{i}", np.array([s]))) for i, s in enumerate(sizes)]
    joined = g.concat(*scaled, axis=1)
    data = np.random.default_rng(1).uniform(-0.99, 0.99, (4, 1000))
    graph = g.graph(predict=(joined,))
    chooser = Chooser(graph, calibrate(graph, [data], []), Formats())
    assert chooser.i16(joined) == chooser.i16(scaled[0]) == bits
    model = Model.from_graph(graph, data, progress=False)
    assert model.run_integers(data).fraction_bits == bits


@pytest.mark.parametrize(("op", "limit"), [("minimum", 6.0), ("maximum", -6.0)])
def test_a_limit_that_no_value_reaches_leaves_them_their_format(op: str, limit: float) -> None:
    x = np.asarray([[-0.25, -0.125, 0.0, 0.1875, 0.25]])

    def model(limited: bool) -> Model:
        g = Builder()
        v = g.unary(g.input("x", (-1, 5)), function=3)
        if limited:
            v = g.node(op, [v, g.parameter("limit", np.asarray([limit]), trainable=False)])[0]
        return Model.from_graph(g.graph(predict=(v,)), x, progress=False)

    free, limited = model(False), model(True)
    assert limited.run_integers(x).fraction_bits == free.run_integers(x).fraction_bits >= 15
    # Also of inputs that calibration has not seen.
    assert np.array_equal(limited.run(4 * x), free.run(4 * x))


@pytest.mark.parametrize(("op", "limit"), [("minimum", -3.0), ("maximum", 3.0)])
def test_a_limit_beyond_every_value_is_the_result(op: str, limit: float) -> None:
    x = np.asarray([[-0.25, 0.125]])
    g = Builder()
    c = g.parameter("limit", np.asarray([limit]), trainable=False)
    graph = g.graph(predict=(g.node(op, [c, g.unary(g.input("x", (-1, 2)), function=3)])[0],))
    assert (Model.from_graph(graph, x, progress=False).run(x) == limit).all()
