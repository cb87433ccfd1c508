"""Positions are whole numbers whatever the formats of values are."""

from __future__ import annotations

import numpy as np
import pytest

import gvm
from tests.onnx_models import integers, model

ROWS = "float[N,12] x"


def rows(*largest: int) -> np.ndarray:
    """Small numbers, and larger ones at these positions: one row each."""
    x = np.linspace(-0.5, 0.5, 12, dtype=np.float32) * np.ones((len(largest), 1), np.float32)
    for row, at in enumerate(largest):
        x[row, at] = 2.0
    return x


@pytest.mark.parametrize("formats", [None, "<4,12>"])
def test_hardmax_marks_the_largest(formats: str | None) -> None:
    options = {} if formats is None else {"formats": formats}
    x = rows(11, 10, 8, 3, 0)
    made = gvm.from_onnx(model("y = Hardmax (x)", ROWS), calibration=x, **options)
    assert made.run(x).argmax(axis=1).tolist() == [11, 10, 8, 3, 0]
    assert (made.run(x).sum(axis=1) == 1).all()


@pytest.mark.parametrize("formats", [None, "<4,12>"])
def test_the_largest_are_trained(formats: str | None) -> None:
    options = {} if formats is None else {"formats": formats}
    x = rows(11, 9, 8, 3)
    source = model(
        "p = Mul (x, s) y, i = TopK (p, k)", ROWS, s=np.ones(12, np.float32), k=integers(1)
    )
    del source.graph.output[1:]
    made = gvm.from_onnx(
        source,
        calibration=x,
        loss="mean_squared_error",
        labels=np.zeros((4, 1), np.float32),
        **options,
    )
    before = made.parameter_arrays()["s"].integers.copy()
    made.train(
        x,
        np.zeros((4, 1), np.float32),
        optimizer=gvm.SGD(0.1),
        epochs=1,
        batch_size=4,
        progress=False,
    )
    moved = np.flatnonzero(made.parameter_arrays()["s"].integers != before)
    assert moved.tolist() == [3, 8, 9, 11]
