"""Weights back into the Keras model that they came from, in float.

The import leaves one parameter where Keras has several variables: batch normalisation is a scale
and a shift, folded into the layer before it where there is one. So a written model has batch
normalisation with mean 0, and biases that went into a shift are zero. One that trained is written
as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError
from gvm.importers.batch_norms import frozen_folded
from gvm.importers.tensorflow import load_tensorflow

__all__ = ["with_weights"]

TOLERANCE = 1e-5
"""By how much, of the largest of a tensor, a weight may differ for being a float32."""

Array = NDArray[Any]


def with_weights(source: Any, parameters: Mapping[str, Array]) -> Any:
    """A copy of a Keras model (Sequential, functional, or the path of one) with these parameters:
    real values by the names that the import of it gave.

    The copy is imported again and compared, so that what is returned means what ``parameters`` do.
    Raises GvmError for another source and for parameters that cannot be written back.
    """
    model = _model(source)
    description = f"to_keras: model {model.name!r}"
    keras = import_module(type(model).__module__.split(".")[0])
    if not hasattr(keras, "models"):
        keras = import_module("keras")
    try:
        made = keras.models.clone_model(model)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        raise GvmError(f"{description} cannot be cloned: {error}") from None
    parameters = _aligned(parameters, _paths(model))
    training = any(
        type(x).__name__ == "BatchNormalization" and _is_whole(x, parameters)
        for x in _layers(model)
    )
    copy = _Copy(made, _Writing(model, parameters, description).variables, description, training)
    wrong = copy.differing(parameters)
    if wrong:
        copy.invert(wrong)
        for name in copy.differing(parameters):
            raise GvmError(
                f"{description}: {name} cannot be written back, the model computes with something "
                "else than that variable"
            )
    return made


def _model(source: Any) -> Any:
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if not name.lower().endswith((".keras", ".h5", ".hdf5")):
            raise GvmError(f"to_keras: source must be a Keras model or its file, received {name}")
        import keras

        try:
            return keras.models.load_model(source, compile=False)
        except Exception as error:  # Keras raises many types for a damaged or unknown file
            raise GvmError(f"{name}: Keras cannot load it: {error}") from None
    if not (hasattr(source, "layers") and hasattr(source, "get_config")):
        raise GvmError(
            f"to_keras: source must be a Keras model or its file, received {type(source).__name__}"
        )
    return source


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", None) or variable.name.split(":")[0])


def _paths(model: Any) -> list[str]:
    return [_path(w) for w in model.weights]


def _aligned(parameters: Mapping[str, Array], paths: list[str]) -> Mapping[str, Array]:
    """The parameters under the names that the model's variables have: Sequential puts its own name
    before them until it has been saved and loaded."""
    if not set(paths) & set(parameters):
        longer = {path.partition("/")[2]: path for path in paths}
        shorter = {name: name.partition("/")[2] for name in parameters}
        for names in (longer, shorter):
            if set(paths) & {names.get(n) for n in parameters}:
                return {names[n] if names.get(n) in paths else n: a for n, a in parameters.items()}
    return parameters


def _layers(model: Any) -> Iterator[Any]:
    yield from model._flatten_layers(include_self=False)


def _is_whole(layer: Any, parameters: Mapping[str, Array]) -> bool:
    """Whether a batch normalisation trained, so that all its variables are parameters."""
    trains = layer.gamma is not None or layer.beta is not None
    return trains and all(_path(w) in parameters for w in layer.weights)


class _Writing:
    """Variables by path, as they become."""

    def __init__(self, model: Any, parameters: Mapping[str, Array], description: str) -> None:
        self.description = description
        self.parameters = parameters
        self.variables = {_path(w): np.asarray(w.numpy()) for w in model.weights}
        self.written: set[str] = set()
        normalisations = [
            x
            for x in _layers(model)
            if type(x).__name__ == "BatchNormalization" and not _is_whole(x, parameters)
        ]
        statistics = {_path(w) for layer in normalisations for w in layer.weights}
        for name in parameters:
            if name in self.variables and name not in statistics:
                self._write(name, parameters[name])
        for layer in normalisations:
            self._normalise(layer)
        for layer in _layers(model):
            bias = getattr(layer, "bias", None)
            if bias is None or not hasattr(bias, "numpy"):
                continue
            others = {_path(w) for w in layer.weights} - {_path(bias)}
            if _path(bias) not in parameters and others & self.written:
                self._write(_path(bias), np.zeros(bias.shape))
        if not self.written & set(parameters):
            raise GvmError(
                f"{description} has none of the parameters; the first is "
                f"{next(iter(parameters), '')!r}"
            )

    def _write(self, name: str, data: Array) -> None:
        shape = self.variables[name].shape
        if data.size != self.variables[name].size:
            raise GvmError(
                f"{self.description}: {name} has shape {shape}, the parameter {data.shape}"
            )
        self.variables[name] = data.reshape(shape).astype(self.variables[name].dtype)
        self.written.add(name)

    def _parameter(self, variable: Any, default: float, size: int) -> Array:
        """What the import left under a variable's name, for each channel."""
        name = "" if variable is None else _path(variable)
        if name not in self.parameters:
            return np.full(size, default)
        self.written.add(name)
        return np.broadcast_to(self.parameters[name].reshape(-1).astype(np.float64), (size,))

    def _normalise(self, layer: Any) -> None:
        """y = scale * x + shift, whatever the statistics were."""
        mean, variance = _path(layer.moving_mean), _path(layer.moving_variance)
        size, epsilon = self.variables[mean].size, float(layer.epsilon)
        scaled, shifted = layer.gamma is not None, layer.beta is not None
        scale = self._parameter(layer.gamma if scaled else layer.moving_variance, 1.0, size)
        shift = self._parameter(layer.beta if shifted else layer.moving_mean, 0.0, size)
        if scaled:
            deviation = np.sqrt(self.variables[variance].astype(np.float64) + epsilon)
            self._write(_path(layer.gamma), scale * deviation)
        else:
            with np.errstate(divide="ignore"):  # an infinite variance is a scale of 0
                self._write(variance, np.maximum(0.0, 1 / np.square(scale) - epsilon))
        if shifted:
            self._write(_path(layer.beta), shift)
            self._write(mean, np.zeros(size))
        else:
            self._write(mean, -shift / np.where(scale == 0, 1, scale))


