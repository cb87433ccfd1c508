"""gvm.importers: resizing, sampling and blocks, held to the frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import gvm
from gvm.errors import ImportModelError
from gvm.importers.onnx import load_onnx
from tests.onnx_models import check, inputs_of, integers, model, operators, outputs_of

WAYS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
SCALES = {
    "up": (1, 1, 1.5, 2.7),
    "down": (1, 1, 0.6, 0.35),
    "whole": (1, 1, 2, 3),
    "to one": (1, 1, 0.13, 1),
    "channels": (1, 2, 0.5, 1),
}


def scaled(attributes: str, scales: tuple[float, ...]) -> Any:
    text = f"y = Resize <{attributes}> (x, , scales)"
    return model(text, "float[N,4,8,9] x", scales=np.asarray(scales, np.float32))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES)
def test_resizing(way: str, scales: tuple[float, ...]) -> None:
    place = f'coordinate_transformation_mode = "{way}"'
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        check(scaled(f'mode = "nearest", {place}, nearest_mode = "{rounding}"', scales))
    for mode in ("linear", "cubic"):
        check(scaled(f'mode = "{mode}", {place}', scales))
        if way not in ("align_corners", "asymmetric"):
            check(scaled(f'mode = "{mode}", {place}, antialias = 1', scales))
            check(scaled(f'mode = "{mode}", {place}, exclude_outside = 1', scales))
    check(scaled(f'mode = "cubic", {place}, cubic_coeff_a = -0.5', scales))


def test_resizing_to_sizes() -> None:
    for policy in ("stretch", "not_larger", "not_smaller"):
        for mode in ("nearest", "linear"):
            text = (
                f'y = Resize <mode = "{mode}", axes = [3, 2], keep_aspect_ratio_policy = '
                f'"{policy}"> (x, , , sizes)'
            )
            like = text.replace("[3, 2]", "[2, 3]")  # which ONNX's reference wants in order
            made = model(text, "float[N,4,8,9] x", sizes=integers(5, 13))
            check(made, like=model(like, "float[N,4,8,9] x", sizes=integers(13, 5)))


def test_old_operators() -> None:
    scales = np.asarray([1, 1, 2, 1.5], np.float32)
    given = {"inputs": "float[N,4,8,9] x", "scales": scales}
    for mode in ("nearest", "linear"):
        new = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
        like = model(f'y = Resize <mode = "{mode}", {new}> (x, , scales)', **given)
        check(model(f'y = Upsample <mode = "{mode}"> (x, scales)', opset=9, **given), like=like)
        check(model(f'y = Resize <mode = "{mode}"> (x, scales)', opset=10, **given), like=like)


def test_crop_and_resize() -> None:
    for mode in ("nearest", "linear"):
        for fill in (0.0, 3.5):
            text = (
                f'y = Resize <mode = "{mode}", coordinate_transformation_mode = '
                f'"tf_crop_and_resize", extrapolation_value = {fill}> (x, roi, , sizes)'
            )
            made = model(
                text,
                "float[N,2,5,6] x",
                roi=np.asarray([0, 0, 0.2, -0.3, 1, 1, 0.7, 1.3], np.float32),
                sizes=integers(3, 2, 4, 7),
            )
            check(made)


def test_an_interpolation_is_rounded_once_for_each_axis() -> None:
    graph = load_onnx(scaled('mode = "linear"', (1, 1, 1.5, 2)))
    assert operators(graph) == ["matmul", "matmul"]
    assert not any(p.trainable for p in graph.parameters)
    made = scaled('mode = "cubic"', (1, 1, 1.5, 2))
    graph = load_onnx(made)
    (x,) = inputs_of(graph, 40)
    real, y = outputs_of(graph, [x])[0], gvm.from_onnx(made, calibration=x).run(x)
    unit = 2.0 ** (np.ceil(np.log2(np.abs(real).max())) - 14)
    assert np.abs(y - real).max() < 4 * unit


def test_nearest_by_a_fraction_moves_elements_only() -> None:
    ops = set(operators(load_onnx(scaled('mode = "nearest"', (1, 1, 1.5, 0.5)))))
    assert ops <= {"slice", "concat", "reshape", "broadcast_to"}
    wide = model(
        'y = Resize <mode = "nearest"> (x, , scales)',
        "float[N,1,1,300] x",
        scales=np.asarray([1, 1, 1, 1.5], np.float32),
    )
    assert operators(check(wide)) == ["matmul"]


def test_sampling_a_grid() -> None:
    grid = np.random.default_rng(0).uniform(-1.3, 1.3, (1, 4, 5, 2)).astype(np.float32)
    for mode in ("linear", "nearest", "cubic"):
        for edge in ("zeros", "border", "reflection"):
            text = f'y = GridSample <mode = "{mode}", padding_mode = "{edge}"> (x, grid)'
            made = model(text, "float[N,2,6,7] x", grid=grid)
            like = model(text, "float[N,2,6,7] x", grid=np.repeat(grid, 3, axis=0))
            check(made, like=like, tolerance=1e-4)
    differing = np.concatenate([grid, -grid])
    text = "y = GridSample (x, grid)"
    with pytest.raises(ImportModelError, match="same for each example"):
        load_onnx(model(text, "float[2,2,6,7] x", grid=differing))


def test_refusals() -> None:
    for text, scales, message in (
        ("y = Resize (x, , scales)", (2, 1, 1, 1), "resizes the batch"),
        ("y = Resize (x, , scales)", (1, 2), "scales must hold 4 numbers"),
        ("y = Resize (x, , scales)", (1, 1, 0.01, 1), "makes no element of 8"),
        ('y = Resize <mode = "area"> (x, , scales)', (1, 1, 2, 2), "mode must be"),
        ("y = DepthToSpace <blocksize = 3> (x)", (1,), "do not divide 4 channels"),
        ("y = SpaceToDepth <blocksize = 2> (x)", (1,), "do not divide 8 x 9"),
    ):
        made = model(text, "float[N,4,8,9] x", scales=np.asarray(scales, np.float32))
        with pytest.raises(ImportModelError, match=message):
            load_onnx(made)


def test_resizing_in_tensorflow() -> None:
    models: Any = pytest.importorskip("tests.tensorflow_models")
    tf = models.tf

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 8, 4), tf.float32)])
    def call(x: Any) -> Any:
        resize = tf.compat.v1.image.resize
        raw = tf.raw_ops
        made = [tf.image.resize(x, s, m) for m in ("nearest", "bilinear", "bicubic") for s in SIZES]
        for kind in (raw.ResizeNearestNeighbor, raw.ResizeBilinear, raw.ResizeBicubic):
            for name in ("align_corners", "half_pixel_centers"):
                images = {"images": x}
                made += [kind(**images, size=s, **{name: v}) for s in SIZES for v in (True, False)]
        made.append(resize(x, (12, 4)))
        made += [tf.nn.depth_to_space(x, 2), tf.nn.space_to_depth(x, 2)]
        return made

    models.check(call, tolerance=1e-4)


def test_blocks_of_space_in_the_batch() -> None:
    models: Any = pytest.importorskip("tests.tensorflow_models")
    tf = models.tf

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 6, 4), tf.float32)])
    def call(x: Any) -> Any:
        wide = tf.space_to_batch(x, [2, 3], [[1, 0], [0, 0]])
        made = tf.batch_to_space(tf.nn.relu(wide) * 2.0 + 1.0, [2, 3], [[0, 1], [1, 2]])
        row = tf.space_to_batch(x, [5], [[0, 0]])
        return made, tf.batch_to_space(tf.tanh(row), [5], [[0, 0]])

    models.check(call)


SIZES = ((12, 16), (9, 5), (1, 1), (3, 20))
