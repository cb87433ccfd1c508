"""``gvm inspect``: what the formats of a run have been through."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gvm.cli_options import Json
from gvm.errors import GvmError
from gvm.printing import report, table

if TYPE_CHECKING:
    from gvm.model import Model

HISTORY = "history.json"
"""Of a run's folder."""
SHOWN = 6
"""Epochs in the table: the last."""


def with_doubts(load: Callable[..., Model], source: str, **options: Any) -> Model:
    """A model that is imported; nodes that differ much from real numbers are named on stderr."""
    from gvm.doubts import QualityWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)
        model = load(source, **options)
    say_doubts(model)
    return model


def say_doubts(model: Model) -> None:
    """What the import of a model found doubtful, on stderr, if anything."""
    if text := model.info.get("doubts"):
        typer.echo(f"warning: {text}", err=True)


def add_commands(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command()(inspect)


def inspect(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A folder of `gvm train --run`, or its history.")
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw clamped shares by epoch: .png or .svg.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also what was never clamped.")] = False,
    as_json: Json = False,
) -> None:
    """Show formats and saturation of a training run, tensor by tensor.

    A share is that of the elements which rounding clamped in an epoch.
    """
    tensors = read_tensors(run)
    if plot is not None:
        from gvm.plots import plot_saturation

        plot_saturation(tensors, plot)
    kept = [t for t in tensors if every or any(t["clamped"])]
    if as_json:
        report({"tensors": kept}, as_json)
        return
    rows = []
    for t in kept:
        shares = [c / max(1, n) for c, n in zip(t["clamped"], t["elements"], strict=True)]
        first = len(shares) - len(shares[-SHOWN:]) + 1
        rows.append(
            {
                "function": t["function"],
                "node": t["node"],
                "operator": t["operator"],
                "name": t["name"],
                "format": f"{t['dtype']}.{t['fraction_bits']}",
                "clamped": sum(t["clamped"]),
                **{f"epoch-{first + i}": f"{s:.2%}" for i, s in enumerate(shares[-SHOWN:])},
            }
        )
    if rows:
        table(rows)
    epochs = max((len(t["elements"]) for t in tensors), default=0)
    report({"tensors": len(tensors), "clamped": len([t for t in tensors if any(t["clamped"])]),
            "epochs": epochs})  # fmt: skip


def read_tensors(run: Path) -> list[dict[str, Any]]:
    """The tensors of a history; raises GvmError for a file that is none."""
    path = run / HISTORY if run.is_dir() else run
    if not path.exists():
        raise GvmError(f"{path}: no such file; `gvm train --run DIR` writes it")
    try:
        found = json.loads(path.read_bytes())["tensors"]
        for t in found:
            if len(t["clamped"]) != len(t["elements"]):
                raise ValueError("counts of different epochs")
            _ = t["function"], t["node"], t["operator"], t["name"], t["dtype"], t["fraction_bits"]
    except (ValueError, KeyError, TypeError) as error:
        raise GvmError(f"{path}: not a history of a run: {error}") from None
    return list(found)
