"""gvm.Model: running, evaluating, files, ids, cost, and what is said of bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm.graph import Builder, evaluate_real
from gvm.loss import Loss
from gvm.model import Model
from gvm.train import Epoch, TrainingState, state_id
from tests.small_models import (
    CLASSES,
    EXAMPLES,
    FEATURES,
    HIDDEN,
    MOMENTUM,
    VALIDATION,
    X,
    Y,
    classifier,
    dense,
    mlp,
    trained,
)

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
