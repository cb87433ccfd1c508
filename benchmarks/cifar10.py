"""A ResNet-8 with batch normalisation on CIFAR-10, in profile w32 beside Keras in float32: the same
first weights, batches, optimizer and epochs.

    python -m benchmarks.cifar10 --shared ../shared [--epochs 12] [--examples 50000] [--resume]

SGD with momentum, its rate falling along a cosine; images are standardised and not augmented. Fixed
point may be worse by 0.3 points of test error or by two standard errors of the mean difference,
whichever is larger. What has run is kept in ``--folder``; results go to ``benchmarks/results``.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from rich.console import Console

import gvm
from benchmarks.environment import RESULTS, ROOT, environment, write_json
from benchmarks.zoo import cifar10
from gvm.files import replacing, write_bytes
from gvm.model import Model
from gvm.random import permutation
from gvm.templates import resnet

BATCH, RATE, MOMENTUM = 128, 0.1, 0.9
CALIBRATION = 512
KINDS = ("float", "w32")
LIMIT = 0.3
"""Points of test error by which w32 may be worse."""
WIDTH = 16

Array = NDArray[Any]
Data = tuple[Array, Array, Array, Array]


def read(shared: Path, examples: int) -> Data:
    """Images of mean 0 and deviation 1 in each channel of those trained on, and classes; all 10 000
    of the test set."""
    images, labels = cifar10(shared, "train", examples)
    tests, test_labels = cifar10(shared, "test", 10000)
    mean, deviation = images.mean((0, 1, 2)), images.std((0, 1, 2))
    return (images - mean) / deviation, labels, (tests - mean) / deviation, test_labels


def fixed_model(seed: int, data: Data) -> Model:
    """The template, its formats from the first training images."""
    x, y, _, _ = data
    return resnet(
        8,
        (32, 32, 3),
        10,
        width=WIDTH,
        batch_norm=True,
        seed=seed,
        calibration=x[:CALIBRATION],
        labels=y[:CALIBRATION],
        progress=False,
    )


def float_model(fixed: Model) -> Any:
    """The same network in Keras with the weights of ``fixed``."""
    import keras
    from keras import layers

    def convolution(x: Any, filters: int, kernel: int, name: str, stride: int = 1) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        path = name.replace("/", "_")
        x = layers.Conv2D(filters, kernel, stride, use_bias=False, name=f"{path}_conv")(x)
        return layers.BatchNormalization(name=f"{path}_norm")(x)

    inputs = x = keras.Input((32, 32, 3))
    x = layers.ReLU()(convolution(x, WIDTH, 3, "stem"))
    names = ["stem"]
    for stage in range(3):
        filters, stride = WIDTH << stage, 1 if stage == 0 else 2
        block = f"stage_{stage + 1}/block_1"
        y = layers.ReLU()(convolution(x, filters, 3, f"{block}/conv", stride))
        y = convolution(y, filters, 3, f"{block}/last")
        names += [f"{block}/conv", f"{block}/last"]
        if stride > 1:
            x = convolution(x, filters, 1, f"{block}/shortcut", stride)
            names.append(f"{block}/shortcut")
        x = layers.ReLU()(layers.Add()([x, y]))
    model = keras.Model(inputs, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(x)))
    weights = {name: v.real() for name, v in fixed.parameter_arrays().items()}
    for name in names:
        path = name.replace("/", "_")
        model.get_layer(f"{path}_conv").set_weights([weights[f"{name}/kernel"]])
        parts = [weights[f"{name}/{p}"] for p in ("gamma", "beta", "mean", "variance")]
        model.get_layer(f"{path}_norm").set_weights(parts)
    model.get_layer("logits").set_weights([weights["logits/kernel"], weights["logits/bias"]])
    return model


def run_float(seed: int, epochs: int, data: Data) -> dict[str, Any]:
    """Test error after every epoch, and processor time of the training steps."""
    import keras

    x, y, test_x, test_y = data
    model = float_model(fixed_model(seed, data))
    steps = epochs * -(-len(x) // BATCH)
    wave = keras.optimizers.schedules.CosineDecay(RATE, steps)
    model.compile(
        keras.optimizers.SGD(wave, momentum=MOMENTUM),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    errors, losses, seconds = [], [], 0.0
    for epoch in range(epochs):
        order = permutation(seed, epoch, len(x))
        began = time.process_time()
        history = model.fit(x[order], y[order], BATCH, 1, verbose=0, shuffle=False)
        seconds += time.process_time() - began
        losses.append(round(float(history.history["loss"][0]), 4))
        _, accuracy = model.evaluate(test_x, test_y, batch_size=500, verbose=0)
        errors.append(round(100 - 100 * float(accuracy), 4))
    return {"errors": errors, "losses": losses, "processor_seconds": round(seconds)}


def run_fixed(seed: int, epochs: int, data: Data) -> dict[str, Any]:
    """The same in w32, its time with the tests, and what names the result."""
    x, y, test_x, test_y = data
    model = fixed_model(seed, data)
    steps = epochs * -(-len(x) // BATCH)
    began = time.process_time()
    history = model.train(
        x,
        y,
        optimizer=gvm.SGD(gvm.schedules.Cosine(RATE, steps), momentum=MOMENTUM),
        epochs=epochs,
        batch_size=BATCH,
        seed=seed,
        validation=(test_x, test_y),
        threads=1,
        progress=False,
    )
    seconds = time.process_time() - began
    tests = [e.validation for e in history.epochs if e.validation is not None]
    return {
        "errors": [round(100 - 100 * t.accuracy, 4) for t in tests],
        "losses": [round(e.loss, 4) for e in history.epochs],
        "processor_seconds": round(seconds),
        "loss_total": tests[-1].total,
        "clamped": history.clamped,
        "train_id": history.train_id,
        "parameters_id": history.parameters_id,
    }


def step_time(data: Data, steps: int = 16) -> dict[str, float]:
    """Milliseconds of one thread for a step of a batch, the least of several: gvm and Keras in
    turn."""
    x, y = data[0][: BATCH * steps], data[1][: BATCH * steps]
    fixed = fixed_model(0, data)
    model = float_model(fixed)
    import keras

    model.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    least = dict.fromkeys(KINDS, float("inf"))
    for turn in range(4):
        began = time.process_time()
        model.fit(x, y, BATCH, 1, verbose=0, shuffle=False)
        between = time.process_time()
        fixed.train(
            x,
            y,
            optimizer=gvm.SGD(RATE, momentum=MOMENTUM),
            batch_size=BATCH,
            threads=1,
            progress=False,
        )
        ended = time.process_time()
        if turn:  # the first builds functions and plans
            least["float"] = min(least["float"], between - began)
            least["w32"] = min(least["w32"], ended - between)
    return {kind: round(1e3 * seconds / steps, 1) for kind, seconds in least.items()}


def plot(seeds: dict[str, Any], path: Path) -> None:
    """Test error and training loss by epoch, float dashed, a colour for each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    rows = zip(
        figure.subplots(1, 2), ("errors", "losses"), ("test error, %", "training loss"), strict=True
    )
    for axes, quantity, title in rows:
        for i, (seed, run) in enumerate(seeds.items()):
            for kind, style in (("float", "--"), ("w32", "-")):
                values = run[kind][quantity]
                axes.plot(
                    range(1, len(values) + 1), values, style, color=f"C{i}", label=f"{kind} {seed}"
                )
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=130)


