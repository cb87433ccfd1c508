"""Random small networks of real numbers, through differentiation and quantisation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gvm import _core
from gvm.graph import Builder, Value
from gvm.model import Model
from gvm.program import PROFILES, with_profile
from gvm.tensors import convert_parameters
from tests.random_programs import CLASSES, MAX_BATCH, Run, optimized, tensors


@dataclass
class Layers:
    """Layers of a network of real numbers."""

    rng: random.Random
    generator: np.random.Generator
    g: Builder = field(default_factory=Builder)

    def parameter(self, *shape: int) -> Value:
        """A trained weight."""
        scale = 1 / math.sqrt(math.prod(shape[:-1]))
        data = self.generator.normal(scale=scale, size=shape)
        return self.g.parameter(f"w{len(self.g.types)}", data)

    def bias(self, x: Value) -> Value:
        """A trained bias on the last axis."""
        return self.g.bias_add(x, self.parameter(self.g.shape(x)[-1]))

    def bend(self, x: Value) -> Value:
        """A nonlinear function."""
        function = self.rng.choice((0, 0, 0, 0, 0, 3, 4, 6))
        return self.g.relu(x) if function == 0 else self.g.unary(x, function=function)

    def convolution(self, x: Value) -> Value:
        """A convolution with stride or padding."""
        rng, (_, height, width, channels) = self.rng, self.g.shape(x)
        window = (rng.randrange(1, min(3, height) + 1), rng.randrange(1, min(3, width) + 1))
        w = self.parameter(*window, channels, rng.randrange(1, 5))
        padding = tuple(rng.randrange(2) for _ in range(4))
        y = self.g.conv2d(x, w, strides=(rng.randrange(1, 3), 1), padding=padding)
        return self.bend(self.bias(y))

    def pooling(self, x: Value) -> Value:
        """An average or a maximum over windows that may overlap."""
        _, height, width, _ = self.g.shape(x)
        rng, window = self.rng, (min(2, height), min(3, width))
        strides = (rng.randrange(1, 3), rng.randrange(1, 4))
        if rng.randrange(2):
            padding = (0, int(height > 1), 1, 0) if width > 1 else (0, 0, 0, 0)
            return self.g.max_pool2d(x, window=window, strides=strides, padding=padding)
        count = rng.randrange(2)
        return self.g.avg_pool2d(x, window=window, strides=strides, count_include_pad=count)

    def residual(self, x: Value) -> Value:
        """x plus a convolution of it."""
        channels = self.g.shape(x)[3]
        w = self.parameter(3, 3, channels, channels)
        return self.bend(self.g.add(x, self.bias(self.g.conv2d(x, w, padding=(1, 1, 1, 1)))))

    def branches(self, x: Value) -> Value:
        """Two convolutions side by side, one of them gated by the other."""
        channels = self.g.shape(x)[3]
        a, b = (self.bias(self.g.conv2d(x, self.parameter(1, 1, channels, 2))) for _ in range(2))
        return self.g.concat(a, self.g.mul(a, self.g.unary(b, function=4)), axis=3)

    def movement(self, x: Value) -> Value:
        """A permutation, a crop, a border, or a scale for each channel."""
        _, height, width, channels = self.g.shape(x)
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.g.transpose(x, permutation=(0, 2, 1, 3))
        if kind == 1:
            end = (-1, height, width, channels)
            return self.g.slice(x, begin=(0, height // 2, 0, 0), end=end, strides=(1, 1, 2, 1))
        if kind == 2:
            return self.g.pad(x, before=(0, 1, 0, 0), after=(0, 0, 1, 0))
        scaled = self.g.mul(x, self.parameter(channels))
        return self.g.sub(scaled, self.g.reduce_max(x, axes=(1, 2), keepdims=1))

    def head(self, x: Value) -> Value:
        """One vector for each example, then as many outputs as classes."""
        _, height, width, channels = self.g.shape(x)
        kind = self.rng.randrange(3)
        if kind == 0:
            x = self.g.reshape(x, shape=(-1, height * width * channels))
        elif kind == 1:
            x = self.g.divide(self.g.reduce_sum(x, axes=(1, 2)), divisor=height * width)
        else:
            x = self.g.reduce_max(x, axes=(1, 2))
        if self.rng.randrange(2):
            x = self.bend(self.bias(self.g.matmul(x, self.parameter(self.g.shape(x)[1], 7))))
        return self.bias(self.g.matmul(x, self.parameter(self.g.shape(x)[1], CLASSES)))


BLOCKS: tuple[Callable[[Layers, Value], Value], ...] = (
    Layers.convolution,
    *(Layers.pooling,) * 2,
    Layers.residual,
    Layers.branches,
    Layers.movement,
)


def random_network(rng: random.Random) -> Run:
    """A small network of real numbers, differentiated and quantised as a model is."""
    shape = (-1, rng.randrange(4, 8), rng.randrange(4, 8), rng.randrange(1, 4))
    layers = Layers(rng, np.random.default_rng(rng.getrandbits(32)))
    x = layers.g.input("x", shape)
    if rng.randrange(2):
        x = layers.convolution(x)
    for _ in range(rng.randrange(1, 4)):
        x = rng.choice(BLOCKS)(layers, x)
    return _trained(layers, layers.head(x), 24, rng.randrange(1, 13))


def wide_network(rng: random.Random) -> Run:
    """A network whose tensors are large enough for threads to share."""
    layers = Layers(rng, np.random.default_rng(rng.getrandbits(32)))
    g = layers.g
    x = g.input("x", (-1, 28, 28, 3))
    x = g.relu(layers.bias(g.conv2d(x, layers.parameter(3, 3, 3, 24), padding=(1, 1, 1, 1))))
    x = g.max_pool2d(layers.residual(x), window=(2, 2), strides=(2, 2))
    x = g.avg_pool2d(layers.branches(x), window=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    flat = int(np.prod(g.shape(x)[1:]))
    x = layers.bias(g.matmul(g.reshape(x, shape=(-1, flat)), layers.parameter(flat, 300)))
    x = layers.bias(g.matmul(g.relu(x), layers.parameter(300, CLASSES)))
    return _trained(layers, x, 12, 12)


def _trained(layers: Layers, x: Value, examples: int, batch: int) -> Run:
    """The training program of a network that ends in ``x``, calibrated on random examples."""
    rng, generator = layers.rng, layers.generator
    data = generator.normal(size=(examples, *layers.g.shape(layers.g.inputs[0])[1:]))
    classifies = rng.randrange(2) == 1
    labels = (
        generator.integers(0, CLASSES, examples)
        if classifies
        else generator.normal(size=(examples, CLASSES))
    )
    model = Model.from_graph(
        layers.g.graph(predict=(x,)),
        data,
        loss="softmax_cross_entropy" if classifies else "mean_squared_error",
        labels=labels,
        formats=rng.choice((None, None, "<6,10>")),
        max_batch=MAX_BATCH,
        progress=False,
    )
    rounding = rng.choice(("stochastic", "nearest"))
    program = with_profile(model.program, rng.choice(PROFILES)).rounded(rounding)
    parameters = convert_parameters(
        model.parameters, _core.Program(model.bytes).tensors(2), program.parameters
    )
    program = optimized(rng, program, 0.05, rounding)
    return Run(
        program,
        tuple(a[:batch] for a in model.quantized_inputs(data)),
        tuple(a[:batch] for a in model.quantized_labels(labels)),
        tensors(program, 2, parameters),
    )
