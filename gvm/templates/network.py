"""What templates share: layers with first weights, and the way to a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypedDict, Unpack

import numpy as np

from gvm.batch_training import batch_normalized
from gvm.errors import GvmError
from gvm.formats import Formats
from gvm.functions import BY_NAME
from gvm.graph import Builder, Value
from gvm.model import Model
from gvm.program import MAX_BATCH
from gvm.random import SEED_LIMIT, SITE_LIMIT
from gvm.templates.initialisation import SCALE_BITS, normal, root, uniform
from gvm.tensors import Array

INPUT_SITE = SITE_LIMIT - 1
"""The draws of calibration inputs; parameters count from 0."""
DRAWN_EXAMPLES, DRAWN_ELEMENTS = 64, 1 << 15
"""Calibration inputs are drawn up to these limits."""
SMALL_IMAGE = 64
"""Images with a shorter side keep their size in the first layer."""


class Options(TypedDict, total=False):
    """What every template takes beside its own parameters."""

    seed: int
    """Of the first weights; 0 unless given."""
    loss: str | None
    """"softmax_cross_entropy" unless given; None for a model that only runs."""
    calibration: Array | None
    """Inputs (batch first) from which formats are chosen; unless given, uniforms in (-1, 1) are
    drawn: then inputs beyond are clamped."""
    labels: Array | None
    """Of the calibration inputs; drawn unless given."""
    dropout: float
    """Share of elements that training drops behind every hidden dense layer and before the last;
    0 unless given."""
    label_smoothing: float
    """Share of every label that training lays evenly on all classes; 0 unless given."""
    formats: str | Formats | None
    max_batch: int
    progress: bool | None


class Network:
    """A classifier under construction. Parameter n, in the order of making, draws from site n."""

    def __init__(
        self,
        shape: Sequence[int],
        activation: str,
        seed: int = 0,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        if not 0 <= dropout < 1:
            raise GvmError(f"dropout must be in [0, 1), received {dropout}")
        if activation != "relu" and activation not in BY_NAME:
            names = ", ".join(sorted({"relu", *BY_NAME}))
            raise GvmError(f"activation must be one of {names}, received {activation!r}")
        if not 0 <= seed < SEED_LIMIT:
            raise GvmError(f"seed must be in [0, 2^64), received {seed}")
        for size in shape:
            _check("input_shape", size)
        self.g = Builder()
        self.input_shape = tuple(shape)
        self.input = self.g.input("input", (-1, *shape))
        self.normalizes = batch_norm
        self._activation = activation
        self._seed = seed
        self._keep = max(1, round((1 - dropout) * 65536))
        self._streams = 0

    def weight(
        self,
        name: str,
        shape: tuple[int, ...],
        fan_in: Fraction,
        squared_gain: Fraction | None = None,
    ) -> Value:
        """Normals of variance ``squared_gain`` / fan_in; the gain's square is 2 before a relu
        (He et al., ICCV 2015) and 1 (LeCun et al., 1998) before another activation, unless
        given."""
        gain = self.squared_gain if squared_gain is None else squared_gain
        data = normal(self._seed, len(self.g.parameters), shape, root(gain / fan_in))
        return self.g.parameter(name, data)

    @property
    def squared_gain(self) -> Fraction:
        """Of a layer that the activation follows."""
        return Fraction(2 if self._activation == "relu" else 1)

    def zeros(self, name: str, length: int) -> Value:
        """A bias."""
        return self.g.parameter(name, uniform(0, 0, (length,), 0))

    def activate(self, x: Value) -> Value:
        """The activation."""
        if self._activation == "relu":
            return int(self.g.relu(x))
        return int(self.g.unary(x, function=BY_NAME[self._activation].number))

    def dense(self, x: Value, units: int, name: str, last: bool = False) -> Value:
        """x [B, N] times a weight, plus a bias; activated unless it is the ``last``, whose weights
        are uniforms of variance 2 / (N + units) (Glorot and Bengio, AISTATS 2010)."""
        _check(name, units)
        fan_in = self.g.shape(x)[-1]
        if last:
            scale = root(Fraction(6, fan_in + units))
            data = uniform(self._seed, len(self.g.parameters), (fan_in, units), scale)
            weight = self.g.parameter(f"{name}/kernel", data)
        else:
            weight = self.weight(f"{name}/kernel", (fan_in, units), Fraction(fan_in))
        y = self.g.bias_add(self.g.matmul(x, weight), self.zeros(f"{name}/bias", units), name=name)
        return int(y) if last else self.drop(self.activate(int(y)))

    def drop(self, x: Value) -> Value:
        """Dropout, where there is any; each layer has draws of its own."""
        if self._keep == 65536:
            return x
        self._streams += 1
        return int(self.g.dropout(x, keep=self._keep, stream=self._streams - 1))

    def convolution(
        self,
        x: Value,
        filters: int,
        kernel: int,
        name: str,
        stride: int = 1,
        squared_gain: Fraction | None = None,
    ) -> Value:
        """A square kernel over x [B, H, W, C], plus a bias, or where there is batch normalisation
        followed by it; padded by kernel // 2 on every side.

        Its fan-in is the mean over positions of what they see of the image: on few pixels, borders
        are most of it.
        """
        _check(name, filters)
        _, height, width, channels = self.g.shape(x)
        fan_in = channels * _seen(height, kernel, stride) * _seen(width, kernel, stride)
        weight = self.weight(
            f"{name}/kernel", (kernel, kernel, channels, filters), fan_in, squared_gain
        )
        y = self.g.conv2d(x, weight, strides=(stride, stride), padding=(kernel // 2,) * 4)
        if self.normalizes:
            return self.normalize(int(y), name)
        return int(self.g.bias_add(y, self.zeros(f"{name}/bias", filters), name=name))

    def normalize(self, x: Value, name: str) -> Value:
        """Batch normalisation as Keras has it: epsilon 0.001, and running statistics that keep
        0.99."""
        zeros = np.zeros(self.g.shape(x)[-1])
        return batch_normalized(
            self.g,
            x,
            mean=self.g.parameter(f"{name}/mean", zeros, trainable=False),
            variance=self.g.parameter(f"{name}/variance", zeros + 1, trainable=False),
            scale=self.g.parameter(f"{name}/gamma", zeros + 1),
            shift=self.g.parameter(f"{name}/beta", zeros),
            epsilon=1e-3,
            keep=0.99,
            name=name,
        )

    def max_pool(self, x: Value, window: int, stride: int) -> Value:
        """Maxima; windows of 3 reach one pixel beyond the border. An axis of one pixel stays."""
        _, height, width, _ = self.g.shape(x)
        sizes = tuple(window if n > 1 else 1 for n in (height, width))
        steps = tuple(stride if n > 1 else 1 for n in (height, width))
        tall, wide = ((n - 1) // 2 for n in sizes)
        padding = (tall, tall, wide, wide)
        return int(self.g.max_pool2d(x, window=sizes, strides=steps, padding=padding))

    def mean_of_pixels(self, x: Value) -> Value:
        """[B, H, W, C] to [B, C]."""
        _, height, width, channels = self.g.shape(x)
        y = self.g.avg_pool2d(x, window=(height, width), strides=(1, 1))
        return int(self.g.reshape(y, shape=(-1, channels)))

    def flat(self, x: Value) -> Value:
        """[B, ...] to [B, N]."""
        return int(self.g.reshape(x, shape=(-1, math.prod(self.g.shape(x)[1:]))))

    def stem(self, filters: int) -> Value:
        """The first layers of image networks: 7 x 7 by steps of 2 and a pooling; of small images
        3 x 3 alone."""
        if min(self.input_shape[:2]) < SMALL_IMAGE:
            return self.activate(self.convolution(self.input, filters, 3, "stem"))
        x = self.activate(self.convolution(self.input, filters, 7, "stem", 2))
        return self.max_pool(x, 3, 2)

    def model(self, logits: Value, template: str, **options: Unpack[Options]) -> Model:
        """The model whose output is ``logits``."""
        calibration, formats = options.get("calibration"), options.get("formats")
        if calibration is None and formats is None or _needs_data(formats) and calibration is None:
            calibration = self._drawn()
        return Model.from_graph(
            self.g.graph(predict=(logits,)),
            calibration,
            options.get("loss", "softmax_cross_entropy"),
            options.get("labels"),
            formats,
            progress=options.get("progress"),
            info={"source": template},
            max_batch=options.get("max_batch", MAX_BATCH),
            label_smoothing=options.get("label_smoothing", 0.0),
        )

    def _drawn(self) -> Array:
        count = max(2, min(DRAWN_EXAMPLES, DRAWN_ELEMENTS // math.prod(self.input_shape)))
        return uniform(self._seed, INPUT_SITE, (count, *self.input_shape), 1 << SCALE_BITS)


def image_network(
    shape: Sequence[int],
    activation: str,
    classes: int,
    options: Options,
    batch_norm: bool = False,
) -> Network:
    """A network of images [H, W, C]."""
    if len(shape) != 3:
        raise GvmError(f"input_shape must be (height, width, channels), received {tuple(shape)}")
    _check("classes", classes)
    seed, dropout = options.get("seed", 0), options.get("dropout", 0.0)
    return Network(shape, activation, seed, dropout, batch_norm)


def _seen(size: int, kernel: int, stride: int) -> Fraction:
    """Pixels that a window sees along an axis, padding left out: the mean over its positions."""
    border = kernel // 2
    starts = range(-border, size + border - kernel + 1, stride)
    seen = sum(min(at + kernel, size) - max(at, 0) for at in starts)
    return Fraction(seen, len(starts))


def _check(name: str, value: int) -> None:
    if value < 1:
        raise GvmError(f"{name} must be at least 1, received {value}")


def _needs_data(formats: str | Formats | None) -> bool:
    parsed = formats if isinstance(formats, Formats) else Formats.parse(formats)
    return not parsed.given
