"""Label smoothing: gradients that pull a share of every label's weight evenly over the classes."""

from __future__ import annotations

import math

import numpy as np

from gvm.errors import ImportModelError
from gvm.functions import BY_NAME
from gvm.graph import Builder, Value

__all__ = ["check_smoothing", "smoothed"]

SMOOTHED = ("softmax_cross_entropy", "sigmoid_cross_entropy")


def check_smoothing(loss: str, share: float) -> None:
    """Raises ImportModelError for a share that is none, or a loss without classes."""
    if not (math.isfinite(share) and 0 <= share < 1):
        raise ImportModelError(f"label_smoothing must be in [0, 1), received {share}")
    if share and loss not in SMOOTHED:
        raise ImportModelError(f"label_smoothing: {loss} has no classes")


def smoothed(g: Builder, loss: str, logits: Value, gradient: Value, share: float) -> Value:
    """The gradient with respect to the logits, [B, N], for labels of which ``share`` lies evenly on
    all classes: (1 - share)·gradient + share·(p - 1/N), p the probabilities; of sigmoid
    cross-entropy, a mean over the elements of an example, (p - 1/2) over their number. As Keras's
    ``label_smoothing``.
    """
    if not share:
        return gradient
    if loss == "softmax_cross_entropy":
        p, classes, elements = g.softmax(logits), g.shape(logits)[-1], 1
    else:
        p, classes = g.unary(logits, function=BY_NAME["logistic"].number), 2
        elements = math.prod(g.shape(logits)[1:])

    def constant(name: str, value: float) -> Value:
        return g.parameter(f"label_smoothing/{name}", np.full(1, value), trainable=False)

    even = g.sub(p, constant("even", 1 / classes))
    kept = g.mul(gradient, constant("kept", 1 - share))
    return int(g.add(kept, g.mul(even, constant("share", share / elements))))