def judged(seeds: dict[str, Any]) -> dict[str, Any]:
    """By how many points of test error w32 is worse over the seeds, beside what it may be."""
    last = [tuple(run[kind]["errors"][-1] for kind in KINDS) for run in seeds.values()]
    apart = [fixed - floating for floating, fixed in last]
    error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    allowed = max(LIMIT, 2 * error)
    return {
        "float": round(statistics.fmean(a for a, _ in last), 3),
        "w32": round(statistics.fmean(b for _, b in last), 3),
        "worse": round(statistics.fmean(apart), 3),
        "standard_error": round(error, 3),
        "allowed": round(allowed, 3),
        "by": "limit" if allowed == LIMIT else "two standard errors",
        "met": statistics.fmean(apart) <= allowed,
    }


def main(
    shared: Annotated[Path, typer.Option(help="Folder with data/cifar10-jpeg.")],
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    examples: Annotated[int, typer.Option(min=CALIBRATION, max=50000)] = 50000,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    resume: Annotated[bool, typer.Option("--resume", help="Keep runs that are done.")] = False,
    only: Annotated[str | None, typer.Option(help="float or w32; nothing is written.")] = None,
    folder: Annotated[Path, typer.Option(help="Results so far.")] = ROOT / "build/cifar10",
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Trains both; status 1 when fixed point is worse than it may be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    about = environment("tensorflow-cpu", "keras")
    folder.mkdir(parents=True, exist_ok=True)
    data = read(shared, examples)
    runs: dict[str, Any] = {}
    for seed in range(seeds):
        runs[str(seed)] = {}
        for kind, run in zip(KINDS, (run_float, run_fixed), strict=True):
            if only not in (None, kind):
                continue
            kept = folder / f"{examples}-{epochs}-{seed}-{kind}.json"
            if not (resume and kept.exists()):
                made = {**run(seed, epochs, data), "commit": about["commit"]}
                write_bytes(kept, json.dumps(made).encode())
            runs[str(seed)][kind] = json.loads(kept.read_bytes())
            Console().print(seed, kind, runs[str(seed)][kind]["errors"])
        if only is not None:
            continue
        body = {
            "environment": about,
            "examples": examples,
            "epochs": epochs,
            "batch": BATCH,
            "rate": RATE,
            "verdict": judged(runs),
            "seeds": runs,
        }
        if save:
            write_json("cifar10", body)
            plot(runs, RESULTS / "cifar10.png")
    if only is not None:
        return
    if save:
        write_json("cifar10", {**body, "milliseconds_per_step": step_time(data)})
    Console().print(body["verdict"])
    raise typer.Exit(0 if judged(runs)["met"] else 1)


if __name__ == "__main__":
    typer.run(main)
