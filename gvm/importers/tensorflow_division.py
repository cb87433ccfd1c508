"""TensorFlow's roundings to whole numbers, and divisions that are cut to them."""

from __future__ import annotations

from typing import Any

from gvm.graph import Value
from gvm.importers.arithmetic import fitting
from gvm.importers.division import (
    DOWN,
    NEAREST,
    TOWARDS_ZERO,
    floor_or_ceiling,
    whole_quotient,
)
from gvm.importers.lowering import Refusal
from gvm.importers.shapes import Operand, Tensor
from gvm.importers.tensorflow_nodes import Translator, handles


def _real(t: Translator, whole: Value) -> Value:
    return int(t.g.mul(whole, t.low.number(1.0, "one")))


@handles("Floor", "Ceil", "Round", "Rint")
def _round(t: Translator, op: Any, x: Tensor) -> Tensor:
    direction = DOWN if op.type in ("Floor", "Ceil") else NEAREST
    made = floor_or_ceiling(t, x.value, direction, up=op.type == "Ceil")
    return Tensor(_real(t, made), x.merged)


@handles("FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod")
def _cut(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    """The quotient, or a less b times it."""
    first, *others = [x for x in (a, b) if isinstance(x, Tensor)]
    if any(x.merged != first.merged for x in others):
        raise Refusal("the batch is merged with another axis in one operand only")
    left, right = (
        x.value if isinstance(x, Tensor) else t.low.parameter(fitting(t, first, x)) for x in (a, b)
    )
    direction = DOWN if op.type.startswith("Floor") else TOWARDS_ZERO
    share = whole_quotient(t, left, right, direction, op.name)
    if op.type.endswith("Div"):
        return Tensor(_real(t, share), first.merged)
    return Tensor(t.g.sub(left, t.g.mul(right, share)), first.merged)
