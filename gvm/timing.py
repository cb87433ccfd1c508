"""Speed of a model on every backend of this machine: verify first, then time."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import HostError
from gvm.execution import backends
from gvm.model import Model
from gvm.random import Purpose, words
from gvm.types import NUMPY, RANGE, Type


def time_backends(
    model: Model, batch_size: int, repeats: int = 9, threads: int | None = None
) -> dict[str, Any]:
    """Examples and multiply-adds per second of inference on each CPU level.

    All levels first execute the same painted inputs and must give equal integers (else HostError).
    Then they are timed in turns, one run each per round, and the median counts.
    """
    size = min(batch_size, model.program.max_batch)
    inputs = [paint(t, size, i) for i, t in enumerate(model.program.inputs)]
    names = backends()[1:]
    sessions = {name: model.session(name, threads) for name in names}
    expected = sessions[names[0]].predict(inputs)
    for name in names[1:]:
        found = sessions[name].predict(inputs)
        if not all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True)):
            raise HostError(f"{name} differs from {names[0]}: this machine computes wrongly")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            began = time.perf_counter()
            sessions[name].predict(inputs)
            seconds[name].append(time.perf_counter() - began)
    work = model.cost_of("predict", size).multiply_adds
    return {
        "batch_size": size,
        "multiply_adds": work,
        **{
            name: {
                "milliseconds": round(median * 1e3, 4),
                "examples_per_second": round(size / median, 1),
                "giga_multiply_adds_per_second": round(work / median / 1e9, 3),
            }
            for name, median in ((n, statistics.median(s)) for n, s in seconds.items())
        },
    }


def paint(type_: Type, batch: int, seed: int) -> NDArray[Any]:
    """Uniform integers over the whole range of an element type, the same everywhere."""
    shape = type_.concrete(batch)
    count = int(np.prod(shape, dtype=np.int64))
    drawn = words(seed, 0, 0, Purpose.USER, 0, count)
    low, high = RANGE[type_.dtype]
    made = low + (drawn.astype(np.int64) * (high - low + 1) >> 32)
    return np.ascontiguousarray(made.astype(NUMPY[type_.dtype]).reshape(shape))
