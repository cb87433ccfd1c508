"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from gvm.errors import GvmError
from gvm.model import Model
from gvm.templates.network import Network, Options


def mlp(
    widths: Sequence[int] = (784, 1000, 1000, 10),
    activation: str = "relu",
    classes: int | None = None,
    **options: Unpack[Options],
) -> Model:
    """Dense layers: inputs [B, widths[0]], then a layer of each further width, all but the last
    activated; logits [B, widths[-1]].

    ``activation``: "relu" or a function of ``unary`` ("tanh", "sigmoid", ...). ``classes``: one
    more width at the end. ``options``: :class:`gvm.templates.Options`. Raises GvmError for what is
    out of range.
    """
    sizes = [*widths, *([] if classes is None else [classes])]
    if len(sizes) < 2:
        raise GvmError(f"widths: those of inputs and classes are needed, received {tuple(sizes)}")
    net = Network(sizes[:1], activation, options.get("seed", 0), options.get("dropout", 0.0))
    x = net.input
    for i, units in enumerate(sizes[1:], 1):
        x = net.dense(x, units, f"dense_{i}", last=i == len(sizes) - 1)
    return net.model(x, "mlp", **options)
