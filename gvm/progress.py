"""Progress bars on long work: shown on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    total: int, title: str, show: bool | None = None
) -> Iterator[Callable[[str], None]]:
    """Gives a function that advances the bar by one and sets its remark. ``show`` None: only when
    stderr is a terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda remark: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, remark="")

        def advance(remark: str) -> None:
            bar.update(task, advance=1, remark=remark)

        yield advance
