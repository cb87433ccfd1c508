"""gvm.saturation: what is counted of the formats of a run, what is said of them, gvm inspect."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import cli
from gvm.saturation import Tensor
from gvm.train import History
from tests.small_models import (
    CLASSES,
    EXAMPLES,
    FEATURES,
    HIDDEN,
    MOMENTUM,
    X,
    Y,
    mlp,
    trained,
)

RUN: dict[str, Any] = {"optimizer": MOMENTUM, "epochs": 2, "batch_size": 16, "seed": 5}


def narrow() -> gvm.Model:
    """The first layer's results have 15 fraction bits: they end at 1."""
    formats = gvm.Formats(overrides={"first": 15})
    return gvm.Model.from_graph(
        mlp(), X, "softmax_cross_entropy", Y, progress=False, formats=formats, check=False
    )


def test_every_rounded_result_is_counted() -> None:
    with pytest.warns(RuntimeWarning):
        history = narrow().train(X, Y, **RUN)
    counted = {t.title: t for t in history.tensors}
    clamped = {title: sum(t.clamped) for title, t in counted.items() if any(t.clamped)}
    assert clamped == history.clamped
    (first,) = [t for t in history.tensors if t.function == "grad" and t.name == "first"]
    assert (first.dtype, first.fraction_bits) == ("i16", 15)
    assert first.elements == [EXAMPLES * HIDDEN] * 2
    assert all(0 < share < 1 for share in first.shares)
    updates = {t.name: t for t in history.tensors if t.function == "apply"}
    assert set(updates) == {"first/w", "first/b", "second/w", "second/b"}
    # Six steps; the weight and its velocity.
    assert updates["second/w"].elements == [6 * 2 * HIDDEN * CLASSES] * 2
    assert updates["first/w"].elements == [6 * 2 * FEATURES * HIDDEN] * 2


@pytest.mark.parametrize("options", [{"workers": 2}, {"micro_batch": 5}])
def test_no_partition_counts_otherwise(options: dict[str, Any]) -> None:
    with pytest.warns(RuntimeWarning):
        alone = narrow().train(X, Y, **RUN)
        other = narrow().train(X, Y, **RUN, **options)
    assert other.tensors == alone.tensors


def test_a_narrow_format_is_said_once_with_tensor_and_step() -> None:
    with pytest.warns(RuntimeWarning) as said:
        narrow().train(X, Y, **RUN)
    (one,) = said
    assert str(one.message).startswith("a format is too narrow: grad, node ")
    assert "(convert) first, i16 with 15 fraction bits, epoch 1, step 6: " in str(one.message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return call


@pytest.mark.filterwarnings("ignore:a format is too narrow")
def test_a_run_has_a_folder(tmp_path: Path, command: Any) -> None:
    narrow().save(tmp_path / "m.dmodel")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    run = tmp_path / "run"
    given = [tmp_path / name for name in ("m.dmodel", "x.npy", "y.npy")]
    status, _, said = command(
        "train", *given, "-o", tmp_path / "t.dmodel", "--epochs", 2, "--run", run
    )
    assert status == 0, said
    assert (
        gvm.load(run / "checkpoint.dmodel").parameters == gvm.load(tmp_path / "t.dmodel").parameters
    )
    body = json.loads((run / "history.json").read_text())
    assert {t["function"] for t in body["tensors"]} == {"grad", "apply"}
    status, shown, _ = command("inspect", run)
    assert status == 0 and "first" in shown and "i16.15" in shown and "epoch-2" in shown
    assert "first/w" not in shown and "first/w" in command("inspect", run, "--all")[1]
    status, shown, _ = command("inspect", run / "history.json", "--json")
    assert [t["name"] for t in json.loads(shown)["tensors"] if t["name"]] == ["first"]
    pytest.importorskip("matplotlib")
    assert {p.name for p in run.iterdir()} == {
        "checkpoint.dmodel", "history.json", "curves.png", "curves.svg", "saturation.png",
        "saturation.svg",
    }  # fmt: skip
    assert "first" in (run / "saturation.svg").read_text()
    status, _, _ = command("inspect", run, "--plot", tmp_path / "s.png")
    assert status == 0 and (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_no_run(tmp_path: Path, command: Any) -> None:
    status, _, said = command("inspect", tmp_path)
    assert status == 2 and "history.json: no such file; `gvm train --run DIR` writes it" in said
    (tmp_path / "history.json").write_text('{"tensors": [{"clamped": [1], "elements": []}]}')
    status, _, said = command("inspect", tmp_path)
    assert status == 2 and "not a history of a run: counts of different epochs" in said
    (tmp_path / "history.json").write_text("{")
    assert command("inspect", tmp_path)[0] == 2


def test_pictures_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, history = trained()
    history.plot_saturation(tmp_path / "quiet.svg")
    assert "nothing was clamped" in (tmp_path / "quiet.svg").read_text()
    with pytest.raises(gvm.GvmError, match="no epochs"):
        History().plot_saturation(tmp_path / "none.png")
    assert Tensor("grad", 1, "convert", "", "i16", 3).title == "grad, node 1 (convert)"
