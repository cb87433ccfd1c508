"""The verifier in a browser says what the command line says. Needs what scripts/verifier needs."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gvm import data
from gvm.model import Model
from gvm.ops import OPERATORS
from tests import small_models
from tests.test_trace_claims import claims_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "verify"
LIBRARY = ROOT / "build" / "verify"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
NODE = """
import {{ readFileSync }} from "node:fs";
import {{ Verifier, readData }} from "{page}/verify.mjs";
const read = (name) => new Uint8Array(readFileSync("{folder}/" + name));
const verifier = await Verifier.load(readFileSync("{library}/gvm.wasm"));
const ids = verifier.open(read("model.dmodel"));
const losses = [];
for (const kind of ["gdata", "npy"]) {{
  const [x, y] = ["x", "y"].map((name) => readData(read(`${{name}}.${{kind}}`)));
  const loss = await verifier.evaluate([x], [y]);
  losses.push(verifier.digest(ids, loss), String(loss.total));
}}
console.log(JSON.stringify(losses));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Model]]:
    """A trained model with its data, as files."""
    if not (LIBRARY / "gvm.wasm").exists():
        pytest.skip("needs build/verify: run scripts/verifier")
    path = tmp_path_factory.mktemp("verify")
    model, _ = small_models.trained()
    x, y = small_models.data(150, seed=4)
    model.save(path / "model.dmodel")
    for name, array, integers, type_ in (
        ("x", x, model.quantized_inputs(x)[0], model.program.inputs[0]),
        ("y", y, model.quantized_labels(y)[0], model.program.labels[0]),
    ):
        np.save(path / f"{name}.npy", array)
        data.Dataset(integers, type_.dtype, type_.fraction_bits).save(path / f"{name}.gdata")
    yield path, model


def expected(model: Model) -> tuple[str, int]:
    loss = model.evaluate(*small_models.data(150, seed=4))
    return loss.digest(model.graph_id, model.parameters_id), loss.total


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_module_says_what_the_library_says(folder: tuple[Path, Model]) -> None:
    path, model = folder
    script = path / "run.mjs"
    script.write_text(NODE.format(page=PAGE, folder=path, library=LIBRARY))
    done = subprocess.run(["node", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest, total = expected(model)
    assert json.loads(done.stdout) == [digest, str(total)] * 2


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_module_decides_claims(tmp_path: Path) -> None:
    if not (LIBRARY / "gvm.wasm").exists():
        pytest.skip("needs build/verify: run scripts/verifier")
    expected: list[str | None] = []
    paths = []
    for name in OPERATORS:
        claim, value = next(claims_of(name))
        for bad in (False, True):
            path = tmp_path / f"{name}-{bad}.claim"
            path.write_bytes(replace(claim, root=bytes(32)).encode() if bad else claim.encode())
            paths.append(str(path))
            expected.append(None if bad else str(value))
    command = ["node", str(ROOT / "benchmarks" / "referee.mjs"), str(LIBRARY / "gvm.wasm")]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row.get("found") for row in found] == expected
    assert all("bad_input" in row["refused"] for row in found[1::2])


def shown_by_page(path: Path, named: str) -> dict[str, str]:
    """What the page of a folder, opened with these files in its address, comes to show."""
    shutil.copy(LIBRARY / "index.html", path)
    handler = functools.partial(QuietHandler, directory=str(path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/index.html"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={path / 'browser'}", "--dump-dom",
                   "--virtual-time-budget=300000", address + named]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
        server.shutdown()
    return dict(re.findall(r'<dd id="(\w+)">([^<]*)</dd>', done.stdout))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_says_what_the_library_says(folder: tuple[Path, Model]) -> None:
    path, model = folder
    shown = shown_by_page(path, "?model=model.dmodel&inputs=x.gdata&labels=y.npy")
    digest, total = expected(model)
    assert (shown["digest"], shown["total"], shown["count"]) == (digest, str(total), "150")
    assert shown["graph_id"] == model.graph_id


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_the_page_says_of_the_demo_what_the_command_line_says(profile: str, tmp_path: Path) -> None:
    """The Keras CNN that `make demo` trains, on the digits that it was not trained on."""
    model = ROOT / "build" / "demo" / f"demo-{profile}.dmodel"
    if not model.exists() or not (LIBRARY / "index.html").exists():
        pytest.skip("needs build/demo and build/verify: run make demo and scripts/verifier")
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    digits = load_digits()
    shutil.copy(model, tmp_path / "model.dmodel")
    np.save(tmp_path / "x.npy", (digits.images[1437:] / 16.0)[..., None].astype(np.float32))
    np.save(tmp_path / "y.npy", digits.target[1437:])
    files = ("model.dmodel", "x.npy", "y.npy")
    command = [
        sys.executable,
        "-c",
        "from gvm.cli import main; main()",
        "evaluate",
        *files,
        "--json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    shown = shown_by_page(tmp_path, "?model=model.dmodel&inputs=x.npy&labels=y.npy")
    assert (shown["digest"], shown["count"]) == (said["digest"], "360")
    assert int(shown["total"]) == said["total"]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
