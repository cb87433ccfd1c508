"""Weights back into the ONNX model that they came from, in float.

The import turns weights and leaves one parameter where the source has several: batch normalisation
is a scale and a shift, folded into the layer before it where there is one. So a written model has
batch normalisation with mean 0 and variance 1, biases that went into a shift are zero, and factors
that went into a weight are one. What is written is imported again and compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError
from gvm.graph import Graph
from gvm.importers.batch_norms import frozen_folded
from gvm.importers.onnx import load_onnx

__all__ = ["is_onnx", "with_weights"]

TOLERANCE = 1e-5
"""By how much, of the largest of a tensor, a weight may differ for being a float32."""
_ANOTHER = "to_onnx: the source is another than was imported"
DIGIT = 1 << 12
"""Of the element numbers by which an import shows where each element goes."""

Array = NDArray[Any]


def is_onnx(source: Any) -> bool:
    """Whether a source is an onnx.ModelProto or the path of a .onnx file."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source).lower().endswith(".onnx")
    return type(source).__name__ == "ModelProto"


def with_weights(source: Any, parameters: Mapping[str, Array]) -> Any:
    """A copy of an onnx.ModelProto, or of the file at a path, with these parameters: real values by
    the names that the import of it gave.

    Raises GvmError for another source and for parameters that cannot be written back.
    """
    import onnx

    if not is_onnx(source):
        raise GvmError(
            "to_onnx: source must be an onnx.ModelProto or a .onnx file, received "
            f"{type(source).__name__}"
        )
    model = onnx.ModelProto()
    if isinstance(source, onnx.ModelProto):
        model.CopyFrom(source)
    else:
        try:
            model.CopyFrom(onnx.load(source))
        except Exception as error:  # protobuf's DecodeError is not public under one name
            raise GvmError(f"to_onnx: {os.fspath(source)} cannot be read: {error}") from None
    _Writing(model, parameters).run()
    onnx.checker.check_model(model)
    return model


