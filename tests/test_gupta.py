"""benchmarks.gupta: its table and its curves, from results of no run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gupta import RUNS, markdown, optimizer, plot, rows
from gvm.formats import Formats

ABOUT = {"machine": {"processor": "a processor"}, "compiler": "c", "commit": "d", "date": "today"}
RESULTS = {
    "dense-float": {"errors": [5.0, 2.0]},
    "dense-8.8-stochastic": {"errors": [6.0, 2.25]},
    "dense-8.8-nearest": {"errors": [9.0]},
    "cnn-float": {"errors": [1.5]},
    "cnn-2.14-nearest": {"errors": [90.2]},
}


def test_runs() -> None:
    assert len({run.name for run in RUNS}) == len(RUNS)
    for run in RUNS:
        assert Formats.parse(run.formats).given == (run.formats is not None)
        assert optimizer(run.network).momentum == (0.9 if run.network == "cnn" else 0)


def test_rows_say_how_far_apart_a_run_is() -> None:
    made = {(r[0], r[1], r[2]): r[3:] for r in rows(RESULTS)}
    assert len(made) == 5
    # 2.25 is 0.25 above the control, published 0.10; after one epoch 9 is 4 above, published 1.6.
    assert made["dense", "<8,8>", "stochastic"] == ["1.50 %", "2.00 %", "2.25 %", "+0.15"]
    assert made["dense", "<8,8>", "nearest"] == ["3.00 %", "5.00 %", "9.00 %", "+2.40"]
    assert made["dense", "float32", ""] == ["1.40 %", "2.00 %", "2.00 %", ""]
    nearest = made["cnn", "weights=<2,14> activations=<6,10> gradients=<2,14>", "nearest"]
    assert nearest == ["does not converge", "1.50 %", "90.20 %", ""]
    text = markdown(RESULTS, ABOUT)
    assert "after 1 or 2 epochs" in text and text.count("\n| ") == 6


def test_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(RESULTS, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
