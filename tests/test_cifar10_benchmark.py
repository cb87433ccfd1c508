"""benchmarks.cifar10: its verdict, its curves, and that both sides are one network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cifar10 import fixed_model, float_model, judged, plot


def seeds(*pairs: tuple[float, float]) -> dict[str, Any]:
    return {
        str(i): {
            "float": {"errors": [80.0, a], "losses": [2.0, 1.0]},
            "w32": {"errors": [80.0, b], "losses": [2.0, 1.1]},
        }
        for i, (a, b) in enumerate(pairs)
    }


def test_verdict() -> None:
    found = judged(seeds((30.0, 30.2), (31.0, 31.2), (32.0, 32.2)))
    assert found["worse"] == pytest.approx(0.2) and found["met"] and found["by"] == "limit"
    assert judged(seeds((30.0, 29.0)))["met"]  # better is no fault
    assert not judged(seeds((30.0, 31.0), (31.0, 32.0)))["met"]
    # Deviations of 1 around 0.5 over two seeds: a standard error of 0.5.
    found = judged(seeds((30.0, 30.0), (31.0, 32.0)))
    assert found["standard_error"] == pytest.approx(0.5) and found["allowed"] == pytest.approx(1.0)
    assert found["met"] and found["by"] == "two standard errors"


def test_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(seeds((30.0, 31.0)), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_both_are_one_network() -> None:
    pytest.importorskip("keras")
    x = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype(np.float32)
    y = np.arange(6)
    fixed = fixed_model(1, (x, y, x, y))
    floating = np.asarray(float_model(fixed)(x))
    apart = np.abs(fixed.run(x) - floating).max()
    assert apart < 0.01 * np.abs(floating).max()
