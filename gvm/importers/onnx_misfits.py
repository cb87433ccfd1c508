"""What is wrong with a node of ONNX whose operands or attributes do not fit its operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gvm.importers.lowering import Constant, Refusal
from gvm.importers.shapes import Dimensions, Shapes, Tensor, text_of

__all__ = ["broken_rule", "check_axis", "misfit"]

_BEHIND = ("Flatten", "OneHot", "Unsqueeze")
"""Operators whose axis may be one behind the last of the operand."""
_OF_OTHERS = (
    *("ConcatFromSequence", "DequantizeLinear", "QuantizeLinear", "SplitToSequence"),
    *("SequenceAt", "SequenceInsert"),
)
"""Operators whose axis is none of their operand, or is not always read."""


def check_axis(t: Shapes, node: Any, operands: Sequence[Any]) -> None:
    """Refuses an axis that the first operand does not have."""
    axis, first = node.attributes.get("axis"), operands[0] if operands else None
    if not isinstance(axis, int) or node.type in _OF_OTHERS:
        return
    if isinstance(first, Tensor):
        rank = len(t.dims(first))
    elif isinstance(first, Constant | Dimensions):
        rank = first.data.ndim
    else:
        return
    most = rank if node.type in _BEHIND else rank - 1
    if rank and not -rank - (most == rank) <= axis <= most:
        raise Refusal(f"axis must be in [{-rank}, {most}], received {axis}")


def misfit(t: Shapes, node: Any, operands: Sequence[Any]) -> str:
    """The rule of ONNX that a node breaks, else what it is given."""
    rule = "its operands or attributes do not fit the operator"
    return broken_rule(node) or f"{rule}: {_given(t, node, operands)}"


def broken_rule(node: Any) -> str:
    """What ONNX's checker says: operands too few or too many, attributes unknown or of a type."""
    import onnx

    if "." in node.type:
        return ""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {"": node.version}
    try:
        made = onnx.helper.make_node(node.type, node.inputs, node.outputs, **node.attributes)
        onnx.checker.check_node(made, context)
    except (onnx.checker.ValidationError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        return next((line for line in lines if line), "")
    return ""


def _given(t: Shapes, node: Any, operands: Sequence[Any]) -> str:
    shapes = []
    for x in operands:
        if isinstance(x, Tensor):
            shapes.append(text_of(t.dims(x)))
        elif isinstance(x, Constant | Dimensions):
            shapes.append(f"a constant {text_of(x.data.shape)}")
        else:
            shapes.append("none" if x is None else type(x).__name__)
    given = [f"{name} = {value}" for name, value in node.attributes.items() if _is_plain(value)]
    return "; ".join(["received " + ", ".join(shapes), *given])


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str | list | tuple)
