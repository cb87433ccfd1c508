"""ONNX's conditions, loops and sequences of tensors, all decided at import.

A loop is unrolled: its body is translated once for each step. What a body computes from weights and
from values outside of it alone is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, decides
from gvm.importers.parts import MOST_STEPS, cut, elements, join, stack
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


def _constant(x: Any, what: str) -> Constant:
    if isinstance(x, Constant):
        return x
    on = "the batch size" if isinstance(x, Dimensions) else "the input"
    raise Refusal(f"{what} depends on {on}; nearest supported form: a constant")


@decides("If")
def _if(t: Translator, node: Node, condition: Any) -> list[Any]:
    holds = bool(_constant(condition, "the condition").data.any())
    body = t.body(node.attributes["then_branch" if holds else "else_branch"])
    return body.run(t, (), set())


# Loops


@decides("Loop")
def _loop(t: Translator, node: Node, most: Any, condition: Any, *given: Any) -> Any:
    body = t.body(node.attributes["body"])
    count = None
    if most is not None:
        (count,) = integers_of(_constant(most, "the number of steps"))
    goes_on = condition is None or bool(_constant(condition, "the condition").data.any())
    state, rows = list(given), []
    steps = _Steps(t, node, body)
    while goes_on and (count is None or steps.number < count):
        number = Constant(np.asarray(steps.number, np.int64), f"{node.name}/step")
        made = steps.take([number, Constant(np.asarray(True), f"{node.name}/condition"), *state])
        if made is None:
            return POISON
        again, state, scanned = made[0], made[1 : 1 + len(state)], made[1 + len(state) :]
        goes_on = bool(_constant(again, "the condition").data.any())
        rows.append(scanned)
    return [*state, *_scanned(t, node, rows, len(body.outputs) - 1 - len(state))]


@decides("Scan")
def _scan(t: Translator, node: Node, *given: Any) -> Any:
    if node.version < 9:
        return _old_scan(t, node, *given)
    body, count = t.body(node.attributes["body"]), node.integer("num_scan_inputs", 0)
    state, scanned = list(given[: len(given) - count]), given[len(given) - count :]
    axes = node.integers("scan_input_axes", [0] * count)
    backwards = node.integers("scan_input_directions", [0] * count)
    parts = [elements(t, x, axis) for x, axis in zip(scanned, axes, strict=True)]
    parts = [p[::-1] if turned else p for p, turned in zip(parts, backwards, strict=True)]
    if len({len(p) for p in parts}) != 1:
        raise Refusal(f"scans inputs of {[len(p) for p in parts]} elements")
    rows, steps = [], _Steps(t, node, body)
    for row in zip(*parts, strict=True):
        made = steps.take([*state, *row])
        if made is None:
            return POISON
        state = made[: len(state)]
        rows.append(made[len(state) :])
    results = _scanned(t, node, rows, len(body.outputs) - len(state))
    return [*state, *results]


def _old_scan(t: Translator, node: Node, lengths: Any, *given: Any) -> Any:
    """Scan of operator set 8: axis 0 is a batch, which the body does not see."""
    if lengths is not None or any(node.integers("directions")):
        raise Refusal("sequence_lens and directions; nearest supported form: operator set 9")
    alone = [elements(t, x, 0) for x in given]
    if any(len(x) != 1 for x in alone):
        raise Refusal("a batch of more than one; nearest supported form: operator set 9")
    made = _scan(t, _of_version(node, 9), *(x for (x,) in alone))
    return made if made is POISON else [stack(t, [x], 0) for x in made]


def _of_version(node: Node, version: int) -> Node:
    return Node(node.name, node.type, node.inputs, node.outputs, node.attributes, version)


class _Steps:
    """The steps of a loop, one after the other."""

    def __init__(self, t: Translator, node: Node, body: Any) -> None:
        self.t, self.node, self.body = t, node, body
        self.number = 0
        self.fixed = body.outside(t)

    def take(self, operands: Sequence[Any]) -> list[Any] | None:
        """The results of the next step; None where a node of it has no translation."""
        if self.number == MOST_STEPS:
            raise Refusal(f"takes more than {MOST_STEPS} steps")
        t, outer, problems = self.t, self.t.g.scope, len(self.t.problems)
        t.g.scope = self._named(outer)
        try:
            made = self.body.run(t, operands, self.fixed)
        finally:
            t.g.scope = outer
        self.number += 1
        poisoned = any(isinstance(x, Poison) for x in made)
        return None if poisoned or len(t.problems) > problems else list(made)

    def _named(self, outer: Callable[[str], str] | None) -> Callable[[str], str]:
        step = f"{self.node.name}/{self.number}"

        def scope(name: str) -> str:
            named = f"{step}/{name}"
            return outer(named) if outer else named

        return scope


def _scanned(t: Translator, node: Node, rows: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """What the steps hand out beside the state, stacked."""
    if not rows:
        return [POISON] * count
    axes = node.integers("scan_output_axes", [0] * count)
    turned = node.integers("scan_output_directions", [0] * count)
    made = []
    for i, column in enumerate(zip(*rows, strict=True)):
        made.append(stack(t, column[::-1] if turned[i] else column, axes[i], node.name))
    return made


# Sequences


def _list(x: Any) -> list[Any]:
    if not isinstance(x, TensorList):
        raise Refusal("a sequence of tensors is needed")
    return list(x.elements)


def _place(x: Any, count: int) -> int:
    (at,) = integers_of(_constant(x, "the position"))
    if not -count <= at < count:
        raise Refusal(f"position {at} of a sequence of {count}")
    return at % count


@decides("SequenceEmpty", "SequenceConstruct")
def _construct(t: Translator, node: Node, *given: Any) -> TensorList:
    return TensorList(tuple(given))


@decides("SequenceInsert")
def _insert(t: Translator, node: Node, given: Any, item: Any, at: Any = None) -> TensorList:
    made = _list(given)
    made.insert(len(made) if at is None else _place(at, len(made) + 1), item)
    return TensorList(tuple(made))


@decides("SequenceErase")
def _erase(t: Translator, node: Node, given: Any, at: Any = None) -> TensorList:
    made = _list(given)
    made.pop(len(made) - 1 if at is None else _place(at, len(made)))
    return TensorList(tuple(made))


@decides("SequenceAt")
def _at(t: Translator, node: Node, given: Any, at: Any) -> Any:
    made = _list(given)
    return made[_place(at, len(made))]


@decides("SequenceLength")
def _length(t: Translator, node: Node, given: Any) -> Constant:
    return Constant(np.asarray(len(_list(given)), np.int64), node.name)


@decides("ConcatFromSequence")
def _concatenated(t: Translator, node: Node, given: Any) -> Operand:
    made, axis = _list(given), node.integer("axis", 0)
    if node.integer("new_axis", 0):
        return stack(t, made, axis, node.name)
    if made and all(isinstance(x, Constant) for x in made):
        return Constant(np.concatenate([x.data for x in made], axis), node.name)
    values = [t.whole(t.spread(x) if isinstance(x, Uniform) else x) for x in made]
    if not values:
        raise Refusal("joins an empty sequence")
    return Tensor(join(t, values, axis % len(t.g.shape(values[0])), node.name))


@decides("SplitToSequence")
def _split(t: Translator, node: Node, x: Any, split: Any = None) -> TensorList:
    axis = node.integer("axis", 0)
    if split is None and node.integer("keepdims", 1) == 0:
        return TensorList(tuple(elements(t, x, axis)))
    if isinstance(x, Constant):
        size = x.data.shape[axis]
    else:
        value = t.whole(x)
        axis %= len(t.g.shape(value))
        size = t.g.shape(value)[axis]
    if split is None:
        sizes = [1] * size
    else:
        given = _constant(split, "the split")
        sizes = integers_of(given)
        if given.data.ndim == 0:
            sizes = [min(sizes[0], size - at) for at in range(0, size, sizes[0])]
    ends = np.cumsum(sizes).tolist()
    if isinstance(x, Constant):
        pieces = np.split(x.data, ends[:-1], axis)
        return TensorList(tuple(x.derive(p, f"/{i}") for i, p in enumerate(pieces)))
    spans = zip(sizes, ends, strict=True)
    return TensorList(tuple(Tensor(cut(t, value, axis, end - n, end)) for n, end in spans))
