"""TensorFlow's resizing, and its exchange of channels and of the batch with space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.importers.lowering import Refusal
from gvm.importers.resample import Sampling, cubic, resample, take_elements, triangle
from gvm.importers.shapes import Merged, Operand, Tensor, integers_of
from gvm.importers.tensorflow_nodes import Translator, attribute_of, handles, layout_of
from gvm.importers.windows import framed

Reals = NDArray[np.float64]
_CUBIC_STEPS = 1024
"""TensorFlow looks the cubic kernel up in a table of so many steps."""


def _sampling(op: Any, length: int, size: int) -> Sampling:
    """In single precision, as TensorFlow has it. The nearest element is the one that holds the
    place, so its centres are not moved back."""
    back = np.float32(0.0 if op.type == "ResizeNearestNeighbor" else 0.5)
    corners = bool(attribute_of(op, "align_corners", False)) and size > 1
    centres = bool(attribute_of(op, "half_pixel_centers", False))
    step = np.float32(length - 1) / np.float32(size - 1) if corners else np.float32(length / size)

    def place(i: Reals) -> Reals:
        at = i.astype(np.float32)
        if centres:
            at = (at + np.float32(0.5)) * step - back
        else:
            at = at * step
        return np.asarray(at, dtype=np.float64)

    return Sampling(length, size, size / length, place)


def _nearest(op: Any, sampling: Sampling) -> list[int]:
    if attribute_of(op, "align_corners", False):
        return sampling.nearest(lambda x: np.floor(x + 0.5))
    return sampling.nearest(np.floor)


def _weights(op: Any, sampling: Sampling) -> Reals:
    if op.type == "ResizeBilinear":
        return sampling.weighted(triangle, 1.0)
    centres = bool(attribute_of(op, "half_pixel_centers", False))

    def stepped(i: Reals) -> Reals:
        at = sampling.position(i)
        whole = np.floor(at)
        return np.asarray(whole + np.rint((at - whole) * _CUBIC_STEPS) / _CUBIC_STEPS)

    coarse = Sampling(sampling.length, sampling.size, sampling.scale, stepped)
    return coarse.weighted(cubic(-0.5 if centres else -0.75), 2.0, only_inside=centres)


@handles("ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor")
def _resize(t: Translator, op: Any, x: Operand, size: Operand) -> Tensor:
    value = t.whole(x)
    shape, wanted = t.g.shape(value), integers_of(size)
    samplings = {
        axis: _sampling(op, shape[axis], d)
        for axis, d in zip((1, 2), wanted, strict=True)
        if d != shape[axis]
    }
    if op.type == "ResizeNearestNeighbor":
        for axis, sampling in samplings.items():
            value = take_elements(t, value, axis, _nearest(op, sampling), op.name)
        return Tensor(value)
    matrices = {axis: _weights(op, sampling) for axis, sampling in samplings.items()}
    return Tensor(resample(t, value, matrices, op.name))


def _channels_last(make: Callable[..., Any]) -> Callable[..., Tensor]:
    def handle(t: Translator, op: Any, x: Operand) -> Tensor:
        value, first = t.whole(x), layout_of(op) == "NCHW"
        if first:
            value = t.low.transpose(value, (0, 2, 3, 1))
        made = make(t, value, int(op.get_attr("block_size")))
        return Tensor(t.low.transpose(made, (0, 3, 1, 2)) if first else made)

    return handle


@handles("DepthToSpace")
@_channels_last
def _depth_to_space(t: Translator, value: int, block: int) -> int:
    n, h, w, c = t.g.shape(value)
    if c % block**2:
        raise Refusal(f"blocks of {block} x {block} do not divide {c} channels")
    inner = c // block**2
    split = t.low.transpose(
        t.low.reshape(value, [n, h, w, block, block, inner]), (0, 1, 3, 2, 4, 5)
    )
    return t.low.reshape(split, [n, h * block, w * block, inner])


@handles("SpaceToDepth")
@_channels_last
def _space_to_depth(t: Translator, value: int, block: int) -> int:
    n, h, w, c = t.g.shape(value)
    if h % block or w % block:
        raise Refusal(f"blocks of {block} x {block} do not divide {h} x {w}")
    split = t.low.reshape(value, [n, h // block, block, w // block, block, c])
    turned = t.low.transpose(split, (0, 1, 3, 2, 4, 5))
    return t.low.reshape(turned, [n, h // block, w // block, c * block**2])


# The batch and space: blocks stand in front of the batch, merged with it


@handles("SpaceToBatchND")
def _space_to_batch(t: Translator, op: Any, x: Operand, block: Operand, pads: Operand) -> Tensor:
    blocks = integers_of(block)
    given = integers_of(pads)
    rank = len(blocks)
    borders = tuple(zip(given[::2], given[1::2], strict=True))
    value = framed(t, t.whole(x), borders)
    batch, *size = t.g.shape(value)
    if batch != -1 or any(d % b for d, b in zip(size[:rank], blocks, strict=True)):
        raise Refusal(f"blocks of {blocks} do not divide {size[:rank]}")
    inner = [d for n, b in zip(size[:rank], blocks, strict=True) for d in (n // b, b)]
    split = t.low.reshape(value, [-1, *inner, *size[rank:]])
    within, between = range(2, 2 * rank + 1, 2), range(1, 2 * rank, 2)
    rest = range(2 * rank + 1, len(t.g.shape(split)))
    turned = t.low.transpose(split, (*within, 0, *between, *rest))
    made = t.low.reshape(turned, [math.prod(blocks), -1, *inner[::2], *size[rank:]])
    return Tensor(made, Merged(1, 2))


@handles("BatchToSpaceND")
def _batch_to_space(t: Translator, op: Any, x: Operand, block: Operand, crops: Operand) -> Tensor:
    blocks = integers_of(block)
    given = integers_of(crops)
    rank = len(blocks)
    if not isinstance(x, Tensor) or x.merged != Merged(1, 2):
        raise Refusal("makes space of examples; nearest supported form: after SpaceToBatchND")
    count, _, *size = t.g.shape(x.value)
    if count != math.prod(blocks):
        raise Refusal(f"makes blocks of {blocks} of {count} in front of the batch")
    split = t.low.reshape(x.value, [*blocks, -1, *size])
    order = [d for i in range(rank) for d in (rank + 1 + i, i)]
    turned = t.low.transpose(split, (rank, *order, *range(2 * rank + 1, rank + 1 + len(size))))
    whole = [n * b for n, b in zip(size[:rank], blocks, strict=True)]
    made = t.low.reshape(turned, [-1, *whole, *size[rank:]])
    borders = tuple((-b, -a) for b, a in zip(given[::2], given[1::2], strict=True))
    return Tensor(framed(t, made, borders))
