"""gvm.Model: running, evaluating, training, files, ids, and what is said of bad input."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm
from gvm.autodiff import with_loss
from gvm.graph import Builder, Graph, Value, evaluate_real
from gvm.loss import MAX_EXAMPLES, Loss
from gvm.model import Model
from gvm.random import permutation
from gvm.train import Epoch, History, TrainingState, state_id

FEATURES, HIDDEN, CLASSES, EXAMPLES = 6, 12, 3, 90
MOMENTUM = gvm.SGD(0.1, momentum=0.9)
Array = NDArray[Any]


def dense(g: Builder, x: Value, units: int, name: str) -> Value:
    inputs = g.shape(x)[-1]
    data = np.random.default_rng(units).normal(0, 1 / math.sqrt(inputs), (inputs, units))
    bias = g.parameter(f"{name}/b", np.zeros(units))
    return int(g.bias_add(g.matmul(x, g.parameter(f"{name}/w", data)), bias, name=name))


def mlp(outputs: int = CLASSES, function: int | None = None) -> Graph:
    g = Builder()
    hidden = dense(g, g.input("x", (-1, FEATURES)), HIDDEN, "first")
    bent = g.relu(hidden) if function is None else g.unary(hidden, function=function)
    return g.graph(predict=(dense(g, bent, outputs, "second"),))


def data(count: int = EXAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """Examples around one centre per class, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    centres = np.random.default_rng(9).normal(0, 1, (CLASSES, FEATURES))
    return centres[labels] + rng.normal(0, 0.9, (count, FEATURES)), labels


X, Y = data()
VALIDATION = data(60, seed=1)


def classifier(**options: Any) -> Model:
    return Model.from_graph(mlp(), X, "softmax_cross_entropy", Y, progress=False, **options)


def trained(**options: Any) -> tuple[Model, History]:
    model = classifier()
    given = {"optimizer": MOMENTUM, "epochs": 3, "batch_size": 16, "seed": 5, "progress": False}
    return model, model.train(X, Y, **given | options)


def ids(history: History) -> tuple[str, str, str]:
    return history.train_id, history.parameters_id, history.state_id


# Running


def test_run_gives_the_values_of_the_integers() -> None:
    model = classifier()
    integers = model.run_integers(X)
    assert integers.integers.dtype == np.int32
    np.testing.assert_array_equal(
        model.run(X), np.ldexp(integers.integers.astype(np.float64), -integers.fraction_bits)
    )
    (y,) = mlp().outputs["predict"]
    np.testing.assert_allclose(model.run(X), evaluate_real(mlp(), [X])[y], atol=3e-3)


@pytest.mark.parametrize("options", [{"threads": 2}, {"batch_size": 1}, {"batch_size": 7}])
def test_nothing_that_executes_moves_a_bit(options: dict[str, int]) -> None:
    model, _ = trained()
    expected, loss = model.run_integers(X), model.evaluate(X, Y)
    for backend in gvm.backends():
        got = model.run_integers(X, backend=backend, **options)
        np.testing.assert_array_equal(got.integers, expected.integers)
        assert model.evaluate(X, Y, backend=backend, **options) == loss


def test_evaluate_counts_and_sums() -> None:
    model = classifier()
    loss = model.evaluate(X, Y)
    assert loss.count == EXAMPLES
    scores = model.run(X)
    assert loss.correct == int((scores.argmax(1) == Y).sum())
    shifted = scores - scores.max(1, keepdims=True)
    cross_entropy = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(EXAMPLES), Y]
    assert abs(float(loss) - cross_entropy.mean()) < 1e-6
    parts = [model.evaluate(X[p], Y[p]) for p in (slice(0, 13), slice(13, EXAMPLES))]
    assert Loss.sum(parts) == loss


