"""ONNX's tensors of whole numbers and truth values, and how a graph holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm.errors import ImportModelError
from gvm.graph import Value
from gvm.importers.lowering import Constant
from gvm.importers.shapes import Operand, Tensor, Uniform
from gvm.ops.div import DOWN
from gvm.types import DTYPES

if TYPE_CHECKING:
    from gvm.importers.lowering import Lowering
    from gvm.importers.onnx_nodes import Node, Translator

__all__ = ["element_type", "kind_of_whole", "stated", "wrapped"]

_NARROW = ("int8", "uint8", "int16", "uint16")
"""Types whose arithmetic wraps within what a graph holds; wider ones must not leave 32 bits."""
_WRAPS = (
    *("Add", "Sub", "Mul", "Neg", "Abs", "Sum", "Pow", "CumSum", "MatMul", "Gemm", "Einsum"),
    *("ReduceSum", "ReduceProd", "ReduceSumSquare", "ReduceL1", "BitShift", "Div"),
)
_OF_ITS_OWN: dict[str, tuple[str | int, ...]] = {
    "ArgMax": ("int64",),
    "ArgMin": ("int64",),
    "ConvInteger": ("int32",),
    "DynamicQuantizeLinear": ("uint8", "", "uint8"),
    "MatMulInteger": ("int32",),
    "MaxPool": (0, "int64"),
    "OneHot": (2,),
    "TopK": (0, "int64"),
    "Where": (1,),
}
"""Operators whose results have a type of their own, or that of the operand numbered."""


def element_type(dtype: np.dtype[Any], name: str) -> str:
    """How an input of a source's element type is held: real, bool, or whole numbers (i16, i32)."""
    kind, size = dtype.kind, dtype.itemsize
    if kind == "f" or dtype.name == "bfloat16":
        return "real"
    if kind == "b":
        return "bool"
    if kind in "iu":
        return "i16" if size == 1 or (kind == "i" and size == 2) else "i32"
    raise ImportModelError(f"input {name!r}: elements must be numbers, received {dtype}")


def kind_of_whole(x: Operand | Uniform | None) -> str:
    """The source's type of whole numbers, by NumPy's name; empty where it is not known."""
    if isinstance(x, Tensor):
        return x.kind
    if isinstance(x, Constant) and x.data.dtype.kind in "iu":
        return x.data.dtype.name
    return ""


def stated(t: Translator, node: Node, operands: list[Any], results: list[Any]) -> list[Any]:
    """The results of a node with the types of their whole numbers, within which sums and products
    of narrow ones wrap as the source's do."""
    own = _OF_ITS_OWN.get(node.type, ())
    first = next((k for k in map(kind_of_whole, operands) if k), "")
    made = []
    for i, x in enumerate(results):
        if not isinstance(x, Tensor) or x.kind or not t.low.is_whole(x.value):
            made.append(x)
            continue
        kind: str | int = own[i] if i < len(own) else first
        if isinstance(kind, int):
            kind = kind_of_whole(operands[kind])
        if kind in _NARROW and node.type in _WRAPS:
            x = replace(x, value=wrapped(t.low, x.value, kind))
        made.append(replace(x, kind=kind))
    return made


def wrapped(low: Lowering, value: Value, kind: str) -> Value:
    """Whole numbers modulo the size of a narrow type, within its range."""
    limits = np.iinfo(kind)
    least, size = int(limits.min), int(limits.max) - int(limits.min) + 1
    g, count = low.g, low.whole(size, f"{kind}/size")
    shifted = g.sub(value, low.whole(least, f"{kind}/least")) if least else value
    given = {"direction": DOWN, "dtype": DTYPES["i32"], "fraction_bits": 0}
    turns = low.exact(g.mul(g.div(shifted, count, **given), count))
    return low.exact(g.sub(value, turns))
