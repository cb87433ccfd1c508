"""Data as a program takes it: arrays of real numbers, memory-mapped files and streams as the
integers that its inputs and labels declare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm.batch import examples_of
from gvm.errors import GvmError, ProgramError
from gvm.mapped import Mapped
from gvm.streams import is_stream, read_stream
from gvm.tensors import Array, check_range, quantize_array
from gvm.types import Type

if TYPE_CHECKING:
    from gvm.model import Model


def as_integers(
    arrays: Sequence[Any],
    types: Sequence[Type],
    what: str,
    whole: Sequence[bool],
    checked: Sequence[bool],
    lazy: bool,
) -> list[Any]:
    """Arrays as integers. ``whole``: class numbers and indices; ``checked``: those of which nothing
    may lie beyond the format; ``lazy``: what is memory-mapped stays in its file."""
    if len(arrays) != len(types):
        raise ProgramError(f"{what}s: expected {len(types)}, received {len(arrays)}")
    made: list[Any] = []
    for i, (array, t) in enumerate(zip(arrays, types, strict=True)):
        name = f"{what} {i}"
        if lazy and getattr(array, "_mmap", None) is not None and t.batch_axis == 0:
            made.append(Mapped(array, t, name, whole[i], checked[i]))
            continue
        made.append(quantize_array(array, t, name, whole[i]))
        if checked[i]:
            check_range(array, t, what if what == "label" else name)
    count = examples_of(made, types)
    for i, (rows, t) in enumerate(zip(made, types, strict=True)):
        if t.batch_axis is not None and len(rows) != count:
            raise ProgramError(f"{what} {i}: expected {count} examples, received {len(rows)}")
    return made


@contextmanager
def open_examples(
    model: Model, x: Any, labels: Any, what: str, in_memory: bool
) -> Iterator[tuple[list[Any], list[Any]]]:
    """Inputs and labels to train on. Memory-mapped arrays stay in their files, and so does a
    stream, which is read into one; ``in_memory``: not so. Raises what ``Model.examples`` does."""
    if is_stream(x):
        if labels is not None:
            raise GvmError(f"{what}: a data set of pairs (x, y) has its labels, received others")
        with read_stream(model, x, what) as found:
            yield _loaded(found) if in_memory else found
        return
    if labels is None:
        raise GvmError(f"{what}: labels are needed beside inputs that are no tf.data.Dataset")
    yield model.examples(x, labels, what, lazy=not in_memory)


def _loaded(found: tuple[list[Any], list[Any]]) -> tuple[list[Array], list[Array]]:
    inputs, labels = ([np.asarray(a) for a in arrays] for arrays in found)
    return inputs, labels
