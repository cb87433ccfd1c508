"""MNIST: fixed point beside Keras in float32, from the same weights over the same batches.

    python -m benchmarks.mnist --data DIR [--epochs 3] [--model mlp|cnn|all] [--profiles w32,w16]

``DIR`` holds the four idx files, compressed (.gz) or not. Results go to ``benchmarks/results``.
"""

from __future__ import annotations

import gzip
import os
import statistics
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import gvm
from benchmarks.environment import environment, write_json, write_text
from gvm.errors import GvmError
from gvm.progress import progress_bar
from gvm.random import permutation

SIZE = 28
CLASSES = 10
CALIBRATION = 512
MOMENTUM = 0.9
RATES = {"mlp": 0.05, "cnn": 0.02}
GOALS = {"w32": 0.3, "w16": 0.5}
"""Points of test error by which a profile may differ from float."""

Array = NDArray[Any]
Data = tuple[Array, Array, Array, Array]
"""Training images and labels, test images and labels."""


class Network(StrEnum):
    """Which network to train."""

    mlp = "mlp"
    cnn = "cnn"
    all = "all"


def read_idx(folder: Path, name: str) -> Array:
    """The array of an idx file of unsigned bytes, as ``name`` or ``name.gz``; raises GvmError."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not (plain.exists() or packed.exists()):
        raise GvmError(f"{plain}: no such file, nor {packed.name}")
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    rank = data[3] if len(data) >= 4 else 0
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
    start = 4 + 4 * rank
    if data[:3] != b"\0\0\x08" or len(data) != start + int(np.prod(shape, dtype=np.int64)):
        raise GvmError(f"{plain}: not an idx file of unsigned bytes")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def read_mnist(folder: Path) -> Data:
    """Training images in [0, 1], shape (n, 28, 28, 1), and labels; then those of the test set."""
    found: list[Array] = []
    for part in ("train", "t10k"):
        images = read_idx(folder, f"{part}-images-idx3-ubyte").astype(np.float32) / 255
        found += [images[..., None], read_idx(folder, f"{part}-labels-idx1-ubyte").astype(np.int32)]
    return found[0], found[1], found[2], found[3]


def build(network: str, seed: int) -> Any:
    """The Keras model of logits: Glorot uniform weights from a fixed seed, zero biases."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    body = {
        "mlp": lambda: [
            layers.Flatten(),
            layers.Dense(1000, activation="relu"),
            layers.Dense(1000, activation="relu"),
        ],
        "cnn": lambda: [
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(50, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(500, activation="relu"),
        ],
    }[network]()
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), *body, layers.Dense(CLASSES)])


