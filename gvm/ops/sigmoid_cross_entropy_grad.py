"""The gradient of logistic cross-entropy."""

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
    integer,
    rounding_attribute,
)
from gvm.reads import Peek, Reads, Shapes, through
from gvm.softmax import ONE, binary_invalid, check_labels, exponential
from gvm.types import i16, i32


class SigmoidCrossEntropyGrad(Operator):
    """(logistic(z) - label) / n for each of an example's n logits.

    With E = E(|z|) and S = 2^30 + E: quotient((e - label * S) * 2^F', S * n), e being 2^30 where z
    >= 0 and E elsewhere. A label other than 0 and 1 is the status bad_input. numerics section 7.
    """

    name = "sigmoid_cross_entropy_grad"
    opcode = 53
    inputs = (
        Input("logits", ("i32", "i16"), "[B, ...], 0 <= F <= 19"),
        Input("labels", ("i32",), "0 or 1 for each logit, F = 0"),
    )
    attributes = (dtype_attribute(), fraction_bits_attribute(), rounding_attribute())
    sites = 1
    result = "rounds"
    saturates = True
    units = 0.02
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        z, t = inputs
        with np.errstate(over="ignore"):
            p = 1 / (1 + np.exp(-z))
        return np.asarray((p - t) * len(z) / z.size)

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        check_labels("sigmoid_cross_entropy_grad", inputs[1], 2)
        f, to = execution.input_types[0].fraction_bits, execution.output_types[0]
        up, down = max(to.fraction_bits, 0), max(-to.fraction_bits, 0)
        n = inputs[0].size // len(inputs[0])
        numerators, denominators = [], []
        for z, t in zip(
            inputs[0].reshape(-1).tolist(), inputs[1].reshape(-1).tolist(), strict=True
        ):
            e = exponential(abs(z), f)
            total = ONE + e
            numerators.append(((ONE if z >= 0 else e) - t * total) << up)
            denominators.append(total * n << down)
        return execution.quotient(
            np.array(numerators, dtype=object).reshape(inputs[0].shape),
            np.array(denominators, dtype=object).reshape(inputs[0].shape),
            to,
            integer(attributes, "rounding"),
        )

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        return through(node, at, range(1, len(at)), needed=False)

    @staticmethod
    def cases() -> Iterator[Case]:
        # logistic(0) = 1/2, logistic(1) = 0.731059, logistic(-1) = 0.268941; 2^12 for each of two.
        yield Case(
            "halves",
            (i16(8, -1, 2), i32(0, -1, 2)),
            {"fraction_bits": 13},
            data=([[0, 0], [256, -256]], [[1, 0], [1, 0]]),
            expected=([[-2048, 2048], [-1102, 1102]],),
            local=2,
        )
        for f in (0, 8, 19):
            given = {"fraction_bits": 15}
            yield Case(f"i32_{f}", (i32(f, -1, 5), i32(0, -1, 5)), given, low=0, high=1)
        many = (i16(11, -1, 33), i32(0, -1, 33))
        yield Case("wide", many, {"dtype": 2, "fraction_bits": 25}, low=0, high=1)
        yield Case("vector", (i16(12, -1), i32(0, -1)), {"fraction_bits": 14}, low=0, high=1)
        yield Case(
            "images",
            (i16(12, -1, 3, 5), i32(0, -1, 3, 5)),
            {"dtype": 2, "fraction_bits": 20},
            low=0,
            high=1,
        )
        three = (i16(12, -1, 3), i32(0, -1, 3))
        yield Case("beyond_64_bits", three, {"fraction_bits": 47}, low=0, high=1)
        yield Case("coarse", three, {"fraction_bits": -1}, low=0, high=1)

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield from binary_invalid()
