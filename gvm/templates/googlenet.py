"""Networks in the form of GoogLeNet."""

from __future__ import annotations

from typing import Unpack

from gvm.errors import GvmError
from gvm.graph import Value
from gvm.model import Model
from gvm.templates.network import SMALL_IMAGE, Network, Options, image_network

INCEPTIONS: tuple[tuple[tuple[int, int, int, int, int, int], ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Filters of each module, by stage: 1 x 1; before 3 x 3, 3 x 3; before 5 x 5, 5 x 5; behind the
pooling."""


def googlenet(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    activation: str = "relu",
    width: int = 64,
    **options: Unpack[Options],
) -> Model:
    """Nine inception modules, each four branches side by side; logits [B, classes].

    ``width``: filters of the first layer; all others are in the original's proportion to 64.
    ``options``: :class:`gvm.templates.Options`.

    Source: Szegedy et al., CVPR 2015. Without local response normalisation, dropout and auxiliary
    classifiers.
    """
    if width < 1:
        raise GvmError(f"width must be at least 1, received {width}")

    def scaled(filters: int) -> int:
        return max(1, filters * width // 64)

    net = image_network(input_shape, activation, classes, options)
    x = net.stem(width)
    x = net.activate(net.convolution(x, scaled(64), 1, "reduce"))
    x = net.activate(net.convolution(x, scaled(192), 3, "conv"))
    if min(input_shape[:2]) >= SMALL_IMAGE:
        x = net.max_pool(x, 3, 2)
    for stage, modules in enumerate(INCEPTIONS):
        if stage > 0:
            x = net.max_pool(x, 3, 2)
        for i, filters in enumerate(modules):
            name = f"inception_{stage + 3}{'abcde'[i]}"
            x = _inception(net, x, tuple(scaled(f) for f in filters), name)
    logits = net.dense(net.drop(net.mean_of_pixels(x)), classes, "logits", last=True)
    return net.model(logits, "googlenet", **options)


def _inception(net: Network, x: Value, filters: tuple[int, ...], name: str) -> Value:
    direct, before3, of3, before5, of5, behind = filters

    def layer(x: Value, count: int, kernel: int, part: str) -> Value:
        return net.activate(net.convolution(x, count, kernel, f"{name}/{part}"))

    branches = (
        layer(x, direct, 1, "1x1"),
        layer(layer(x, before3, 1, "3x3_reduce"), of3, 3, "3x3"),
        layer(layer(x, before5, 1, "5x5_reduce"), of5, 5, "5x5"),
        layer(net.max_pool(x, 3, 1), behind, 1, "pool"),
    )
    return int(net.g.concat(*branches, axis=3, name=name))
