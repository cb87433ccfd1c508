"""Training: learning, resuming, patience, losses and histories."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm.autodiff import with_loss
from gvm.graph import evaluate_real
from gvm.loss import MAX_EXAMPLES, Loss
from gvm.model import Model
from gvm.random import permutation
from gvm.train import History
from tests.small_models import (
    CLASSES,
    EXAMPLES,
    FEATURES,
    MOMENTUM,
    VALIDATION,
    X,
    Y,
    classifier,
    ids,
    mlp,
    trained,
)


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


@pytest.mark.filterwarnings("ignore:a format is too narrow")
def test_clamped_results_are_reported_by_node() -> None:
    formats = gvm.Formats(overrides={"first": 15})
    model = Model.from_graph(mlp(), X, "softmax_cross_entropy", Y, formats=formats, progress=False)
    history = model.train(X, Y)
    (where,) = [name for name in history.clamped if "first" in name]
    assert where.startswith("grad, node")
    assert "(convert)" in where
    assert history.clamped[where] > 0
    assert trained()[1].clamped == {}


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
