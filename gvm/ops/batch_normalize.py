"""Batch normalisation: in training, in use, and its running statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.batch_normalization import (
    KEEP_BITS,
    LINE_BITS,
    X_BITS,
    Channel,
    Line,
    along,
    at_places,
    channel_attributes,
    channel_of,
    most_shift,
    real_channel,
    real_root,
    rooted,
    shifted,
    slope_of,
    with_half,
    within,
)
from gvm.fixed import quotient_nearest, round_nearest
from gvm.operator import (
    Attribute,
    Attributes,
    AttributeValue,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
    dtype_attribute,
    fraction_bits_attribute,
    integer,
    rounding_attribute,
)
from gvm.types import Type, i16, i32, i64

TRAIN, USE, MEAN, VARIANCE = range(4)
"""The kinds: by the totals of a batch, by running statistics; a step of a running mean, and of a
running variance."""
_ACCEPTS: dict[int, tuple[tuple[str, ...], ...]] = {
    TRAIN: (("i16",), ("i64",), ("i64",), ("i64",), ("i32", "i16"), ("i32", "i16")),
    USE: (("i16",), *((("i32", "i16"),) * 4)),
    MEAN: (("i32", "i16"), ("i64",), ("i64",), ("i64",)),
    VARIANCE: (("i32", "i16"), ("i64",), ("i64",), ("i64",)),
}


class BatchNormalize(Operator):
    """Four kinds. x [..., C] is normalised for each of its C channels; numerics section 7.

    0, in training: scale * (x - mean) / sqrt(variance + epsilon) + shift; inputs x, the totals of x
    and of x^2 over a batch, the count of its examples, scale, shift. N = count * positions.
    1, in use: the same with given statistics; inputs x, mean, variance, scale, shift.
    2, a running mean: mean * keep + (total of x) / N * (1 - keep), keep in units of 2^-20; inputs
    the mean, both totals, the count.
    3, a running variance: the same with the variance of the batch, over N - 1 where `unbiased`.

    A line of each channel, its slope to 30 bits, is rounded once (kinds 0 and 1: Convert of 16 more
    fraction bits), or a quotient (2 and 3). A count below 1 is 1; totals that no x has are taken to
    the nearest that some have.
    """

    name = "batch_normalize"
    opcode = 61
    inputs = (
        Input("x", ("i16", "i32"), "[..., C]; of kinds 2 and 3 the statistic [C]"),
        Input("sum", ("i64", "i32", "i16"), "total of x [C]; of kind 1 the mean"),
        Input("squares", ("i64", "i32", "i16"), "total of x^2 [C]; of kind 1 the variance"),
        Input("others", ("i64", "i32", "i16"), "count; scale [C] and shift [C], as the kind says"),
    )
    variadic = 6
    attributes = (
        *channel_attributes(
            4, "0: in training; 1: in use; 2: a running mean; 3: a running variance"
        ),
        Attribute("keep", 0, (1 << KEEP_BITS) - 1, "share that a step keeps, * 2^-20", default=0),
        Attribute("unbiased", 0, 1, "1: a running variance is over N - 1", default=0),
        dtype_attribute(),
        fraction_bits_attribute(),
        rounding_attribute(),
    )
    sites = 1
    result = "rounds"
    saturates = True
    units = 2.0**-5
    relative = 2.0**-28
    differentiable = False

    @classmethod
    def accepted(cls, position: int, attributes: Attributes) -> tuple[str, ...]:
        """By the kind."""
        accepts = _ACCEPTS[integer(attributes, "kind")]
        return accepts[min(position, len(accepts) - 1)]

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        kind = integer(attributes, "kind")
        if kind == USE:
            x, mean, variance, scale, shift = inputs
            return np.asarray((x - mean) * (scale * real_root(attributes, variance)) + shift)
        first, total, squares, count = inputs[:4]
        n, mean, variance = real_channel(attributes, total, squares, count)
        if kind == TRAIN:
            slope = inputs[4] * real_root(attributes, variance)
            return np.asarray((first - mean) * slope + inputs[5])
        now = mean
        if kind == VARIANCE:
            now = variance
            if integer(attributes, "unbiased"):
                now = now * n * n / np.maximum(1, n * (n - 1))
        keep = integer(attributes, "keep") * 2.0**-KEEP_BITS
        return np.asarray(first * keep + now * (1 - keep))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,), given = execution.output_types, execution.input_types
        kind, rounding = integer(attributes, "kind"), integer(attributes, "rounding")
        if kind == USE:
            rows = [[int(v) for v in a.reshape(-1)] for a in inputs[1:]]
            lines = [_in_use(attributes, given, to, *of) for of in zip(*rows, strict=True)]
            return along(execution, lines, to, rounding, inputs[0])
        count, f = int(inputs[3]), given[1].fraction_bits
        channels = [
            channel_of(attributes, int(s), int(q), count, f)
            for s, q in zip(inputs[1], inputs[2], strict=True)
        ]
        if kind == TRAIN:
            rows = [[int(v) for v in a.reshape(-1)] for a in inputs[4:]]
            lines = [
                _in_training(channel, given, to, *of)
                for channel, *of in zip(channels, *rows, strict=True)
            ]
            return along(execution, lines, to, rounding, inputs[0])
        step = _mean_step if kind == MEAN else _variance_step
        sides = [
            step(attributes, channel, int(v), given[0].fraction_bits, f)
            for v, channel in zip(inputs[0], channels, strict=True)
        ]
        above, below = (np.array([pair[i] for pair in sides], dtype=object) for i in (0, 1))
        return execution.quotient(above, below, to, rounding)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield from _worked_cases()
        wide: dict[str, AttributeValue] = {"epsilon_multiplier": 32767, "epsilon_exponent": 15}
        for channels in (1, 3, 8, 17, 600):
            totals = _totals(8, channels)
            parts = (i32(29, channels), i32(20, channels))
            given = wide | {"kind": TRAIN, "positions": 5, "fraction_bits": 9}
            yield Case(f"train_{channels}", (i16(8, -1, 5, channels), *totals, *parts), given)
            statistics = (i32(24, channels), i32(20, channels))
            use = wide | {"kind": USE, "fraction_bits": 9}
            yield Case(f"use_{channels}", (i16(8, -1, channels), *statistics, *parts), use)
            for kind, f in ((MEAN, 24), (VARIANCE, 17)):
                kept = wide | {"kind": kind, "keep": 1038090, "unbiased": channels % 2}
                kept |= {"positions": 9, "dtype": 2, "fraction_bits": f}
                yield Case(f"kind_{kind}_{channels}", (i32(f, channels), *totals), kept)
        narrow = (i16(13, 19), i16(10, 19))
        yield Case(
            "narrow",
            (i16(8, -1, 4, 19), *_totals(8, 19), *narrow),
            wide | {"kind": TRAIN, "positions": 4, "fraction_bits": 11},
        )
        yield Case(
            "to_i32",
            (i16(8, -1, 19), *_totals(8, 19), i32(29, 19), i32(24, 19)),
            wide | {"kind": TRAIN, "dtype": 2, "fraction_bits": 20},
        )
        yield Case(
            "batch_behind",
            (i16(8, 3, -1, 9), *_totals(8, 9), i32(29, 9), i32(24, 9)),
            wide | {"kind": TRAIN, "positions": 3, "fraction_bits": 10},
        )
        yield Case(
            "narrow_statistics",
            (i16(8, -1, 9), i16(8, 9), i16(4, 9), i16(12, 9), i16(8, 9)),
            wide | {"kind": USE, "fraction_bits": 10},
        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        parts = (i32(20, 3), i32(20, 3))
        x, totals = i16(8, -1, 3), _totals(8, 3)
        train: dict[str, AttributeValue] = {"kind": TRAIN}
        yield Invalid("kind_of_five", (x, *totals, parts[0]), train, "bad_graph", "received 5")
        yield Invalid("wide", (i32(8, -1, 3), *totals, *parts), train, "bad_type", "i32")
        yield Invalid("channels", (x, *_totals(8, 4), *parts), train, "bad_shape", "3")
        yield Invalid("scalar", (i16(8), *totals, *parts), train, "bad_shape", "rank")
        yield Invalid("batch_last", (i16(8, 3, -1), *totals, *parts), train, "bad_batch", "last")
        yield Invalid("format", (x, *_totals(7, 3), *parts), train, "bad_type", "fraction bits")
        squares = (totals[0], i64(15, 3), totals[2])
        yield Invalid("squares", (x, *squares, *parts), train, "bad_type", "15")
        yield Invalid("size", (x, *totals, *parts), train | {"positions": 2}, "bad_shape", "2")
        counts = (*totals[:2], i64(1))
        yield Invalid("count", (x, *counts, *parts), train, "bad_type", "0 fraction bits")
        huge = (i64(8, 3), i64(16, 3), i64(0))
        yield Invalid("count_bound", (x, *huge, *parts), train, "unproved_bound", "44")
        epsilon = train | {"epsilon_multiplier": 32767, "epsilon_exponent": 0}
        many = (i16(23, -1, 3), *_totals(23, 3)[:2], i64(0, bound=1 << 35), *parts)
        yield Invalid("epsilon", many, epsilon, "unproved_bound", "135")
        kind = {"kind": VARIANCE, "dtype": 2, "fraction_bits": 17}
        yield Invalid("variance", (i32(17, 4), *totals), kind, "bad_shape", "4")
        yield Invalid("kept_type", (i16(17, 3), *totals), kind, "bad_attribute", "dtype")
        yield Invalid("kept_format", (i32(16, 3), *totals), kind, "bad_attribute", "16")
        use: dict[str, AttributeValue] = {"kind": USE}
        yield Invalid("use", (x, *parts, totals[0], parts[0]), use, "bad_type", "i64")


def _totals(fraction_bits: int, channels: int) -> tuple[Type, ...]:
    """Totals of few examples and their count."""
    return (
        i64(fraction_bits, channels, bound=1 << 15),
        i64(2 * fraction_bits, channels, bound=1 << 31),
        i64(0, bound=1 << 10),
    )


def _in_training(channel: Channel, given: tuple[Type, ...], to: Type, *affine: int) -> Line:
    """The line of a channel by its statistics."""
    (scale, shift), (of_scale, of_shift) = affine, (t.fraction_bits for t in given[4:])
    places = channel.shift + to.fraction_bits - of_scale + LINE_BITS
    slope, e = slope_of(scale * channel.count, places, channel.root, most_shift(to))
    start = at_places(shift, to.fraction_bits - of_shift + LINE_BITS + e)
    mean = quotient_nearest(slope * channel.sum, channel.count, 256)
    return Line(slope, with_half(start - mean, e), e)


def _in_use(
    attributes: Attributes,
    given: tuple[Type, ...],
    to: Type,
    mean: int,
    variance: int,
    scale: int,
    shift: int,
) -> Line:
    """The line of a channel by running statistics. D has 2h fraction bits."""
    fx, of_mean, of_variance, of_scale, of_shift = (t.fraction_bits for t in given)
    places = 30 + of_variance % 2
    h = (of_variance + places) // 2
    epsilon = shifted(
        integer(attributes, "epsilon_multiplier"), 2 * h - integer(attributes, "epsilon_exponent")
    )
    t, root = rooted((max(0, variance) << places) + max(1, epsilon))
    wide = t + h - fx + to.fraction_bits - of_scale + LINE_BITS
    slope, e = slope_of(scale, wide, root, most_shift(to))
    start = at_places(shift, to.fraction_bits - of_shift + LINE_BITS + e)
    apart = of_mean - fx
    if apart > 0:
        offset = round_nearest(slope * within(mean, 1 << (X_BITS + apart)), apart)
    else:
        offset = slope * within(mean << -apart, 1 << X_BITS)
    return Line(slope, with_half(start - offset, e), e)


def _mean_step(
    attributes: Attributes, channel: Channel, mean: int, of_mean: int, fx: int
) -> tuple[int, int]:
    """Both sides of the quotient of a running mean."""
    keep, up = integer(attributes, "keep"), of_mean - fx
    kept = (keep * mean * channel.count) << max(0, -up)
    added = (((1 << KEEP_BITS) - keep) * channel.sum) << max(0, up)
    return kept + added, channel.count << (KEEP_BITS + max(0, -up))


def _variance_step(
    attributes: Attributes, channel: Channel, variance: int, of_variance: int, fx: int
) -> tuple[int, int]:
    """Both sides of the quotient of a running variance."""
    keep, up = integer(attributes, "keep"), of_variance - 2 * fx
    n = channel.count
    divisor = max(1, n * (n - 1)) if integer(attributes, "unbiased") else n * n
    kept = (keep * variance * divisor) << max(0, -up)
    added = (((1 << KEEP_BITS) - keep) * channel.spread) << max(0, up)
    return kept + added, divisor << (KEEP_BITS + max(0, -up))


def _worked_cases() -> Iterator[Case]:
    least: dict[str, AttributeValue] = {"epsilon_multiplier": 1, "epsilon_exponent": 62}
    totals = (i64(0, 2, bound=1 << 20), i64(0, 2, bound=1 << 20), i64(0, bound=1 << 10))
    # 1, 2, 3, 4: s = 10, Q = 30, V = 4 * 30 - 100 = 20, D = 21. -6 / sqrt(21) = -1.30931, times 2^8
    # = -335.18; -2 / sqrt(21) * 2^8 = -111.73. A constant channel is its shift, 2 * 2^-1.
    yield Case(
        "train",
        (i16(0, -1, 2), *totals, i32(0, 2), i32(1, 2)),
        {"kind": TRAIN, "fraction_bits": 8, **least},
        data=(
            [[1, 7], [2, 7], [3, 7], [4, 7]],
            [10, 28],
            [30, 196],
            4,
            [1, 1],
            [0, 2],
        ),
        expected=([[-335, 256], [-112, 256], [112, 256], [335, 256]],),
        local=4,
    )
    # Mean 2.5 and variance 1.25, scale 2, shift -1: 2 * -1.5 / 1.118034 - 1 = -3.68328, times 2^8 =
    # -942.92; 2 * 0.5 / 1.118034 - 1 = -0.105573, times 2^8 = -27.03.
    yield Case(
        "use",
        (i16(0, -1, 1), i32(1, 1), i32(2, 1), i32(4, 1), i32(0, 1)),
        {"kind": USE, "fraction_bits": 8, **least},
        data=([[1], [3]], [5], [5], [32], [-1]),
        expected=([[-943], [-27]],),
        local=2,
    )
    # Half of 8 and half of 10 / 4: 5.25, at 1 fraction bit 10.5, to even. A count of 0 is 1.
    half = {"keep": 1 << (KEEP_BITS - 1), "dtype": 2}
    for name, count, expected in (("mean", 4, [10, 22]), ("mean_of_none", 0, [18, 64])):
        yield Case(
            name,
            (i32(1, 2), *totals),
            {"kind": MEAN, "fraction_bits": 1, **half},
            data=([16, 16], [10, 56], [30, 800], count),
            expected=(expected,),
        )
    # V = 20: half of 2 and half of 20 / 16 is 1.625; of 20 / 12, 1.8333, times 2^4 = 29.33. A
    # variance that no numbers have is 0.
    for unbiased, expected in ((0, [26, 16]), (1, [29, 16])):
        yield Case(
            f"variance_{unbiased}",
            (i32(4, 2), *totals),
            {"kind": VARIANCE, "fraction_bits": 4, "unbiased": unbiased, **half},
            data=([32, 32], [10, 56], [30, 0], 4),
            expected=(expected,),
        )
