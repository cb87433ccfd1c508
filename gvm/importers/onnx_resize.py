"""ONNX's resizing, sampling at fixed places, and exchange of channels with space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import HINTS, Node, Translator, handles
from gvm.importers.parts import join, take
from gvm.importers.resample import (
    Sampling,
    cubic,
    resample,
    selection,
    take_elements,
    triangle,
)
from gvm.importers.shapes import Operand, Tensor, must_be_constant, objects_of

Reals = NDArray[np.float64]

_ROUNDINGS: dict[str, Callable[[Reals], Reals]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class _Axis:
    """One axis of a Resize."""

    axis: int
    length: int
    size: int
    scale: float
    crop: tuple[float, float] = (0.0, 1.0)

    def is_whole(self) -> bool:
        return self.size == self.length and self.scale == 1.0 and self.crop == (0.0, 1.0)

    def sampling(self, way: str) -> Sampling:
        return Sampling(self.length, self.size, self.scale, self._position(way))

    def _position(self, way: str) -> Callable[[Reals], Reals]:
        """coordinate_transformation_mode."""
        length, scale, last = self.length, self.scale, self.length - 1
        wide = scale * length
        centre = length / 2 * (1 - self.size / wide)
        first, end = self.crop
        step = (end - first) * last / (wide - 1) if wide != 1 else 0.0
        middle = first * last + (0.0 if wide != 1 else (end - first) * last / 2)
        ways: dict[str, Callable[[Reals], Reals]] = {
            "half_pixel": lambda i: (i + 0.5) / scale - 0.5,
            "half_pixel_symmetric": lambda i: centre + (i + 0.5) / scale - 0.5,
            "pytorch_half_pixel": (
                (lambda i: (i + 0.5) / scale - 0.5) if wide != 1 else (lambda i: 0.0 * i - 0.5)
            ),
            "align_corners": (
                (lambda i: i * last / (wide - 1)) if wide != 1 else (lambda i: 0.0 * i)
            ),
            "asymmetric": lambda i: i / scale,
            "tf_crop_and_resize": lambda i: i * step + middle,
        }
        if way not in ways:
            raise Refusal(f"coordinate_transformation_mode must be known, received {way!r}")
        return ways[way]


@handles("Resize", "Upsample")
def _resize(t: Translator, node: Node, x: Operand, *operands: Operand | None) -> Tensor:
    value = t.whole(x)
    old = node.type == "Upsample" or node.version < 11
    way = "asymmetric" if old else _text(node, "coordinate_transformation_mode", "half_pixel")
    axes = [a for a in _axes(t, node, value, operands, old) if not a.is_whole()]
    if not axes:
        return Tensor(value)
    if any(t.g.shape(value)[a.axis] == -1 for a in axes):
        raise Refusal("resizes the batch")
    mode = _text(node, "mode", "nearest")
    outside = {
        a.axis: _outside(a.sampling(way)) if way == "tf_crop_and_resize" else np.zeros(a.size, bool)
        for a in axes
    }
    if mode == "nearest":
        rounding = "floor" if old else _text(node, "nearest_mode", "round_prefer_floor")
        if rounding not in _ROUNDINGS:
            raise Refusal(f"nearest_mode must be known, received {rounding!r}")
        picked = {a.axis: a.sampling(way).nearest(_ROUNDINGS[rounding]) for a in axes}
        if not any(o.any() for o in outside.values()):
            for axis, wanted in picked.items():
                value = take_elements(t, value, axis, wanted, node.name)
            return Tensor(value)
        matrices = {a.axis: selection(picked[a.axis], a.length) for a in axes}
    else:
        matrices = {a.axis: _weights(node, mode, a.sampling(way)) for a in axes}
    for axis, out in outside.items():
        matrices[axis][out] = 0.0
    value = resample(t, value, matrices, node.name)
    return Tensor(_extrapolated(t, node, value, outside))


def _weights(node: Node, mode: str, sampling: Sampling) -> Reals:
    kernels = {
        "linear": (triangle, 1.0),
        "bilinear": (triangle, 1.0),
        "cubic": (cubic(node.number("cubic_coeff_a", -0.75)), 2.0),
    }
    if mode not in kernels:
        raise Refusal(f"mode must be nearest, linear or cubic, received {mode!r}")
    return sampling.weighted(
        *kernels[mode],
        antialias=node.integer("antialias", 0) == 1,
        only_inside=node.integer("exclude_outside", 0) == 1,
    )


def _text(node: Node, name: str, default: str) -> str:
    return str(node.attributes.get(name, default))


def _outside(sampling: Sampling) -> NDArray[np.bool_]:
    places = sampling.places()
    return np.asarray((places < 0) | (places > sampling.length - 1))


def _extrapolated(
    t: Translator, node: Node, value: Value, outside: dict[int, NDArray[np.bool_]]
) -> Value:
    """extrapolation_value where some axis reads outside."""
    fill = node.number("extrapolation_value", 0.0)
    rank = len(t.g.shape(value))
    anywhere = np.zeros((1,) * rank, bool)
    for axis, out in outside.items():
        anywhere = anywhere | out.reshape([-1 if i == axis else 1 for i in range(rank)])
    if fill == 0.0 or not anywhere.any():
        return value
    added = Constant(fill * anywhere.astype(np.float64), f"{node.name}/extrapolation_value")
    return t.low.bias(value, added)


def _axes(
    t: Translator, node: Node, value: Value, operands: tuple[Operand | None, ...], old: bool
) -> list[_Axis]:
    shape = t.g.shape(value)
    rank = len(shape)
    given = [*operands, None, None, None]
    roi, scales, sizes = (None, given[0], None) if old else given[:3]
    over = [a % rank for a in node.integers("axes", range(rank))]
    if "scales" in node.attributes:
        scales = Constant(np.asarray(node.attributes["scales"]), "scales")
    if "height_scale" in node.attributes:
        pair = [node.number("height_scale", 1.0), node.number("width_scale", 1.0)]
        scales = Constant(np.asarray([1.0, 1.0, *pair]), "scales")
    if sizes is not None:
        axes = _of_sizes(t, node, shape, over, objects_of(sizes).reshape(-1).tolist())
    elif scales is not None:
        factors = [float(v) for v in must_be_constant(scales, "scales").data.reshape(-1)]
        if len(factors) != len(over):
            raise Refusal(f"scales must hold {len(over)} numbers, received {len(factors)}")
        axes = [
            _Axis(a, shape[a], shape[a] if shape[a] == -1 else int(f * shape[a]), f)
            for a, f in zip(over, factors, strict=True)
        ]
    else:
        raise Refusal("needs scales or sizes")
    for a in axes:
        if a.size < 1 and a.length != -1:
            raise Refusal(f"makes no element of {a.length} along axis {a.axis}")
    if _text(node, "coordinate_transformation_mode", "") != "tf_crop_and_resize" or roi is None:
        return axes
    crop = [float(v) for v in must_be_constant(roi, "roi").data.reshape(-1)]
    if len(crop) != 2 * len(axes):
        raise Refusal(f"roi must hold {2 * len(axes)} numbers, received {len(crop)}")
    return [
        _Axis(a.axis, a.length, a.size, a.scale, (crop[i], crop[len(axes) + i]))
        for i, a in enumerate(axes)
    ]


def _of_sizes(
    t: Translator, node: Node, shape: tuple[int, ...], over: list[int], wanted: list[Any]
) -> list[_Axis]:
    if len(wanted) != len(over):
        raise Refusal(f"sizes must hold {len(over)} numbers, received {len(wanted)}")
    policy = _text(node, "keep_aspect_ratio_policy", "stretch")
    pairs = [(a, -1 if shape[a] == -1 else int(d)) for a, d in zip(over, wanted, strict=True)]
    factors = [d / shape[a] for a, d in pairs]
    if policy == "stretch":
        axes = [_Axis(a, shape[a], d, f) for (a, d), f in zip(pairs, factors, strict=True)]
    elif policy in ("not_larger", "not_smaller"):
        inner = [f for (a, _), f in zip(pairs, factors, strict=True) if shape[a] != -1]
        one = min(inner) if policy == "not_larger" else max(inner)
        axes = [
            _Axis(a, -1, -1, 1.0) if d == -1 else _Axis(a, shape[a], int(one * shape[a] + 0.5), one)
            for a, d in pairs
        ]
    else:
        raise Refusal(f"keep_aspect_ratio_policy must be known, received {policy!r}")
    return axes


@handles("GridSample", known=(1,))
def _grid_sample(t: Translator, node: Node, x: Operand, grid: Operand) -> Tensor:
    """One matrix over all pixels, where every example reads at the same places."""
    places = must_be_constant(grid, "grid").data
    value = t.whole(x)
    shape = t.g.shape(value)
    if not (places == places[:1]).all():
        if shape[0] == -1:
            raise Refusal("the grid must be the same for each example")
        parts = [
            _grid_sample(t, node, Tensor(take(t, value, {0: (i, i + 1, 1)})), one)
            for i, one in enumerate(Constant(p[None], "grid") for p in places)
        ]
        return Tensor(join(t, [part.value for part in parts], 0))
    pixels = math.prod(shape[2:])
    probe = np.eye(pixels, dtype=np.float32).reshape(1, pixels, *shape[2:])
    (seen,) = t.evaluate(node, [Constant(probe, "image"), Constant(places[:1], "grid")])
    matrix = seen.data.reshape(pixels, -1).T.astype(np.float64)
    flat = t.low.reshape(value, [*shape[:2], pixels])
    made = resample(t, flat, {2: matrix}, node.name)
    return Tensor(t.low.reshape(made, [*shape[:2], *places.shape[1:-1]]))


HINTS["AffineGrid"] = "nearest supported form: a constant one"


# Channels and space


@handles("DepthToSpace")
def _depth_to_space(t: Translator, node: Node, x: Operand) -> Tensor:
    value, block = t.whole(x), node.integer("blocksize", 1)
    n, c, h, w = t.g.shape(value)
    if c % block**2:
        raise Refusal(f"blocks of {block} x {block} do not divide {c} channels")
    if node.attributes.get("mode", "DCR") == "DCR":
        split, order = [n, block, block, c // block**2, h, w], (0, 3, 4, 1, 5, 2)
    else:
        split, order = [n, c // block**2, block, block, h, w], (0, 1, 4, 2, 5, 3)
    turned = t.low.transpose(t.low.reshape(value, split), order)
    return Tensor(t.low.reshape(turned, [n, c // block**2, h * block, w * block]))


@handles("SpaceToDepth")
def _space_to_depth(t: Translator, node: Node, x: Operand) -> Tensor:
    value, block = t.whole(x), node.integer("blocksize", 1)
    n, c, h, w = t.g.shape(value)
    if h % block or w % block:
        raise Refusal(f"blocks of {block} x {block} do not divide {h} x {w}")
    split = t.low.reshape(value, [n, c, h // block, block, w // block, block])
    blocks_first = node.attributes.get("mode", "DCR") == "DCR"
    turned = t.low.transpose(split, (0, 3, 5, 1, 2, 4) if blocks_first else (0, 1, 3, 5, 2, 4))
    return Tensor(t.low.reshape(turned, [n, c * block**2, h // block, w // block]))
