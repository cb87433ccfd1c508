"""More nodes of random programs: normalisations, order, truths, choices, rows of tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.random_programs import Graphs


def normalised(made: Graphs) -> None:
    """A normalisation of the last axes, and its gradient."""
    x = made.pick("i16", "i32")
    rank = len(made.type(x).shape)
    if rank < 2:
        raise LookupError
    given = {
        "trailing_axes": made.rng.randrange(1, rank),
        "centred": made.rng.randrange(2),
        "epsilon_multiplier": made.rng.choice((0, 16384, 21475)),
        "epsilon_exponent": made.rng.randrange(63),
    }
    made.add("normalize", (x,), **given, **made.rounded(12))
    delta = made.like(made.type(x).shape, "i16", "i32")
    made.add("normalize_grad", (x, delta), **given, **made.rounded(10))


def normalised_over_batch(made: Graphs) -> None:
    """A normalisation by the totals of a batch, its gradient, and what running statistics do."""
    rng, g, x = made.rng, made.g, made.pick("i16")
    shape, bits = made.type(x).shape, made.type(x).fraction_bits
    over, n = tuple(range(len(shape) - 1)), shape[-1]
    if len(shape) < 2:
        raise LookupError
    delta = made.like(shape, "i16")
    summed = (x, made.add("mul", (x, x)), delta, made.add("mul", (delta, x)))
    sums = [
        None if v is None else made.add("reduce_sum", (v,), axes=over, keepdims=0) for v in summed
    ]
    totals = [g.total(v) for v in sums if v is not None]
    if len(totals) < len(sums):
        raise LookupError
    count = g.total(g.example_count())
    given = {
        "positions": math.prod(shape[1:-1]),
        "epsilon_multiplier": rng.choice((0, 16384, 21475)),
        "epsilon_exponent": rng.randrange(63),
    }
    scale, shift = (made.constant((n,), rng.choice(("i16", "i32"))) for _ in range(2))
    inputs = (x, *totals[:2], count, scale, shift)
    made.add("batch_normalize", inputs, kind=0, **given, **made.rounded(10))
    inputs = (*totals, count, scale, x, delta)
    made.add("batch_normalize_grad", inputs, kind=0, **given, **made.rounded(10))
    statistics = [made.constant((n,), "i32", bits) for _ in range(2)]
    inputs = (x, *statistics, scale, shift)
    made.add("batch_normalize", inputs, kind=1, **given, **made.rounded(10))


def ordered(made: Graphs) -> None:
    """Running sums, the largest elements, where the largest is."""
    rng, x = made.rng, made.pick("i16", "i32")
    shape = made.type(x).shape
    if len(shape) < 2:
        raise LookupError
    axis = rng.randrange(1, len(shape))
    flags = [rng.randrange(2) for _ in range(2)]
    kind = rng.randrange(3)
    if kind == 0:
        made.add("cumsum", (x,), axis=axis, exclusive=flags[0], reverse=flags[1])
    elif kind == 1:
        k = rng.randrange(1, shape[axis] + 1)
        made.add("top_k", (x,), k=k, axis=axis, largest=flags[0], sorted=flags[1])
    else:
        made.add("argmax", (x,), axis=axis)


def truths(made: Graphs) -> None:
    """A logistic loss and its gradient; the labels say which of two neighbours is larger."""
    x = made.pick("i16", "i32")
    elements = 1
    for d in made.type(x).shape[1:]:
        elements *= d
    if elements < 2:
        raise LookupError
    pairs = made.add("reshape", (x,), shape=(-1, elements))
    half = elements // 2
    cut = {"begin": (0, 0), "end": (-1, 2 * half), "strides": (1, 1)}
    pairs = made.add("slice", (pairs,), **cut) if pairs is not None else None
    paired = made.add("reshape", (pairs,), shape=(-1, half, 2)) if pairs is not None else None
    if pairs is None or paired is None:
        return
    labels = made.add("argmax", (paired,), axis=2)
    logits = made.add("slice", (pairs,), begin=(0, 0), end=(-1, half), strides=(1, 1))
    if labels is None or logits is None:
        return
    made.add("sigmoid_cross_entropy", (logits, labels))
    made.add("sigmoid_cross_entropy_grad", (logits, labels), **made.rounded(14))


def choices(made: Graphs) -> None:
    """The larger or smaller of two values, and what a comparison of them chooses."""
    rng, x = made.rng, made.pick("i16", "i32")
    y = made.like(made.type(x).shape, "i16", "i32")
    made.add(rng.choice(("maximum", "minimum")), (x, y))
    holds = made.add("compare", (x, y), relation=rng.randrange(3))
    if holds is None:
        return
    other = made.add("logical", (holds,), function=3)
    if other is not None and rng.randrange(2):
        holds = made.add("logical", (other, holds), function=rng.randrange(3)) or holds
    made.add("select", (holds, x, y))
    made.add("mask", (holds, made.like(made.type(x).shape, "i16", "i32", "i64")), value=1)


def rows(made: Graphs) -> None:
    """Rows of a table by the classes of the examples, and their sums for each class."""
    classes, columns = made.g.labels[0], made.rng.randrange(1, 5)
    table = made.constant((made.rng.randrange(5, 8), columns), "i16")
    made.add("gather", (table, classes))
    delta = made.like((-1, columns), "i16", "i32")
    made.partial(made.add("gather_grad", (delta, classes), size=made.rng.randrange(5, 8)))


MAKERS: tuple[Callable[[Graphs], None], ...] = (
    normalised,
    normalised_over_batch,
    ordered,
    truths,
    choices,
    rows,
)
