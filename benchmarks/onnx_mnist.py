"""The ONNX MNIST classifier (operator set 1) in fixed point beside its real values.

    python -m benchmarks.onnx_mnist --model model.onnx --data DIR

``DIR`` holds the idx files of MNIST, compressed (.gz) or not; pixels are read as 0 to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import gvm
from benchmarks.environment import environment, write_json
from benchmarks.mnist import CALIBRATION, read_idx
from gvm.graph import evaluate_real
from gvm.importers.onnx import load_onnx

STATED = 98.9
"""Percent of the test images that the model is known to classify rightly."""
GOALS = {"top1": 0.1, "agreement": 99.5, "relative_error": 1e-3}
BATCH = 1000


def compare(model: Path, data: Path) -> dict[str, Any]:
    """Top-1 in percent, fixed and real, their agreement, and the relative error of the logits."""

    def images(part: str) -> Any:
        return read_idx(data, f"{part}-images-idx3-ubyte")[:, None].astype(np.float32) / 255

    x, labels = images("t10k"), read_idx(data, "t10k-labels-idx1-ubyte")
    fixed = gvm.from_onnx(model, images("train")[:CALIBRATION]).run(x)
    graph = load_onnx(model)
    (output,) = graph.outputs["predict"]
    batches = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
    real = np.concatenate([evaluate_real(graph, [part])[output] for part in batches])
    found, expected = fixed.argmax(1), real.argmax(1)
    return {
        "images": len(x),
        "top1": round(100 * float(np.mean(found == labels)), 2),
        "top1_real": round(100 * float(np.mean(expected == labels)), 2),
        "agreement": round(100 * float(np.mean(found == expected)), 2),
        "relative_error": float(np.linalg.norm(fixed - real) / np.linalg.norm(real)),
    }


def main(
    model: Annotated[Path, typer.Option(help="The .onnx file.")],
    data: Annotated[Path, typer.Option(help="Folder of the idx files.")],
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Compares the imported model with its real values; status 1 when a goal is missed."""
    result = compare(model, data)
    table = Table("", "found", "goal")
    table.add_row("top-1", f"{result['top1']} %", f"{STATED} +- {GOALS['top1']}")
    table.add_row("top-1, real values", f"{result['top1_real']} %", "")
    table.add_row("agreement", f"{result['agreement']} %", f">= {GOALS['agreement']}")
    table.add_row(
        "relative error of logits",
        f"{result['relative_error']:.1e}",
        f"<= {GOALS['relative_error']:.0e}",
    )
    Console().print(table)
    if save:
        write_json("onnx_mnist", {"environment": environment("onnx"), "result": result})
    met = (
        abs(result["top1"] - STATED) <= GOALS["top1"] + 1e-9
        and result["agreement"] >= GOALS["agreement"]
        and result["relative_error"] <= GOALS["relative_error"]
    )
    raise typer.Exit(0 if met else 1)


if __name__ == "__main__":
    typer.run(main)