class _Writing:
    def __init__(self, model: Any, parameters: Mapping[str, Array]) -> None:
        self.model = model
        self.parameters = parameters
        self.training = any(
            n.op_type == "BatchNormalization" and set(n.input[1:5]) <= set(parameters)
            for n in _nodes(model.graph)
        )
        """Whether batch normalisations trained, so that all their tensors are parameters."""
        self.tensors = {name: t for name, t in _tensors(model.graph) if t.data_type in _FLOAT}
        self.graph = self._imported()
        found = {p.name: p for p in self.graph.parameters}
        odd = sorted(set(found) ^ set(parameters))
        if odd:
            raise GvmError(
                f"to_onnx: the source is another than was imported: parameter {odd[0]!r}"
            )
        for name, p in found.items():
            if p.data.shape != parameters[name].shape:
                raise GvmError(
                    f"{_ANOTHER}: {name!r} has shape {p.data.shape}, the parameter "
                    f"{parameters[name].shape}"
                )
        self.trained = [name for name, p in found.items() if p.trainable]
        if self.training:
            read = (n.input[3:5] for n in _nodes(model.graph) if n.op_type == "BatchNormalization")
            self.trained += [v for pair in read for v in pair if v in found]

    def run(self) -> None:
        """Writes all, and imports what was written."""
        statistics = self._neutralise()
        for name in self.trained:
            if name in self.tensors and name not in statistics:
                self._write(name, self._turned(name))
        wrong = self._differing()
        if wrong:
            self._invert([name for name in wrong if name in self.tensors])
            for name in self._differing():
                raise GvmError(
                    f"to_onnx: {name} cannot be written back, the model computes with something "
                    "else than that tensor"
                )

    def _imported(self) -> Graph:
        graph = load_onnx(self.model, self.training)
        return frozen_folded(graph) if self.training else graph

    def _differing(self) -> list[str]:
        """The trained parameters that an import does not give as wanted."""
        self.graph = self._imported()
        found = {p.name: p.data for p in self.graph.parameters}
        if set(found) != set(self.parameters):
            odd = sorted(set(found) ^ set(self.parameters))[0]
            raise GvmError(f"to_onnx: parameter {odd!r} cannot be written back")
        wrong = []
        for name in self.trained:
            wanted = self.parameters[name]
            limit = self._tolerance(name) * float(np.max(np.abs(wanted), initial=0.0))
            if not (np.abs(found[name] - wanted) <= limit).all():
                wrong.append(name)
        return wrong

    def _tolerance(self, name: str) -> float:
        from onnx import TensorProto

        half = name in self.tensors and self.tensors[name].data_type == TensorProto.FLOAT16
        return 2.0**-10 if half else TOLERANCE

    # Tensors

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].dims)

    def _write(self, name: str, data: Array) -> None:
        from onnx import helper, numpy_helper

        old = self.tensors[name]
        kind = helper.tensor_dtype_to_np_dtype(old.data_type)
        made = numpy_helper.from_array(data.reshape(self._shape(name)).astype(kind), old.name)
        old.CopyFrom(made)

    def _turned(self, name: str) -> Array:
        """A parameter in the shape of its tensor: as it is, or a kernel with its channels first."""
        data, shape = self.parameters[name], self._shape(name)
        if data.size != int(np.prod(shape)):
            raise GvmError(
                f"to_onnx: {name} has shape {shape}, the parameter {data.shape}: it cannot be "
                "written back"
            )
        if data.shape != shape and data.ndim == len(shape):
            kernel = data.transpose((data.ndim - 1, data.ndim - 2, *range(data.ndim - 2)))
            if kernel.shape == shape:
                return kernel
        return data.reshape(shape)

    def _neutralise(self) -> set[str]:
        """Normalisations as a scale and a shift, and what the import folded away as what changes
        nothing."""
        consumers: dict[str, list[tuple[Any, int]]] = {}
        for node in _nodes(self.model.graph):
            for i, name in enumerate(node.input):
                consumers.setdefault(name, []).append((node, i))
        statistics: set[str] = set()
        handed = {n.output[0]: n for n in _nodes(self.model.graph) if n.op_type == "Identity"}
        for node in _nodes(self.model.graph):
            if node.op_type == "BatchNormalization" and not self.training:
                statistics.update(
                    self._normalise(node, [_behind(n, handed) for n in node.input[1:5]])
                )
        for name in self.tensors:
            if name in self.trained or name in statistics or np.prod(self._shape(name)) == 1:
                continue
            neutral = {_NEUTRAL.get(use) for use in _uses(name, consumers)}
            if len(neutral) == 1 and (value := neutral.pop()) is not None:
                self._write(name, np.full(self._shape(name), value))
        return statistics

    def _normalise(self, node: Any, names: list[str]) -> list[str]:
        """y = scale * x + shift, whatever the statistics were."""
        if any(name not in self.tensors for name in names):
            return []
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        defaults = (np.sqrt(1 + epsilon), 0.0, 0.0, 1.0)
        for name, default in zip(names, defaults, strict=True):
            data = np.full(self._shape(name), default)
            if name in self.trained:
                scale = default if name == names[0] else 1.0
                data = self.parameters[name].reshape(-1) * scale * np.ones(data.size)
            self._write(name, data)
        return names

    def _invert(self, names: list[str]) -> None:
        """Writes parameters of which each element is one of their tensor's times a factor, plus a
        constant, in another order. Four imports show all three."""
        kept = {name: self._array(name) for name in names}
        count = {name: kept[name].size for name in names}

        def seen(make: Callable[[int], Array]) -> dict[str, Array]:
            for name in names:
                self._write(name, make(count[name]))
            found = {p.name: p.data.reshape(-1) for p in self._imported().parameters}
            return {name: found[name] for name in names if name in found}

        offset = seen(lambda n: np.zeros(n))
        factor = {name: a - offset[name] for name, a in seen(lambda n: np.ones(n)).items()}
        low = seen(lambda n: np.arange(n) % DIGIT)
        high = seen(lambda n: np.arange(n) // DIGIT)
        for name in names:
            wanted, size = self.parameters[name].reshape(-1), count[name]
            self._write(name, kept[name])
            if name not in high or factor[name].size != size or not factor[name].all():
                continue
            digits = [(d[name] - offset[name]) / factor[name] for d in (low, high)]
            place = np.rint(digits[0]).astype(np.int64) + DIGIT * np.rint(digits[1]).astype(
                np.int64
            )
            if np.array_equal(np.sort(place), np.arange(size)):
                written = np.empty(size)
                written[place] = (wanted - offset[name]) / factor[name]
                self._write(name, written)

    def _array(self, name: str) -> Array:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self.tensors[name]))


_FLOAT = (1, 10, 11)
"""FLOAT, FLOAT16, DOUBLE."""
_PASSES = ("Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Cast")
_NEUTRAL = {
    **dict.fromkeys((("Add", 0), ("Add", 1), ("Sum", 0), ("Sum", 1), ("Sub", 1)), 0.0),
    **dict.fromkeys((("Conv", 2), ("ConvTranspose", 2), ("Gemm", 2)), 0.0),
    **dict.fromkeys((("Mul", 0), ("Mul", 1), ("Div", 1)), 1.0),
}
"""What changes nothing, by the operator and the operand's place."""


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    """Initialisers and constants, by name."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], attribute.t
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _behind(name: str, handed: Mapping[str, Any]) -> str:
    """The tensor that nodes of identity hand on under this name."""
    while name in handed:
        name = handed[name].input[0]
    return name


def _uses(name: str, consumers: Mapping[str, list[tuple[Any, int]]]) -> Iterator[tuple[str, int]]:
    """Operators that read a tensor, and in which place, behind changes of its shape."""
    for node, place in consumers.get(name, []):
        if node.op_type in _PASSES and place == 0:
            yield from _uses(node.output[0], consumers)
        else:
            yield node.op_type, place
