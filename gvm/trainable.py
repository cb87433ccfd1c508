"""Which parameters of a model train: all that its source trains, or those of given names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from gvm.errors import ImportModelError
from gvm.graph import Graph

__all__ = ["only_trainable"]


def only_trainable(graph: Graph, patterns: str | Sequence[str] | None) -> Graph:
    """The graph in which the parameters alone train whose names match one of the patterns, as file
    names do (``*``, ``?``, ``[...]``); with None those that do already.

    Raises ImportModelError for a pattern that no parameter matches which could train.
    """
    if patterns is None:
        return graph
    asked = [patterns] if isinstance(patterns, str) else list(patterns)
    names = [p.name for p in graph.parameters if p.trainable]
    for pattern in asked:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 3, 0.3)
            nearest = f" (nearest: {', '.join(map(repr, near))})" if near else ""
            raise ImportModelError(
                f"trainable: {pattern!r} matches no parameter that could train{nearest}"
            )
    kept = tuple(
        replace(p, trainable=p.trainable and any(fnmatchcase(p.name, a) for a in asked))
        for p in graph.parameters
    )
    return replace(graph, parameters=kept)
