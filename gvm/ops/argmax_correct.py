"""Whether the largest logit is the label's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.operator import Attributes, Case, Execution, Input, Integers, Invalid, Operator, Reals
from gvm.reads import Peek, Reads, Shapes, example
from gvm.softmax import check_labels, logits_invalid
from gvm.types import i16, i32


class ArgmaxCorrect(Operator):
    """1 where the largest logit of an example, the first of equals, is at its label, else 0.

    logits [B, N] with N <= 2^24, labels i32 [B]; the result is i64 [B]. A label outside [0, N) is
    the status bad_input.
    """

    name = "argmax_correct"
    opcode = 29
    inputs = (
        Input("logits", ("i32", "i16"), "[B, N]"),
        Input("labels", ("i32",), "[B], F = 0, in [0, N)"),
    )
    result = "exact"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        logits, labels = inputs
        return np.asarray(logits.argmax(axis=1) == labels, dtype=np.float64)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        logits, labels = inputs
        check_labels("argmax_correct", labels, logits.shape[1])
        return np.array(
            [
                int(row.index(max(row)) == label)
                for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
            ],
            dtype=np.int64,
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return example(node, at)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "ties",
            (i16(8, -1, 3), i32(0, -1)),
            data=([[1, 5, 5], [1, 5, 5], [-32768, -32768, -32768], [0, 1, 2]], [1, 2, 0, 2]),
            expected=([1, 0, 1, 1],),
            local=4,
            low=0,
            high=2,
        )
        for n in (1, 10, 33):
            yield Case(f"i16_{n}", (i16(-2, -1, n), i32(0, -1)), low=0, high=n - 1)
            yield Case(f"i32_{n}", (i32(30, -1, n), i32(0, -1)), low=0, high=n - 1)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from logits_invalid()
