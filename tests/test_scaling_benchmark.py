"""The measure of delayed scaling, in small."""

from __future__ import annotations

import numpy as np

from benchmarks.scaling import compare, markdown


def test_every_run_is_a_line() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.random((300, 12)), draw.integers(0, 10, 300)
    runs = compare((x, y, x[:50], y[:50]), epochs=1)
    assert [len(r["errors"]) for r in runs] == [1] * 9
    assert len({r["parameters_id"] for r in runs}) > 4
    about = {"machine": {"processor": "p"}, "compiler": "c", "commit": "d", "date": "e"}
    assert markdown(runs, about).count("\n| ") == 10