def test_several_inputs_and_outputs() -> None:
    g = Builder()
    a, b = g.input("a", (-1, 4)), g.input("b", (-1, 2))
    total = g.concat(g.relu(a), b, axis=1)
    graph = g.graph(predict=(dense(g, total, 3, "head"), total))
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(20, 4)), rng.normal(size=(20, 2))]
    model = Model.from_graph(graph, given, progress=False)
    outputs = model.run(given)
    assert isinstance(outputs, tuple)
    values = evaluate_real(graph, given)
    for got, v in zip(outputs, graph.outputs["predict"], strict=True):
        np.testing.assert_allclose(got, values[v], atol=2e-3)
    assert [r.integers.dtype for r in model.run_integers(given)] == [np.int32, np.int16]
    np.testing.assert_array_equal(outputs[1], model.run([a.tolist() for a in given])[1])


def test_what_is_taken_as_one_input() -> None:
    model = classifier()
    expected = model.run(X)
    for same in ([X], (X,), X.tolist(), X.astype(np.float32).astype(np.float64)):
        assert model.run(same).shape == expected.shape
    np.testing.assert_array_equal(model.run(X.tolist()), expected)
    assert model.run(np.ones((2, FEATURES), dtype=np.int8)).shape == (2, CLASSES)


def test_images_of_bytes() -> None:
    g = Builder()
    x = g.input("x", (-1, 4))
    graph = g.graph(predict=(dense(g, x, 2, "head"),))
    pixels = np.arange(256, dtype=np.uint8).reshape(64, 4)
    model = Model.from_graph(graph, pixels, progress=False)
    assert model.program.inputs[0].fraction_bits == 7
    (y,) = graph.outputs["predict"]
    exact = evaluate_real(graph, [pixels])[y]
    assert np.abs(model.run(pixels) - exact).max() < 1e-3 * np.abs(exact).max()


# Files and ids


@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_save_and_load(tmp_path: Path, profile: str) -> None:
    model, history = trained(profile=profile)
    model.save(tmp_path / "m.dmodel")
    loaded = gvm.load(tmp_path / "m.dmodel")
    for name in ("graph_id", "train_id", "parameters_id", "cost", "training", "program", "state"):
        assert getattr(loaded, name) == getattr(model, name)
    assert model.parameters_id == history.parameters_id
    assert model.train_id == history.train_id
    assert loaded.evaluate(X, Y) == model.evaluate(X, Y)
    np.testing.assert_array_equal(loaded.run_integers(X).integers, model.run_integers(X).integers)
    loaded.save(tmp_path / "again.dmodel")
    assert (tmp_path / "again.dmodel").read_bytes() == (tmp_path / "m.dmodel").read_bytes()


def test_a_model_without_loss_is_saved(tmp_path: Path) -> None:
    model = Model.from_graph(mlp(), X, progress=False)
    assert model.train_id == ""
    model.save(tmp_path / "m.dmodel")
    assert gvm.load(tmp_path / "m.dmodel").graph_id == model.graph_id


def test_ids_say_what_changed() -> None:
    model = classifier()
    begun = (model.graph_id, model.train_id, model.parameters_id)
    assert all(len(i) == 64 and int(i, 16) >= 0 for i in begun)
    history = model.train(X, Y, optimizer=MOMENTUM)
    assert model.graph_id == begun[0]
    assert model.train_id == history.train_id != begun[1]
    assert model.parameters_id == history.parameters_id != begun[2]
    other = classifier()
    assert other.train(X, Y, optimizer=gvm.SGD(0.2, momentum=0.9)).train_id != history.train_id
    assert other.graph_id == begun[0]
    assert Model.from_graph(mlp(), X, progress=False).graph_id != begun[0]
    assert classifier(formats="<8,8>").graph_id != begun[0]


