"""Cross-entropy of logits against labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.reads import Peek, Reads, Shapes, example
from gvm.softmax import (
    LOSS_BITS,
    LOSS_LIMIT,
    check_labels,
    exponentials,
    logarithm,
    logits_invalid,
)
from gvm.types import i16, i32

if TYPE_CHECKING:
    from gvm.graph import Builder, Value


class SoftmaxCrossEntropy(Operator):
    """-log softmax(logits)[label] of each example, i64 at 24 fraction bits in [0, 2^40).

    logits [B, N] with 0 <= F <= 19 and N <= 2^24, labels i32 [B]: ln(S * 2^-30) + d_t * 2^(24 - F)
    with d_t the label's distance from the largest logit; an example beyond 2^40 - 1 is clamped and
    counted. A label outside [0, N) is the status bad_input. numerics section 7.
    """

    name = "softmax_cross_entropy"
    opcode = 27
    inputs = (
        Input("logits", ("i32", "i16"), "[B, N], 0 <= F <= 19"),
        Input("labels", ("i32",), "[B], F = 0, in [0, N)"),
    )
    result = "exact"
    units = 1.5

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        logits, labels = inputs
        largest = logits.max(axis=-1)
        total = np.exp(logits - largest[:, None]).sum(axis=-1)
        chosen = logits[np.arange(len(logits)), labels.astype(np.int64)]
        loss = np.log(total) + largest - chosen
        return np.asarray(np.minimum(loss, LOSS_LIMIT / 2.0**LOSS_BITS))

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        logits, labels = inputs
        check_labels("softmax_cross_entropy", labels, logits.shape[1])
        f = execution.input_types[0].fraction_bits
        out = []
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            distance = (max(row) - row[label]) << (LOSS_BITS - f)
            loss = logarithm(sum(exponentials(row, f))) + distance
            execution.clamps.count += loss >= LOSS_LIMIT
            out.append(min(loss, LOSS_LIMIT - 1))
        return np.array(out, dtype=np.int64)

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return example(node, at)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        column = g.reshape(delta, shape=(g.shape(delta)[0], 1))
        return (g.mul(g.softmax_cross_entropy_grad(*node_inputs), column), None)

    @staticmethod
    def cases() -> Iterator[Case]:
        # ln 2 * 2^24 = 11629079.8; the exponentials end before 22; 2^32 is beyond 2^16.
        yield Case(
            "by_hand",
            (i32(0, -1, 2), i32(0, -1)),
            data=([[5, 5], [22, 0], [22, 0], [2**31 - 1, -(2**31)]], [1, 0, 1, 1]),
            expected=([11629080, 0, 22 << 24, 2**40 - 1],),
            local=4,
            low=0,
            high=1,
        )
        for f in (0, 7, 8, 19):
            yield Case(f"i32_{f}", (i32(f, -1, 5), i32(0, -1)), low=0, high=4)
        yield Case("i16", (i16(11, -1, 33), i32(0, -1)), low=0, high=32)
        yield Case("one_class", (i16(11, -1, 1), i32(0, -1)), low=0, high=0)
        yield Case("shared", (i16(11, 4, 3), i32(0, 4)), low=0, high=2)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from logits_invalid()
        yield Invalid("format", (i16(20, -1, 3), i32(0, -1)), {}, "bad_type", "[0, 19]")
