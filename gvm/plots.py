"""The course of a training run as pictures. They need matplotlib (the extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gvm.errors import GvmError
from gvm.files import replacing

if TYPE_CHECKING:
    from gvm.train import History

FORMATS = ("png", "svg")
LINES = 10
"""Tensors in a picture of saturation: those of which most was clamped."""


def plot_history(history: History, path: str | os.PathLike[str]) -> None:
    """Draws loss and accuracy per epoch, of training and validation, as PNG or SVG by the name.

    Raises GvmError for another name, for a history without epochs and where matplotlib is absent.
    """
    kind = _kind(path)
    rows = history.rows()
    if not rows:
        raise GvmError("the history has no epochs to plot")
    figure = _figure(9, 3.6)
    from matplotlib.ticker import MaxNLocator

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


def plot_saturation(tensors: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draws the share of elements that rounding clamped, a line for each tensor of which any were,
    as PNG or SVG by the name. ``tensors``: rows of ``gvm.saturation.Tensor``.

    Raises GvmError for another name, where no epoch was counted and where matplotlib is absent.
    """
    kind = _kind(path)
    if not any(t["elements"] for t in tensors):
        raise GvmError("the history has no epochs to plot")
    figure = _figure(9, 4.5)
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    shown = [t for t in tensors if any(t["clamped"])]
    shown.sort(key=lambda t: -sum(t["clamped"]) / max(1, sum(t["elements"])))
    for t in shown[:LINES]:
        shares = [c / max(1, n) for c, n in zip(t["clamped"], t["elements"], strict=True)]
        axes.plot(
            range(1, len(shares) + 1),
            shares,
            marker="o",
            label=f"{t['name'] or t['operator']} ({t['function']} {t['node']}), "
            f"{t['dtype']}.{t['fraction_bits']}",
        )
    axes.set_xlabel("epoch of the run")
    axes.set_ylabel("share of elements clamped")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if shown:
        axes.set_yscale("symlog", linthresh=1e-6)
        axes.legend(fontsize="small")
    else:
        axes.set_title("nothing was clamped")
    with replacing(path) as file:
        figure.savefig(file, format=kind, dpi=150)


def _kind(path: str | os.PathLike[str]) -> str:
    """The format that a name asks for."""
    name = os.fspath(path)
    kind = name.rpartition(".")[2].lower()
    if kind not in FORMATS:
        raise GvmError(f"a plot is saved as .png or .svg, received {name!r}")
    return kind


def _figure(width: float, height: float) -> Any:
    """An empty figure, without pyplot: no window system, no state between calls."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise GvmError("plots need matplotlib: pip install 'gvm[plot]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
