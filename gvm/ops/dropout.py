"""Dropout: elements are dropped by chance, and what stays is scaled up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
    integer,
    rounding_attribute,
)
from gvm.random import Purpose, random_half
from gvm.types import i16, i32, i64

if TYPE_CHECKING:
    from gvm.graph import Builder, Value

ALL = 1 << 16


class Dropout(Operator):
    """y = quotient(x·2^16, keep) where a draw of 16 bits is below `keep`, else 0; of any shape, y
    has the type of x. With keep = 65536, y = x.

    The draw of an element is that of its index with purpose 5 (dropout) and `stream` in the place
    of the site: nodes of one stream drop the same elements, which is how a gradient meets its
    layer. The quotient's draw is of the node's own site. `predict` and `loss` accept keep = 65536
    only: nothing is dropped there, and the compiler leaves the node out. `real` is the mean over
    all draws, y = x.
    """

    name = "dropout"
    opcode = 63
    inputs = (Input("x", ("i16", "i32"), "any shape"),)
    attributes = (
        Attribute("keep", 1, ALL, "the probability that an element stays, times 65536"),
        Attribute("stream", 0, (1 << 24) - 1, "which draws: one number for each layer", default=0),
        rounding_attribute(),
    )
    sites = 1
    result = "keeps"
    units = float("inf")

    @staticmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals:
        return inputs[0]

    @staticmethod
    def growth(attributes: Attributes) -> float:
        return ALL / integer(attributes, "keep")

    @staticmethod
    def reference(execution: Execution, attributes: Attributes, *inputs: Integers) -> Integers:
        (to,) = execution.output_types
        keep, stream = integer(attributes, "keep"), integer(attributes, "stream")
        indices = execution.logical_index(to).reshape(-1)
        stays = np.array(
            [
                random_half(execution.seed, stream, execution.step, Purpose.DROPOUT, int(i)) < keep
                for i in indices
            ]
        ).reshape(inputs[0].shape)
        kept = np.where(stays, inputs[0].astype(object), 0)
        return execution.quotient(
            np.asarray(kept * ALL, dtype=object), keep, to, integer(attributes, "rounding")
        )

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        same = {name: attributes[name] for name in ("keep", "stream")}
        return (g.dropout(g.convert_grad(output, delta), **same),)

    @staticmethod
    def cases() -> Iterator[Case]:
        whole: dict[str, AttributeValue] = {"keep": ALL}
        yield Case(
            "keeps all",
            (i16(8, 5),),
            whole,
            ([-32768, -1, 0, 7, 32767],),
            ([-32768, -1, 0, 7, 32767],),
        )
        # One of 65536 draws would keep it, twice as large: none of these does.
        yield Case("drops all", (i16(8, 5),), {"keep": 1}, ([-32768, -1, 0, 7, 32767],), ([0] * 5,))
        for keep, stream in ((32768, 0), (52429, 7), (3, 2**24 - 1), (65535, 1)):
            for x in (i16(8, -1, 31), i32(3, 3, -1, 5), i16(2, 700), i32(20, -1)):
                for rounding in (0, 1):
                    yield Case(
                        f"{x} keep {keep} r{rounding}",
                        (x,),
                        {"keep": keep, "stream": stream, "rounding": rounding},
                    )

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        yield Invalid(
            "none", (i16(8, 4),), {"keep": 0}, "bad_attribute", "keep must be in [1, 65536]"
        )
        yield Invalid("exact", (i64(8, 4),), {"keep": ALL}, "bad_type", "i64")
