"""One trial of :mod:`gvm.searching`, here or in a process of its own: ``python -m gvm.trial``.

That process reads a folder's path, the optimizer and the run as one line of JSON, and writes what
the trial gave as another: ``{"loss": [total, count, correct], "train_id", "parameters_id"}`` or
``{"error": message}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm import optimizers, schedules
from gvm.errors import GvmError, HostError
from gvm.loss import Loss

if TYPE_CHECKING:
    from gvm.model import Model

MODEL, LABELS, TEST_LABELS = "model.dmodel", "labels.npy", "answers.npy"


@dataclass(frozen=True)
class Run:
    """How trials train."""

    epochs: int
    batch_size: int
    seed: int
    profile: str | None
    rounding: str | None
    threads: int | None


def run_trial(
    model: Model, x: Any, labels: Any, validation: Any, optimizer: optimizers.Optimizer, run: Run
) -> dict[str, Any]:
    """Trains a copy of the model; what it gave."""
    copy = type(model)(model.program, model.parameters, info=model.info)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a trial may diverge: its loss says so
        history = copy.train(x, labels, optimizer=optimizer, progress=False, **asdict(run))
    loss: Loss = copy.evaluate(*validation, threads=run.threads, progress=False)
    return {
        "loss": list(loss.integers),
        "train_id": history.train_id,
        "parameters_id": history.parameters_id,
    }


def save_arrays(folder: Path, name: str, arrays: Sequence[Any]) -> None:
    """Writes the inputs of trials in other processes."""
    for i, array in enumerate(arrays):
        np.save(folder / f"{name}-{i}.npy", np.asarray(array), allow_pickle=False)


def apart(folder: Path, optimizer: optimizers.Optimizer, run: Run) -> dict[str, Any]:
    """A trial in a process of its own, on the data of a folder."""
    request = {
        "folder": str(folder), "optimizer": encoded(optimizer), "run": asdict(run)
    }  # fmt: skip
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gvm.trial"],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise HostError(f"a process of the search ended with status {done.returncode}")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def encoded(value: Any) -> Any:
    """An optimizer or a schedule as plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        own = {f.name: encoded(getattr(value, f.name)) for f in fields(value)}
        return {"kind": type(value).__name__, **own}
    return list(value) if isinstance(value, tuple) else value


def decoded(body: Any) -> Any:
    """The inverse of ``encoded``."""
    if not isinstance(body, dict):
        return body
    home = optimizers if hasattr(optimizers, body["kind"]) else schedules
    return getattr(home, body["kind"])(**{k: decoded(v) for k, v in body.items() if k != "kind"})


def main() -> None:
    """Serves one trial."""
    request = json.loads(sys.stdin.buffer.read())
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Whatever a library prints must not end up in the answer.
    from gvm.model import Model

    folder = Path(request["folder"])

    def arrays(name: str) -> Any:
        paths = sorted(folder.glob(f"{name}-*.npy"), key=lambda p: int(p.stem.rpartition("-")[2]))
        read = [np.load(p, mmap_mode="r") for p in paths]
        return read if len(read) > 1 else read[0]

    try:
        validation = arrays("test"), np.load(folder / TEST_LABELS)
        made = run_trial(
            Model.load(folder / MODEL), arrays("input"), np.load(folder / LABELS), validation,
            decoded(request["optimizer"]), Run(**request["run"]),
        )  # fmt: skip
    except (GvmError, ValueError) as error:
        made = {"error": str(error)}
    answers.write(json.dumps(made).encode())


if __name__ == "__main__":
    main()
