"""gvm.quantize: how far integers are off, what is said of bad data, labels that nobody gave."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm import _core
from gvm.autodiff import with_loss
from gvm.calibration import calibrate, calibration_data
from gvm.errors import GvmError, ImportModelError
from gvm.formats import Formats
from gvm.functions import BY_NAME
from gvm.graph import Builder, Graph, evaluate_real
from gvm.model import Model
from gvm.optimizers import SGD, Adam
from gvm.program import Step, steps_of
from gvm.shards import TOTALS, ShardRunner
from gvm.updates import with_optimizer
from tests.small_networks import (
    CROSS_ENTROPY,
    EXAMPLES,
    SQUARED,
    attention,
    cnn,
    dense,
    error,
    examples,
    labels_for,
    mlp,
    modelled,
    normal,
)


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
    with pytest.raises(ImportModelError, match="log, node 'logarithm': values must be finite"):
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


def test_calibration_goes_on_in_float64_where_float32_ends() -> None:
    g = Builder()
    x = g.input("x", (-1, 2))
    big = g.parameter("big", np.array([1e30, 1e-30]))
    graph = g.graph(predict=(g.mul(g.mul(x, big), big),))
    (y,) = graph.outputs["predict"]
    assert calibrate(graph, [np.full((3, 2), 4.0)], [])[y] == pytest.approx(4e60)


def test_calibration_a_few_examples_at_a_time_sees_what_all_at_once_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = with_loss(cnn(), CROSS_ENTROPY)
    given = calibration_data(graph, examples(cnn())[0], None, Formats())
    whole = calibrate(graph, *given)
    monkeypatch.setattr("gvm.calibration.CALIBRATION_BYTES", 2**14)
    few = calibrate(graph, *given)
    partial = {v for v, t in enumerate(graph.types) if t.partial}  # sums over the examples at hand
    partial |= {v for n in graph.nodes if n.op == "total" for v in n.outputs}
    assert {v: m for v, m in few.items() if v not in partial} == pytest.approx(
        {v: m for v, m in whole.items() if v not in partial}, rel=1e-5
    )


def test_what_is_joined_is_rounded_once() -> None:
    """To the format of the largest, with no other before it."""
    g = Builder()
    x = g.input("x", (-1, 4))
    large, small = (g.parameter(n, np.eye(4) * s) for n, s in (("large", 30.0), ("small", 0.1)))
    joined = g.concat(g.matmul(x, large), g.matmul(x, small), axis=1)
    graph = g.graph(predict=[g.unary(joined, function=1)])
    model = Model.from_graph(graph, np.random.default_rng(0).uniform(-1, 1, (32, 4)))
    steps = [s.name for s in steps_of(model.program.predict)]
    assert steps.count("convert") == 2


@pytest.mark.parametrize("read_twice", [False, True])
def test_a_sum_of_products_stays_exact(read_twice: bool) -> None:
    """What a cell's input and state give is rounded once, behind the bias; a product that something
    else reads is rounded for it."""
    rng, tanh = np.random.default_rng(0), BY_NAME["tanh"].number
    g = Builder()
    x = g.input("x", (-1, 4))
    w, v = (g.parameter(n, rng.normal(size=(4, 3))) for n in ("w", "v"))
    b = g.parameter("b", rng.normal(size=3))
    first, second = g.bias_add(g.matmul(x, w), b), g.matmul(x, v)
    total = g.bias_add(g.add(first, second), b)
    outputs = [
        g.unary(total, function=tanh),
        *([g.unary(second, function=tanh)] if read_twice else []),
    ]
    graph = g.graph(predict=outputs)
    data = rng.uniform(-1, 1, (64, 4))
    model = Model.from_graph(graph, data)
    steps = [s.name for s in steps_of(model.program.predict)]
    assert steps.count("convert") == (3 if read_twice else 1)
    made = model.run(data)
    expected = evaluate_real(graph, [data])[outputs[0]]
    first_output = made[0] if read_twice else made
    assert np.abs(first_output - expected).max() < 2**-10


def test_moments_have_room_for_the_noise_of_a_gradient_that_is_zero() -> None:
    """A shift of all logits has no gradient but what rounding makes: its moments must hold that."""
    g = Builder()
    x = g.input("x", (-1, 6))
    logits = dense(g, x, 4, "only")
    shift = g.parameter("shift", np.zeros(1))
    graph = g.graph(predict=(g.add(logits, shift),))
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(0, 1, (128, 6)), rng.integers(0, 4, 128)
    model = Model.from_graph(graph, inputs, CROSS_ENTROPY, labels, progress=False)
    bits = {p.name: p.moment_bits for p in model.program.info}
    assert bits["shift"] is not None and bits["only/b"] is not None
    assert bits["shift"] <= 47 - 8
    history = model.train(inputs, labels, optimizer=Adam(0.01), epochs=4, batch_size=16, seed=1)
    assert not [name for name in history.clamped if "adam" in name]
