"""Training in profile w32 beside Keras in float32: the same first weights, batches, optimizer and
epochs, three seeds each.

    python -m benchmarks.parity --shared ../shared [--only mnist|characters] [--resume]

A CNN on MNIST (SGD with momentum) and a small causal transformer on the characters of tiny
Shakespeare (AdamW, warm-up, layer normalisation). Fixed point may be worse by the limit or by two
standard errors of the mean difference, whichever is larger. Results go to ``benchmarks/results``.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

import gvm
from benchmarks.environment import RESULTS, ROOT, environment, write_json, write_text
from benchmarks.mnist import MOMENTUM, RATES, build, read_mnist
from gvm.files import replacing, write_bytes
from gvm.random import permutation

SEEDS = (0, 1, 2)
CALIBRATION = 512
LENGTH, WIDTH, HEADS, BLOCKS = 32, 64, 4, 2
"""Characters that the transformer reads, and its size."""
WINDOWS, TESTS = 16000, 4000
"""Stretches of text, the next character of which is the label."""
RATE, WARM, WEIGHT_DECAY = 2e-3, 100, 0.01
"""Of AdamW: the highest rate, steps until it is reached, decay; a cosine follows."""

Array = NDArray[Any]
Data = tuple[Array, Array, Array, Array]
"""Training inputs and labels, test inputs and labels."""


@dataclass(frozen=True)
class Task:
    """What is trained, and what is compared."""

    name: str
    quantity: str
    """What counts, lower is better."""
    limit: float
    """By how much fixed point may be worse: points of test error, or a part of the float loss."""
    relative: bool
    epochs: int
    batch: int
    read: Callable[[Path], Data]
    build: Callable[[int], Any]
    """The Keras model of logits from a seed."""
    keras_optimizer: Callable[[int], Any]
    """Of so many steps in all."""
    optimizer: Callable[[int], gvm.Optimizer]


def read_text(shared: Path) -> Data:
    """Stretches of tiny Shakespeare as places in its alphabet, [n, LENGTH], and the character that
    follows each; tests are from the last tenth."""
    text = (shared / "data/text/tinyshakespeare.txt").read_bytes()
    alphabet = sorted(set(text))
    place = np.zeros(256, dtype=np.int32)
    place[alphabet] = np.arange(len(alphabet))
    letters = place[np.frombuffer(text, dtype=np.uint8)]
    cut = len(letters) * 9 // 10
    drawn = np.random.default_rng(0)
    made: list[Array] = []
    for first, last, count in ((0, cut, WINDOWS), (cut, len(letters), TESTS)):
        starts = drawn.integers(first, last - LENGTH, count)
        rows = letters[starts[:, None] + np.arange(LENGTH + 1)]
        made += [rows[:, :-1].copy(), rows[:, -1].astype(np.int64)]
    return made[0], made[1], made[2], made[3]


def build_transformer(seed: int) -> Any:
    """Blocks of causal attention and two dense layers, normalised before; logits of the character
    that follows."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)

    class Places(layers.Layer):  # type: ignore[misc]
        """x plus a row for each place."""

        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=shape[1:], initializer="normal", name="table")

        def call(self, x: Any) -> Any:
            return x + self.table

    letters = keras.Input((LENGTH,), dtype="int32")
    x = Places()(layers.Embedding(ALPHABET, WIDTH)(letters))
    for _ in range(BLOCKS):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y, use_causal_mask=True)
        y = layers.Dense(4 * WIDTH, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(WIDTH)(y)
    return keras.Model(letters, layers.Dense(ALPHABET)(layers.LayerNormalization()(x)[:, -1]))


ALPHABET = 65
"""Different characters of tiny Shakespeare."""


def _keras_sgd(steps: int) -> Any:
    import keras

    return keras.optimizers.SGD(RATES["cnn"], momentum=MOMENTUM)


def _keras_adamw(steps: int) -> Any:
    import keras

    wave = keras.optimizers.schedules.CosineDecay(
        0.0, steps - WARM, warmup_target=RATE, warmup_steps=WARM
    )
    return keras.optimizers.AdamW(wave, weight_decay=WEIGHT_DECAY)


def _adamw(steps: int) -> gvm.Optimizer:
    wave = gvm.schedules.Warmup(gvm.schedules.Cosine(RATE, steps - WARM), WARM)
    return gvm.AdamW(wave, weight_decay=WEIGHT_DECAY)


TASKS = (
    Task(
        "mnist",
        "test error, %",
        0.1,
        False,
        3,
        100,
        lambda shared: read_mnist(shared / "data/mnist"),
        lambda seed: build("cnn", seed),
        _keras_sgd,
        lambda steps: gvm.SGD(RATES["cnn"], momentum=MOMENTUM),
    ),
    Task(
        "characters",
        "test loss",
        0.01,
        True,
        4,
        64,
        read_text,
        build_transformer,
        _keras_adamw,
        _adamw,
    ),
)


def compare(task: Task, seed: int, data: Data) -> dict[str, Any]:
    """One seed of a task in float32 and in w32: the quantity after every epoch, processor time of
    the training steps, and ids."""
    import keras

    x, y, test_x, test_y = data
    steps = task.epochs * -(-len(x) // task.batch)
    model = task.build(seed)
    fixed = gvm.from_tensorflow(
        model, x[:CALIBRATION], loss="softmax_cross_entropy", labels=y[:CALIBRATION]
    )
    model.compile(
        task.keras_optimizer(steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    floats: list[float] = []
    float_seconds = 0.0
    for epoch in range(task.epochs):
        order = permutation(seed, epoch, len(x))
        began = time.process_time()
        model.fit(x[order], y[order], task.batch, 1, verbose=0, shuffle=False)
        float_seconds += time.process_time() - began
        loss, accuracy = model.evaluate(test_x, test_y, batch_size=500, verbose=0)
        floats.append(float(loss) if task.relative else 100 - 100 * float(accuracy))
    began = time.process_time()
    history = fixed.train(
        x,
        y,
        optimizer=task.optimizer(steps),
        epochs=task.epochs,
        batch_size=task.batch,
        seed=seed,
        validation=(test_x, test_y),
        threads=1,
    )
    seconds = time.process_time() - began
    tests = [e.validation for e in history.epochs if e.validation is not None]
    return {
        "float": [round(v, 5) for v in floats],
        "w32": [round(float(t) if task.relative else 100 - 100 * t.accuracy, 5) for t in tests],
        "loss_total": tests[-1].total,
        "clamped": history.clamped,
        "train_id": history.train_id,
        "parameters_id": history.parameters_id,
        "processor_seconds": {"float": round(float_seconds), "w32": round(seconds)},
    }


def verdict(task: Task, seeds: dict[str, Any]) -> dict[str, Any]:
    """The mean difference of the last epochs over the seeds beside what it may be, and which of the
    two limits that is."""
    last = [(run["w32"][-1], run["float"][-1]) for run in seeds.values()]
    apart = [(a - b) / b if task.relative else a - b for a, b in last]
    error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    allowed = max(task.limit, 2 * error)
    mean = statistics.fmean(apart)
    return {
        "float": statistics.fmean(b for _, b in last),
        "w32": statistics.fmean(a for a, _ in last),
        "worse": mean,
        "standard_error": error,
        "allowed": allowed,
        "by": "limit" if allowed == task.limit else "two standard errors",
        "met": mean <= allowed,
    }


HEADER = ["task", "compared", "Keras float32", "gvm w32", "worse by", "may be", "met"]


def markdown(results: dict[str, Any], about: dict[str, Any]) -> str:
    """The table for the documentation."""
    lines = [HEADER, ["---"] * len(HEADER)]
    for task in TASKS:
        if task.name not in results:
            continue
        v = results[task.name]["verdict"]
        unit = " %" if task.relative else " points"
        scale = 100 if task.relative else 1
        lines.append(
            [
                task.name,
                task.quantity,
                f"{v['float']:.4f}" if task.relative else f"{v['float']:.3f}",
                f"{v['w32']:.4f}" if task.relative else f"{v['w32']:.3f}",
                f"{scale * v['worse']:+.3f} ± {scale * v['standard_error']:.3f}{unit}",
                f"{scale * v['allowed']:.2f}{unit} ({v['by']})",
                "yes" if v["met"] else "no",
            ]
        )
    counts = sorted({len(r["seeds"]) for r in results.values()})
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMeans over {' or '.join(map(str, counts))} seeds, ± the standard error of the mean "
        f"difference. {about['machine']['processor']}, {about['compiler']}, commit "
        f"{about['commit']}, {about['date']}.\n"
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """The quantity of each task by epoch, float dashed, a colour for each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    shown = [task for task in TASKS if task.name in results]
    for axes, task in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for i, (seed, run) in enumerate(results[task.name]["seeds"].items()):
            for kind, style in (("float", "--"), ("w32", "-")):
                values = run[kind]
                axes.plot(
                    range(1, len(values) + 1), values, style, color=f"C{i}", label=f"{kind} {seed}"
                )
        axes.set_title(task.name)
        axes.set_xlabel("epoch")
        axes.set_ylabel(task.quantity)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=130)


def main(
    shared: Annotated[Path, typer.Option(help="Folder with data/mnist and data/text.")],
    only: Annotated[str | None, typer.Option(help="One task.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep seeds that are done.")] = False,
    folder: Annotated[Path, typer.Option(help="Results so far.")] = ROOT / "build/parity",
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Trains both; status 1 when fixed point is worse than it may be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    about = environment("tensorflow-cpu", "keras")
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for task in TASKS:
        data: Data | None = None
        seeds: dict[str, Any] = {}
        for seed in SEEDS:
            kept = folder / f"{task.name}-{seed}.json"
            if resume and kept.exists():
                seeds[str(seed)] = json.loads(kept.read_bytes())
            elif only in (None, task.name):
                data = data or task.read(shared)
                seeds[str(seed)] = {**compare(task, seed, data), "commit": about["commit"]}
                write_bytes(kept, json.dumps(seeds[str(seed)]).encode())
                Console().print(task.name, seed, seeds[str(seed)])
        if seeds:
            results[task.name] = {"seeds": seeds, "verdict": verdict(task, seeds)}
    if save:
        write_json("parity", {"environment": about, "results": results})
        write_text("parity.md", markdown(results, about))
        plot(results, RESULTS / "parity.png")
    Console().print(markdown(results, about))
    raise typer.Exit(0 if all(r["verdict"]["met"] for r in results.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
