"""The course of a training run as a picture. Needs matplotlib (the extra ``plot``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gvm.errors import GvmError
from gvm.files import replacing

if TYPE_CHECKING:
    from gvm.train import History

FORMATS = ("png", "svg")


def plot_history(history: History, path: str | os.PathLike[str]) -> None:
    """Draws loss and accuracy per epoch, of training and validation, as PNG or SVG by the name.

    Raises GvmError for another name, for a history without epochs and where matplotlib is absent.
    """
    name = os.fspath(path)
    kind = name.rpartition(".")[2].lower()
    if kind not in FORMATS:
        raise GvmError(f"a plot is saved as .png or .svg, received {name!r}")
    rows = history.rows()
    if not rows:
        raise GvmError("the history has no epochs to plot")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise GvmError("plots need matplotlib: pip install 'gvm[plot]'") from None

    # Without pyplot: no window system, no state between calls.
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [row[quantity] for row in rows], marker="o", label="training")
        checked = [(row["epoch"], row[f"validation_{quantity}"]) for row in rows]
        checked = [(epoch, value) for epoch, value in checked if value is not None]
        if checked:
            axes.plot(*zip(*checked, strict=True), marker="s", label="validation")
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    if history.state_id:
        figure.suptitle(f"state {history.state_id[:16]}", fontsize="small", family="monospace")
    with replacing(path) as file:
        figure.savefig(file, format=kind, dpi=150)
