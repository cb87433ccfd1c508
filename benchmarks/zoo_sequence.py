"""Classifiers of sequences, built and trained by Keras within seconds on data that is drawn with a
fixed seed: LSTM, GRU and a transformer encoder.

    python -m benchmarks.zoo_sequence [--only NAME]

imports each and compares its logits, and whether it trains as integers.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import gvm
from gvm.tensors import Array

SEED = 7
CLASSES, LETTERS, LENGTH = 4, 24, 32
TRAINED = 2048
Built = tuple[Any, Array, Array]
"""A trained keras.Model with logits as its output, inputs, and their classes."""


def models() -> dict[str, Callable[[], Built]]:
    """The models by name. Each call builds and trains anew; the examples returned are those that
    were trained on, and as many others behind them."""
    return {
        "lstm": lambda: _trained(_lstm, *waves(2 * TRAINED)),
        "lstm text": lambda: _trained(_lstm_text, *texts(2 * TRAINED)),
        "gru text": lambda: _trained(_gru_text, *texts(2 * TRAINED)),
        "bidirectional text": lambda: _trained(_both_ways, *texts(2 * TRAINED)),
        "transformer text": lambda: _trained(transformer, *texts(2 * TRAINED)),
    }


def texts(count: int) -> tuple[Array, Array]:
    """Rows of letters, int32, of which each class has its own habit of what follows what."""
    rng = np.random.default_rng(SEED)
    follows = rng.dirichlet(np.full(LETTERS, 0.3), (CLASSES, LETTERS)).cumsum(axis=2)
    labels = rng.integers(0, CLASSES, count)
    x = np.empty((count, LENGTH), np.int32)
    x[:, 0] = rng.integers(0, LETTERS, count)
    for i in range(1, LENGTH):
        drawn = rng.random(count)[:, None]
        chosen = (follows[labels, x[:, i - 1]] < drawn).sum(axis=1)
        x[:, i] = np.minimum(chosen, LETTERS - 1)
    return x, labels


def waves(count: int) -> tuple[Array, Array]:
    """Noisy waves in 4 channels over 28 times, whose classes differ in how fast they are."""
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, CLASSES, count)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 4))
    speed = (0.3 + 0.25 * labels)[:, None, None]
    clean = np.sin(speed * np.arange(28)[None, :, None] + phase)
    return (clean + rng.normal(0, 0.3, clean.shape)).astype(np.float32), labels


def _trained(make: Callable[[Any, Any], Any], x: Array, labels: Array) -> Built:
    import keras

    keras.utils.set_random_seed(SEED)
    given = keras.Input(x.shape[1:], dtype=x.dtype.name)
    model = keras.Model(given, make(keras.layers, given))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.005), loss)
    model.fit(x[:TRAINED], labels[:TRAINED], batch_size=64, epochs=5, verbose=0)
    return model, x, labels


def _lstm(layers: Any, x: Any) -> Any:
    return layers.Dense(CLASSES)(layers.LSTM(32)(x))


def _lstm_text(layers: Any, x: Any) -> Any:
    return layers.Dense(CLASSES)(layers.LSTM(32)(layers.Embedding(LETTERS, 16)(x)))


def _gru_text(layers: Any, x: Any) -> Any:
    return layers.Dense(CLASSES)(layers.GRU(32)(layers.Embedding(LETTERS, 16)(x)))


def _both_ways(layers: Any, x: Any) -> Any:
    x = layers.Embedding(LETTERS, 16)(x)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    return layers.Dense(CLASSES)(layers.GRU(16)(x))


def transformer(layers: Any, x: Any) -> Any:
    """Two blocks of attention, normalised before, and a learned table of places."""
    width, heads = 32, 2
    x = layers.Embedding(LETTERS, width)(x)
    x = _places(layers)(x)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(y, y)
        y = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width)(y)
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x)))


def _places(layers: Any) -> Any:
    class Places(layers.Layer):  # type: ignore[misc]
        """x plus a row for each place."""

        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=shape[1:], initializer="normal", name="table")

        def call(self, x: Any) -> Any:
            return x + self.table

    return Places()


def compare(built: Built) -> dict[str, float]:
    """How an import does on examples that it was not trained on."""
    model, x, labels = built
    seen, new = slice(0, 512), slice(TRAINED, TRAINED + 1024)
    begin = perf_counter()
    made = gvm.from_tensorflow(model, calibration=x[seen], progress=False)
    seconds = perf_counter() - begin
    y, real = np.asarray(made.run(x[new])), model.predict(x[new], verbose=0)
    trains = gvm.from_tensorflow(
        model, x[seen], "softmax_cross_entropy", labels[seen], progress=False
    )
    before = trains.evaluate(x[new], labels[new])
    trains.train(
        x[:TRAINED],
        labels[:TRAINED],
        optimizer=gvm.SGD(0.002, momentum=0.9),
        epochs=1,
        batch_size=64,
        seed=1,
        progress=False,
    )
    after = trains.evaluate(x[new], labels[new])
    return {
        "error": float(np.linalg.norm(y - real) / np.linalg.norm(real)),
        "largest": float(np.abs(y - real).max() / np.abs(real).max()),
        "same": float((y.argmax(1) == real.argmax(1)).mean()),
        "accuracy": float((y.argmax(1) == labels[new]).mean()),
        "keras": float((real.argmax(1) == labels[new]).mean()),
        "loss": float(before),
        "trained": float(after),
        "import": seconds,
        "bytes": float(len(made.program.encode())),
    }


def main(only: Annotated[str, typer.Option(help="A part of the name.")] = "") -> None:
    """Builds, trains, imports and compares."""
    rows = {name: compare(build()) for name, build in models().items() if only in name}
    table = Table("model", *next(iter(rows.values()), {}))
    for name, row in rows.items():
        table.add_row(name, *(f"{v:.3g}" for v in row.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