class Float:
    """The network in float32, trained by Keras."""

    def __init__(self, network: str, options: dict[str, Any]) -> None:
        import keras

        self.options = options
        self.model = build(network, options["seed"])
        self.errors: list[float] = []
        self.seconds: list[float] = []
        self.model.compile(
            optimizer=keras.optimizers.SGD(options["rate"], momentum=MOMENTUM),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

    def epoch(self, number: int, data: Data) -> None:
        """One epoch on the batches that gvm takes, then the test."""
        order = permutation(self.options["seed"], number, len(data[0]))
        x, y = data[0][order], data[1][order]
        began = time.perf_counter()
        self.model.fit(x, y, self.options["batch_size"], 1, verbose=0, shuffle=False)
        self.seconds.append(time.perf_counter() - began)
        found = self.model.predict(data[2], batch_size=500, verbose=0).argmax(axis=1)
        self.errors.append(round(100 * float(np.mean(found != data[3])), 2))

    def result(self) -> dict[str, Any]:
        """Test error after each epoch in percent, and the median of seconds per epoch."""
        return {
            "error": self.errors[-1],
            "errors": self.errors,
            "seconds_per_epoch": round(statistics.median(self.seconds), 2),
        }


class Fixed:
    """The network in fixed point, in one profile, from the weights that Keras drew."""

    def __init__(self, source: Any, profile: str, data: Data, options: dict[str, Any]) -> None:
        self.profile, self.options = profile, options
        self.model = gvm.from_tensorflow(
            source,
            data[0][:CALIBRATION],
            loss="softmax_cross_entropy",
            labels=data[1][:CALIBRATION],
        )
        self.losses: list[gvm.Loss] = []
        self.seconds: list[float] = []
        self.clamped: Counter[str] = Counter()

    def epoch(self, number: int, data: Data) -> None:
        """One more epoch of the same run, then the test."""
        history = self.model.train(
            data[0],
            data[1],
            optimizer=gvm.SGD(self.options["rate"], momentum=MOMENTUM),
            epochs=number + 1,
            batch_size=self.options["batch_size"],
            seed=self.options["seed"],
            profile=self.profile,
            resume=number > 0,
        )
        self.seconds.append(history.epochs[-1].seconds)
        self.clamped.update(history.clamped)
        self.losses.append(self.model.evaluate(data[2], data[3]))

    def result(self) -> dict[str, Any]:
        """As that of ``Float``, with the exact test loss, ids and clamp counts."""
        errors = [round(100 - 100 * loss.accuracy, 2) for loss in self.losses]
        return {
            "error": errors[-1],
            "errors": errors,
            "loss_total": self.losses[-1].total,
            "loss": float(self.losses[-1]),
            "seconds_per_epoch": round(statistics.median(self.seconds), 2),
            "parameters_id": self.model.parameters_id,
            "train_id": self.model.train_id,
            "clamped": dict(self.clamped),
        }


def compare(
    network: str, profiles: list[str], data: Data, options: dict[str, Any], show: bool | None = None
) -> dict[str, Any]:
    """One network in float32 and in every profile, an epoch of each in turn."""
    options = {**options, "rate": options["rate"] or RATES[network]}
    float_run = Float(network, options)
    runs: dict[str, Float | Fixed] = {"keras": float_run}
    for profile in profiles:
        runs[profile] = Fixed(float_run.model, profile, data, options)
    with progress_bar(options["epochs"] * len(runs), network, show) as advance:
        for epoch in range(options["epochs"]):
            for name, run in runs.items():
                run.epoch(epoch, data)
                advance(name)
    return {"options": options, **{name: run.result() for name, run in runs.items()}}


def rows(network: str, result: dict[str, Any]) -> list[list[str]]:
    """Lines of the table under ``HEADER``."""
    error = result["keras"]["error"]
    made = [[network, "Keras float32", f"{error:.2f} %", "", "", ""]]
    for profile in (p for p in GOALS if p in result):
        r = result[profile]
        difference = f"{r['error'] - error:+.2f} ({GOALS[profile]})"
        made.append(
            [network, f"gvm {profile}", f"{r['error']:.2f} %", difference, str(r["loss_total"]), ""]
        )
    for line, name in zip(made, ("keras", *(p for p in GOALS if p in result)), strict=True):
        line[-1] = str(result[name]["seconds_per_epoch"])
    return made


HEADER = ["network", "arithmetic", "test error", "(goal)", "test loss", "s/epoch"]


def markdown(results: dict[str, Any], about: dict[str, Any]) -> str:
    """The table for the documentation."""
    lines = [HEADER, ["---"] * len(HEADER)]
    for network, result in results.items():
        lines += rows(network, result)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    first = next(iter(results.values()))["options"]
    machine = about["machine"]
    return (
        f"{table}\n\n{first['epochs']} epochs, batch {first['batch_size']}, SGD with momentum "
        f"{MOMENTUM}, the same initial weights and batches. In brackets the goal, both in points "
        f"of test error; the test loss is an integer with 24 fraction bits, the sum over all test "
        f"images. Epochs were timed in turns; the median. "
        f"{machine['processor']}, {machine['processors']} processors, {about['compiler']}, commit "
        f"{about['commit']}, {about['date']}.\n"
    )


def main(
    data: Annotated[Path, typer.Option(help="Folder of the idx files.")],
    epochs: int = 3,
    model: Annotated[Network, typer.Option()] = Network.all,
    profiles: Annotated[str, typer.Option(help="Comma-separated: w32, w16.")] = "w32,w16",
    batch_size: int = 100,
    rate: Annotated[float | None, typer.Option(help="Learning rate; else one per network.")] = None,
    seed: int = 0,
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Trains MNIST networks in float and fixed point; status 1 when a goal is missed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    about = environment("tensorflow-cpu", "keras")
    arrays = read_mnist(data)
    options = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "rate": rate}
    networks = [n.value for n in Network if n is not Network.all and model in (n, Network.all)]
    results = {n: compare(n, profiles.split(","), arrays, options) for n in networks}
    table = Table(*HEADER)
    for network, result in results.items():
        for row in rows(network, result):
            table.add_row(*row)
    Console().print(table)
    if save:
        write_json("mnist", {"environment": about, "results": results})
        write_text("mnist.md", markdown(results, about))
    met = [
        result[p]["error"] - result["keras"]["error"] <= goal
        for result in results.values()
        for p, goal in GOALS.items()
        if p in result
    ]
    raise typer.Exit(0 if all(met) else 1)


if __name__ == "__main__":
    typer.run(main)
