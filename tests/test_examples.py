"""The examples that train, in a tiny form."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import gvm

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(15):
            pixels = draw.integers(0, 128, (9, 11, 3), dtype=np.uint8) + 127 * label
            ending = ("jpg", "png")[i % 2]
            image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / "pictures" / name / f"{i}.{ending}"
            )
    sizes = ["--size", 8, "--depth", 8, "--width", 4, "--batch", 9]
    whole, part = tmp_path / "whole.dmodel", tmp_path / "part.dmodel"
    folder = tmp_path / "pictures"
    run(monkeypatch, "images.py", folder, *sizes, "--epochs", 2, "--output", whole)
    said = capsys.readouterr().out
    assert "  2  loss" in said and gvm.load(whole).parameters_id in said
    run(monkeypatch, "images.py", folder, *sizes, "--epochs", 2, "--output", part, "--workers", 2)
    assert gvm.load(part).parameters_id == gvm.load(whole).parameters_id
    run(monkeypatch, "images.py", folder, *sizes, "--epochs", 2, "--output", part, "--resume")
    assert gvm.load(part).parameters_id == gvm.load(whole).parameters_id
    with pytest.raises(SystemExit, match="at least two classes"):
        run(monkeypatch, "images.py", folder / "dark")


def test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow")
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog. " * 12)
    sizes = ["--length", 8, "--width", 8, "--blocks", 1, "--heads", 2, "--examples", 256]
    output = tmp_path / "text.dmodel"
    run(monkeypatch, "text.py", tmp_path / "text", *sizes, "--epochs", 2, "--write", 5,
        "--output", output)  # fmt: skip
    said = capsys.readouterr().out
    assert "  2  loss" in said and gvm.load(output).parameters_id in said
    (tmp_path / "short").write_text("too short")
    with pytest.raises(SystemExit, match="needs at least"):
        run(monkeypatch, "text.py", tmp_path / "short")
