"""Pictures of training runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gvm.errors import GvmError
from gvm.loss import Loss
from gvm.train import Epoch, History

pytest.importorskip("matplotlib")


def course(validation: bool) -> History:
    checked = Loss(3 << 24, 4, 2) if validation else None
    return History(
        [Epoch(1, 2, 5 << 24, 10, 6, checked), Epoch(2, 2, 4 << 24, 10, 7, checked)],
        state_id="ab" * 32,
    )


@pytest.mark.parametrize("validation", [False, True])
def test_a_png_has_pixels_that_tell(tmp_path: Path, validation: bool) -> None:
    import matplotlib.image

    path = tmp_path / "course.png"
    course(validation).plot(path)
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[0] > 400 and pixels.shape[1] > 1000
    shades = (pixels[..., :3] * 255).round().astype(int)
    blue, orange = ((shades == c).all(-1).any() for c in ((31, 119, 180), (255, 127, 14)))
    assert blue
    assert orange == validation


def test_an_svg_names_what_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "course.svg"
    course(True).plot(path)
    text = path.read_text()
    assert all(f"<!-- {word} -->" in text for word in ("epoch", "loss", "accuracy", "validation"))
    assert [p.name for p in tmp_path.iterdir()] == ["course.svg"]


def test_invalid_plots(tmp_path: Path) -> None:
    with pytest.raises(GvmError, match=r"received '.*course\.pdf'"):
        course(True).plot(tmp_path / "course.pdf")
    with pytest.raises(GvmError, match="no epochs"):
        History().plot(tmp_path / "course.png")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        course(True).plot(tmp_path / "nowhere" / "course.png")
    assert list(tmp_path.iterdir()) == []
