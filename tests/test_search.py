"""gvm.search: trials are facts, and no process and no interruption moves one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gvm
from gvm import optimizers, schedules, trial
from gvm.searching import Search, Trial, _optimizer
from tests.small_models import VALIDATION, X, Y, classifier

pytest.importorskip("optuna")

SPACE = {
    "sgd": {
        "learning_rate": (1e-3, 1.0, "log"),
        "momentum": [0.0, 0.9],
        "schedule": ["constant", "cosine"],
    },
    "adam": {"learning_rate": (1e-3, 0.1, "log"), "clip_norm": 1.0},
}
GIVEN: dict[str, Any] = {
    "validation": VALIDATION, "space": SPACE, "trials": 10, "round_size": 5, "batch_size": 30,
    "seed": 3, "threads": 1, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> Search:
    return gvm.search(classifier(), X, Y, **GIVEN)


def test_a_search_finds_an_optimizer(whole: Search) -> None:
    assert [t.number for t in whole.trials] == list(range(10))
    losses = [t.loss for t in whole.trials]
    assert all(loss is not None for loss in losses)
    assert whole.best.loss == min(losses) and len({t.optimizer for t in whole.trials}) == 2
    model = classifier()
    before = model.parameters_id
    gvm.search(model, X, Y, **GIVEN | {"trials": 1, "round_size": 1})
    assert model.parameters_id == before and model.training is None


def test_a_trial_can_be_repeated(whole: Search) -> None:
    for found in whole.trials[2], whole.best:
        model = classifier()
        chosen = found.chosen(whole.epochs, whole.steps)
        history = model.train(X, Y, optimizer=chosen, batch_size=30, seed=found.seed)
        ids = history.train_id, history.parameters_id
        assert ids == (found.train_id, found.parameters_id)
        assert model.evaluate(*VALIDATION) == found.loss


def test_processes_move_no_bit(whole: Search) -> None:
    some = gvm.search(classifier(), X, Y, **GIVEN | {"trials": 5, "workers": 2})
    assert some.trials == whole.trials[:5]


def test_a_search_goes_on_from_its_storage(
    whole: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = trial.run_trial

    def killed(*given: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return run(*given)

    storage = tmp_path / "search.db"
    monkeypatch.setattr("gvm.searching.run_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        gvm.search(classifier(), X, Y, **GIVEN, storage=storage)
    assert gvm.search(classifier(), X, Y, **GIVEN, storage=storage).trials == whole.trials
    done = len(calls)
    assert done < 16
    again = gvm.search(classifier(), X, Y, **GIVEN, storage=storage)
    assert again.trials == whole.trials and len(calls) == done
    again.save(tmp_path / "search.json")
    body = json.loads((tmp_path / "search.json").read_text())
    best = body["trials"][body["best"]]
    assert best["loss"] == list(whole.best.loss.integers if whole.best.loss else ())
    with pytest.raises(gvm.GvmError, match="it holds a search with another run"):
        gvm.search(classifier(), X, Y, **GIVEN | {"seed": 4}, storage=storage)


def test_a_trial_that_fails_is_kept() -> None:
    space = {"sgd": {"learning_rate": [0.1, 1e12]}}
    found = gvm.search(classifier(), X, Y, **GIVEN | {"space": space, "trials": 8, "round_size": 8})
    failed = [t for t in found.trials if t.loss is None]
    assert failed and all("learning" in t.error for t in failed) and found.best.loss is not None
    with pytest.raises(gvm.GvmError, match="no trial succeeded: .*learning"):
        _ = gvm.search(
            classifier(), X, Y, **GIVEN | {"space": {"sgd": {"learning_rate": 1e12}}}
        ).best


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "the space has no optimizer"),
        ({"lion": {}}, "an optimizer is one of sgd, adam, adamw, rmsprop, received 'lion'"),
        ({"sgd": {"beta_1": 0.9}}, "sgd has no option 'beta_1'"),
        ({"sgd": {"learning_rate": (1.0, 0.1)}}, "learning_rate: a range is .*low < high"),
        ({"sgd": {"learning_rate": (0.0, 1.0, "log")}}, "a range is"),
        ({"sgd": {"momentum": []}}, "momentum: no choices"),
        ({"sgd": {"schedule": "step"}}, "a schedule is one of constant, cosine, exponential"),
    ],
)
def test_what_is_no_space(space: Any, message: str) -> None:
    with pytest.raises(gvm.GvmError, match=message):
        gvm.search(classifier(), X, Y, **GIVEN | {"space": space})


def test_what_is_no_search(tmp_path: Path) -> None:
    with pytest.raises(gvm.GvmError, match="expected at least one example, received none"):
        gvm.search(classifier(), X[:0], Y[:0], **GIVEN)
    with pytest.raises(gvm.GvmError, match="no such folder"):
        gvm.search(classifier(), X, Y, **GIVEN, storage=tmp_path / "no" / "s.db")
    with pytest.raises(ValueError, match="trials must be at least 1, received 0"):
        gvm.search(classifier(), X, Y, **GIVEN | {"trials": 0})


def test_optimizers_travel() -> None:
    for name, options in (
        ("adamw", {"learning_rate": 0.01, "schedule": "cosine"}),
        ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "schedule": "exponential"}),
    ):
        made = _optimizer(name, options, 100)
        assert trial.decoded(json.loads(json.dumps(trial.encoded(made)))) == made
    assert isinstance(_optimizer("sgd", {}, 5), optimizers.SGD)
    warm = optimizers.SGD(schedules.Warmup(schedules.Step(0.1, (5, 9)), 3))
    back = trial.decoded(json.loads(json.dumps(trial.encoded(warm))))
    assert back.learning_rate.knots(None) == warm.learning_rate.knots(None)  # type: ignore[union-attr]
    assert Trial(0, "sgd", {}, 1).row()["loss"] is None
