"""Residual networks, with batch normalisation or without."""

from __future__ import annotations

from fractions import Fraction
from typing import Unpack

from gvm.errors import GvmError
from gvm.graph import Value
from gvm.model import Model
from gvm.templates.network import Network, Options, image_network

STAGES: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage, by depth; from 50 on they are bottlenecks."""
BOTTLENECK = 50
EXPANSION = 4


def resnet(
    depth: int = 18,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    activation: str = "relu",
    width: int | None = None,
    batch_norm: bool = False,
    **options: Unpack[Options],
) -> Model:
    """Residual blocks in stages that halve the image and double the channels; logits [B, classes].

    ``depth``: 18, 34, 50, 101, 152, or 6n + 2 for the three-stage form of small images (8, 14, 20,
    32, ...). ``width``: filters of the first stage, 64 (16 in three stages) unless given.
    ``options``: :class:`gvm.templates.Options`.

    ``batch_norm``: each convolution is followed by batch normalisation in the place of a bias.
    Without it a block is activation(x + branch(x)), its convolutions have biases,
    and the variance of the last one's first weights is divided by the number of blocks, so that
    depth does not amplify (Hanin and Rolnick, NeurIPS 2018; Zhang, Dauphin and Ma, ICLR 2019). That
    trains, at lower rates.

    Source: He, Zhang, Ren and Sun, CVPR 2016.
    """
    if depth in STAGES:
        stages = STAGES[depth]
    elif depth >= 8 and depth % 6 == 2:
        stages = ((depth - 2) // 6,) * 3
    else:
        known = ", ".join(map(str, STAGES))
        raise GvmError(f"depth must be one of {known}, or 6n + 2, received {depth}")
    bottleneck = depth in STAGES and depth >= BOTTLENECK
    first = width if width is not None else 64 if depth in STAGES else 16
    net = image_network(input_shape, activation, classes, options, batch_norm)
    x = net.stem(first)
    for stage, blocks in enumerate(stages):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"stage_{stage + 1}/block_{block + 1}"
            x = _block(net, x, first << stage, stride, bottleneck, sum(stages), name)
    logits = net.dense(net.drop(net.mean_of_pixels(x)), classes, "logits", last=True)
    return net.model(logits, f"resnet{depth}", **options)


def _block(
    net: Network, x: Value, filters: int, stride: int, bottleneck: bool, blocks: int, name: str
) -> Value:
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1 with four times the filters, beside the
    identity; beside a 1 x 1 convolution where the shape changes."""
    out = filters * (EXPANSION if bottleneck else 1)
    y = x
    if bottleneck:
        y = net.activate(net.convolution(y, filters, 1, f"{name}/reduce"))
    y = net.activate(net.convolution(y, filters, 3, f"{name}/conv", stride))
    kernel = 1 if bottleneck else 3
    gain = net.squared_gain if net.normalizes else Fraction(1, blocks)
    y = net.convolution(y, out, kernel, f"{name}/last", squared_gain=gain)
    if stride != 1 or net.g.shape(x)[-1] != out:
        x = net.convolution(x, out, 1, f"{name}/shortcut", stride, squared_gain=Fraction(1))
    return net.activate(int(net.g.add(x, y, name=name)))
