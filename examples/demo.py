"""The promise in one table: a Keras model, trained in 16-bit fixed point, is the same integers
whoever computes it.

Builds a small Keras CNN, imports it, trains it in both profiles and repeats training and evaluation
on every CPU path, with other
thread counts, batch splits and worker counts, after a reload and from a C program that links the
library without Python.

    make demo                       # scikit-learn's digits
    make demo DATA=path/to/mnist    # MNIST, from its idx files
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
from rich.console import Console
from rich.table import Table

import gvm
import gvm.program

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "demo"
SEED, BATCH = 1, 50
OPTIMIZER = gvm.SGD(0.05, momentum=0.9)
# A table needs its columns whole where nobody's terminal says how wide it is.
console = Console() if sys.stdout.isatty() else Console(width=120)


@dataclass(frozen=True)
class Data:
    """Images in [0, 1], channels last, and their classes."""

    name: str
    train: tuple[Any, Any]
    test: tuple[Any, Any]


@dataclass(frozen=True)
class Row:
    """One way to compute what must be one result."""

    label: str
    parameters_id: str
    loss: gvm.Loss


def read_idx(path: Path) -> Any:
    """An idx file of unsigned bytes, compressed or not."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.exists():
            raw = candidate.read_bytes()
            data = gzip.decompress(raw) if candidate.suffix == ".gz" else raw
            rank = data[3]
            shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
            return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    sys.exit(f"{path}: no such file, nor with .gz")


def load_data(folder: str | None) -> Data:
    """MNIST from a folder of idx files, or scikit-learn's digits."""
    if folder:
        parts = []
        for part in ("train", "t10k"):
            x = read_idx(Path(folder) / f"{part}-images-idx3-ubyte")[..., None] / 255.0
            parts.append(
                (
                    x.astype("float32"),
                    read_idx(Path(folder) / f"{part}-labels-idx1-ubyte").astype("int64"),
                )
            )
        return Data("MNIST", parts[0], parts[1])
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images / 16.0)[..., None].astype("float32"), digits.target
    return Data("digits (scikit-learn)", (x[:1437], y[:1437]), (x[1437:], y[1437:]))


def build_keras(shape: tuple[int, ...]) -> Any:
    """A small convolutional classifier."""
    import keras

    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def build_c_program() -> Path:
    """Builds the library alone and examples/embed_c against its installed package."""
    prefix, binary = BUILD / "prefix", BUILD / "embed_c"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL}
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    with console.status("building the C++ library without Python, and the C program"):
        subprocess.run(
            [
                "cmake",
                "-S",
                ROOT,
                "-B",
                BUILD / "library",
                *generator,
                "-DGVM_TESTS=OFF",
                f"-DCMAKE_INSTALL_PREFIX={prefix}",
                "-DCMAKE_INSTALL_LIBDIR=lib",
            ],
            **quiet,
        )
        subprocess.run(
            ["cmake", "--build", BUILD / "library", "--target", "install", "--parallel"], **quiet
        )
        subprocess.run(
            [
                "cmake",
                "-S",
                ROOT / "examples" / "embed_c",
                "-B",
                binary,
                *generator,
                f"-DCMAKE_PREFIX_PATH={prefix}",
            ],
            **quiet,
        )
        subprocess.run(["cmake", "--build", binary], **quiet)
    return binary / "embed_c"


def run_c_program(program: Path, model: gvm.Model, path: Path, x: Any, y: Any) -> Row:
    """What the C program says of a .dmodel and raw integers."""
    with tempfile.TemporaryDirectory() as folder:
        raw_x, raw_y = Path(folder) / "x.raw", Path(folder) / "y.raw"
        model.quantized_inputs(x)[0].tofile(raw_x)
        model.quantized_labels(y)[0].tofile(raw_y)
        printed = subprocess.run(
            [program, path, raw_x, raw_y], check=True, capture_output=True, text=True
        ).stdout
    said = dict(line.split() for line in printed.splitlines())
    return Row(
        "C program, no Python",
        said["parameters_id"],
        gvm.Loss(int(said["total"]), int(said["count"]), int(said["correct"])),
    )


