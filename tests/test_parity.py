"""benchmarks.parity: its verdict and its table, from results of no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity import TASKS, markdown, plot, verdict

ABOUT = {"machine": {"processor": "a processor"}, "compiler": "c", "commit": "d", "date": "today"}
MNIST, CHARACTERS = TASKS


def seeds(*pairs: tuple[float, float]) -> dict[str, Any]:
    return {str(i): {"float": [9.0, a], "w32": [9.0, b]} for i, (a, b) in enumerate(pairs)}


def test_verdict_by_the_limit() -> None:
    found = verdict(MNIST, seeds((1.0, 1.05), (1.2, 1.25), (1.1, 1.15)))
    assert found["worse"] == pytest.approx(0.05) and found["met"]
    assert found["allowed"] == 0.1 and found["by"] == "limit"
    assert verdict(MNIST, seeds((1.0, 0.5), (1.0, 0.5)))["met"]  # better is no fault
    assert not verdict(MNIST, seeds((1.0, 1.2), (1.0, 1.2)))["met"]


def test_verdict_by_two_standard_errors() -> None:
    found = verdict(MNIST, seeds((1.0, 1.0), (1.0, 1.3)))
    # A deviation of 0.3 / sqrt 2 over sqrt 2 seeds.
    assert found["standard_error"] == pytest.approx(0.15)
    assert found["allowed"] == pytest.approx(0.3) and found["by"] == "two standard errors"
    assert found["met"]


def test_relative_verdict() -> None:
    found = verdict(CHARACTERS, seeds((2.0, 2.03), (2.0, 2.03)))
    assert found["worse"] == pytest.approx(0.015) and not found["met"]


def test_table_and_curves(tmp_path: Path) -> None:
    results = {}
    for task, given in ((MNIST, seeds((1.0, 1.05))), (CHARACTERS, seeds((2.0, 2.01)))):
        results[task.name] = {"seeds": given, "verdict": verdict(task, given)}
    text = markdown(results, ABOUT)
    assert "| +0.050 ± 0.000 points | 0.10 points (limit) | yes |" in text
    assert "| +0.500 ± 0.000 % | 1.00 % (limit) | yes |" in text
    pytest.importorskip("matplotlib")
    plot(results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
