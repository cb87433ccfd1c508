"""The C example says what the Python API says. Needs the library of ``make core``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gvm.graph import Builder
from gvm.model import Model

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "build" / "core"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not list(LIBRARY.glob("libgvm.*")):
        pytest.skip("needs a C compiler and build/core: run make core")
    made = tmp_path_factory.mktemp("embed_c") / "embed_c"
    source = ROOT / "examples" / "embed_c" / "main.c"
    include = ROOT / "gvm" / "_core" / "include"
    flags = ["-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", f"-I{include}"]
    link = [f"-L{LIBRARY}", "-lgvm", f"-Wl,-rpath,{LIBRARY}"]
    subprocess.run([compiler, *flags, source, "-o", made, *link], check=True)
    return made


def test_c_program_prints_the_same_ids_and_loss(program: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 5))
    y = np.abs(x).argmax(axis=1)
    g = Builder()
    given = g.input("x", (-1, 5))
    out = g.matmul(given, g.parameter("w", rng.normal(size=(5, 5))))
    model = Model.from_graph(g.graph(predict=(out,)), x, "softmax_cross_entropy", progress=False)
    names = [tmp_path / name for name in ("m.dmodel", "x.raw", "y.raw")]
    model.save(names[0])
    model.quantized_inputs(x)[0].tofile(names[1])
    model.quantized_labels(y)[0].tofile(names[2])

    done = subprocess.run([program, *names], capture_output=True, text=True, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    loss = model.evaluate(x, y)
    assert said == {
        "graph_id": model.graph_id,
        "parameters_id": model.parameters_id,
        "total": str(loss.total),
        "count": "300",
        "correct": str(loss.correct),
    }

    good = names[0].read_bytes()
    for bad in (b"", good[:-1], good[:100] + bytes([good[100] ^ 1]) + good[101:]):
        names[0].write_bytes(bad)
        done = subprocess.run([program, *names], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"{names[0]}: ")
    names[0].write_bytes(good)
    names[2].write_bytes(b"\0" * 10)
    done = subprocess.run([program, *names], capture_output=True, text=True)
    assert done.returncode == 2
    assert "received 3000 and 10 bytes" in done.stderr
