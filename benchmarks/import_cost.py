"""What importing ResNet50 with 64 calibration images takes: seconds of the processor and memory.

    python -m benchmarks.import_cost --shared ../shared

A process of its own imports the .keras file, so that its memory is that of the import, TensorFlow
and all. Seconds of the processor count every thread and do not depend on what else runs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.environment import ROOT, environment, write_json
from benchmarks.zoo import adapt_batch_normalisation, application, mosaics, quiet_tensorflow

NAME, IMAGES = "ResNet50", 64
GOALS = {"processor_seconds": 60.0, "peak_mib": 4096.0}
"""Upper limits; on two processors at most as many seconds pass as both together compute."""


def measure(folder: Path) -> dict[str, Any]:
    """Imports the model of ``folder`` in this process."""
    quiet_tensorflow()
    import gvm

    images = np.load(folder / "images.npy")
    begin = time.perf_counter()
    model = gvm.from_tensorflow(folder / "model.keras", images, progress=False)
    seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "model": NAME,
        "images": IMAGES,
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": used.ru_maxrss // 1024,
        "graph_id": model.graph_id,
    }


def main(
    shared: Annotated[Path, typer.Option(help="Folder of data and models.")] = ROOT / "../shared",
    at: Annotated[Path | None, typer.Option(help="Import the model of this folder here.")] = None,
) -> None:
    """Measures one import; status 1 when a goal is missed."""
    if at is not None:
        print(json.dumps(measure(at)))
        return
    import keras

    with tempfile.TemporaryDirectory() as folder:
        model = application(NAME)
        x = mosaics(shared, model.input_shape[1], IMAGES)
        x = keras.applications.resnet50.preprocess_input(x)
        adapt_batch_normalisation(model, x[:16])
        model.save(Path(folder) / "model.keras")
        np.save(Path(folder) / "images.npy", x)
        del model
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.import_cost", "--at", folder],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])
    result["met"] = all(result[name] <= goal for name, goal in GOALS.items())
    Console().print(result)
    about = environment("tensorflow-cpu", "keras")
    write_json("import_cost", {"environment": about, "goals": GOALS, "result": result})
    raise typer.Exit(0 if result["met"] else 1)


if __name__ == "__main__":
    typer.run(main)
