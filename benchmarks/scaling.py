"""Delayed scaling on MNIST: gradients of a given format, rounded to nearest, that stay as they are
or follow their magnitude.

    python -m benchmarks.scaling --data DIR [--epochs 3]

A network of 784-256-256-10 units whose first weights are drawn from N(0, 0.01), so that gradients
of its first layers begin far below those of its last. ``DIR`` holds the four idx files; results go
to ``benchmarks/results/scaling.json`` and ``.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import gvm
from benchmarks.environment import environment, write_json, write_text
from benchmarks.mnist import CALIBRATION, CLASSES, Data, read_mnist
from gvm.graph import Builder, Graph

UNITS = (784, 256, 256, CLASSES)
DEVIATION = 0.01
OPTIMIZER = gvm.SGD(0.05, momentum=0.9)
BATCH, SEED = 100, 0
FORMATS = ("calibrated", "<4,12>", "<6,10>", "<8,8>")
HEADER = ["gradients", "rounding", "formats", "test error by epoch, %", "clamped"]


def network(units: tuple[int, ...] = UNITS) -> Graph:
    """Dense layers with relu between them; logits."""
    draw = np.random.default_rng(SEED)
    g = Builder()
    x = g.input("x", (-1, units[0]))
    for i, (before, after) in enumerate(zip(units, units[1:], strict=False)):
        w = g.parameter(f"{i}/w", draw.normal(0, DEVIATION, (before, after)))
        b = g.parameter(f"{i}/b", np.zeros(after))
        x = g.bias_add(g.matmul(g.relu(x) if i else x, w), b, name=f"layer {i}")
    return g.graph(predict=(x,))


def train(data: Data, formats: str, rounding: str, scaling: str | None, epochs: int) -> Any:
    """One run in w32."""
    x, y, test_x, test_y = data
    model = gvm.Model.from_graph(
        network((x.shape[1], *UNITS[1:])),
        x[:CALIBRATION],
        "softmax_cross_entropy",
        y[:CALIBRATION],
        None if formats == "calibrated" else f"gradients={formats}",
        progress=False,
    )
    history = model.train(
        x,
        y,
        optimizer=OPTIMIZER,
        epochs=epochs,
        batch_size=BATCH,
        seed=SEED,
        rounding=rounding,
        scaling=scaling,
        validation=(test_x, test_y),
        threads=1,
        progress=False,
    )
    tests = [e.validation for e in history.epochs if e.validation is not None]
    return {
        "gradients": formats,
        "rounding": rounding,
        "scaling": scaling,
        "errors": [round(100 - 100 * t.accuracy, 2) for t in tests],
        "losses": [float(t) for t in tests],
        "clamped": sum(n for name, n in history.clamped.items() if name.startswith("grad")),
        "parameters_id": history.parameters_id,
    }


def compare(data: Data, epochs: int) -> list[dict[str, Any]]:
    """All runs: calibrated and stochastic first."""
    runs: list[tuple[str, str, str | None]] = [("calibrated", "stochastic", None)]
    runs += [(f, "nearest", s) for f in FORMATS for s in (None, "delayed")]
    return [train(data, *run, epochs) for run in runs]


def markdown(runs: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table for the documentation."""
    lines = [HEADER, ["---"] * len(HEADER)]
    for run in runs:
        errors = ", ".join(f"{e:.2f}" for e in run["errors"])
        follows = "follow their magnitude" if run["scaling"] else "stay"
        lines.append([run["gradients"], run["rounding"], follows, errors, str(run["clamped"])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMNIST, 784-256-256-10, w32, one seed; {about['machine']['processor']}, "
        f"{about['compiler']}, commit {about['commit']}, {about['date']}.\n"
    )


def main(
    data: Annotated[Path, typer.Option(help="Folder of the idx files of MNIST.")],
    epochs: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Trains, and writes results."""
    x, y, test_x, test_y = read_mnist(data)
    flat = (x.reshape(len(x), -1), y, test_x.reshape(len(test_x), -1), test_y)
    runs = compare(flat, epochs)
    about = environment()
    write_json("scaling", {**about, "epochs": epochs, "runs": runs})
    text = markdown(runs, about)
    write_text("scaling.md", text)
    Console().print(text)


if __name__ == "__main__":
    typer.run(main)
