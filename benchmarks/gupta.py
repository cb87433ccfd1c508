"""The networks of Gupta et al., Deep Learning with Limited Numerical Precision (ICML 2015), on
MNIST: 16 bits for every tensor, rounded stochastically or to nearest, beside Keras in float32.

    python -m benchmarks.gupta --data DIR [--epochs 16,12] [--only PATTERN] [--resume]

``DIR`` holds the four idx files. Runs lie in ``build/gupta`` as checkpoints: with ``--resume`` each
goes on from its last epoch. Results go to ``benchmarks/results`` as JSON, Markdown and curves.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import gvm
from benchmarks.environment import RESULTS, ROOT, environment, write_json, write_text
from benchmarks.mnist import CLASSES, SIZE, Data, read_mnist
from gvm.files import replacing, write_bytes
from gvm.random import permutation

BATCH = 100
STEPS = 600
"""Of an epoch."""
SEED = 0
DEVIATION = 0.01
"""Of the first weights of the dense network."""
RATES = {"dense": (1.0, 0.85), "cnn": (0.1, 0.95)}
"""The first learning rate, and what becomes of it after every epoch. That of the dense network is
chosen here: the paper states none."""
MOMENTUM, DECAY = 0.9, 5e-4
"""Of the CNN."""
APART = 0.2
"""Points by which the distance from the float control may differ from the published one."""


@dataclass(frozen=True)
class Run:
    """One line of the table."""

    network: str
    formats: str | None
    """None: float32, in Keras."""
    rounding: str
    published: float | None
    """Test error in percent; None: it does not converge."""

    @property
    def name(self) -> str:
        """A name for files and for --only."""
        if self.formats is None:
            return f"{self.network}-float"
        bits = self.formats.split("=")[1] if "=" in self.formats else self.formats
        return f"{self.network}-{bits.split('>')[0].strip('<').replace(',', '.')}-{self.rounding}"


def _of_cnn(bits: int) -> str:
    """Weights and gradients with so many fraction bits, layer outputs <6,10>."""
    narrow = f"<{16 - bits},{bits}>"
    return f"weights={narrow} activations=<6,10> gradients={narrow}"


RUNS = (
    Run("dense", None, "", 1.4),
    Run("dense", "<8,8>", "stochastic", 1.5),
    Run("dense", "<8,8>", "nearest", 3.0),
    Run("dense", "<6,10>", "stochastic", 1.43),
    Run("dense", "<6,10>", "nearest", 1.73),
    Run("dense", "<2,14>", "stochastic", 1.42),
    Run("dense", "<2,14>", "nearest", 1.45),
    Run("cnn", None, "", 0.77),
    Run("cnn", _of_cnn(14), "stochastic", 0.83),
    Run("cnn", _of_cnn(12), "stochastic", 0.90),
    Run("cnn", _of_cnn(14), "nearest", None),
    Run("cnn", _of_cnn(12), "nearest", None),
)


def build(network: str) -> Any:
    """The Keras model of logits."""
    import keras

    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    if network == "dense":
        normal = keras.initializers.RandomNormal(0.0, DEVIATION)
        body = [
            layers.Flatten(),
            layers.Dense(1000, activation="relu", kernel_initializer=normal),
            layers.Dense(1000, activation="relu", kernel_initializer=normal),
            layers.Dense(CLASSES, kernel_initializer=normal),
        ]
    else:
        decay = keras.regularizers.L2(DECAY / 2)
        decayed: dict[str, Any] = {"kernel_regularizer": decay, "bias_regularizer": decay}
        body = [
            layers.Conv2D(8, 5, activation="relu", **decayed),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu", **decayed),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu", **decayed),
            layers.Dense(CLASSES, **decayed),
        ]
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), *body])


def optimizer(network: str) -> gvm.SGD:
    """What trains a network in fixed point."""
    first, fall = RATES[network]
    rate = gvm.schedules.Exponential(first, STEPS, fall, staircase=True)
    return (
        gvm.SGD(rate)
        if network == "dense"
        else gvm.SGD(rate, momentum=MOMENTUM, weight_decay=DECAY)
    )


def train_float(run: Run, data: Data, epochs: int) -> dict[str, Any]:
    """The control: the same first weights, batches and rates in float32."""
    import keras

    model = build(run.network)
    first, fall = RATES[run.network]
    rate = keras.optimizers.schedules.ExponentialDecay(first, STEPS, fall, True)
    momentum = 0.0 if run.network == "dense" else MOMENTUM
    chosen = keras.optimizers.SGD(rate, momentum=momentum)
    model.compile(chosen, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    errors: list[float] = []
    began = time.process_time()
    for epoch in range(epochs):
        order = permutation(SEED, epoch, len(data[0]))
        model.fit(data[0][order], data[1][order], BATCH, 1, verbose=0, shuffle=False)
        found = model.predict(data[2], batch_size=500, verbose=0).argmax(axis=1)
        errors.append(round(100 * float(np.mean(found != data[3])), 2))
    return {"errors": errors, "processor_seconds": round(time.process_time() - began)}


def train_fixed(
    run: Run, data: Data, epochs: int, checkpoint: Path, resume: bool
) -> dict[str, Any]:
    """A run in fixed point; its test errors come from the exact counts of its history."""
    if resume and checkpoint.exists():
        model = gvm.load(checkpoint)
    else:
        model = gvm.from_tensorflow(
            build(run.network), formats=run.formats, loss="softmax_cross_entropy"
        )
    began = time.process_time()
    history = model.train(
        data[0],
        data[1],
        optimizer=optimizer(run.network),
        epochs=epochs,
        batch_size=BATCH,
        seed=SEED,
        profile="w16",
        rounding=run.rounding,
        validation=(data[2], data[3]),
        checkpoint=checkpoint,
        resume=model.training is not None,
        threads=1,
    )
    tests = [e.validation for e in history.epochs if e.validation is not None]
    return {
        "errors": [round(100 - 100 * t.accuracy, 2) for t in tests],
        "losses": [float(t) for t in tests],
        "loss_total": tests[-1].total,
        "train_losses": [e.loss for e in history.epochs],
        "clamped": history.clamped,
        "train_id": history.train_id,
        "parameters_id": history.parameters_id,
        "processor_seconds": round(time.process_time() - began),
    }


HEADER = ["network", "format", "rounding", "published", "float here", "here", "points apart"]


def rows(results: dict[str, Any]) -> list[list[str]]:
    """Lines of the table. Apart: the distance from the float control, less the published one."""
    made = []
    for run in RUNS:
        if run.name not in results:
            continue
        error = results[run.name]["errors"][-1]
        control = results.get(f"{run.network}-float", {"errors": [float("nan")]})["errors"]
        epochs = len(results[run.name]["errors"])
        beside = control[min(epochs, len(control)) - 1]
        published = next(r.published for r in RUNS if r.network == run.network) or 0.0
        apart = ""
        if run.formats is not None and run.published is not None:
            apart = f"{error - beside - (run.published - published):+.2f}"
        made.append(
            [
                run.network,
                run.formats or "float32",
                run.rounding,
                "does not converge" if run.published is None else f"{run.published:.2f} %",
                f"{beside:.2f} %",
                f"{error:.2f} %",
                apart,
            ]
        )
    return made


def markdown(results: dict[str, Any], about: dict[str, Any]) -> str:
    """The table for the documentation."""
    lines = [HEADER, ["---"] * len(HEADER), *rows(results)]
    epochs = sorted({len(r["errors"]) for r in results.values()})
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nTest error after {' or '.join(map(str, epochs))} epochs of batches of {BATCH}, one "
        'seed, the same first weights and batches for all of a network; profile w16. "Points '
        'apart": the distance from the float control here less that in the paper. '
        f"{about['machine']['processor']}, {about['compiler']}, commit {about['commit']}, "
        f"{about['date']}.\n"
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Test error by epoch, a panel for each network: a colour for each format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, network in zip(figure.subplots(1, 2), ("dense", "cnn"), strict=True):
        of = [run for run in RUNS if run.network == network and run.name in results]
        formats = list(dict.fromkeys(run.formats for run in of if run.formats))
        for run in of:
            errors = results[run.name]["errors"]
            axes.plot(
                range(1, len(errors) + 1),
                errors,
                "--" if run.rounding == "nearest" else "-",
                color=f"C{formats.index(run.formats)}" if run.formats else "black",
                label=run.name.removeprefix(f"{network}-"),
            )
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel("test error, %")
        axes.set_title(network)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=130)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the idx files.")],
    epochs: Annotated[str, typer.Option(help="Of the dense network, and of the CNN.")] = "16,12",
    only: Annotated[str, typer.Option(help="Names of runs, as a pattern.")] = "*",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where runs stand.")] = False,
    folder: Annotated[Path, typer.Option(help="Checkpoints and results so far.")] = ROOT
    / "build/gupta",
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Trains the networks; status 1 when one is further from float than published."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    about = environment("tensorflow-cpu", "keras")
    asked = dict(zip(("dense", "cnn"), map(int, epochs.split(",")), strict=True))
    arrays = read_mnist(data)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for run in RUNS:
        count = asked[run.network]
        kept = folder / f"{run.name}.json"
        known = json.loads(kept.read_bytes()) if resume and kept.exists() else None
        if known is not None and len(known["errors"]) >= count:
            results[run.name] = known
        elif fnmatchcase(run.name, only):
            if run.formats is None:
                made = train_float(run, arrays, count)
            else:
                made = train_fixed(run, arrays, count, folder / f"{run.name}.dmodel", resume)
            results[run.name] = {**made, "commit": about["commit"]}
            write_bytes(kept, json.dumps(results[run.name]).encode())
            Console().print(run.name, made["errors"])
        elif known is not None:
            results[run.name] = known
    if save:
        write_json("gupta", {"environment": about, "results": results})
        write_text("gupta.md", markdown(results, about))
        plot(results, RESULTS / "gupta.png")
    Console().print(markdown(results, about))
    within = [not row[-1] or abs(float(row[-1])) <= APART for row in rows(results)]
    raise typer.Exit(0 if all(within) else 1)


if __name__ == "__main__":
    typer.run(main)
