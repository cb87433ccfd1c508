"""Checkpoints, and parameters in other files."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import checkpoints, schedules
from gvm.checkpoints import Checkpoints, best_path
from tests.small_models import EXAMPLES, VALIDATION, X, Y, classifier, ids, trained

OPTIMIZER = gvm.Adam(schedules.Cosine(0.02))
RUN: dict[str, Any] = {
    "optimizer": OPTIMIZER,
    "epochs": 3,
    "batch_size": 16,
    "validation": VALIDATION,
}


class Killed(Exception):
    """What ends a run in mid-step."""


def killed_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """A run that ends after so many checkpoints."""
    write, left = Checkpoints.write, [writes]

    def counted(self: Checkpoints, *given: Any) -> None:
        write(self, *given)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(checkpoints.Checkpoints, "write", counted)


@pytest.mark.parametrize("patience", [None, 2])
def test_a_run_goes_on_from_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int | None
) -> None:
    _, whole = trained(**RUN, patience=patience)
    path = tmp_path / "run.dmodel"
    steps = 3 * -(-EXAMPLES // 16)
    for writes in range(1, steps + 1):
        with monkeypatch.context() as patch:
            killed_after(patch, writes)
            with pytest.raises(Killed):
                trained(**RUN, patience=patience, checkpoint=path, checkpoint_every=1)
        loaded = gvm.load(path)
        assert loaded.training is not None and loaded.training.step == writes
        history = loaded.train(X, Y, **RUN, patience=patience, resume=True, checkpoint=path)
        assert ids(history) == ids(whole)
        assert history.epochs == whole.epochs
        assert gvm.load(path).parameters_id == whole.parameters_id
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["run.best.dmodel", "run.dmodel"]


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.dmodel"
    noise = np.random.default_rng(3).integers(0, 3, len(VALIDATION[1]))
    given = {
        **RUN,
        "validation": (VALIDATION[0], noise),
        "epochs": 6,
        "optimizer": gvm.SGD(0.3, 0.9),
    }
    model, history = trained(**given, checkpoint=path)
    losses = [e.validation for e in history.epochs]
    lowest = min(losses, key=float)  # type: ignore[arg-type]
    best = gvm.load(best_path(path))
    assert best.training is not None and best.training.epochs[-1].validation == lowest
    assert best.evaluate(VALIDATION[0], noise) == lowest
    assert gvm.load(path).parameters_id == model.parameters_id != best.parameters_id


def test_patience_asks_for_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.dmodel"
    with monkeypatch.context() as patch:
        killed_after(patch, 8)
        with pytest.raises(Killed):
            trained(**RUN, checkpoint=path, checkpoint_every=1)
    best_path(path).unlink()
    loaded = gvm.load(path)
    with pytest.raises(gvm.GvmError, match=r"best epoch so far is 1, and .*run\.best\.dmodel does"):
        loaded.train(X, Y, **RUN, patience=2, resume=True, checkpoint=path)
    assert ids(loaded.train(X, Y, **RUN, resume=True, checkpoint=path)) == ids(trained(**RUN)[1])


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.dmodel"
    save, left = gvm.Model.save, [4]

    def full(self: gvm.Model, target: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, target)

    monkeypatch.setattr(gvm.Model, "save", full)
    message = r"run\.dmodel, step 5: No space left on device; .*run\.dmodel stays as of step 4$"
    with pytest.raises(gvm.GvmError, match=message):
        trained(**RUN, checkpoint=path, checkpoint_every=1)
    kept = gvm.load(path).training
    assert kept is not None and kept.step == 4 and kept.partial is not None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint_every": 2}, ValueError, "checkpoint_every needs checkpoint"),
        ({"checkpoint": "nowhere/run.dmodel"}, gvm.GvmError, "nowhere/run.dmodel: no such folder"),
        ({"checkpoint": "r", "checkpoint_every": 0}, ValueError, "must be at least 1, received 0"),
    ],
)
def test_what_is_no_checkpoint(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trained(**options)


def test_a_partial_epoch_of_other_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.dmodel"
    killed_after(monkeypatch, 3)
    with pytest.raises(Killed):
        trained(**RUN, checkpoint=path, checkpoint_every=1)
    with pytest.raises(gvm.GvmError, match="taken 48 examples, the data has 20"):
        gvm.load(path).train(X[:20], Y[:20], resume=True)


def test_divergence_is_said_once_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.dmodel"
    given = {**RUN, "optimizer": gvm.SGD(2000.0), "epochs": 3, "validation": None}
    with pytest.warns(
        RuntimeWarning, match=r"diverges: parameter '.*', epoch 1, step 6: \d+%"
    ) as w:
        _, history = trained(**given, checkpoint=path, checkpoint_every=4)
    assert len(w) == 1
    assert len(history.epochs) == 3
    kept = gvm.load(path).training
    assert kept is not None and kept.step == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained()


# --- safetensors -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float64", "integers"])
@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_parameters_come_back_exactly(tmp_path: Path, kind: str, profile: str) -> None:
    pytest.importorskip("safetensors")
    model, history = trained(profile=profile)
    path = tmp_path / "w.safetensors"
    model.save_parameters(path, kind)
    other, _ = trained(profile=profile, seed=9)
    assert other.parameters_id != model.parameters_id
    other.load_parameters(path)
    assert other.parameters_id == model.parameters_id == history.parameters_id
    assert (other.training, other.state) == (None, b"")
    assert other.evaluate(X, Y) == model.evaluate(X, Y)
    other.train(X, Y, epochs=1)


def test_parameters_are_named_reals(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    model = classifier()
    model.save_parameters(tmp_path / "w.safetensors")
    held = numpy.load_file(tmp_path / "w.safetensors")
    assert set(held) == {"first/w", "first/b", "second/w", "second/b"}
    for name, tensor in model.parameter_arrays().items():
        assert held[name].dtype == np.float32
        assert np.abs(held[name] - tensor.real()).max() < 1e-7


def test_other_parameters_are_refused(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    model, path = classifier(), tmp_path / "w.safetensors"
    model.save_parameters(path, "integers")
    held, name = numpy.load_file(path), "first/w"
    before = model.parameters_id

    def refused(change: dict[str, Any], message: str) -> None:
        tensors = {k: v for k, v in (held | change).items() if v is not None}
        numpy.save_file(tensors, path, {f"fraction_bits:{k}": "24" for k in tensors})
        with pytest.raises(gvm.GvmError, match=message):
            model.load_parameters(path)
        assert model.parameters_id == before

    refused({name: None}, "no tensor of the name 'first/w'")
    refused({"third": held[name]}, "the model has no parameter 'third'")
    refused({name: held[name][:2]}, r"must have shape \(6, 12\), received \(2, 12\)")
    refused({"first/b": np.full(12, np.nan)}, "must be finite")
    refused({"first/b": np.full(12, 2**40)}, "must be integers of i32|fraction bits")
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(gvm.GvmError, match="cannot be read as safetensors"):
        model.load_parameters(path)
    with pytest.raises(gvm.GvmError, match="no such file"):
        model.load_parameters(tmp_path / "none")
    with pytest.raises(ValueError, match="kind must be one of float32, float64, integers"):
        model.save_parameters(path, "i32")