def test_a_state_is_all_of_its_parts() -> None:
    epoch = Epoch(1, 2, 3, 4, 5, Loss(6, 7, 8), seconds=1.0)
    training = TrainingState(1, 2, 1, (epoch,))
    given: dict[str, Any] = {
        "train_id": b"t" * 32,
        "parameters_id": b"p" * 32,
        "state": b"s",
        "training": training,
    }
    changes: list[dict[str, Any]] = [
        {"train_id": b"u" * 32},
        {"parameters_id": b"q" * 32},
        {"state": b"r"},
        {"state": b""},
        {"training": replace(training, seed=2)},
        {"training": replace(training, step=3)},
        {"training": replace(training, epoch=2)},
        {"training": replace(training, epochs=())},
        *(
            {"training": replace(training, epochs=(replace(epoch, **change),))}
            for change in (
                {"epoch": 2},
                {"steps": 3},
                {"total": 4},
                {"count": 5},
                {"correct": 6},
                {"validation": None},
                {"validation": Loss(6, 7, 9)},
            )
        ),
    ]
    found = {state_id(**given)} | {state_id(**given | change) for change in changes}
    assert len(found) == len(changes) + 1
    slower = replace(training, epochs=(replace(epoch, seconds=2.0),))
    assert state_id(**given | {"training": slower}) == state_id(**given)
    assert TrainingState.decoded(training.encoded()) == training


# Training


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_training_learns_and_is_a_fact(profile: str, rounding: str) -> None:
    model, history = trained(profile=profile, rounding=rounding, epochs=8)
    before = classifier().evaluate(X, Y)
    after = model.evaluate(X, Y)
    assert after < before
    assert after.accuracy > 0.85
    assert history.steps == 8 * 6
    assert [e.count for e in history.epochs] == [EXAMPLES] * 8
    _, again = trained(
        profile=profile, rounding=rounding, epochs=8, threads=2, micro_batch=5, backend="cpu-scalar"
    )
    assert ids(again) == ids(history)
    assert again.epochs == history.epochs


def test_seeds_differ() -> None:
    histories = [trained(seed=seed)[1] for seed in (None, 0, 1, 2**64 - 1)]
    assert ids(histories[0]) == ids(histories[1])
    assert len({h.parameters_id for h in histories}) == 3
    assert len({h.train_id for h in histories}) == 1


def test_the_order_of_examples_comes_from_the_seed_alone() -> None:
    # Rounding to nearest takes nothing else from the seed.
    one, other = (trained(seed=s, rounding="nearest", batch_size=EXAMPLES)[1] for s in (1, 2))
    assert one.parameters_id == other.parameters_id
    one, other = (trained(seed=s, rounding="nearest")[1] for s in (1, 2))
    assert one.parameters_id != other.parameters_id


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_fixed_point_training_follows_float(profile: str, rounding: str) -> None:
    # tanh has no kink, on one side of which an example falls here and on the other there.
    graph = mlp(function=3)
    whole = with_loss(graph, "softmax_cross_entropy")
    totals = whole.outputs["grad"][3:]
    parameters = {p.name: p.data.copy() for p in whole.parameters}
    velocity = {name: np.zeros_like(d) for name, d in parameters.items()}
    for epoch in range(3):
        order = permutation(5, epoch, EXAMPLES)
        for at in range(0, EXAMPLES, 16):
            part = order[at : at + 16]
            now = tuple(replace(p, data=parameters[p.name]) for p in whole.parameters)
            values = evaluate_real(replace(whole, parameters=now), [X[part]], [Y[part]])
            for p, total in zip(whole.parameters, totals, strict=True):
                velocity[p.name] = 0.9 * velocity[p.name] - 0.1 * values[total] / len(part)
                parameters[p.name] = parameters[p.name] + velocity[p.name]
    model = Model.from_graph(graph, X, "softmax_cross_entropy", Y, progress=False)
    model.train(
        X,
        Y,
        optimizer=MOMENTUM,
        epochs=3,
        batch_size=16,
        seed=5,
        profile=profile,
        rounding=rounding,
    )
    for name, array in model.parameter_arrays().items():
        assert np.abs(array.real() - parameters[name]).max() < 3e-3


