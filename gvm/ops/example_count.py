"""The number of examples of a shard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gvm.operator import Attributes, Case, Execution, Integers, Operator, Reals


class ExampleCount(Operator):
    """The number of examples at hand, a partial i64 scalar: its reduce is the size of the whole
    batch. No inputs."""

    name = "example_count"
    opcode = 32
    inputs = ()
    result = "exact"
    differentiable = False

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        raise ValueError("example_count: its value is not a function of tensors")

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        return np.array(execution.local, dtype=np.int64)

    @staticmethod
    def cases() -> Iterator[Case]:
        yield Case("three", (), data=(), expected=(3,), local=3, offset=2, batch=7)
        yield Case("all", (), data=(), expected=(7,), local=7, offset=0, batch=7)
