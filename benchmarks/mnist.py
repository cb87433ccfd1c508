"""MNIST: fixed point beside Keras in float32, from the same weights over the same batches.

    python -m benchmarks.mnist --data DIR [--epochs 3] [--model mlp|cnn|all] [--profiles w32,w16]

``DIR`` holds the four idx files, compressed (.gz) or not. Results go to ``benchmarks/results``.
"""

from __future__ import annotations

import gzip
import os
import statistics
import time
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
from gvm.random import permutation

SIZE = 28
CLASSES = 10
CALIBRATION = 512
MOMENTUM = 0.9
RATES = {"mlp": 0.05, "cnn": 0.02}
GOALS = {"w32": 0.3, "w16": 0.5}
"""Points of test error by which a profile may differ from float."""

Array = NDArray[Any]


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


def read_mnist(folder: Path) -> tuple[Array, Array, Array, Array]:
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


def train_keras(model: Any, data: tuple[Array, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Trains in float32 on the batches that gvm takes; test error per epoch, seconds per epoch."""
    import keras

    x, y, test_x, test_y = data
    model.compile(
        optimizer=keras.optimizers.SGD(options["rate"], momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    errors, seconds = [], []
    for epoch in range(options["epochs"]):
        order = permutation(options["seed"], epoch, len(x))
        began = time.perf_counter()
        model.fit(x[order], y[order], options["batch_size"], 1, verbose=0, shuffle=False)
        seconds.append(time.perf_counter() - began)
        found = model.predict(test_x, batch_size=500, verbose=0).argmax(axis=1)
        errors.append(round(100 * float(np.mean(found != test_y)), 4))
    return {"error": errors[-1], "errors": errors, "seconds_per_epoch": _median(seconds)}


def train_fixed(
    model: gvm.Model, profile: str, data: tuple[Array, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Trains in fixed point; test error per epoch, the exact test loss, ids, clamps, seconds."""
    x, y, test_x, test_y = data
    history = model.train(
        x,
        y,
        optimizer=gvm.SGD(options["rate"], momentum=MOMENTUM),
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        seed=options["seed"],
        profile=profile,
    )
    # Another run with validation would give the same weights: only the last epoch is needed here.
    loss = model.evaluate(test_x, test_y)
    return {
        "error": round(100 - 100 * loss.accuracy, 4),
        "loss_total": loss.total,
        "loss": float(loss),
        "seconds_per_epoch": _median([e.seconds for e in history.epochs]),
        "parameters_id": history.parameters_id,
        "clamped": history.clamped,
    }


def _median(seconds: list[float]) -> float:
    return round(statistics.median(seconds), 2)


def compare(
    network: str, profiles: list[str], data: tuple[Array, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """One network in float32 and in every profile."""
    x, y = data[0], data[1]
    source = build(network, options["seed"])
    models = {
        p: gvm.from_tensorflow(
            source, x[:CALIBRATION], loss="softmax_cross_entropy", labels=y[:CALIBRATION]
        )
        for p in profiles
    }
    options = {**options, "rate": options["rate"] or RATES[network]}
    results = {p: train_fixed(model, p, data, options) for p, model in models.items()}
    return {"options": options, "keras": train_keras(source, data, options), **results}


def rows(network: str, result: dict[str, Any]) -> list[list[str]]:
    """Lines of the table: network, arithmetic, test error, difference, goal, loss, seconds."""
    float_error = result["keras"]["error"]
    made = [
        [
            network,
            "Keras float32",
            f"{float_error:.2f} %",
            "",
            "",
            "",
            f"{result['keras']['seconds_per_epoch']}",
        ]
    ]
    for profile in (p for p in GOALS if p in result):
        r = result[profile]
        made.append(
            [
                network,
                f"gvm {profile}",
                f"{r['error']:.2f} %",
                f"{r['error'] - float_error:+.2f}",
                f"{GOALS[profile]}",
                str(r["loss_total"]),
                f"{r['seconds_per_epoch']}",
            ]
        )
    return made


HEADER = [
    "network",
    "arithmetic",
    "test error",
    "difference",
    "goal",
    "test loss, exact",
    "s/epoch",
]


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
        f"{MOMENTUM}, the same initial weights and batches. Difference and goal in points of test "
        f"error; the test loss is an integer with 24 fraction bits, the sum over all test images. "
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
        about = environment("tensorflow-cpu", "keras")
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
