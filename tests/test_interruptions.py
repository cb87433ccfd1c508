"""What ends a run, or could: it is said with the tensor and the step, the last good checkpoint
stays, and what was counted goes on where the run does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import _core, cbor, cli, files
from gvm.checkpoints import Checkpoints
from gvm.train import History
from tests.small_models import EXAMPLES, FEATURES, MOMENTUM, VALIDATION, X, Y, ids, mlp, trained

RUN: dict[str, Any] = {
    "optimizer": MOMENTUM, "epochs": 2, "batch_size": 16, "seed": 5, "progress": False,
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:a format is too narrow")


class Stop(Exception):
    """What ends a run in mid-epoch."""


def narrow() -> gvm.Model:
    """The first layer's results end at 1, so that some are clamped."""
    formats = gvm.Formats(overrides={"first": 15})
    return gvm.Model.from_graph(
        mlp(), X, "softmax_cross_entropy", Y, progress=False, formats=formats
    )


def stopped_at(step: int, path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> gvm.Model:
    """The checkpoint of a run that was stopped after a step."""
    write = Checkpoints.write

    def counted(self: Checkpoints, parameters: bytes, state: bytes, training: Any) -> None:
        write(self, parameters, state, training)
        if training.step == step:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write", counted)
        with pytest.raises(Stop):
            narrow().train(X, Y, checkpoint=path, checkpoint_every=1, **RUN, **options)
    return gvm.load(path)


# -- counts of clamped elements


@pytest.mark.parametrize("step", [1, 5, 6, 7, 11])
def test_counts_go_on_where_a_run_does(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = narrow().train(X, Y, **RUN)
    assert any(sum(t.clamped) for t in whole.tensors)
    again = stopped_at(step, tmp_path / "run.dmodel", monkeypatch)
    history = again.train(X, Y, resume=True, **RUN)
    assert history.tensors == whole.tensors
    assert history.clamped == whole.clamped
    assert ids(history) == ids(whole)


def test_counts_go_on_with_other_workers_and_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = narrow().train(X, Y, **RUN)
    again = stopped_at(4, tmp_path / "run.dmodel", monkeypatch, workers=2)
    first = again.train(X, Y, resume=True, **{**RUN, "epochs": 1})
    assert [t.clamped for t in first.tensors] == [t.clamped[:1] for t in whole.tensors]
    again.save(tmp_path / "second.dmodel")
    second = gvm.load(tmp_path / "second.dmodel").train(X, Y, resume=True, **RUN)
    assert second.tensors == whole.tensors and second.clamped == whole.clamped


def test_a_file_without_counts_goes_on_and_bad_counts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.dmodel"
    stopped_at(6, path, monkeypatch)
    program, parameters, state, info = _core.parse_file(path.read_bytes())
    body = cbor.decode(info)

    def written(change: dict[str, Any]) -> Path:
        made = {k: v for k, v in (body | change).items() if v is not None}
        other = tmp_path / "other.dmodel"
        other.write_bytes(_core.write_file(program, parameters, state, cbor.encode(made)))
        return other

    whole = narrow().train(X, Y, **RUN)
    history = gvm.load(written({"saturation": None})).train(X, Y, resume=True, **RUN)
    assert ids(history) == ids(whole)
    assert [t.clamped for t in history.tensors] == [t.clamped[1:] for t in whole.tensors]
    good = body["saturation"]
    for bad in (
        [],
        {"epochs": []},
        good | {"partial": [[2, 0, -1]]},
        good | {"partial": [[9, 0, 1]]},
    ):
        with pytest.raises(gvm.ProgramError, match="its info section is not one"):
            gvm.load(written({"saturation": bad}))


# -- disks


class Full:
    """A file of a full disk."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> Full:
        self.file.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.__exit__(None, None, None)

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return int(self.file.fileno())


@pytest.mark.parametrize("point", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("name", ["run.dmodel", "run.best.dmodel"])
def test_a_full_disk_at_any_point_leaves_the_last_checkpoint(
    point: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "run.dmodel", [0]
    real_open, real_sync, real_replace = open, os.fsync, os.replace
    # The files of a run in their order: the first epoch's, its best, the second's.
    nth = {"run.dmodel": 3, "run.best.dmodel": 2}[name]

    def is_due(at: str) -> bool:
        calls[0] += at == point
        return at == point and calls[0] == nth

    def fail(at: str) -> None:
        if is_due(at):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(file: Any, mode: str) -> Any:
        fail("open")
        made = real_open(file, mode)
        return Full(made) if is_due("write") else made

    def synced(descriptor: int) -> None:
        fail("fsync")
        real_sync(descriptor)

    def replaced(source: Any, target: Any) -> None:
        fail("replace")
        real_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", opened, raising=False)
        patch.setattr(files.os, "fsync", synced)
        patch.setattr(files.os, "replace", replaced)
        stays = r"run\.dmodel stays as of step 6"
        message = rf"checkpoint .*{name}, step \d+: No space left on device; .*{stays}"
        with pytest.raises(gvm.GvmError, match=message):
            trained(**RUN, validation=VALIDATION, checkpoint=path)
    kept = gvm.load(path)
    assert kept.training is not None and kept.training.step == 6
    expected = {"run.dmodel"} if name == "run.best.dmodel" else {"run.dmodel", "run.best.dmodel"}
    assert {p.name for p in tmp_path.iterdir()} == expected
    # And the run goes on from there once there is room.
    history = kept.train(X, Y, resume=True, validation=VALIDATION, **RUN)
    assert ids(history) == ids(trained(**RUN, validation=VALIDATION)[1])


def test_where_no_checkpoint_can_be_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(gvm.GvmError, match=r"checkpoint .*: is a folder"):
        trained(checkpoint=tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(gvm.GvmError, match=r"run\.dmodel: its folder cannot be written to"):
        trained(checkpoint=tmp_path / "run.dmodel")
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_with_one_error_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow().save(tmp_path / "m.dmodel")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    given = [str(tmp_path / name) for name in ("m.dmodel", "x.npy", "y.npy")]
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *given, "-o", str(tmp_path / "t.dmodel")])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "No space left on device" in said and "Traceback" not in said
    assert not (tmp_path / "t.dmodel").exists()


# -- data


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:0], Y[:0], "input 0: expected at least one example, received none"),
        (X, Y[:-1], f"train: {EXAMPLES} inputs but {EXAMPLES - 1} labels"),
        (X[:, :-1], Y, rf"input 0: expected shape \(batch, {FEATURES}\), received"),
        (X, Y + 1, r"train, step 0: .*label.*received 3|label.* in \[0, 3\)"),
        (np.where(X > 1, np.inf, X), Y, "input 0: values must be finite"),
    ],
    ids=["empty", "lengths", "shape", "class", "infinite"],
)
def test_data_that_does_not_fit(x: Any, y: Any, message: str) -> None:
    with pytest.raises(gvm.GvmError, match=message):
        trained_on(x, y)


def trained_on(x: Any, y: Any) -> History:
    return narrow().train(x, y, **RUN)
