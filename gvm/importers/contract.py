"""Sums of products over named axes, for every importer: matrix products of any rank and einsum.

Two factors at a time become one exact product: a matmul, where a constant factor keeps an axis of
the other a grouped convolution, and where no axis is summed over a mul.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import take
from gvm.importers.shapes import ALONE, Merged, Operand, Shapes, Tensor

Label = Hashable
Labels = Sequence[Label]


@dataclass(frozen=True)
class _Factor:
    """A value or a constant, with a label for each axis."""

    labels: tuple[Label, ...]
    shape: tuple[int, ...]
    value: Value = -1
    constant: Constant | None = None

    def size(self, label: Label) -> int:
        return self.shape[self.labels.index(label)]

    @property
    def batch(self) -> Label | None:
        return self.labels[self.shape.index(-1)] if -1 in self.shape else None

    @property
    def data(self) -> NDArray[Any]:
        assert self.constant is not None
        return self.constant.data


def contract(
    t: Shapes, operands: Sequence[tuple[Operand, Labels]], out: Labels, name: str = ""
) -> Tensor:
    """The products of operands summed over the labels that ``out`` lacks. Where one operand has 1
    element along an axis, it is repeated as in NumPy."""
    merged = {
        labels[t.span(x)[0]]: x.merged
        for x, labels in operands
        if isinstance(x, Tensor) and x.merged != ALONE
    }
    factors = [_factor(t, x, labels, merged) for x, labels in operands]
    wanted = _expanded(out, merged)
    batch = next((f.batch for f in factors if f.batch is not None), None)
    if batch is not None and batch not in wanted:
        raise Refusal("sums over the batch; nearest supported form: the same over another axis")
    sizes: dict[Label, int] = {}
    for f in factors:
        for label, d in zip(f.labels, f.shape, strict=True):
            known = sizes.setdefault(label, d)
            if known == 1 or d == -1:
                sizes[label] = d
    unknown = [s for s in wanted if s not in sizes]
    if unknown:
        raise Refusal(f"makes an axis {unknown[0]!r} that no operand has")
    factors = [_fitting(t, f, sizes) for f in factors]
    while len(factors) > 1:
        a, b, *rest = _ordered(factors)
        keep = {*wanted, *(label for f in rest for label in f.labels)}
        factors = [_product(t, a, b, keep, name), *rest]
    (made,) = factors
    made = _summed(t, made, set(wanted))
    value = t.low.transpose(made.value, [made.labels.index(s) for s in wanted if s in made.labels])
    shape = [sizes[s] if s in made.labels else 1 for s in wanted]
    value = t.low.reshape(value, shape)
    whole = tuple(sizes[s] for s in wanted)
    if tuple(shape) != whole:
        value = int(t.g.broadcast_to(value, shape=whole))
    of_batch = (m for label, m in merged.items() if batch in _expanded([label], merged))
    return Tensor(value, next(of_batch, ALONE))


def _expanded(labels: Labels, merged: dict[Label, Merged]) -> tuple[Label, ...]:
    """Each label of axes that are merged with the batch as one label for each of them."""
    return tuple(
        part
        for label in labels
        for part in ([label] + [(label, i) for i in range(1, merged.get(label, ALONE).count)])
    )


def _factor(t: Shapes, x: Operand, labels: Labels, merged: dict[Label, Merged]) -> _Factor:
    if isinstance(x, Constant):
        shape = [
            d
            for label, d in zip(labels, x.data.shape, strict=True)
            for d in [d] + [1] * (merged.get(label, ALONE).count - 1)
        ]
        names = _expanded(labels, merged)
        c = x if list(x.data.shape) == shape else x.derive(x.data.reshape(shape))
        once = tuple(dict.fromkeys(names))
        if once != names:
            data = np.einsum(c.data, [once.index(s) for s in names], list(range(len(once))))
            c = x.derive(data)
        return _Factor(once, tuple(c.data.shape), constant=c)
    if not isinstance(x, Tensor):
        raise Refusal("computes with the batch size")
    shape = list(t.g.shape(x.value))
    if len(shape) - x.merged.count + 1 != len(labels):
        raise Refusal(f"names {len(labels)} axes of {len(shape) - x.merged.count + 1}")
    names = _expanded(labels, merged)
    if len(names) != len(shape):
        raise Refusal("the batch is merged with another axis in one operand only")
    return _diagonal(t, _Factor(names, tuple(shape), value=x.value))


def _diagonal(t: Shapes, f: _Factor) -> _Factor:
    """With each label once: of two axes with the same one the elements with equal indices."""
    twice = [s for s in dict.fromkeys(f.labels) if f.labels.count(s) > 1]
    for label in twice:
        axes = [i for i, s in enumerate(f.labels) if s == label]
        rest = [i for i in range(len(f.labels)) if i not in axes]
        n = f.shape[axes[0]]
        if any(f.shape[i] != n for i in axes) or n == -1:
            raise Refusal(f"takes a diagonal of axes {[f.shape[i] for i in axes]}")
        value = t.low.transpose(f.value, [*rest, *axes])
        kept = [f.shape[i] for i in rest]
        value = t.low.reshape(value, [*kept, n ** len(axes)])
        step = sum(n**i for i in range(len(axes)))
        value = take(t, value, {len(kept): (0, n ** len(axes), step)})
        f = _Factor((*(f.labels[i] for i in rest), label), (*kept, n), value=value)
    return f


def _fitting(t: Shapes, f: _Factor, sizes: dict[Label, int]) -> _Factor:
    """Without the axes of 1 along which another operand has more."""
    kept = [i for i, s in enumerate(f.labels) if f.shape[i] == sizes[s] or f.shape[i] != 1]
    for i in kept:
        if f.shape[i] != sizes[f.labels[i]]:
            if sizes[f.labels[i]] == -1:
                raise Refusal(
                    f"a factor of shape {list(f.shape)} would differ between examples"
                    if f.constant is not None
                    else "the batch of one factor meets another axis of the other"
                )
            raise Refusal(f"axes of {f.shape[i]} and {sizes[f.labels[i]]} meet")
    if len(kept) == len(f.labels):
        return f
    labels, shape = tuple(f.labels[i] for i in kept), tuple(f.shape[i] for i in kept)
    if f.constant is None:
        return _Factor(labels, shape, value=t.low.reshape(f.value, shape))
    return _Factor(labels, shape, constant=f.constant.derive(f.data.reshape(shape)))


def _ordered(factors: list[_Factor]) -> list[_Factor]:
    """Two constants with an axis in common first, else the values."""
    constants = [f for f in factors if f.constant is not None]
    values = [f for f in factors if f.constant is None]
    for i, a in enumerate(constants):
        for b in constants[i + 1 :]:
            if set(a.labels) & set(b.labels):
                return [a, b, *(f for f in constants if f is not a and f is not b), *values]
    return [*values, *constants]


def _summed(t: Shapes, f: _Factor, keep: set[Label]) -> _Factor:
    axes = [i for i, s in enumerate(f.labels) if s not in keep]
    if not axes:
        return f
    if f.batch not in keep and f.batch is not None:
        raise Refusal("sums over the batch; nearest supported form: the same over another axis")
    labels = tuple(s for s in f.labels if s in keep)
    shape = tuple(f.size(s) for s in labels)
    if f.constant is not None:
        return _Factor(labels, shape, constant=f.constant.derive(f.data.sum(axis=tuple(axes))))
    return _Factor(labels, shape, value=t.low.sum(f.value, axes, False))


def _product(t: Shapes, a: _Factor, b: _Factor, keep: set[Label], name: str) -> _Factor:
    a = _summed(t, a, {*keep, *b.labels})
    b = _summed(t, b, {*keep, *a.labels})
    if a.constant is not None and b.constant is not None:
        return _of_constants(a, b, keep)
    if a.constant is not None:
        a, b = b, a
    if b.constant is None and b.batch is not None:
        if a.batch is not None and a.batch != b.batch:
            raise Refusal("the batch of one factor meets another axis of the other")
        if a.batch is None:
            a, b = b, a
    summed = [s for s in a.labels if s in b.labels and s not in keep]
    if not summed:
        return _elementwise(t, a, b, name)
    if b.constant is not None:
        return _by_constant(t, a, b, summed, name)
    return _by_value(t, a, b, summed, name)


def _of_constants(a: _Factor, b: _Factor, keep: set[Label]) -> _Factor:
    labels = [s for s in dict.fromkeys((*a.labels, *b.labels)) if s in keep]
    number = {s: i for i, s in enumerate(dict.fromkeys((*a.labels, *b.labels)))}
    data = np.einsum(
        a.data,
        [number[s] for s in a.labels],
        b.data,
        [number[s] for s in b.labels],
        [number[s] for s in labels],
    )
    assert a.constant is not None and b.constant is not None
    trained = [c for c in (a.constant, b.constant) if c.trainable]
    made = (trained or [a.constant])[0].derive(data)
    return _Factor(tuple(labels), tuple(data.shape), constant=made)


def _elementwise(t: Shapes, a: _Factor, b: _Factor, name: str) -> _Factor:
    """Axes of a, then those that b has alone."""
    labels = (*a.labels, *(s for s in b.labels if s not in a.labels))
    shape = tuple(a.size(s) if s in a.labels else b.size(s) for s in labels)
    left = t.low.reshape(a.value, [*a.shape, *[1] * (len(labels) - len(a.labels))])
    order = [b.labels.index(s) for s in labels if s in b.labels]
    wide = [b.size(s) if s in b.labels else 1 for s in labels]
    if b.constant is not None:
        data = b.data.transpose(order).reshape(wide)
        made = t.low.scale(left, b.constant.derive(data), name)
    else:
        right = t.low.reshape(t.low.transpose(b.value, order), wide)
        made = int(t.g.mul(left, right, name=name))
    return _Factor(labels, shape, value=made)


def _arranged(
    t: Shapes, f: _Factor, outer: Labels, rows: Labels, columns: Labels
) -> tuple[Value, bool]:
    """[outer..., rows, columns] of a value, or with the last two swapped where it lies so."""
    swapped = tuple(f.labels) == (*outer, *columns, *rows) and bool(rows)
    first, second = (columns, rows) if swapped else (rows, columns)
    value = t.low.transpose(f.value, [f.labels.index(s) for s in (*outer, *first, *second)])
    sides = [_count(f, part) for part in (first, second)]
    return t.low.reshape(value, [*(f.size(s) for s in outer), *sides]), swapped


def _count(f: _Factor, labels: Labels) -> int:
    """Elements of these axes; -1 where the batch is the only one of more than one."""
    sizes = [f.size(s) for s in labels]
    return -1 if sizes == [-1] else math.prod(sizes)


def _by_value(t: Shapes, a: _Factor, b: _Factor, summed: list[Label], name: str) -> _Factor:
    shared = [s for s in a.labels if s in b.labels and s not in summed]
    rows = [s for s in a.labels if s not in b.labels]
    columns = [s for s in b.labels if s not in a.labels]
    if a.batch is not None and b.batch is None:
        if not shared:
            return _by_matrix(t, a, b, summed, name)
        wide = (-1, *b.shape)
        value = t.g.broadcast_to(t.low.reshape(b.value, [1, *b.shape]), shape=wide)
        return _by_value(t, a, _Factor((a.batch, *b.labels), wide, value=value), summed, name)
    left, turned_a = _arranged(t, a, shared, rows, summed)
    right, turned_b = _arranged(t, b, shared, summed, columns)
    made = t.g.matmul(left, right, transpose_a=int(turned_a), transpose_b=int(turned_b), name=name)
    labels = (*shared, *rows, *columns)
    shape = tuple(a.size(s) if s in a.labels else b.size(s) for s in labels)
    return _Factor(labels, shape, value=t.low.reshape(int(made), shape))


def _by_constant(t: Shapes, a: _Factor, b: _Factor, summed: list[Label], name: str) -> _Factor:
    if any(s in b.labels and s not in summed for s in a.labels):
        return _grouped(t, a, b, summed, name)
    return _by_matrix(t, a, b, summed, name)


def _by_matrix(t: Shapes, a: _Factor, b: _Factor, summed: list[Label], name: str) -> _Factor:
    """With one matrix, a constant or a value, for all rows."""
    rows = [s for s in a.labels if s not in b.labels]
    columns = [s for s in b.labels if s not in a.labels]
    depth, width = _count(a, summed), _count(b, columns)
    turned = tuple(b.labels) == (*columns, *summed) and bool(columns)
    order = [b.labels.index(s) for s in ((*columns, *summed) if turned else (*summed, *columns))]
    sides = (width, depth) if turned else (depth, width)
    if b.constant is not None:
        right = t.low.parameter(b.constant, b.data.transpose(order).reshape(sides))
    else:
        right = t.low.reshape(t.low.transpose(b.value, order), sides)
    # The rows stay as they are; the axes summed over come last, or last but one.
    swapped = len(summed) == 1 and list(a.labels[-2:-1]) == summed
    if swapped:
        left = a.value
    else:
        value = t.low.transpose(a.value, [a.labels.index(s) for s in (*rows, *summed)])
        left = t.low.reshape(value, [*([a.size(s) for s in rows] or [1]), depth])
    made = t.g.matmul(left, right, transpose_a=int(swapped), transpose_b=int(turned), name=name)
    labels = (*rows, *columns)
    shape = tuple(a.size(s) if s in a.labels else b.size(s) for s in labels)
    return _Factor(labels, shape, value=t.low.reshape(int(made), shape))


def _grouped(t: Shapes, a: _Factor, b: _Factor, summed: list[Label], name: str) -> _Factor:
    """A matrix for each element of the shared axes: a pointwise convolution with as many groups."""
    shared = [s for s in a.labels if s in b.labels and s not in summed]
    columns = [s for s in b.labels if s not in a.labels]
    outer = [] if a.batch is None else [a.batch]
    rows = [s for s in a.labels if s not in (*b.labels, *outer)]
    groups, depth, width = _count(a, shared), _count(a, summed), _count(b, columns)
    value = t.low.transpose(a.value, [a.labels.index(s) for s in (*outer, *rows, *shared, *summed)])
    image = t.low.reshape(value, [-1 if outer else 1, _count(a, rows), 1, groups * depth])
    data = b.data.transpose([b.labels.index(s) for s in (*summed, *shared, *columns)])
    assert b.constant is not None
    weight = t.low.parameter(b.constant, data.reshape(1, 1, depth, groups * width))
    made = t.g.conv2d(image, weight, groups=groups, name=name)
    labels = (*outer, *rows, *shared, *columns)
    shape = tuple(a.size(s) if s in a.labels else b.size(s) for s in labels)
    return _Factor(labels, shape, value=t.low.reshape(int(made), shape))


# Notations


def matrix_product(
    t: Shapes,
    a: Operand,
    b: Operand,
    name: str = "",
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Tensor:
    """a @ b as in NumPy, of any ranks; ``transpose``: the last two axes are swapped."""
    ranks = [len(t.dims(x)) if isinstance(x, Tensor) else x.data.ndim for x in (a, b)]
    if min(ranks) == 0:
        raise Refusal("a factor is a scalar")
    left, right = ([("outer", i) for i in range(rank - 2, 0, -1)] for rank in ranks)
    labels_a: list[Label] = [*left, *(("k", "m") if transpose_a else ("m", "k"))]
    labels_b: list[Label] = [*right, *(("n", "k") if transpose_b else ("k", "n"))]
    out: list[Label] = [*max(left, right, key=len), "m", "n"]
    if ranks[0] == 1:
        labels_a = ["k"]
        out.remove("m")
    if ranks[1] == 1:
        labels_b = ["k"]
        out.remove("n")
    return contract(t, [(a, labels_a), (b, labels_b)], out, name)


def einsum(t: Shapes, equation: str, operands: Sequence[Operand], name: str = "") -> Tensor:
    """The contraction that an equation of Einstein's names, with "..." for axes in common."""
    text = equation.replace(" ", "")
    given, arrow, result = text.partition("->")
    terms = given.split(",")
    if len(terms) != len(operands):
        raise Refusal(f"{equation}: names {len(terms)} operands, received {len(operands)}")
    labelled, most = [], 0
    for term, x in zip(terms, operands, strict=True):
        rank = len(t.dims(x)) if isinstance(x, Tensor) else x.data.ndim
        head, dots, tail = term.partition("...")
        hidden = rank - len(head) - len(tail)
        if hidden < 0 or (hidden and not dots):
            raise Refusal(f"{equation}: {term!r} does not fit an operand of {rank} axes")
        most = max(most, hidden)
        labelled.append((x, [*head, *((".", i) for i in range(hidden, 0, -1)), *tail]))
    letters = given.replace("...", "").replace(",", "")
    dotted: list[Label] = [(".", i) for i in range(most, 0, -1)]
    if not arrow:
        out: list[Label] = [*dotted, *sorted(s for s in set(letters) if letters.count(s) == 1)]
    else:
        head, dots, tail = result.partition("...")
        out = [*head, *(dotted if dots else []), *tail]
    return contract(t, labelled, out, name)
