"""TensorFlow's contenders: a compiled step of Keras' model, with and without XLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.cpu.data import MOMENTUM, RATE, training_batches
from benchmarks.cpu.rows import Case, Runner
from benchmarks.mnist import build as build_network

Array = NDArray[Any]


def build(kind: str, name: str, case: Case, threads: int, folder: Path) -> Runner:
    """The runner of a row."""
    del kind
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = build_network(case["network"], 0)
    with np.load(folder / f"{case['network']}.npz") as file:
        model.set_weights([file[name] for name in file.files])
    variables = model.trainable_variables
    velocities = [tf.Variable(tf.zeros_like(v)) for v in variables]

    @tf.function(jit_compile=name.endswith("XLA"))  # type: ignore[untyped-decorator]
    def train(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
            )
        # The update by hand: Keras' optimizers add a graph of their own around it.
        for v, m, g in zip(variables, velocities, tape.gradient(loss, variables), strict=True):
            m.assign(MOMENTUM * m - RATE * g)
            v.assign_add(m)
        return loss

    batches = [
        (tf.constant(x), tf.constant(y, tf.int64)) for x, y in training_batches(case["batch"])
    ]
    number = 0

    def run() -> Any:
        nonlocal number
        x, y = batches[number % len(batches)]
        number += 1
        return train(x, y).numpy()

    return Runner(run, lambda: np.array([float(run())]))