class _Copy:
    """A clone under way: its variables by the paths of the original."""

    def __init__(
        self, model: Any, variables: dict[str, Array], description: str, training: bool
    ) -> None:
        self.model = model
        self.training = training
        self.variables = variables
        self.description = description
        self.renamed = dict(zip(_paths(model), variables, strict=True))

    def _imported(self, variables: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters that an import gives where the variables are these."""
        self.model.set_weights(list(variables.values()))
        graph = load_tensorflow(self.model, training=self.training)
        graph = frozen_folded(graph) if self.training else graph
        return {self.renamed.get(p.name, p.name): p.data for p in graph.parameters}

    def differing(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters that an import of the copy does not give."""
        found = self._imported(self.variables)
        if set(found) != set(parameters):
            odd = sorted(set(found) ^ set(parameters))[0]
            raise GvmError(f"{self.description} is another than was imported: parameter {odd!r}")
        wrong = {}
        for name, wanted in parameters.items():
            if name not in self.variables:
                continue  # a number of a formula: both have it
            limit = TOLERANCE * float(np.max(np.abs(wanted), initial=0.0))
            same = found[name].shape == wanted.shape
            if not same or not (np.abs(found[name] - wanted) <= limit).all():
                wrong[name] = wanted
        return wrong

    def invert(self, wrong: Mapping[str, Array]) -> None:
        """Writes parameters that are a multiple of their variable, its elements in another order:
        negated slopes, kernels that are turned. The import of 1, 2, ... shows both."""
        probe = dict(self.variables)
        for name in wrong:
            old = probe[name]
            probe[name] = np.arange(1, old.size + 1, dtype=old.dtype).reshape(old.shape)
        found = self._imported(probe)
        for name, wanted in wrong.items():
            seen, old = found[name].reshape(-1), self.variables[name]
            factor = float(seen.sum()) / (seen.size * (seen.size + 1) / 2)
            if factor == 0.0 or seen.size != old.size:
                continue
            place = np.rint(seen / factor).astype(np.int64) - 1
            if np.array_equal(np.sort(place), np.arange(seen.size)):
                written = np.empty(seen.size)
                written[place] = wanted.reshape(-1) / factor
                self.variables[name] = written.reshape(old.shape).astype(old.dtype)
