"""The examples in C, C++, Go and Rust say what Python says. They need ``make core``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gvm.graph import Builder
from gvm.model import Model

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "build" / "core"


INCLUDE = ROOT / "gvm" / "_core" / "include"
STRICT = ["-pedantic-errors", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}"]
LINK = [f"-L{LIBRARY}", "-lgvm", f"-Wl,-rpath,{LIBRARY}"]
COMMANDS: dict[str, tuple[str, list[str], list[str]]] = {
    "embed_c/main.c": ("cc", ["-std=c99", *STRICT], LINK),
    "embed_cpp/main.cc": ("c++", ["-std=c++17", *STRICT], LINK),
    "embed_rust/main.rs": (
        "rustc",
        ["--edition=2021", "-Dwarnings", f"-L{LIBRARY}"],
        [f"-Clink-arg=-Wl,-rpath,{LIBRARY}"],
    ),
    "embed_go/main.go": ("go", ["build"], []),
}
GO = {"CGO_ENABLED": "1", "CGO_CFLAGS": f"-I{INCLUDE}", "CGO_LDFLAGS": " ".join(LINK)}


@pytest.fixture(scope="module", params=COMMANDS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler, flags, link = COMMANDS[request.param]
    found = shutil.which(compiler)
    if found is None or not list(LIBRARY.glob("libgvm.*")):
        pytest.skip(f"needs {compiler} and build/core: run make core")
    made = tmp_path_factory.mktemp("embed") / "program"
    source = ROOT / "examples" / request.param
    if compiler == "go":  # its options stand before the source
        subprocess.run([found, *flags, "-o", made, source], env={**os.environ, **GO}, check=True)
    else:
        subprocess.run([found, *flags, source, "-o", made, *link], check=True)
    return made


def test_program_prints_the_same_ids_and_loss(program: Path, tmp_path: Path) -> None:
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
    assert "examples" in done.stderr or "received 3000 and 10 bytes" in done.stderr
