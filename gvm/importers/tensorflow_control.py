"""TensorFlow's loops, conditions and calls, all decided at import; lists of tensors.

A loop is unrolled: its condition is worked out from constants before every step, its body is
translated for every step. Weights that the steps share stay one parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import MOST_STEPS, elements, join, stack
from gvm.importers.shapes import (
    POISON,
    Dimensions,
    Operand,
    Poison,
    Tensor,
    TensorList,
    Uniform,
    integers_of,
)
from gvm.importers.tensorflow_constants import Variable, constants_of
from gvm.importers.tensorflow_nodes import Translator, behind, decides

# Functions


@dataclass(frozen=True, eq=False)
class _Function:
    """A function of the source, and the constants in it."""

    graph: Any
    constants: dict[str, Constant]

    def inputs(self) -> list[Any]:
        return list(self.graph.inputs)


def _function(
    t: Translator, op: Any, name: str, given: Sequence[Any] = (), passed: Sequence[int] = ()
) -> _Function:
    """The function that an attribute or a list of them names; of its arguments ``given`` those at
    ``passed`` are what they are in every call."""
    graph = t.functions.get(name)
    if graph is None:
        from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

        definition = next(f for f in t.library(op) if f.signature.name == name)
        with op.graph.as_default():
            graph = function_def_to_graph(_without_order(definition))
        t.functions[name] = graph
    known = {graph.inputs[i].name: given[i] for i in passed if isinstance(given[i], Constant)}
    variables: dict[str, Variable] | None = None if t.is_file else {}
    return _Function(graph, constants_of(graph, [], graph.outputs, variables, known))


def _without_order(definition: Any) -> Any:
    """A function without control dependencies, with which no constant could be worked out before
    the arguments are there."""
    made = type(definition)()
    made.CopyFrom(definition)
    made.control_ret.clear()
    del made.signature.control_output[:]
    for node in made.node_def:
        kept = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
    return made


def _call(t: Translator, function: _Function, operands: Sequence[Any]) -> list[Any]:
    """The results of a function of these operands."""
    outer, inputs = t.done, function.inputs()
    t.done = function.constants | {x.name: v for x, v in zip(inputs, operands, strict=True)}
    try:
        return [t.get(tensor) for tensor in function.graph.outputs]
    finally:
        t.done = outer


def _named(op: Any, name: str) -> str:
    return str(op.get_attr(name).name)


@decides("PartitionedCall", "StatefulPartitionedCall")
def _called(t: Translator, op: Any, *operands: Any) -> list[Any]:
    every = range(len(operands))
    return _call(t, _function(t, op, _named(op, "f"), operands, every), operands)


@decides("If", "StatelessIf")
def _if(t: Translator, op: Any, condition: Any, *operands: Any) -> list[Any]:
    branch = "then_branch" if _truth(condition) else "else_branch"
    every = range(len(operands))
    return _call(t, _function(t, op, _named(op, branch), operands, every), operands)


def _truth(condition: Any) -> bool:
    if not isinstance(condition, Constant):
        raise Refusal(
            "the condition depends on the input; nearest supported form: a constant condition, "
            "or SelectV2 between two results"
        )
    return bool(condition.data.any())


# Loops


@decides("While", "StatelessWhile")
def _while(t: Translator, op: Any, *operands: Any) -> Any:
    name = _named(op, "body")
    body = _function(t, op, name)
    passed = [
        i
        for i, (given, made) in enumerate(zip(body.inputs(), body.graph.outputs, strict=True))
        if behind(made).name == given.name
    ]
    body = _function(t, op, name, operands, passed)
    condition = _function(t, op, _named(op, "cond"), operands, passed)
    state, problems, outer = list(operands), len(t.problems), t.g.scope
    step = 0
    try:
        while _goes_on(t, condition, state):
            if step == MOST_STEPS:
                raise Refusal(f"takes more than {MOST_STEPS} steps")
            t.g.scope = _of_step(op.name, step, outer)
            state = _call(t, body, state)
            if len(t.problems) > problems or any(isinstance(x, Poison) for x in state):
                return POISON
            step += 1
    finally:
        t.g.scope = outer
    return state


def _goes_on(t: Translator, condition: _Function, state: Sequence[Any]) -> bool:
    (made,) = _call(t, condition, state)
    if isinstance(made, Poison):
        raise Refusal("its condition has no translation")
    if not isinstance(made, Constant):
        what = "the batch size" if isinstance(made, Dimensions) else "the input"
        raise Refusal(
            f"the number of steps depends on {what}; nearest supported form: a fixed number"
        )
    return bool(made.data.any())


def _of_step(loop: str, step: int, outer: Callable[[str], str] | None) -> Callable[[str], str]:
    """Names of one step's nodes: the number behind the loop's name."""

    def scope(name: str) -> str:
        inner = name.removeprefix(f"{loop}/")
        named = f"{loop}/{step}/{inner}"
        return outer(named) if outer else named

    return scope


# Lists of tensors


def _list(x: Any) -> list[Any]:
    if not isinstance(x, TensorList):
        raise Refusal("a list of tensors is needed")
    return list(x.elements)


def _index(x: Any) -> int:
    (number,) = integers_of(x)
    return number


@decides("TensorListReserve")
def _reserve(t: Translator, op: Any, shape: Any, count: Any) -> TensorList:
    return TensorList((None,) * _index(count))


@decides("EmptyTensorList")
def _empty(t: Translator, op: Any, shape: Any, most: Any) -> TensorList:
    return TensorList(())


@decides("TensorListFromTensor")
def _from_tensor(t: Translator, op: Any, x: Any, shape: Any) -> TensorList:
    return TensorList(tuple(elements(t, x, 0)))


@decides("TensorListGetItem")
def _get(t: Translator, op: Any, given: Any, index: Any, shape: Any) -> Operand | Uniform:
    items, at = _list(given), _index(index)
    if not 0 <= at < len(items):
        raise Refusal(f"reads element {at} of a list of {len(items)}")
    return _set_or_zero(items[at], shape)


def _set_or_zero(item: Operand | Uniform | None, shape: Any) -> Operand | Uniform:
    """An element; zeros where it was never set, if its shape is known."""
    if item is not None:
        return item
    if not isinstance(shape, Constant) or shape.data.ndim != 1 or np.any(shape.data < 0):
        raise Refusal("reads an element of a list that was never set")
    return Constant(np.zeros(shape.data, np.float32), "zeros")


@decides("TensorListSetItem")
def _set(t: Translator, op: Any, given: Any, index: Any, item: Any) -> TensorList:
    items, at = _list(given), _index(index)
    if at == len(items) and op.get_attr("resize_if_index_out_of_bounds"):
        items.append(None)
    if not 0 <= at < len(items):
        raise Refusal(f"sets element {at} of a list of {len(items)}")
    items[at] = item
    return TensorList(tuple(items))


@decides("TensorListPushBack")
def _push(t: Translator, op: Any, given: Any, item: Any) -> TensorList:
    return TensorList((*_list(given), item))


@decides("TensorListPopBack")
def _pop(t: Translator, op: Any, given: Any, shape: Any) -> list[Any]:
    items = _list(given)
    if not items:
        raise Refusal("takes an element of an empty list")
    return [TensorList(tuple(items[:-1])), _set_or_zero(items[-1], shape)]


@decides("TensorListLength")
def _length(t: Translator, op: Any, given: Any) -> Constant:
    return Constant(np.asarray(len(_list(given)), np.int32), op.name)


@decides("TensorListResize")
def _resize(t: Translator, op: Any, given: Any, size: Any) -> TensorList:
    items, count = _list(given), _index(size)
    return TensorList((*items[:count], *[None] * (count - len(items))))


@decides("TensorListStack")
def _stack(t: Translator, op: Any, given: Any, shape: Any) -> Operand:
    return stack(t, [_set_or_zero(x, shape) for x in _list(given)], 0, op.name)


@decides("TensorListGather")
def _gather(t: Translator, op: Any, given: Any, indices: Any, shape: Any) -> Operand:
    items = _list(given)
    return stack(t, [_set_or_zero(items[i], shape) for i in integers_of(indices)], 0, op.name)


@decides("TensorListScatter", "TensorListScatterV2")
def _scatter(t: Translator, op: Any, x: Any, indices: Any, *others: Any) -> TensorList:
    at = integers_of(indices)
    count = _index(others[1]) if len(others) > 1 else -1
    items: list[Operand | Uniform | None] = [None] * max(count, max(at, default=-1) + 1)
    for i, item in zip(at, elements(t, x, 0), strict=True):
        items[i] = item
    return TensorList(tuple(items))


@decides("TensorListConcatV2")
def _concatenated(t: Translator, op: Any, given: Any, shape: Any, leading: Any) -> list[Any]:
    parts = [t.whole(t.spread(x) if isinstance(x, Uniform) else x) for x in _list(given)]
    if not parts:
        raise Refusal("joins an empty list")
    lengths = Constant(np.asarray([t.g.shape(v)[0] for v in parts], np.int64), op.name)
    return [Tensor(join(t, parts, 0, op.name)), lengths]
