"""Parameters as safetensors, out of a model and into one (``pip install 'gvm[safetensors]'``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gvm.errors import GvmError
from gvm.files import write_bytes
from gvm.tensors import Array, pack_parameters
from gvm.types import RANGE

if TYPE_CHECKING:
    from gvm.model import Model

KINDS = ("float32", "float64", "integers")
FRACTION_BITS = "fraction_bits:"
"""Begins the metadata that say the format of a tensor of integers."""


def save_parameters(model: Model, path: str | os.PathLike[str], kind: str = "float32") -> None:
    """Writes every parameter under its name: real values (exact in float64), or the exact integers
    with their fraction bits in the file's metadata. Whole or not at all."""
    from safetensors.numpy import save

    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, received {kind!r}")
    arrays, metadata = {}, {"gvm.parameters_id": model.parameters_id}
    for name, tensor in model.parameter_arrays().items():
        if kind == "integers":
            arrays[name] = np.ascontiguousarray(tensor.integers)
            metadata[FRACTION_BITS + name] = str(tensor.fraction_bits)
        else:
            arrays[name] = np.ascontiguousarray(tensor.real().astype(kind))
    write_bytes(path, save(arrays, metadata))


def read_parameters(model: Model, path: str | os.PathLike[str]) -> bytes:
    """The parameter buffer of the model with the tensors of a file: real values rounded half to
    even and clamped to the model's formats, integers taken as they are.

    Raises GvmError for a file that is not safetensors, and for a tensor that is missing, unknown,
    or of another shape or format.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not Path(path).is_file():
        raise GvmError(f"{name}: no such file")
    try:
        with safe_open(name, framework="numpy") as file:
            metadata = file.metadata() or {}
            given: dict[str, Array] = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, TypeError, AttributeError) as error:
        raise GvmError(f"{name}: cannot be read as safetensors: {error}") from None
    known = [p.name for p in model.program.info]
    for key in sorted(set(known) ^ set(given)):
        what = "no tensor of the name" if key in known else "the model has no parameter"
        raise GvmError(f"{name}: {what} {key!r}")
    made = []
    for key, type_ in zip(known, model.program.parameters, strict=True):
        array = given[key]
        if array.shape != type_.shape:
            raise GvmError(f"{name}: {key!r} must have shape {type_.shape}, received {array.shape}")
        low, high = RANGE[type_.dtype]
        if array.dtype.kind == "f":
            reals = array.astype(np.float64)
            if not np.isfinite(reals).all():
                raise GvmError(f"{name}: {key!r} must be finite, received NaN or infinity")
            scaled = np.rint(np.ldexp(reals, type_.fraction_bits))
            made.append(np.clip(scaled, low, high).astype(np.int64))
            continue
        bits = metadata.get(FRACTION_BITS + key)
        if bits != str(type_.fraction_bits):
            raise GvmError(
                f"{name}: {key!r} must have {type_.fraction_bits} fraction bits, received {bits}"
            )
        if array.dtype.kind not in "biu" or int(array.min()) < low or int(array.max()) > high:
            raise GvmError(f"{name}: {key!r} must be integers of {type_.dtype}")
        made.append(array.astype(np.int64))
    return pack_parameters(model.program.parameters, made)