def variants(cpu_paths: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, options of training, options of evaluation: each changes something that must not
    matter."""
    for path in cpu_paths:
        for threads in (1, 2):
            options = {"backend": path, "threads": threads}
            yield f"{path}, {threads} thread{'s' if threads > 1 else ''}", options, options
    for split in (1, 7, None):
        yield (
            f"batch split {split or 'whole'}",
            {"micro_batch": split},
            {"batch_size": split or gvm.program.MAX_BATCH},
        )
    for workers in (2, 3):
        yield f"{workers} workers", {"workers": workers}, {}
    yield (
        "3 workers, split 7, " + cpu_paths[0],
        {"workers": 3, "micro_batch": 7, "backend": cpu_paths[0]},
        {"backend": cpu_paths[0], "batch_size": 7},
    )


def repeat(model: gvm.Model, data: Data, profile: str, epochs: int, program: Path) -> list[Row]:
    """Trains and evaluates in every way there is."""
    rows = []
    trained = None
    for label, training, evaluation in variants(gvm.backends()[1:]):
        fresh = gvm.Model(model.program, model.parameters, info=model.info)
        with console.status(f"{profile}: {label}"):
            fresh.train(
                *data.train,
                optimizer=OPTIMIZER,
                epochs=epochs,
                batch_size=BATCH,
                seed=SEED,
                profile=profile,
                progress=False,
                **training,
            )
            rows.append(
                Row(
                    label,
                    fresh.parameters_id,
                    fresh.evaluate(*data.test, progress=False, **evaluation),
                )
            )
        trained = trained or fresh
    assert trained is not None
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"demo-{profile}.dmodel"
    trained.save(path)
    reloaded = gvm.load(path)
    rows.append(
        Row(
            "saved and loaded",
            reloaded.parameters_id,
            reloaded.evaluate(*data.test, progress=False),
        )
    )
    rows.append(run_c_program(program, reloaded, path, *data.test))
    return rows


def save(path: Path, table: Table) -> None:
    """Writes the table as text, with where it was computed."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.environment import environment

    recorder = Console(record=True, width=120, file=io.StringIO())
    recorder.print(table)
    about = json.dumps(environment("tensorflow-cpu", "keras"), indent=1)
    path.write_text(f"{recorder.export_text()}\n{about}\n")


def main() -> int:
    """Prints the table; 1 when a result differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", help="folder with the MNIST idx files; default: scikit-learn's digits"
    )
    parser.add_argument(
        "--epochs", type=int, default=None, help="epochs of training; default 6, for MNIST 1"
    )
    parser.add_argument("--save", type=Path, help="also write the table, with machine and commit")
    arguments = parser.parse_args()
    began = time.perf_counter()
    data = load_data(arguments.data)
    epochs = arguments.epochs or (1 if arguments.data else 6)
    program = build_c_program()
    keras_model = build_keras(data.train[0].shape[1:])
    model = gvm.from_tensorflow(
        keras_model,
        data.train[0][:256],
        loss="softmax_cross_entropy",
        labels=data.train[1][:256],
        progress=False,
    )

    import keras

    keras_model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    with console.status("Keras, float32"):
        keras_model.fit(*data.train, epochs=epochs, batch_size=BATCH, verbose=0)
        float_loss, float_accuracy = keras_model.evaluate(*data.test, verbose=0)

    counts = f"{len(data.train[0])} images, {epochs} epochs, loss on {len(data.test[0])} others"
    table = Table(title=f"{data.name}: {counts}")
    for column in ("profile", "computed by", "loss integer", "loss", "accuracy", "parameters id"):
        table.add_column(column)
    table.add_row(
        "float32", "Keras", "", f"{float_loss:.4f}", f"{float_accuracy:.2%}", "", end_section=True
    )
    equal = True
    for profile in ("w32", "w16"):
        rows = repeat(model, data, profile, epochs, program)
        equal = equal and len({(r.parameters_id, r.loss) for r in rows}) == 1
        for i, row in enumerate(rows):
            loss = row.loss
            table.add_row(
                profile,
                row.label,
                str(loss.total),
                f"{float(loss):.4f}",
                f"{loss.accuracy:.2%}",
                row.parameters_id[:16],
                end_section=i == len(rows) - 1,
            )
    console.print(table)
    verdict = "[green]all equal, to the last bit[/]" if equal else "[red]DIFFERENT RESULTS[/]"
    console.print(f"{verdict}   ({time.perf_counter() - began:.0f} s)")
    if arguments.save:
        save(arguments.save, table)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
