"""The gradient of batch normalisation in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gvm.batch_normalization import (
    LINE_BITS,
    X_BITS,
    Channel,
    Line,
    along,
    channel_attributes,
    channel_of,
    most_shift,
    real_channel,
    real_root,
    slope_of,
    with_half,
    within,
)
from gvm.fixed import limit_max, quotient_nearest
from gvm.operator import (
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

OF_X, OF_SCALE = range(2)
"""The kinds: with respect to x, and to the scale."""
_ACCEPTS: tuple[tuple[str, ...], ...] = (*((("i64",),) * 5), ("i32", "i16"), ("i16",), ("i16",))


class BatchNormalizeGrad(Operator):
    """The gradient of batch_normalize in training, for the gradient delta of its result.

    Inputs: the totals s of x and Q of x^2, H of delta and P of delta * x, the count; for kind 0
    also scale, x, delta.

    0, with respect to x: scale / deviation * (delta - H / N - (x - s / N) * K / D), K = N * P - s *
    H: a line of each channel in delta and x, rounded once as that of batch_normalize.
    1, with respect to the scale: K / deviation / N, a quotient, held to the most that H can be for
    these N. i64.

    N, D and r are those of batch_normalize; numerics section 7.
    """

    name = "batch_normalize_grad"
    opcode = 62
    inputs = (
        Input("sum", ("i64",), "total of x [C]"),
        Input("squares", ("i64",), "total of x^2 [C]"),
        Input("delta_sum", ("i64",), "total of delta [C]"),
        Input("product_sum", ("i64",), "total of delta * x [C]"),
        Input("others", ("i64", "i32", "i16"), "count; of kind 0 scale [C], x, delta [..., C]"),
    )
    variadic = 8
    attributes = (
        *channel_attributes(2, "0: with respect to x; 1: to the scale"),
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
        """By position: the count is an i64."""
        return _ACCEPTS[position]

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        total, squares, delta_sum, product_sum, count = inputs[:5]
        n, mean, variance = real_channel(attributes, total, squares, count)
        product, root = product_sum - mean * delta_sum, real_root(attributes, variance)
        if integer(attributes, "kind") == OF_SCALE:
            return np.asarray(product * root)
        scale, x, delta = inputs[5:]
        made = delta - delta_sum / n - (x - mean) * (product * root * root / n)
        return np.asarray(made * (scale * root))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,), given = execution.output_types, execution.input_types
        fx, fd = given[0].fraction_bits, given[2].fraction_bits
        count, rounding = int(inputs[4]), integer(attributes, "rounding")
        rows = [[int(v) for v in a.reshape(-1)] for a in inputs[:4]]
        channels = [
            channel_of(attributes, s, q, count, fx) for s, q in zip(rows[0], rows[1], strict=True)
        ]
        deltas = [within(h, c.count << X_BITS) for h, c in zip(rows[2], channels, strict=True)]
        products = [
            c.count * p - c.sum * h for p, h, c in zip(rows[3], deltas, channels, strict=True)
        ]
        if integer(attributes, "kind") == OF_SCALE:
            places = [c.shift + to.fraction_bits - fd for c in channels]
            above = [k << max(0, p) for k, p in zip(products, places, strict=True)]
            below = [c.root << max(0, -p) for c, p in zip(channels, places, strict=True)]
            n, d = (np.array(side, dtype=object) for side in (above, below))
            made = execution.quotient(n, d, to, rounding)
            most = [_most(c.count, to.fraction_bits - fd) for c in channels]
            return np.array([within(int(q), m) for q, m in zip(made, most, strict=True)])
        each = zip(channels, deltas, products, inputs[5].tolist(), strict=True)
        lines = [_line(c, h, k, int(scale), given, to) for c, h, k, scale in each]
        return along(execution, lines, to, rounding, inputs[7], inputs[6])

    @staticmethod
    def cases() -> Iterator[Case]:
        least: dict[str, AttributeValue] = {"epsilon_multiplier": 1, "epsilon_exponent": 62}
        # x = 1, 2, 3, 4 and delta = 1, 0, 0, 0: N = 4, D = 21, H = 1, P = 1, K = 4 - 10 = -6.
        # N * delta - H - (N * x - s) * K / D = 3 - 36/21, -1 - 12/21, -1 + 12/21, -1 + 36/21; times
        # 2^8 / sqrt(21) = 55.86: 71.82, -87.79, -23.94, 39.90.
        worked = [[10], [30], [1], [1], 4]
        few = (
            i64(1, 1, bound=1 << 20),
            i64(2, 1, bound=1 << 20),
            i64(1, 1, bound=1 << 20),
            i64(2, 1, bound=1 << 20),
            i64(0, bound=1 << 10),
        )
        yield Case(
            "of_x",
            (*few, i32(0, 1), i16(1, -1, 1), i16(1, -1, 1)),
            {"kind": OF_X, "fraction_bits": 8, **least},
            data=(*worked, [1], [[1], [2], [3], [4]], [[1], [0], [0], [0]]),
            expected=([[72], [-88], [-24], [40]],),
            local=4,
        )
        # An epsilon of 16 is 64 at 2 fraction bits: D = 20 + 64 * 16 = 1044. K / sqrt(1044) * 2^16
        # = -12169.73.
        bounds = ((1, 10), (2, 30), (1, 64), (2, 8))
        yield Case(
            "of_scale",
            (*(i64(f, 1, bound=b) for f, b in bounds), i64(0, bound=4)),
            {
                "kind": OF_SCALE,
                "fraction_bits": 17,
                "epsilon_multiplier": 16384,
                "epsilon_exponent": 10,
            },
            data=tuple(worked),
            expected=([-12170],),
            low=4,
            high=4,
        )
        wide: dict[str, AttributeValue] = {"epsilon_multiplier": 32767, "epsilon_exponent": 13}
        for channels in (1, 3, 8, 17, 600):
            totals = _totals(8, 12, channels)
            of_x = wide | {"kind": OF_X, "positions": 5, "fraction_bits": 11}
            rows = (i16(8, -1, 5, channels), i16(12, -1, 5, channels))
            yield Case(f"of_x_{channels}", (*totals, i32(29, channels), *rows), of_x)
            of_scale = wide | {"kind": OF_SCALE, "positions": 5, "fraction_bits": 20}
            yield Case(f"of_scale_{channels}", totals, of_scale)
        rows = (i16(8, -1, 4, 19), i16(12, -1, 4, 19))
        yield Case(
            "narrow",
            (*_totals(8, 12, 19), i16(13, 19), *rows),
            wide | {"kind": OF_X, "positions": 4, "fraction_bits": 10},
        )
        yield Case(
            "to_i32",
            (*_totals(8, 12, 19), i16(13, 19), *rows),
            wide | {"kind": OF_X, "positions": 4, "dtype": 2, "fraction_bits": 20},
        )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        totals, of_x = _totals(8, 12, 3), {"kind": OF_X}
        x, delta, scale = i16(8, -1, 3), i16(12, -1, 3), i32(20, 3)
        yield Invalid("five", totals, of_x, "bad_graph", "received 5")
        yield Invalid("eight", (*totals, scale, x, delta), {"kind": OF_SCALE}, "bad_graph", "8")
        yield Invalid("other", (*totals, scale, x, i16(12, -1, 4)), of_x, "bad_shape", "shape")
        yield Invalid("format", (*totals, scale, x, i16(11, -1, 3)), of_x, "bad_type", "11")
        products = (*totals[:3], i64(19, 3), totals[4])
        yield Invalid("products", (*products, scale, x, delta), of_x, "bad_type", "19")
        high = (*totals[:3], i64(20, 3), totals[4])
        many = (*high[:4], i64(0, bound=1 << 40))
        yield Invalid("bound", (*many, scale, x, delta), of_x, "unproved_bound", "94")
        fine = {"kind": OF_SCALE, "fraction_bits": 47}
        yield Invalid("scale_bound", high, fine, "unproved_bound", "126")


def _totals(fx: int, fd: int, channels: int) -> tuple[Type, ...]:
    """Totals of few examples and their count."""
    return (
        i64(fx, channels, bound=1 << 15),
        i64(2 * fx, channels, bound=1 << 31),
        i64(fd, channels, bound=1 << 15),
        i64(fx + fd, channels, bound=1 << 28),
        i64(0, bound=1 << 10),
    )


def _most(count: int, up: int) -> int:
    """The most that H can be for ``count`` numbers of 16 bits, in units of 2^-up of its own."""
    most = count << X_BITS
    return most << up if up >= 0 else (most >> -up) + 1


def _line(
    channel: Channel, delta: int, product: int, scale: int, given: Sequence[Type], to: Type
) -> Line:
    """The line of a channel in delta and x, by H, K and the scale."""
    fx, fd = given[0].fraction_bits, given[2].fraction_bits
    places = channel.shift + fx + to.fraction_bits - fd - given[5].fraction_bits + LINE_BITS
    wider = max(0, product.bit_length() - channel.whole.bit_length() + 1)
    slope, e = slope_of(scale * channel.count, places, channel.root, most_shift(to), wider)
    ratio = -quotient_nearest(slope * product, channel.whole, 256)
    slope_2 = within(ratio, limit_max(32))
    middle = quotient_nearest(slope * delta + slope_2 * channel.sum, channel.count, 256)
    return Line(slope, with_half(-middle, e), e, slope_2)
