"""ONNX's backend interface: models and single operators of ONNX, run in fixed point.

``gvm.onnx_backend.prepare(model).run(inputs)``. What ONNX's conformance tests drive;
``python -m benchmarks.onnx_coverage`` runs them and writes docs/onnx-coverage.md.

A model is prepared without data, and a fixed-point program needs the ranges of its values. So the
program is made at the first run: its formats are calibrated on that run's inputs, and its shapes
are theirs. Inputs from which shapes, axes, indices or trip counts are worked out become constants
of the program. A later run with other shapes or other such values makes another program; one with
larger real values saturates where the format ends (one bit of headroom).

Real results come from 32-bit or 16-bit integers and have the element type that the model declares.
:func:`tolerance` says how exact they are. Whole numbers, truth values and indices are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError, ImportModelError

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnx.backend.base import Backend, BackendRep, namedtupledict
except ImportError as error:
    raise ImportModelError("ONNX is not installed: pip install 'gvm[onnx]'") from error

from gvm.importers.onnx_static import StaticModel, known_inputs, load_static
from gvm.model import Model

__all__ = [
    "GvmBackend",
    "GvmBackendRep",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
    "tolerance",
]

Array = NDArray[Any]
PROGRAMS_KEPT = 8
"""Programs that a prepared model keeps, for different shapes and known values."""
UNITS = 4
"""How many units in the last place real results may be off."""
SIGNIFICANT_BITS = {"float16": 11, "bfloat16": 8}
"""Of the element types that are coarser than 16 bits of fixed point."""
WHOLE_RANGE = (-(2**31), 2**31 - 1)
"""Whole numbers that a tensor can hold."""


def tolerance(expected: Array) -> float:
    """By how much a real result may differ from the exact one: ``UNITS`` units in the last place of
    the 16-bit format that calibration gives it, 2^(e - 14) for a largest magnitude in [2^(e - 1),
    2^e) and one bit of headroom (e = 1 in a result of zeros alone); and one unit of the element
    type where that is coarser, as both are rounded to it."""
    most = float(np.max(np.abs(expected.astype(np.float64)))) if expected.size else 0.0
    exponent = math.frexp(most)[1] if most else 1
    digits = SIGNIFICANT_BITS.get(expected.dtype.name, 53)
    own = math.ldexp(1.0, exponent - digits) if digits < 15 else 0.0
    return math.ldexp(UNITS, exponent - 14) + own


class GvmBackendRep(BackendRep):  # type: ignore[misc]
    """A model that was prepared: :meth:`run` makes its program when it sees data."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.known = known_inputs(model)
        stored = {t.name for t in model.graph.initializer}
        self.inputs = [i for i in model.graph.input if i.name not in stored]
        self.outputs = {o.name: _declared(o) for o in model.graph.output}
        self._programs: dict[Any, tuple[StaticModel, Model | None]] = {}

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """The outputs for inputs in the model's order, or by name.

        Raises ImportModelError for what cannot be translated, GvmError for inputs that do not fit.
        """
        values = self._values(inputs)
        static, program = self._program(values)
        made: Sequence[Any] = ()
        if program is not None:
            given = [values[name] for name in static.inputs]
            results = program.run_integers(given, progress=False)
            made = results if isinstance(results, tuple) else (results,)
        outputs = []
        for found, dtype in zip(static.outputs, self.outputs.values(), strict=True):
            array = found if isinstance(found, np.ndarray) else _plain(made[found])
            outputs.append(_cast(array, dtype))
        return namedtupledict("Outputs", list(self.outputs))(*outputs)  # type: ignore[no-any-return]

    def _values(self, inputs: Any) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        else:
            listed = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
            if len(listed) > len(self.inputs):
                raise GvmError(f"run: expected {len(self.inputs)} inputs, received {len(listed)}")
            given = dict(zip((i.name for i in self.inputs), listed, strict=False))
        return {name: _array(name, value) for name, value in given.items()}

    def _program(self, values: Mapping[str, Array]) -> tuple[StaticModel, Model | None]:
        key = tuple(
            (name, array.shape, array.dtype.name, array.tobytes() if name in self.known else b"")
            for name, array in sorted(values.items())
        )
        if key not in self._programs:
            static = load_static(self.model, values, self.known)
            program = None
            if static.graph is not None:
                calibration = [values[name] for name in static.inputs]
                program = Model.from_graph(
                    static.graph, calibration, max_batch=1, progress=False, check=False
                )
            while len(self._programs) >= PROGRAMS_KEPT:
                self._programs.pop(next(iter(self._programs)))
            self._programs[key] = static, program
        return self._programs[key]


class GvmBackend(Backend):  # type: ignore[misc]
    """ONNX's interface to gvm; the device is the CPU."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> GvmBackendRep:
        """A model that runs. Raises onnx.checker.ValidationError for one that is not valid ONNX."""
        if not cls.supports_device(device):
            raise GvmError(f"device must be CPU, received {device!r}")
        onnx.checker.check_model(model)
        return GvmBackendRep(model)

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> Any:
        """The outputs of a model."""
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> Any:
        """The outputs of one node; ``outputs_info`` holds (NumPy dtype, shape) of each, else they
        are of the first operand's type."""
        arrays = [_array(f"input {i}", x) for i, x in enumerate(inputs)]
        given = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in zip((n for n in node.input if n), arrays, strict=True)
        ]
        kinds = (
            [arrays[0].dtype] * len(node.output)
            if outputs_info is None
            else [np.dtype(dtype) for dtype, _ in outputs_info]
        )
        made = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), None)
            for name, kind in zip(node.output, kinds, strict=True)
        ]
        graph = helper.make_graph([node], "node", given, made)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        imports = [helper.make_opsetid(node.domain, version)]
        if not cls.supports_device(device):
            raise GvmError(f"device must be CPU, received {device!r}")
        return GvmBackendRep(helper.make_model(graph, opset_imports=imports)).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device such as "CPU" or "CPU:0" is the CPU."""
        return device.partition(":")[0] == "CPU"


def _array(name: str, value: Any) -> Array:
    if isinstance(value, TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, list | tuple) or value is None:
        raise GvmError(f"input {name!r}: must be a tensor, received {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind in "iu" and array.size:
        low, high = WHOLE_RANGE
        least, most = int(array.min()), int(array.max())
        if least < low or most > high:
            raise GvmError(
                f"input {name!r}: whole numbers must fit in 32 bits, "
                f"received {most if most > high else least}"
            )
    return array


def _declared(value: Any) -> np.dtype[Any] | None:
    """The NumPy element type of an output, or None where the model does not say."""
    kind = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
    return helper.tensor_dtype_to_np_dtype(kind) if kind else None


def _plain(result: Any) -> Array:
    """Integers at no fraction bits, else real values."""
    whole = result.fraction_bits == 0 and result.integers.dtype.kind in "iu"
    return result.integers if whole else np.asarray(result.real(), dtype=np.float64)


def _cast(array: Array, dtype: np.dtype[Any] | None) -> Array:
    if dtype is None:
        return np.asarray(array)
    if dtype.kind in "iub" and array.dtype.kind == "f":
        array = np.rint(array)
    return np.asarray(array).astype(dtype)


prepare = GvmBackend.prepare
run_model = GvmBackend.run_model
run_node = GvmBackend.run_node
supports_device = GvmBackend.supports_device