@pytest.mark.parametrize("options", [{}, {"profile": "w16"}, {"rounding": "nearest"}])
def test_resuming_is_going_on(tmp_path: Path, options: dict[str, str]) -> None:
    whole, expected = trained(epochs=4, validation=VALIDATION, **options)
    model, _ = trained(epochs=2, validation=VALIDATION, **options)
    model.save(tmp_path / "m.dmodel")
    loaded = gvm.load(tmp_path / "m.dmodel")
    history = loaded.train(X, Y, epochs=4, batch_size=16, validation=VALIDATION, resume=True)
    assert ids(history) == ids(expected)
    assert history.epochs == expected.epochs
    assert (loaded.parameters, loaded.state) == (whole.parameters, whole.state)
    # There is nothing left to do.
    again = loaded.train(X, Y, epochs=4, batch_size=16, resume=True)
    assert ids(again) == ids(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 6}, "seed must be that of the run, 5, received 6"),
        ({"profile": "w16"}, "profile must be that of the run, w32, received w16"),
        ({"rounding": "nearest"}, "rounding must be that of the run, stochastic, received nearest"),
        ({"optimizer": gvm.SGD(0.1)}, "the run has another optimizer"),
    ],
)
def test_a_run_goes_on_as_it_began(options: dict[str, Any], message: str) -> None:
    model, _ = trained(epochs=1)
    with pytest.raises(gvm.GvmError, match=f"^resume: {message}"):
        model.train(X, Y, epochs=2, resume=True, **options)
    same = {"seed": 5, "profile": "w32", "rounding": "stochastic", "optimizer": MOMENTUM}
    model.train(X, Y, epochs=2, batch_size=16, resume=True, **same)
    assert ids(trained(epochs=2)[1])[1] == model.parameters_id


def test_training_again_begins_a_run(tmp_path: Path) -> None:
    model, first = trained()
    model.save(tmp_path / "m.dmodel")
    loaded = gvm.load(tmp_path / "m.dmodel")
    history = loaded.train(X, Y, optimizer=gvm.SGD(0.02), epochs=2, batch_size=30, seed=1)
    assert [e.epoch for e in history.epochs] == [1, 2]
    assert history.steps == 6
    assert history.train_id != first.train_id
    assert loaded.state == b""
    assert loaded.evaluate(X, Y) < classifier().evaluate(X, Y)


def test_profiles_and_roundings_have_one_direction() -> None:
    model, _ = trained(rounding="nearest")
    model.train(X, Y)
    assert model.program.rounding == "nearest"
    with pytest.raises(gvm.GvmError, match="trained with rounding nearest; import it again"):
        model.train(X, Y, rounding="stochastic")
    model.train(X, Y, profile="w16")
    model.train(X, Y)
    assert model.program.profile == "w16"
    with pytest.raises(gvm.GvmError, match="trained in profile w16; import it again for w32"):
        model.train(X, Y, profile="w32")


def test_w16_stores_16_bits() -> None:
    model, _ = trained(profile="w16")
    assert {t.dtype for t in model.program.parameters} == {"i16"}
    more = [
        v.fraction_bits - w.fraction_bits
        for v, w in zip(model.program.state, model.program.parameters, strict=True)
    ]
    assert {v.dtype for v in model.program.state} == {"i16"}
    assert set(more) == {4}
    wide, _ = trained()
    assert {t.dtype for t in wide.program.parameters} == {"i32"}
    assert len(model.parameters) < len(wide.parameters)


def test_patience_keeps_the_best() -> None:
    noise = np.random.default_rng(3).integers(0, CLASSES, len(VALIDATION[1]))
    given = {"validation": (VALIDATION[0], noise), "optimizer": gvm.SGD(0.3, momentum=0.9)}
    model, history = trained(epochs=30, patience=3, **given)
    losses = [e.validation for e in history.epochs]
    best = min(range(len(losses)), key=lambda i: float(losses[i] or 0)) + 1
    assert len(history.epochs) == best + 3 < 30
    assert model.evaluate(*given["validation"]) == losses[best - 1]
    # The state is that of a run that ended there; going on from it changes nothing.
    _, exact = trained(epochs=best, **given)
    assert ids(exact) == ids(history)
    assert exact.epochs == history.epochs[:best]
    again = model.train(
        X, Y, epochs=30, batch_size=16, patience=3, resume=True, validation=given["validation"]
    )
    assert ids(again) == ids(history)
    assert again.epochs == history.epochs


