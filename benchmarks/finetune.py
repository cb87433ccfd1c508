"""Imported classifiers trained further, beside Keras in float32: the same weights, batches, rate.

    python -m benchmarks.finetune --shared ../shared [--only NAME] [--chunks 20]

The last layers of MobileNetV2 (weights drawn with a fixed seed, the rest frozen) and the whole of
MLPerf Tiny's ResNet-8 with its last layer drawn anew, on CIFAR-10. Keras starts from
``model.to_keras()``: batch normalisation is folded into the layer before it in both, so kernel and
shift train and statistics stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import gvm
from benchmarks.environment import RESULTS, ROOT, environment, write_json
from benchmarks.zoo import (
    SEED,
    adapt_batch_normalisation,
    application,
    cifar10,
    enlarged,
    quiet_tensorflow,
)
from gvm.progress import progress_bar
from gvm.random import permutation
from gvm.tensors import Array

BATCH, STEPS = 32, 10
"""Examples of a step, and steps of a chunk, whose mean loss is a point of the curves."""
MOMENTUM = 0.9
TEST = 1000
GOALS = {"start": 0.005, "apart": 0.03, "falls": 0.95}
"""How far the first test losses may differ and the curves be apart on average, as fractions of
Keras's loss; to what fraction of its start the test loss must fall."""


@dataclass(frozen=True)
class Task:
    """A classifier and what of it trains."""

    name: str
    build: Callable[[Path, Array], Any]
    """Takes the shared folder and images as the network reads them."""
    prepare: Callable[[Array], Array]
    """Images of CIFAR-10 as the network reads them."""
    trainable: tuple[str, ...] | None
    rate: float


def _mobilenet(shared: Path, images: Array) -> Any:
    model = application("MobileNetV2", size=96, classes=10)
    adapt_batch_normalisation(model, images)
    return model


def _resnet8(shared: Path, images: Array) -> Any:
    import keras

    folder = shared / "models/mlperf_tiny/image_classification/trained_models"
    model = keras.models.load_model(folder / "pretrainedResnet.h5", compile=False)
    first = next(layer for layer in model.layers if layer.weights)
    first.kernel.assign(first.kernel * 255)  # it then reads pixels of 0 to 1
    head = model.layers[-1]
    keras.utils.set_random_seed(SEED)
    head.kernel.assign(keras.initializers.GlorotUniform()(head.kernel.shape))
    head.bias.assign(keras.ops.zeros_like(head.bias))
    return model


TASKS = (
    Task(
        "MobileNetV2, last layers",
        _mobilenet,
        lambda images: enlarged(images, 96) / 127.5 - 1,
        ("block_16_project*", "Conv_1*", "predictions/*"),
        0.001,
    ),
    Task("MLPerf ResNet-8, whole", _resnet8, lambda images: images / 255, None, 0.0001),
)


class Float:
    """The copy of the model in Keras, trained by its optimizer."""

    def __init__(self, model: gvm.Model, task: Task) -> None:
        tf = quiet_tensorflow()
        import keras

        self.keras = model.to_keras()
        self.keras.layers[-1].activation = keras.activations.linear
        names = [
            n
            for n in model.parameter_arrays()
            if task.trainable is None or any(fnmatchcase(n, t) for t in task.trainable)
        ]
        self.variables = [v for v in self.keras.weights if v.path in names]
        if len(self.variables) != len(names):
            raise gvm.GvmError(f"{task.name}: {len(names)} parameters, Keras has others: {names}")
        optimizer = keras.optimizers.SGD(task.rate, momentum=MOMENTUM)
        optimizer.build(self.variables)
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.entropy = entropy

        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in self.variables])
                loss = entropy(y, self.keras(x, training=False))
            values = [v.value for v in self.variables]
            optimizer.apply(tape.gradient(loss, values), self.variables)
            return loss

        self.step = tf.function(step)

    def chunk(self, number: int, x: Array, y: Array) -> float:
        """The mean loss over the batches that gvm takes."""
        order = permutation(0, number, len(x))
        parts = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        return float(np.mean([float(self.step(x[p], y[p])) for p in parts]))

    def test(self, x: Array, y: Array) -> tuple[float, float]:
        """Loss and accuracy."""
        logits = self.keras.predict(x, batch_size=BATCH, verbose=0)
        return float(self.entropy(y, logits)), float(np.mean(logits.argmax(1) == y))


