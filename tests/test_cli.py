"""The command line: what it prints and writes; bad input never ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import cli, data, schedules
from gvm.graph import Builder
from gvm.model import Model


@dataclass(frozen=True)
class Files:
    """A classifier of two inputs with its data."""

    model: Path
    x: Path
    y: Path
    loaded: Model
    inputs: Any
    labels: Any


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1)
    g = Builder()
    given = g.input("x", (-1, 4))
    w = g.parameter("w", rng.normal(size=(4, 3)) * 0.3)
    b = g.parameter("b", np.zeros(3))
    graph = g.graph(predict=(g.bias_add(g.matmul(given, w), b),))
    model = Model.from_graph(graph, x, "softmax_cross_entropy", y, progress=False)
    model.save(folder / "m.dmodel")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    paths = (folder / name for name in ("m.dmodel", "x.npy", "y.npy"))
    return Files(*paths, model, x, y)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def gvm_command(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(a) for a in arguments])
        printed = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, printed.out, printed.err)

    return call


def test_evaluate_and_verify_agree_with_the_api(files: Files, gvm_command: Any) -> None:
    loss = files.loaded.evaluate(files.inputs, files.labels)
    done = gvm_command("evaluate", files.model, files.x, files.y, "--json")
    assert done.status == 0
    said = json.loads(done.out)
    assert (said["total"], said["count"], said["correct"]) == loss.integers
    assert said["digest"] == loss.digest(files.loaded.graph_id, files.loaded.parameters_id)

    right = gvm_command("verify", files.model, files.x, files.y, "--expect", loss.total)
    assert (right.status, right.out) == (0, f"equal: total is {loss.total}, 60 examples\n")
    wrong = gvm_command("verify", files.model, files.x, files.y, "--expect", loss.total + 1)
    assert (wrong.status, wrong.out) == (1, "")
    assert wrong.err == f"differs: total is {loss.total}, expected {loss.total + 1}\n"


def test_every_backend_and_batch_size_says_the_same(files: Files, gvm_command: Any) -> None:
    listed = gvm_command("backends").out.split()
    assert listed == list(gvm.backends())
    said = {
        gvm_command(
            "evaluate", files.model, files.x, files.y,
            "--backend", name, "--batch-size", size, "--threads", threads,
        ).out
        for name in listed
        for size, threads in ((1, 1), (7, 2), (60, 1))
    }  # fmt: skip
    assert len(said) == 1


def test_run_writes_reals_or_integers(files: Files, gvm_command: Any, tmp_path: Path) -> None:
    path = tmp_path / "y.npy"
    assert gvm_command("run", files.model, files.x, "-o", path) == Done(0, "", "")
    assert np.array_equal(np.load(path), files.loaded.run(files.inputs))
    done = gvm_command("run", files.model, files.x, "-o", path, "--integers")
    exact = files.loaded.run_integers(files.inputs)
    assert done.out == f"fraction_bits  {exact.fraction_bits}\n"
    assert np.array_equal(np.load(path), exact.integers)
    assert [p.name for p in tmp_path.iterdir()] == ["y.npy"]


def test_evaluate_has_metrics(files: Files, gvm_command: Any) -> None:
    done = gvm_command("evaluate", files.model, files.x, files.y, "--top", 1, "--json")
    said = json.loads(done.out)
    assert (said["top_1"], said["top_1_accuracy"]) == (said["correct"], said["accuracy"])
    refused(gvm_command("evaluate", files.model, files.x, files.y, "--absolute"), "no targets")


def test_train_equals_the_api_and_resumes(files: Files, gvm_command: Any, tmp_path: Path) -> None:
    common = ("--batch-size", 20, "--learning-rate", 0.5, "--momentum", 0.5, "--seed", 3)
    whole = gvm_command(
        "train", files.model, files.x, files.y, "-o", tmp_path / "whole.dmodel", *common,
        "--epochs", 3, "--validation", files.x, files.y, "--patience", 3,
        "--history", tmp_path / "h.json", "--json",
    )  # fmt: skip
    assert whole.status == 0, whole.err
    said = json.loads(whole.out)

    fresh = gvm.load(files.model)
    course = fresh.train(
        files.inputs, files.labels, optimizer=gvm.SGD(0.5, 0.5), epochs=3, batch_size=20, seed=3
    )
    assert said["parameters_id"] == course.parameters_id == fresh.parameters_id
    assert said["train_id"] == course.train_id
    assert len(json.loads((tmp_path / "h.json").read_text())["epochs"]) == 3
    assert gvm.load(tmp_path / "whole.dmodel").parameters_id == course.parameters_id

    half, rest = tmp_path / "half.dmodel", tmp_path / "rest.dmodel"
    gvm_command("train", files.model, files.x, files.y, "-o", half, *common, "--epochs", 1)
    done = gvm_command(
        "train", half, files.x, files.y, "-o", rest, "--batch-size", 20,
        "--epochs", 3, "--resume", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert json.loads(done.out)["state_id"] == course.state_id


def test_info_states_ids_and_cost(files: Files, gvm_command: Any) -> None:
    said = json.loads(gvm_command("info", files.model, "--json").out)
    assert said["graph_id"] == files.loaded.graph_id
    assert said["predict"]["multiply_adds"] == files.loaded.cost.multiply_adds == 12
    assert set(said["parameters"]) == {"w", "b"}
    lines = [line.split() for line in gvm_command("info", files.model).out.splitlines()]
    cost = files.loaded.cost
    assert ["predict", str(cost.nodes), "12", str(cost.bytes_moved), str(cost.peak_bytes)] in lines
    assert ["w", str(files.loaded.program.parameters[0]), "12", "yes"] in [
        [line[0], " ".join(line[1:-2]), *line[-2:]] for line in lines if line
    ]
    assert lines[-1] == ["total", "15", "12"]


def test_data_sets_keep_the_loss(files: Files, gvm_command: Any, tmp_path: Path) -> None:
    x, y = tmp_path / "x.gdata", tmp_path / "y.gdata"
    done = gvm_command("data", files.x, "-o", x, "--model", files.model)
    assert done.status == 0, done.err
    assert data.load(x).id == done.out.split()[1]
    assert gvm_command("data", files.y, "-o", y).status == 0
    exact = gvm_command("evaluate", files.model, x, y).out
    assert exact == gvm_command("evaluate", files.model, files.x, files.y).out


def test_bench_compares_every_level(files: Files, gvm_command: Any) -> None:
    done = gvm_command("bench", files.model, "--batch-size", 8, "--repeats", 1, "--json")
    said = json.loads(done.out)
    assert said["multiply_adds"] == 8 * 12
    assert all(said[name]["examples_per_second"] > 0 for name in gvm.backends()[1:])


def refused(done: Done, *parts: object) -> None:
    assert done.status == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    for part in parts:
        assert str(part) in done.err, done.err


def test_invalid_files_are_named(files: Files, gvm_command: Any, tmp_path: Path) -> None:
    absent, broken, pickled, archive = (
        tmp_path / name for name in ("absent.npy", "broken.npy", "pickled.npy", "archive.npy")
    )
    broken.write_bytes(b"not numpy")
    np.save(pickled, np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "a.npz", files.inputs)
    (tmp_path / "a.npz").rename(archive)
    empty = tmp_path / "empty.npy"
    empty.write_bytes(b"")
    for path in (absent, broken, pickled, archive, empty):
        refused(gvm_command("evaluate", files.model, path, files.y), path)
    for model in (absent, broken, empty, tmp_path):
        refused(gvm_command("info", model), model)
    refused(gvm_command("import", absent, "-o", "m", "--calibration", files.x), absent)
    refused(gvm_command("data", files.x, "-o", tmp_path / "x.gdata"), files.x, "format")
    bad = tmp_path / "bad.gdata"
    bad.write_bytes(b"GVMDATA\x02")
    refused(gvm_command("evaluate", files.model, bad, files.y), bad)


def test_invalid_arrays_are_explained(files: Files, gvm_command: Any, tmp_path: Path) -> None:
    def saved(name: str, array: Any) -> Path:
        np.save(tmp_path / name, array)
        return tmp_path / name

    short = saved("short.npy", files.inputs[:5])
    refused(gvm_command("evaluate", files.model, short, files.y), "equal lengths", "(5, 4)")
    narrow = saved("narrow.npy", files.inputs[:, :2])
    refused(gvm_command("evaluate", files.model, narrow, files.y), "received (60, 2)")
    nan = saved("nan.npy", np.full((60, 4), np.nan))
    refused(gvm_command("evaluate", files.model, nan, files.y), "finite")
    words = saved("words.npy", np.full((60, 4), "a"))
    refused(gvm_command("run", files.model, words, "-o", tmp_path / "y.npy"), "numbers")
    classes = saved("classes.npy", np.full(60, 3))
    refused(gvm_command("evaluate", files.model, files.x, classes), "received 3")
    assert not (tmp_path / "y.npy").exists()


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        (
            ["--optimizer", "adamw", "--schedule", "cosine", "--warmup", 2, "--clip-norm", 1],
            gvm.AdamW(schedules.Warmup(schedules.Cosine(0.001, 4), 2), clip_norm=1),
        ),
        (
            ["--momentum", 0.9, "--nesterov", "--weight-decay", 0.001, "--schedule", "step"],
            gvm.SGD(schedules.Step(0.01, [3, 4]), 0.9, True, 0.001),
        ),
        (
            ["--optimizer", "rmsprop", "--learning-rate", 0.01, "--schedule", "exponential"],
            gvm.RMSprop(schedules.Exponential(0.01, 6, 0.01)),
        ),
    ],
)
def test_train_takes_optimizers(
    options: list[Any], optimizer: Any, files: Files, gvm_command: Any, tmp_path: Path
) -> None:
    path = tmp_path / "trained.dmodel"
    common = ("--epochs", 2, "--batch-size", 20)
    done = gvm_command("train", files.model, files.x, files.y, "-o", path, *common, *options)
    assert done.status == 0, done.err
    fresh = gvm.load(files.model)
    fresh.train(files.inputs, files.labels, optimizer=optimizer, epochs=2, batch_size=20)
    assert gvm.load(path).parameters_id == fresh.parameters_id


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--optimizer", "adam", "--momentum", "0.9"], ["--momentum", "adam has none"]),
        (["--nesterov"], ["nesterov needs a momentum"]),
        (["--schedule", "linear"], ["--schedule"]),
        (["--epochs", "0"], ["--epochs"]),
        (["--learning-rate", "-1"], ["learning_rate", "-1"]),
        (["--learning-rate", "x"], ["--learning-rate"]),
        (["--momentum", "1"], ["momentum", "received 1"]),
        (["--patience", "2"], ["--validation"]),
        (["--batch-size", "100000"], ["batch_size", "100000"]),
        (["--backend", "gpu"], ["backend", "gpu"]),
        (["--history", "h.txt"], ["h.txt", ".csv"]),
        (["--plot", "nowhere/h.png"], ["nowhere/h.png"]),
        (["--profile", "w8"], ["--profile"]),
        (["--seed", str(1 << 64)], ["seed", str(1 << 64)]),
    ],
)
def test_invalid_options_of_train(
    options: list[str], parts: list[str], files: Files, gvm_command: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out.dmodel"
    done = gvm_command("train", files.model, files.x, files.y, "-o", out, *options)
    refused(done, *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_loss_says_so(files: Files, gvm_command: Any, tmp_path: Path) -> None:
    g = Builder()
    given = g.input("x", (-1, 4))
    graph = g.graph(predict=(g.relu(given),))
    Model.from_graph(graph, files.inputs, progress=False).save(tmp_path / "m.dmodel")
    refused(gvm_command("evaluate", tmp_path / "m.dmodel", files.x, files.y), "no loss")


def test_the_installed_command_works_without_a_terminal(files: Files) -> None:
    program = Path(sys.executable).with_name("gvm")
    environment = {k: v for k, v in os.environ.items() if k != "GVM_TRACEBACK"}
    done = subprocess.run(
        [program, "evaluate", files.model, files.x, files.y, "--batch-size", "1"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stderr == ""
    loss = files.loaded.evaluate(files.inputs, files.labels)
    assert done.stdout.split()[:2] == ["total", str(loss.total)]
    bad = subprocess.run([program, "info", "/dev/null"], capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: /dev/null: ") and bad.stderr.count("\n") == 1


def test_export(files: Files, tmp_path: Path, gvm_command: Any) -> None:
    onnx = pytest.importorskip("onnx")
    for flag, integers in (("--float", False), ("--qdq", True)):
        done = gvm_command("export", files.model, "-o", tmp_path / "m.onnx", flag)
        assert (done.status, done.err) == (0, "")
        made = onnx.load(tmp_path / "m.onnx")
        assert done.out.split() == [
            "nodes", str(len(made.graph.node)), "bytes", str((tmp_path / "m.onnx").stat().st_size)
        ]  # fmt: skip
        assert any(n.op_type == "QuantizeLinear" for n in made.graph.node) == integers
    bad = gvm_command("export", files.model, "-o", tmp_path / "m.pb")
    assert bad.status == 2 and bad.err == f"error: {tmp_path / 'm.pb'}: must end in .onnx\n"