def test_regression() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (300, FEATURES))
    y = np.stack([30 * x[:, 0] - 20 * x[:, 1] * x[:, 2], 5 + x[:, 3]], axis=1)
    model = Model.from_graph(mlp(2), x, "mean_squared_error", y, progress=False)
    before = model.evaluate(x, y)
    assert abs(float(before) - ((model.run(x) - y) ** 2).mean()) < 1e-3
    for profile in ("w32", "w16"):
        model = Model.from_graph(mlp(2), x, "mean_squared_error", y, progress=False)
        history = model.train(
            x, y, optimizer=gvm.SGD(0.01, 0.9), epochs=60, batch_size=20, profile=profile
        )
        after = model.evaluate(x, y)
        assert float(after) < 0.02 * float(before)
        assert after.correct == 0
        assert history.epochs[-1].loss < 0.05 * history.epochs[0].loss


def test_targets_beyond_the_format() -> None:
    model = Model.from_graph(mlp(1), X, "mean_squared_error", Y[:, None] / 2, progress=False)
    with pytest.raises(
        gvm.ProgramError, match=r"^label: values must be in \[-512, 511.99.*received 1000000$"
    ):
        model.evaluate(X, np.full((EXAMPLES, 1), 1e6))


def test_targets_in_the_hundred_millions() -> None:
    # Their format has no fraction bits: still targets, not class numbers.
    y = np.linspace(-(2.0**22), 2.0**22, EXAMPLES)[:, None]
    model = Model.from_graph(mlp(1), X, "mean_squared_error", y, progress=False)
    assert model.program.labels[0].fraction_bits == 0
    assert model.evaluate(X, y).count == EXAMPLES


def test_weights_that_are_frozen_stay() -> None:
    graph = mlp()
    parameters = tuple(replace(p, trainable=p.name != "first/w") for p in graph.parameters)
    model = Model.from_graph(
        replace(graph, parameters=parameters), X, "softmax_cross_entropy", Y, progress=False
    )
    before = model.parameter_arrays()
    model.train(X, Y, optimizer=MOMENTUM)
    for name, after in model.parameter_arrays().items():
        same = np.array_equal(after.integers, before[name].integers)
        assert same == (name == "first/w")


def test_a_model_without_trained_weights_is_evaluated() -> None:
    graph = mlp()
    parameters = tuple(replace(p, trainable=False) for p in graph.parameters)
    model = Model.from_graph(
        replace(graph, parameters=parameters), X, "softmax_cross_entropy", Y, progress=False
    )
    assert model.evaluate(X, Y).count == EXAMPLES
    with pytest.raises(gvm.GvmError, match="cannot be trained"):
        model.train(X, Y)


def test_clamped_results_are_reported_by_node() -> None:
    formats = gvm.Formats(overrides={"first": 15})
    model = Model.from_graph(mlp(), X, "softmax_cross_entropy", Y, formats=formats, progress=False)
    history = model.train(X, Y)
    (where,) = [name for name in history.clamped if "first" in name]
    assert where.startswith("grad, node")
    assert "(convert)" in where
    assert history.clamped[where] > 0
    assert trained()[1].clamped == {}


# Cost


def test_cost_by_hand() -> None:
    model = classifier()
    products = FEATURES * HIDDEN + HIDDEN * CLASSES
    assert model.cost == model.cost_of("predict", 1)
    assert model.cost.multiply_adds == products
    assert model.cost_of("predict", 7).multiply_adds == 7 * products
    assert model.cost_of("loss", 7).multiply_adds == 7 * products
    # Forward, the weights' gradients, and the delta of the hidden layer.
    assert model.cost_of("grad", 7).multiply_adds == 7 * (2 * products + HIDDEN * CLASSES)
    assert model.cost.peak_bytes > 0
    assert model.cost.bytes_moved >= 2 * products


