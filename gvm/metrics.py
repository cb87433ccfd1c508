"""Metrics beside the loss: exact integers over the exact integers that a model gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm.errors import GvmError
from gvm.tensors import Array, IntegerTensor

if TYPE_CHECKING:
    from gvm.model import Model


@dataclass(frozen=True)
class Metric:
    """``total``·2^-``fraction_bits`` summed over ``count`` things; those of disjoint sets add."""

    total: int
    count: int
    fraction_bits: int = 0

    def __add__(self, other: Metric) -> Metric:
        if self.fraction_bits != other.fraction_bits:
            raise GvmError("metrics of one kind and model add")
        return Metric(self.total + other.total, self.count + other.count, self.fraction_bits)

    def __float__(self) -> float:
        return self.total / 2**self.fraction_bits / self.count if self.count else 0.0


def top_k(
    model: Model, x: Array | Sequence[Array], labels: Array, k: int = 5, **options: Any
) -> Metric:
    """How many of the examples have their class among the ``k`` largest outputs; of equal outputs
    the one with the lower index is larger, as in ``argmax``. ``options``: of ``Model.run``."""
    if k < 1:
        raise ValueError(f"k must be at least 1, received {k}")
    if not model.program.classifies:
        raise GvmError("top_k: the model does not classify: import it with softmax_cross_entropy")
    outputs, (targets,) = _outputs(model, x, labels, options)
    logits = outputs.integers
    if len(targets) and not (0 <= targets.min() and targets.max() < logits.shape[1]):
        wrong = targets[(targets < 0) | (targets >= logits.shape[1])][0]
        raise GvmError(f"top_k: labels must be in [0, {logits.shape[1]}), received {wrong}")
    own = np.take_along_axis(logits, targets[:, None], axis=1)
    before = np.arange(logits.shape[1]) < targets[:, None]
    ahead = ((logits > own) | ((logits == own) & before)).sum(axis=1)
    return Metric(int((ahead < k).sum()), len(targets))


def mean_absolute_error(
    model: Model, x: Array | Sequence[Array], targets: Array, **options: Any
) -> Metric:
    """The sum of |output - target| over all elements, targets at the format of the loss, with the
    larger of their and the output's fraction bits. ``options``: of ``Model.run``."""
    if not model.program.labels or model.program.classifies:
        raise GvmError(
            "mean_absolute_error: the model has no targets: import it with mean_squared_error"
        )
    outputs, (wanted,) = _outputs(model, x, targets, options)
    of_targets = model.program.labels[0].fraction_bits
    bits = max(outputs.fraction_bits, of_targets)
    made = outputs.integers.astype(object) << (bits - outputs.fraction_bits)
    given = wanted.astype(object) << (bits - of_targets)
    return Metric(int(np.abs(made - given).sum()), int(wanted.size), bits)


def _outputs(
    model: Model, x: Array | Sequence[Array], labels: Array, options: dict[str, Any]
) -> tuple[IntegerTensor, list[Array]]:
    """The one output of the model, and its labels as the program's integers."""
    inputs, targets = model.examples(x, labels, "metrics")
    outputs = model.run_integers(x, **options)
    if isinstance(outputs, tuple):
        raise GvmError(f"metrics: one output is needed, the model has {len(outputs)}")
    assert len(outputs.integers) == len(inputs[0])
    return outputs, targets