def fine_tune(task: Task, shared: Path, chunks: int, show: bool | None = None) -> dict[str, Any]:
    """Both runs, a chunk of each in turn."""
    quiet_tensorflow()
    size = BATCH * STEPS
    images, labels = cifar10(shared, "train", size * chunks)
    test_images, y_test = cifar10(shared, "test", TEST)
    x_test = task.prepare(test_images)
    first = task.prepare(images[: 2 * BATCH])
    source = task.build(shared, first)
    model = gvm.from_tensorflow(
        source,
        first,
        loss="softmax_cross_entropy",
        labels=labels[: 2 * BATCH],
        trainable=task.trainable,
    )
    reference = Float(model, task)

    def test() -> dict[str, tuple[float, float]]:
        loss = model.evaluate(x_test, y_test, batch_size=BATCH)
        return {"gvm": (float(loss), loss.accuracy), "keras": reference.test(x_test, y_test)}

    before = test()
    curves: dict[str, list[float]] = {"gvm": [], "keras": []}
    with progress_bar(chunks, task.name, show) as advance:
        for i in range(chunks):
            x, y = (
                task.prepare(images[i * size : (i + 1) * size]),
                labels[i * size : (i + 1) * size],
            )
            history = model.train(
                x,
                y,
                optimizer=gvm.SGD(task.rate, momentum=MOMENTUM),
                epochs=i + 1,
                batch_size=BATCH,
                seed=0,
                resume=i > 0,
                progress=False,
            )
            curves["gvm"].append(float(history.epochs[-1].loss))
            curves["keras"].append(reference.chunk(i, x, y))
            advance(f"{curves['gvm'][-1]:.3f} {curves['keras'][-1]:.3f}")
    after = test()
    found, expected = np.array(curves["gvm"]), np.array(curves["keras"])
    result: dict[str, Any] = {
        "name": task.name,
        "trainable": task.trainable,
        "rate": task.rate,
        "momentum": MOMENTUM,
        "batch": BATCH,
        "steps": chunks * STEPS,
        "before": before,
        "after": after,
        "start": abs(before["gvm"][0] - before["keras"][0]) / before["keras"][0],
        "apart": float(np.mean(np.abs(found - expected)) / np.mean(expected)),
        "falls": after["gvm"][0] / before["gvm"][0],
        "curves": curves,
        "train_id": model.train_id,
        "parameters_id": model.parameters_id,
    }
    result["met"] = all(result[name] <= goal for name, goal in GOALS.items())
    return result


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """The curves, a panel for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(results), figsize=(5 * len(results), 3.5), squeeze=False
    )
    for panel, result in zip(panels[0], results, strict=True):
        steps = STEPS * (1 + np.arange(len(result["curves"]["gvm"])))
        panel.plot(steps, result["curves"]["keras"], label="Keras, float32")
        panel.plot(steps, result["curves"]["gvm"], "--", label="gvm, fixed point")
        panel.set(title=result["name"], xlabel="step", ylabel="training loss")
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(
    shared: Annotated[Path, typer.Option(help="Folder of data and models.")] = ROOT / "../shared",
    only: Annotated[str, typer.Option(help="The task whose name contains this.")] = "",
    chunks: Annotated[int, typer.Option(help=f"Points of a curve, {STEPS} steps each.")] = 20,
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Trains imported classifiers further in float and in fixed point; status 1 for a miss."""
    about = environment("tensorflow-cpu", "keras")
    results = [fine_tune(t, shared, chunks) for t in TASKS if only.lower() in t.name.lower()]
    table = Table("", "test loss before", "after", "accuracy before", "after", "curves apart", "")
    for r in results:
        for name in ("keras", "gvm"):
            (loss, right), (later, more) = r["before"][name], r["after"][name]
            table.add_row(
                f"{r['name']}, {name}",
                f"{loss:.4f}",
                f"{later:.4f}",
                f"{100 * right:.1f} %",
                f"{100 * more:.1f} %",
                f"{100 * r['apart']:.2f} %" if name == "gvm" else "",
                "" if name == "keras" else "met" if r["met"] else "missed",
            )
    Console().print(table)
    if save:
        write_json("finetune", {"environment": about, "goals": GOALS, "results": results})
        draw(results, RESULTS / "finetune.png")
    raise typer.Exit(0 if all(r["met"] for r in results) else 1)


if __name__ == "__main__":
    typer.run(main)