# Losses


def test_losses_are_ordered_by_their_means() -> None:
    third, half, quarter = Loss(1 << 24, 3), Loss(1 << 24, 2), Loss(1 << 24, 4, 1)
    assert quarter < third < half
    assert sorted([half, quarter, third]) == [quarter, third, half]
    assert half > third >= quarter
    same = Loss(2 << 24, 4)
    assert half <= same
    assert half >= same
    assert not half < same
    assert half != same
    # Means that float64 cannot tell apart.
    assert Loss(2**60, 2**22 - 1) > Loss(2**60 - 1, 2**22 - 1)


def test_losses_merge() -> None:
    assert Loss(3, 2, 1) + Loss(4, 5, 2) == Loss(7, 7, 3)
    assert Loss.sum([]) == Loss(0, 0, 0)
    assert (float(Loss(0, 0)), Loss(0, 0).accuracy) == (0.0, 0.0)
    assert (float(Loss(3 << 23, 3, 2)), Loss(3 << 23, 3, 2).accuracy) == (0.5, 2 / 3)
    assert str(Loss(3 << 23, 3, 2)) == "0.500000 (total 25165824, 3 examples, 2 correct)"
    with pytest.raises(gvm.ProgramError, match=r"at most 2\^22 examples, received 4194305"):
        Loss(0, MAX_EXAMPLES) + Loss(0, 1)


# Histories


def test_histories_are_written(tmp_path: Path) -> None:
    _, history = trained(validation=VALIDATION)
    history.save(tmp_path / "h.json")
    body = json.loads((tmp_path / "h.json").read_text())
    assert (body["train_id"], body["parameters_id"], body["state_id"]) == ids(history)
    assert body["steps"] == 18
    rows = list(csv.DictReader(_written(history, tmp_path / "h.csv").splitlines()))
    assert len(body["epochs"]) == len(rows) == 3
    for epoch, row, entry in zip(history.epochs, rows, body["epochs"], strict=True):
        assert entry["loss_total"] == int(row["loss_total"]) == epoch.total
        assert epoch.validation is not None
        assert entry["validation_total"] == epoch.validation.total
        assert float(row["loss"]) == entry["loss"] == epoch.loss == epoch.total / 2**24 / EXAMPLES
        assert entry["accuracy"] == epoch.accuracy == epoch.correct / EXAMPLES
    with pytest.raises(gvm.GvmError, match=r"saved as \.json or \.csv, received"):
        history.save(tmp_path / "h.txt")
    assert not (tmp_path / "h.txt").exists()


def _written(history: History, path: Path) -> str:
    history.save(path)
    return path.read_text()


# Bad input


