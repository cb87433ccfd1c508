"""The functions that ``import gvm`` gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import ImportModelError
from gvm.formats import Formats
from gvm.model import Model
from gvm.program import MAX_BATCH
from gvm.trainable import only_trainable


def from_tensorflow(
    source: Any,
    calibration: NDArray[Any] | Sequence[NDArray[Any]] | None = None,
    loss: str | None = None,
    labels: NDArray[Any] | None = None,
    formats: str | Formats | None = None,
    max_batch: int = MAX_BATCH,
    progress: bool | None = None,
    trainable: str | Sequence[str] | None = None,
    training: bool = False,
    label_smoothing: float = 0.0,
) -> Model:
    """A DModel from TensorFlow: a keras.Model, tf.Module, ConcreteFunction, or the path of a
    SavedModel, .keras, .h5 or frozen .pb.

    ``calibration``: real inputs, batch first, from which every format is chosen; they also give the
    dimensions that the source leaves open. ``labels`` go with
    them for the formats of the backward pass: classes are drawn where none are given, targets of a
    mean squared error must be given.
    ``loss``: "softmax_cross_entropy", "sigmoid_cross_entropy" or "mean_squared_error"; without one
    the model only runs.
    ``formats``: None (chosen per tensor), "<IL,FL>", the uniform format of the seed literature,
    which needs no calibration, "weights=<2,14> activations=<6,10> gradients=<2,14>", one of each
    kind, or :class:`gvm.Formats`.
    ``trainable``: names of the parameters that train, or patterns of them such as "head/*"; None:
    all that the source trains. What is before the first of them runs as in a model that only runs.
    ``training``: batch normalisations train by the statistics of each batch, and have running
    statistics, as in ``model.fit``; otherwise they are folded as in a model that only runs. It
    needs a Keras model or its file, or ONNX, and a loss.
    ``label_smoothing``: the share of every label that lies evenly on all classes, in the gradient
    of a cross-entropy; losses are reported without.

    Raises :class:`gvm.ImportModelError` with everything that cannot be imported.
    """
    from gvm.importers.batch_norms import frozen_folded
    from gvm.importers.tensorflow import load_tensorflow

    listed: list[Any] = (
        list(calibration) if isinstance(calibration, list | tuple) else [calibration]
    )
    shapes = [np.shape(a) for a in listed]
    _check_training(training, loss)
    graph = only_trainable(load_tensorflow(source, shapes, training), trainable)
    graph = frozen_folded(graph) if training else graph
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__
    about = {"source": os.path.basename(os.path.normpath(str(name)))}
    model = Model.from_graph(
        graph, calibration, loss, labels, formats, max_batch, progress, about, label_smoothing
    )
    model.source = source
    return model


def from_onnx(
    source: Any,
    calibration: NDArray[Any] | Sequence[NDArray[Any]] | None = None,
    loss: str | None = None,
    labels: NDArray[Any] | None = None,
    formats: str | Formats | None = None,
    max_batch: int = MAX_BATCH,
    progress: bool | None = None,
    trainable: str | Sequence[str] | None = None,
    training: bool = False,
    label_smoothing: float = 0.0,
) -> Model:
    """A DModel from ONNX: the path of a .onnx file or an onnx.ModelProto, of any operator set from
    1 on. Inputs and outputs keep their layout; the first axis is the batch. What else is left open
    of the inputs' shapes is as in ``calibration``.

    The other arguments are those of :func:`from_tensorflow`.

    Raises :class:`gvm.ImportModelError` with everything that cannot be imported.
    """
    from gvm.importers.batch_norms import frozen_folded
    from gvm.importers.onnx import load_onnx

    _check_training(training, loss)
    listed: list[Any] = (
        list(calibration) if isinstance(calibration, list | tuple) else [calibration]
    )
    shapes = [np.shape(a) for a in listed]
    graph = only_trainable(load_onnx(source, training, shapes), trainable)
    graph = frozen_folded(graph) if training else graph
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__
    about = {"source": os.path.basename(os.path.normpath(str(name)))}
    model = Model.from_graph(
        graph, calibration, loss, labels, formats, max_batch, progress, about, label_smoothing
    )
    model.source = source
    return model


def _check_training(training: bool, loss: str | None) -> None:
    if training and loss is None:
        raise ImportModelError("training=True needs a loss")


def load(path: str | os.PathLike[str]) -> Model:
    """Reads a .dmodel file."""
    return Model.load(path)
