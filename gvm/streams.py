"""Data sets that can only be read from beginning to end, as ``tf.data``: read once into a file of
integers, from which a run takes its examples in the order of its seed."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError, HostError, ProgramError
from gvm.mapped import Mapped
from gvm.types import NUMPY, Type

if TYPE_CHECKING:
    from gvm.model import Model


def is_stream(data: Any) -> bool:
    """Whether these are examples of a ``tf.data.Dataset``."""
    return hasattr(data, "element_spec") and hasattr(data, "as_numpy_iterator")


@contextmanager
def read_stream(model: Model, data: Any, what: str) -> Iterator[tuple[list[Any], list[Any]]]:
    """Inputs and labels of a data set of (x, y), of examples or of batches of them; x is a tuple
    where the model has several inputs. They lie in a temporary folder until the context ends.

    Raises GvmError for an infinite data set and for elements of another kind, ProgramError for what
    does not fit the model, HostError for a full disk.
    """
    if int(data.cardinality()) == -1:
        raise GvmError(f"{what}: the data set has no end: give it one with take(n)")
    program = model.program
    types = [*program.inputs, *program.labels]
    with tempfile.TemporaryDirectory(prefix="gvm-") as folder:
        paths = [Path(folder) / str(i) for i in range(len(types))]
        count = 0
        try:
            files = [path.open("wb") for path in paths]
            try:
                for element in data.as_numpy_iterator():
                    rows = _integers(model, element, f"{what}, example {count}")
                    if len({len(r) for r in rows}) > 1:
                        lengths = ", ".join(str(len(r)) for r in rows)
                        raise ProgramError(f"{what}, example {count}: lengths differ: {lengths}")
                    count += len(rows[0])
                    for file, row in zip(files, rows, strict=True):
                        _write(file, row)
            finally:
                for file in files:
                    file.close()
        except OSError as error:
            room = ", set TMPDIR to a folder with room" if error.errno == errno.ENOSPC else ""
            raise HostError(
                f"{what}, example {count}: cannot write to {folder}: {error.strerror}{room}"
            ) from error
        if count == 0:
            raise ProgramError(f"{what}: expected at least one example, received none")
        made = [
            Mapped(_mapped(path, t, count), t, what, exact=True)
            for path, t in zip(paths, types, strict=True)
        ]
        yield list(made[: len(program.inputs)]), list(made[len(program.inputs) :])


def _write(file: IO[bytes], row: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(row).data)


def _mapped(path: Path, t: Type, count: int) -> NDArray[Any]:
    return np.memmap(path, NUMPY[t.dtype], "r", shape=t.concrete(count))


def _integers(model: Model, element: Any, what: str) -> list[NDArray[Any]]:
    """The integers of an element, batch first."""
    if not isinstance(element, tuple) or len(element) != 2:
        raise GvmError(f"{what}: elements must be pairs (x, y), received {_kind(element)}")
    inputs, labels = element
    inputs = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    types = model.program.inputs
    if len(inputs) != len(types):
        raise ProgramError(f"{what}: expected {len(types)} inputs, received {len(inputs)}")
    arrays = [np.asarray(a) for a in (*inputs, labels)]
    one = arrays[0].ndim == len(types[0].shape) - 1
    if one:
        arrays = [a[None] for a in arrays]
    try:
        made = model.quantized_inputs(arrays[:-1] if len(types) > 1 else arrays[0])
        return [*made, *model.quantized_labels(arrays[-1])]
    except ProgramError as error:
        raise ProgramError(f"{what}: {error}", error.status, error.name) from None


def _kind(element: Any) -> str:
    if isinstance(element, tuple):
        return f"a tuple of {len(element)}"
    return type(element).__name__
