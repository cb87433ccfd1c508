"""Convolution over [B, H, W, C] in NumPy, as the three convolution operators share it.

Kernels are [kh, kw, C / groups, O]: filters g * O / groups ... belong to group g, and channel c of
group g is input channel g * C / groups + c. The ``*_real`` functions go kernel element by kernel
element or image by image, in the floating type they are given; the ``*_exact`` functions are the
definition, one product position at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.operator import Attribute, Attributes
from gvm.reads import Factor, Sum, flat, strides
from gvm.window import (
    Window,
    dilation_attribute,
    integer,
    integers,
    padding_attribute,
    strides_attribute,
)

Array = NDArray[Any]
Slices = tuple[slice, slice]
Place = tuple[int, int]


def convolution_attributes() -> tuple[Attribute, ...]:
    """strides, padding (top, bottom, left, right), dilation and groups."""
    groups = Attribute("groups", 1, 65536, "groups of channels that do not mix", default=1)
    return (strides_attribute(), padding_attribute(), dilation_attribute(), groups)


def pair(attributes: Attributes, name: str) -> tuple[int, int]:
    """An attribute that is a height and a width."""
    height, width = integers(attributes, name)
    return height, width


def conv_real(attributes: Attributes, x: Array, w: Array) -> Array:
    """The convolution, [N, Ho, Wo, O]."""
    window, groups = Window.of(attributes, x.shape[1:3], w.shape), integer(attributes, "groups")
    if groups == 1 and w.shape[:2] != (1, 1):
        return _conv_real_by_patches(window, x, w)
    out = np.zeros((len(x), *window.out, w.shape[3]), np.result_type(x, w))
    for r, c, at, reads in _elements(window):
        out[:, *at] += _by_group(x[:, *reads], w[r, c], groups)
    return out


def _conv_real_by_patches(window: Window, x: Array, w: Array) -> Array:
    """One product per image, of all that its windows read."""
    out = np.empty((len(x), *window.out, w.shape[3]), np.result_type(x, w))
    patches = np.zeros((*window.out, *w.shape[:3]), out.dtype)  # padding stays zero
    elements, kernel = list(_elements(window)), w.reshape(-1, w.shape[3])
    for image, made in zip(x, out, strict=True):
        for r, c, at, reads in elements:
            patches[*at, r, c] = image[*reads]
        np.matmul(patches.reshape(-1, len(kernel)), kernel, out=made.reshape(-1, w.shape[3]))
    return out


def conv_grad_input_real(
    attributes: Attributes, delta: Array, w: Array, size: tuple[int, int]
) -> Array:
    """The transposed convolution, [N, H, W, C]."""
    window, groups = Window.of(attributes, size, w.shape), integer(attributes, "groups")
    filters = w.shape[3] // groups
    out = np.zeros((len(delta), *size, w.shape[2] * groups), np.result_type(delta, w))
    for r, c, at, reads in _elements(window):
        # [C / groups, groups * O / groups] to [O / groups, groups * C / groups].
        turned = w[r, c].reshape(-1, groups, filters).transpose(2, 1, 0).reshape(filters, -1)
        out[:, *reads] += _by_group(delta[:, *at], turned, groups)
    return out


def conv_grad_weight_real(
    attributes: Attributes, x: Array, delta: Array, kernel: tuple[int, int]
) -> Array:
    """The gradient of the kernel, [kh, kw, C / groups, O]."""
    window, groups = Window.of(attributes, x.shape[1:3], kernel), integer(attributes, "groups")
    channels, filters = x.shape[3] // groups, delta.shape[3] // groups
    out = np.zeros((*kernel, channels, groups * filters), np.result_type(x, delta))
    for r, c, at, reads in _elements(window):
        read, made = x[:, *reads], delta[:, *at]
        if groups == 1:
            out[r, c] = read.reshape(-1, channels).T @ made.reshape(-1, filters)
        else:
            pairs = _grouped(read, groups), _grouped(made, groups)
            out[r, c] = np.einsum("nhwgi,nhwgo->igo", *pairs).reshape(channels, -1)
    return out


def conv_exact(attributes: Attributes, x: Array, w: Array) -> Array:
    """The convolution of integers."""
    window, groups = Window.of(attributes, x.shape[1:3], w.shape), integer(attributes, "groups")
    grouped, kernel = _grouped(x, groups), _grouped(w, groups)
    out = np.zeros((len(x), *window.out, *kernel.shape[3:]), np.int64)
    for (o, p), (r, c), (h, v) in _products(window):
        out[:, o, p] += np.einsum("ngc,cgo->ngo", grouped[:, h, v], kernel[r, c])
    return out.reshape(*out.shape[:3], -1)


def conv_grad_input_exact(
    attributes: Attributes, delta: Array, w: Array, size: tuple[int, int]
) -> Array:
    """The transposed convolution of integers."""
    window, groups = Window.of(attributes, size, w.shape), integer(attributes, "groups")
    grouped, kernel = _grouped(delta, groups), _grouped(w, groups)
    out = np.zeros((len(delta), *size, groups, w.shape[2]), np.int64)
    for (o, p), (r, c), (h, v) in _products(window):
        out[:, h, v] += np.einsum("ngo,cgo->ngc", grouped[:, o, p], kernel[r, c])
    return out.reshape(*out.shape[:3], -1)


def conv_grad_weight_exact(
    attributes: Attributes, x: Array, delta: Array, kernel: tuple[int, int]
) -> Array:
    """The gradient of the kernel in integers."""
    window, groups = Window.of(attributes, x.shape[1:3], kernel), integer(attributes, "groups")
    read, made = _grouped(x, groups), _grouped(delta, groups)
    out = np.zeros((*kernel, read.shape[4], groups, made.shape[4]), np.int64)
    for (o, p), (r, c), (h, v) in _products(window):
        out[r, c] += np.einsum("ngc,ngo->cgo", read[:, h, v], made[:, o, p])
    return out.reshape(*out.shape[:3], -1)


def taps(
    window: Window,
    x: tuple[int, ...],
    w: tuple[int, ...],
    image: int,
    place: Place,
    channel: int,
    groups: int,
) -> Sum:
    """The products of one element of a convolution of operands of these shapes."""
    rows, columns = (window.inside(axis, i) for axis, i in enumerate(place))
    top, left = (
        place[axis] * window.strides[axis]
        - window.padding[2 * axis]
        + inside.start * window.dilation[axis]
        for axis, inside in enumerate((rows, columns))
    )
    first = channel // (w[3] // groups) * w[2]
    of_x, of_w = strides(x), strides(w)
    return Sum(
        (len(rows), len(columns), w[2]),
        (
            Factor(
                0,
                flat((image, top, left, first), x),
                (window.dilation[0] * of_x[1], window.dilation[1] * of_x[2], 1),
            ),
            Factor(1, flat((rows.start, columns.start, 0, channel), w), of_w[:3]),
        ),
    )


def _grouped(array: Array, groups: int) -> Array:
    """The last axis split into groups."""
    return array.reshape(*array.shape[:-1], groups, array.shape[-1] // groups)


def _by_group(x: Array, w: Array, groups: int) -> Array:
    """[N, H, W, groups * I] by [I, groups * O] to [N, H, W, groups * O], each group by itself."""
    if groups == 1:  # as one product, much faster than one for each row of pixels
        return np.asarray(x.reshape(-1, x.shape[3]) @ w).reshape(*x.shape[:3], w.shape[1])
    if len(w) == 1 and w.shape[1] == groups:
        return np.asarray(x * w[0])
    made = np.einsum("nhwgi,igo->nhwgo", _grouped(x, groups), _grouped(w, groups))
    return np.asarray(made.reshape(*x.shape[:3], w.shape[-1]))


def _span(window: Window, axis: int, element: int) -> Slices:
    """The positions at which a kernel element reads the image, and what it reads there."""
    inside = [(o, i) for o, k, i in _reads(window, axis) if k == element]
    if not inside:
        return slice(0), slice(0)
    (first, start), (last, stop) = inside[0], inside[-1]
    return slice(first, last + 1), slice(start, stop + 1, window.strides[axis])


def _elements(window: Window) -> Iterator[tuple[int, int, Slices, Slices]]:
    """Each kernel element (row, column) with the output positions and the image region it joins."""
    rows = [_span(window, 0, k) for k in range(window.window[0])]
    columns = [_span(window, 1, k) for k in range(window.window[1])]
    for r, (row_positions, row_reads) in enumerate(rows):
        for c, (column_positions, column_reads) in enumerate(columns):
            yield r, c, (row_positions, column_positions), (row_reads, column_reads)


def _products(window: Window) -> Iterator[tuple[Place, Place, Place]]:
    """Each (output position, kernel element, image position) that multiplies."""
    rows, columns = list(_reads(window, 0)), list(_reads(window, 1))
    for o, r, h in rows:
        for p, c, v in columns:
            yield (o, p), (r, c), (h, v)


def _reads(window: Window, axis: int) -> Iterator[tuple[int, int, int]]:
    """Each (position, element, image index) along one axis, padding left out."""
    for o in range(window.out[axis]):
        for k in range(window.window[axis]):
            i = window.reads(axis, o, k)
            if i is not None:
                yield o, k, i