BAD: list[tuple[str, Callable[[Model], Any], str]] = [
    ("shape", lambda m: m.run(X[:, :2]), r"input 0: expected shape \(batch, 6\), received \(90, 2"),
    ("rank", lambda m: m.run(X[0]), r"input 0: expected shape \(batch, 6\), received \(6,\)"),
    ("none", lambda m: m.run(X[:0]), "input 0: expected at least one example, received none"),
    ("inputs", lambda m: m.run([X, X]), "inputs: expected 1, received 2"),
    ("nan", lambda m: m.run(X * math.nan), "input 0: values must be finite"),
    ("text", lambda m: m.run(X.astype(str)), "input 0: expected numbers, received <U"),
    ("objects", lambda m: m.run(X.astype(object)), "input 0: expected numbers, received object"),
    ("backend", lambda m: m.run(X, backend="tpu"), "backend must be one of cpu, .* received 'tpu'"),
    ("threads", lambda m: m.run(X, threads=-1), "threads must be at least 0, received -1"),
    ("batch", lambda m: m.run(X, batch_size=0), "batch_size must be at least 1, received 0"),
    ("labels", lambda m: m.evaluate(X, Y[:4]), "evaluate: 90 inputs but 4 labels"),
    ("class", lambda m: m.evaluate(X, Y + 1), r"label must be in \[0, 3\), received 3"),
    ("negative", lambda m: m.evaluate(X, Y - 1), r"label must be in \[0, 3\), received -1"),
    ("huge", lambda m: m.evaluate(X, Y + 2**40), r"label: values must be in \[-2147483648, "),
    ("half", lambda m: m.evaluate(X, Y + 0.5), "label 0: expected whole numbers"),
    ("column", lambda m: m.evaluate(X, Y[:, None]), r"label 0: expected shape \(batch\), received"),
    ("epochs", lambda m: m.train(X, Y, epochs=0), "epochs must be at least 1, received 0"),
    ("steps", lambda m: m.train(X, Y, batch_size=0), "batch_size must be at least 1, received 0"),
    (
        "max",
        lambda m: m.train(X, Y, batch_size=5000),
        "batch_size must be at most 4096, rec.* 5000",
    ),
    ("workers", lambda m: m.train(X, Y, workers=0), "workers must be at least 1, received 0"),
    ("micro", lambda m: m.train(X, Y, micro_batch=0), "micro_batch must be at least 1, received 0"),
    ("seed", lambda m: m.train(X, Y, seed=2**64), r"seed must be in \[0, 2\^64\), received 184"),
    ("profile", lambda m: m.train(X, Y, profile="w8"), "profile must be one of w32, w16, received"),
    ("round", lambda m: m.train(X, Y, rounding="up"), "rounding must be stochastic or nearest, r"),
    ("patience", lambda m: m.train(X, Y, patience=2), "patience needs validation data"),
    (
        "no patience",
        lambda m: m.train(X, Y, patience=0, validation=VALIDATION),
        "patience must be at least 1, received 0",
    ),
    (
        "validation",
        lambda m: m.train(X, Y, validation=(X, Y[:3])),
        "validation: 90 inputs but 3 labels",
    ),
    ("train", lambda m: m.train(X, Y[:3]), "train: 90 inputs but 3 labels"),
]


@pytest.mark.parametrize(
    ("call", "message"), [(c, m) for _, c, m in BAD], ids=[name for name, _, _ in BAD]
)
def test_bad_input(call: Callable[[Model], Any], message: str) -> None:
    model = classifier()
    with pytest.raises((gvm.GvmError, ValueError), match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)
    # Nothing has changed.
    assert model.parameters_id == classifier().parameters_id
    assert model.training is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "learning_rate must be a positive number, received 0.0"),
        ((math.nan,), "learning_rate must be a positive number, received nan"),
        ((1e30,), r"learning_rate must be in \[2\^-48, 2\^30\], received 1e\+30"),
        ((0.1, 1.0), r"momentum must be in \[0, 1\), received 1.0"),
        ((0.1, -0.1), r"momentum must be in \[0, 1\), received -0.1"),
    ],
)
def test_bad_optimizers(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        gvm.SGD(*arguments)


def test_models_that_only_run() -> None:
    model = Model.from_graph(mlp(), X, progress=False)
    with pytest.raises(gvm.GvmError, match="the model has no loss: import it with loss"):
        model.evaluate(X, Y)
    with pytest.raises(gvm.GvmError, match="cannot be trained: import it with loss"):
        model.train(X, Y)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(gvm.GvmError, match=r"absent\.dmodel: No such file"):
        gvm.load(tmp_path / "absent.dmodel")
    model = classifier()
    model.save(tmp_path / "m.dmodel")
    whole = (tmp_path / "m.dmodel").read_bytes()
    for bad in (b"", b"GVM", whole[:-1], whole + b"\0", whole[:100] + b"\xff" + whole[101:]):
        (tmp_path / "bad.dmodel").write_bytes(bad)
        with pytest.raises(gvm.ProgramError, match=r"bad\.dmodel"):
            gvm.load(tmp_path / "bad.dmodel")
