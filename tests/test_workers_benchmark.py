"""The measure of workers, in small: it compares states and gives a ratio for each number."""

from __future__ import annotations

import numpy as np

from benchmarks.workers import measure


def test_two_workers_come_to_the_state_of_one() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.random((200, 28, 28, 1)), draw.integers(0, 10, 200)
    found = measure(x, y, rounds=2)
    assert set(found["milliseconds"]) == {1, 2}
    assert found["speedup"][2] > 0
    assert len(found["parameters_id"]) == 64
