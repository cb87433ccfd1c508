"""Networks in the form of VGG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from gvm.errors import GvmError
from gvm.model import Model
from gvm.templates.network import Options, image_network

STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convolutions of each stage, by depth."""


def vgg(
    depth: int = 16,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    activation: str = "relu",
    width: int = 64,
    hidden: Sequence[int] = (512, 512),
    **options: Unpack[Options],
) -> Model:
    """Stages of 3 x 3 convolutions, each followed by a 2 x 2 max pooling (of an axis with more than
    one pixel), then dense layers; logits [B, classes].

    ``depth``: 11, 13, 16 or 19 (configurations A, B, D, E). ``width``: filters of the first stage,
    doubled in each of the next three. ``hidden``: units of the dense layers before the last, (4096,
    4096) in the original. ``options``: :class:`gvm.templates.Options`.

    Source: Simonyan and Zisserman, ICLR 2015, where dropout is 0.5.
    """
    if depth not in STAGES:
        raise GvmError(f"depth must be one of {', '.join(map(str, STAGES))}, received {depth}")
    net = image_network(input_shape, activation, classes, options)
    x = net.input
    for stage, layers in enumerate(STAGES[depth]):
        for layer in range(layers):
            filters = width << min(stage, 3)
            x = net.activate(net.convolution(x, filters, 3, f"stage_{stage + 1}/conv_{layer + 1}"))
        x = net.max_pool(x, 2, 2)
    x = net.flat(x)
    for i, units in enumerate(hidden, 1):
        x = net.dense(x, units, f"dense_{i}")
    return net.model(net.dense(x, classes, "logits", last=True), f"vgg{depth}", **options)
