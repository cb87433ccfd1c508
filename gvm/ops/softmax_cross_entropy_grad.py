"""The gradient of cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.operator import (
    Attributes,
    Case,
    Execution,
    Input,
    Integers,
    Invalid,
    Operator,
    Reals,
    dtype_attribute,
    fraction_bits_attribute,
    rounding_attribute,
)
from gvm.reads import Peek, Reads, Shapes, example
from gvm.softmax import check_labels, exponentials, logits_invalid, one_hot, real_softmax
from gvm.types import i16, i32
from gvm.window import integer


class SoftmaxCrossEntropyGrad(Operator):
    """softmax(logits) - one_hot(label): the gradient of each example's cross-entropy, [B, N].

    quotient((E_i - [i = label] * S) * 2^F', S), as softmax. It is not divided by the batch size. A
    label outside [0, N) is the status bad_input. numerics section 7.
    """

    name = "softmax_cross_entropy_grad"
    opcode = 28
    inputs = (
        Input("logits", ("i32", "i16"), "[B, N], 0 <= F <= 19"),
        Input("labels", ("i32",), "[B], F = 0, in [0, N)"),
    )
    attributes = (dtype_attribute(), fraction_bits_attribute(), rounding_attribute(2))
    sites = 1
    result = "rounds"
    differentiable = False
    units = 0.02

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        logits, labels = inputs
        return real_softmax(logits) - one_hot(labels, logits.shape[1])

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        logits, labels = inputs
        check_labels("softmax_cross_entropy_grad", labels, logits.shape[1])
        to = execution.output_types[0]
        up, down = max(to.fraction_bits, 0), max(-to.fraction_bits, 0)
        numerators, denominators = [], []
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            e = exponentials(row, execution.input_types[0].fraction_bits)
            total = sum(e)
            e[label] -= total
            numerators += [value << up for value in e]
            denominators += [total << down] * len(e)
        return execution.quotient(
            np.array(numerators, dtype=object).reshape(logits.shape),
            np.array(denominators, dtype=object).reshape(logits.shape),
            to,
            integer(attributes, "rounding"),
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return example(node, at)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case(
            "equal",
            (i32(8, -1, 4), i32(0, -1)),
            {"fraction_bits": 10, "rounding": 0},
            data=([[7, 7, 7, 7], [2**31 - 1, -(2**31), 0, 2**31 - 1]], [2, 1]),
            expected=([[256, 256, -768, 256], [512, -1024, 0, 512]],),
            local=2,
            low=0,
            high=3,
        )
        for f in (0, 8, 19):
            yield Case(
                f"i32_{f}", (i32(f, -1, 5), i32(0, -1)), {"fraction_bits": 15}, low=0, high=4
            )
        yield Case("i16", (i16(11, -1, 33), i32(0, -1)), {"fraction_bits": 14}, low=0, high=32)
        yield Case(
            "wide",
            (i16(12, -1, 7), i32(0, -1)),
            {"dtype": 2, "fraction_bits": 19},
            low=0,
            high=6,
        )
        yield Case(
            "beyond_64_bits", (i16(12, -1, 3), i32(0, -1)), {"fraction_bits": 47}, low=0, high=2
        )
        yield Case("coarse", (i16(12, -1, 3), i32(0, -1)), {"fraction_bits": -1}, low=0, high=2)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from logits_invalid()
        yield Invalid("format", (i16(-1, -1, 3), i32(0, -1)), {}, "bad_type", "[0, 19]")
