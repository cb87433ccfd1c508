"""Importers: models of other frameworks become real-valued graphs."""

from __future__ import annotations

from dataclasses import dataclass

from gvm.errors import ImportModelError

__all__ = ["Problem", "UnsupportedModel"]


@dataclass(frozen=True)
class Problem:
    """A node of the source that has no translation."""

    node: str
    operator: str
    rule: str
    """What is wrong, and the nearest form that is supported."""

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.operator}): {self.rule}"


class UnsupportedModel(ImportModelError):
    """A source that cannot be imported; ``problems`` lists every node at fault."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} node{'s' if len(problems) != 1 else ''} cannot be imported"
        super().__init__("\n  ".join([f"{source}: {count}:", *map(str, problems)]))
        self.problems = problems
