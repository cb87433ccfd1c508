"""Train a small transformer on the characters of a text and let it write: python examples/text.py
FILE

Each example is a stretch of characters and the one that follows. The model is built in Keras,
imported, trained with AdamW, warm-up and a cosine, and written with: whatever it writes, it writes
the same on every machine. Needs TensorFlow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import gvm


def build(alphabet: int, length: int, width: int, blocks: int, heads: int) -> Any:
    """The Keras model: characters [B, length] to logits [B, alphabet] of the next."""
    import keras
    from keras import layers

    class Places(layers.Layer):  # type: ignore[misc]
        """x plus a row for each place."""

        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=shape[1:], initializer="normal", name="table")

        def call(self, x: Any) -> Any:
            return x + self.table

    keras.utils.set_random_seed(0)
    letters = keras.Input((length,), dtype="int32")
    x = Places()(layers.Embedding(alphabet, width)(letters))
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=True)
        y = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width)(y)
    return keras.Model(letters, layers.Dense(alphabet)(layers.LayerNormalization()(x)[:, -1]))


def main() -> None:
    """Reads, trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--length", type=int, default=48, help="characters that it sees")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--examples", type=int, default=16000, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--write", type=int, default=200, help="characters")
    parser.add_argument("--output", type=Path, default=Path("text.dmodel"))
    given = parser.parse_args()
    text = given.file.read_bytes()
    alphabet = np.unique(np.frombuffer(text, dtype=np.uint8))
    letters = np.searchsorted(alphabet, np.frombuffer(text, dtype=np.uint8)).astype(np.int32)
    cut = len(letters) * 9 // 10
    if len(letters) - cut <= given.length:
        raise SystemExit(f"{given.file}: needs at least {10 * given.length + 20} characters")

    def windows(first: int, last: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        starts = np.random.default_rng(0).integers(first, last - given.length, count)
        rows = letters[starts[:, None] + np.arange(given.length + 1)]
        return rows[:, :-1].copy(), rows[:, -1].astype(np.int64)

    x, y = windows(0, cut, given.examples)
    validation = windows(cut, len(letters), max(1, given.examples // 10))
    source = build(len(alphabet), given.length, given.width, given.blocks, given.heads)
    model = gvm.from_tensorflow(source, x[:256], loss="softmax_cross_entropy", labels=y[:256])
    steps = given.epochs * -(-len(x) // 64)
    warm = min(100, max(1, steps // 10))
    rate = gvm.schedules.Warmup(gvm.schedules.Cosine(2e-3, steps - warm), warm)
    history = model.train(
        x, y, validation=validation, epochs=given.epochs, batch_size=64,
        optimizer=gvm.AdamW(rate, weight_decay=0.01), checkpoint=given.output,
    )  # fmt: skip
    for epoch in history.epochs:
        assert epoch.validation is not None
        print(f"{epoch.epoch:3}  loss {epoch.loss:.4f}  validation {float(epoch.validation):.4f}")
    print("parameters:", model.parameters_id)
    seen, draw = list(x[0]), np.random.default_rng(1)
    for _ in range(given.write):
        logits = model.run_integers(np.array([seen[-given.length :]], dtype=np.int32))
        weights = np.exp(logits.real()[0] - logits.real()[0].max())
        seen.append(int(draw.choice(len(alphabet), p=weights / weights.sum())))
    print(bytes(alphabet[seen]).decode(errors="replace"))


if __name__ == "__main__":
    main()
