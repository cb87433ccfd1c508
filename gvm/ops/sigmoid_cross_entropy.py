"""Logistic cross-entropy of each example."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.fixed import Rounding, quotient
from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.reads import Peek, Reads, Shapes, example
from gvm.softmax import (
    LOSS_BITS,
    LOSS_LIMIT,
    ONE,
    binary_invalid,
    check_labels,
    exponential,
    logarithm,
)
from gvm.types import i16, i32


class SigmoidCrossEntropy(Operator):
    """The mean over each example's logits of -ln p, p the logistic of z where the label is 1 and of
    -z where it is 0: i64 at 24 fraction bits in [0, 2^40). Then i64 of 0 and 1: whether z > 0 at
    the labels 1 and nowhere else.

    ln((2^30 + E(|z|)) * 2^-30), plus the distance of the label's side, max(-z, 0) or max(z, 0),
    exactly; summed and divided once, to nearest. A label other than 0 and 1 is the status
    bad_input. numerics section 7.
    """

    name = "sigmoid_cross_entropy"
    opcode = 52
    inputs = (
        Input("logits", ("i32", "i16"), "[B, ...], 0 <= F <= 19"),
        Input("labels", ("i32",), "0 or 1 for each logit, F = 0"),
    )
    outputs = 2
    result = "exact"
    units = 1.1
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> tuple[Reals, Reals]:
        z, t = (a.reshape(len(a), -1) for a in inputs)
        each = np.log1p(np.exp(-np.abs(z))) + np.where(t == 1, np.maximum(-z, 0), np.maximum(z, 0))
        right = ((z > 0) == (t == 1)).all(axis=1)
        mean = np.minimum(each.mean(axis=1), LOSS_LIMIT / 2.0**LOSS_BITS)
        return np.asarray(mean), right.astype(np.float64)

    @staticmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> tuple[Integers, Integers]:
        logits, labels = (a.reshape(len(a), -1).tolist() for a in inputs)
        check_labels("sigmoid_cross_entropy", inputs[1], 2)
        f = execution.input_types[0].fraction_bits
        losses, right = [], []
        for row, wanted in zip(logits, labels, strict=True):
            total = sum(
                logarithm(ONE + exponential(abs(z), f))
                + (max(-z if t else z, 0) << (LOSS_BITS - f))
                for z, t in zip(row, wanted, strict=True)
            )
            loss = quotient(total, len(row), Rounding.NEAREST, 0, 128)
            execution.clamps.count += loss >= LOSS_LIMIT
            losses.append(min(loss, LOSS_LIMIT - 1))
            right.append(int(all((z > 0) == (t == 1) for z, t in zip(row, wanted, strict=True))))
        return np.array(losses, dtype=np.int64), np.array(right, dtype=np.int64)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return example(node, at)

    @staticmethod
    def cases() -> Iterator[Case]:
        # ln 2 at 0; ln(1 + 1/e) = 0.313261688 at 1, and 1 more where the label is 0.
        yield Case(
            "single",
            (i16(8, -1), i32(0, -1)),
            data=([0, 0, 256, 256, -256], [1, 0, 1, 0, 0]),
            expected=(
                [11629080, 11629080, 5255659, 22032875, 5255659],
                [0, 1, 1, 0, 1],
            ),
            local=5,
        )
        # (2 * 0.313261688 + 1) / 2, and a distance beyond 2^16.
        yield Case(
            "means",
            (i32(8, -1, 2), i32(0, -1, 2)),
            data=([[256, 256], [2**31 - 1, -(2**31)]], [[1, 0], [0, 0]]),
            expected=([13644267, 2**40 - 1], [0, 0]),
            local=2,
        )
        for f in (0, 8, 19):
            yield Case(f"i32_{f}", (i32(f, -1, 5), i32(0, -1, 5)), low=0, high=1)
        yield Case("i16", (i16(11, -1, 33), i32(0, -1, 33)), low=0, high=1)
        yield Case("images", (i16(11, -1, 3, 5), i32(0, -1, 3, 5)), low=0, high=1)
        yield Case("many", (i32(10, -1, 300), i32(0, -1, 300)), low=0, high=1)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from binary_invalid()
