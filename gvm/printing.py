"""What commands print: names and values, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def report(values: dict[str, Any], as_json: bool = False) -> None:
    """Prints what a command found: one JSON object, or a name and a value per line."""
    if as_json:
        print(json.dumps(values))
        return
    rows = list(_flat(values))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows under their names, numbers to the right."""
    cells = [[name.replace("_", "-") for name in rows[0]]]
    for row in rows:
        cells.append(
            [
                "-" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v)
                for v in row.values()
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    left = [any(isinstance(row[name], str) and row[name] for row in rows) for name in rows[0]]
    for line in cells:
        padded = [
            c.ljust(w) if to_left else c.rjust(w)
            for c, w, to_left in zip(line, widths, left, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _flat(values: dict[str, Any], prefix: str = "") -> Sequence[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            rows.append((prefix + name, text))
    return rows
