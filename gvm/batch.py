"""Inputs as examples: a batch axis is the first, and some inputs of a model that only runs have
none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gvm.types import Type

Arrays = Sequence[NDArray[Any]]


def examples_of(arrays: Arrays, types: Sequence[Type]) -> int:
    """How many examples inputs hold, batch first; 1 where no input has a batch axis."""
    pairs = zip(arrays, types, strict=True)
    return next((len(a) for a, t in pairs if t.batch_axis is not None), 1)


def cut_examples(arrays: Arrays, types: Sequence[Type], part: slice) -> list[NDArray[Any]]:
    """Some of the examples; inputs without a batch axis are whole."""
    pairs = zip(arrays, types, strict=True)
    return [a[part] if t.batch_axis is not None else a for a, t in pairs]
