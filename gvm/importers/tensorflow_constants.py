"""What a TensorFlow graph works out of constants alone, by TensorFlow itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gvm.importers.lowering import Constant

__all__ = ["CALLS", "Variable", "constants_of"]

CALLS = ("StatefulPartitionedCall", "PartitionedCall")
CONTROL = ("If", "StatelessIf", "While", "StatelessWhile")


@dataclass(frozen=True)
class Variable:
    """Where a constant of the frozen graph comes from."""

    name: str
    trainable: bool


def constants_of(
    graph: Any,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    variables: Mapping[str, Variable] | None,
    known: Mapping[str, Constant] | None = None,
) -> dict[str, Constant]:
    """By tensor name, the constants that other nodes or ``outputs`` read.

    ``variables``: which Const nodes were variables, None where the source no longer knows.
    ``known``: values of placeholders, by the name of their tensor; the rest of ``inputs`` is not
    constant.
    """
    import tensorflow as tf

    same: dict[str, Constant] = {n.split(":")[0]: c for n, c in (known or {}).items()}
    held = {name: v for name, v in (variables or {}).items() if name in same}
    fixed: dict[str, frozenset[Variable]] = {
        name: frozenset([Variable(c.name, True)] if c.trainable else []) for name, c in same.items()
    }  # variables that each constant operation derives from
    fixed.update((name, frozenset([v])) for name, v in held.items())
    # Of the constants that are a variable and nothing else.
    names: dict[str, str] = {name: v.name for name, v in held.items()}
    given = {t.op.name for t in inputs} | set(same)
    for op in graph.get_operations():  # in the order of creation, so after their inputs
        if op.name in given or not op.outputs or not _is_pure(op):
            continue
        if op.type == "PlaceholderWithDefault" and op.inputs[0].op.name not in fixed:
            continue
        if any(t.op.name not in fixed for t in op.inputs):
            continue
        sources: set[Variable] = set().union(*(fixed[t.op.name] for t in op.inputs))
        own = _variable_of(op, variables)
        if own is not None:
            sources, names[op.name] = {own}, own.name
        elif op.type in ("Identity", "Cast") and op.inputs[0].op.name in names:
            names[op.name] = names[op.inputs[0].op.name]
        if op.type == "Identity" and op.inputs[0].op.name in same:
            same[op.name] = same[op.inputs[0].op.name]
        fixed[op.name] = frozenset(sources)

    wanted = {
        t.name: t
        for op in graph.get_operations()
        if op.name not in fixed
        for t in op.inputs
        if t.op.name in fixed
    }
    wanted.update((t.name, t) for t in outputs if t.op.name in fixed)
    found = {name: same[t.op.name] for name, t in wanted.items() if t.op.name in same}
    wanted = {name: t for name, t in wanted.items() if name not in found}
    if not wanted:
        return found
    read = _read_by(wanted.values())
    with tf.compat.v1.Session(graph=graph) as session:
        fed = {n: c.data for n, c in (known or {}).items() if n.split(":")[0] in read}
        arrays = session.run(list(wanted.values()), fed)
    shared: dict[tuple[str, str], Constant] = {}  # a variable stays one parameter, read often
    for tensor, array in zip(wanted.values(), arrays, strict=True):
        origins = fixed[tensor.op.name]
        name = names.get(tensor.op.name)
        constant = Constant(
            np.asarray(array),
            name or _derived_name(tensor.op.name, origins),
            any(v.trainable for v in origins),
        )
        if name is not None:
            constant = shared.setdefault((name, tensor.dtype.name), constant)
        found[tensor.name] = constant
    return found


def _read_by(tensors: Iterable[Any]) -> set[str]:
    """The operations that tensors are worked out of, by name."""
    waiting, found = [t.op for t in tensors], set[str]()
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found.add(op.name)
            waiting += [t.op for t in op.inputs]
    return found


def _is_pure(op: Any) -> bool:
    if op.type in CALLS or op.type in CONTROL or op.type == "Placeholder":
        return False
    plain = (t.dtype.base_dtype == t.dtype and t.dtype.name != "variant" for t in op.outputs)
    return not op.op_def.is_stateful and all(plain)


def _variable_of(op: Any, variables: Mapping[str, Variable] | None) -> Variable | None:
    if op.type != "Const":
        return None
    if variables is not None:
        return variables.get(op.name)
    tensor = op.outputs[0]  # a frozen file: any floating-point array may have been trained
    return Variable(op.name, True) if tensor.dtype.is_floating and tensor.shape.rank else None


def _derived_name(node: str, sources: frozenset[Variable]) -> str:
    """The name of what is worked out of variables: what shifts, else what scales, else the node."""
    for part in ("beta", "moving_mean", "gamma", "moving_variance"):
        for source in sorted(v.name for v in sources):
            if source.rsplit("/", 1)[-1] == part:
                return source
    return sorted(sources, key=lambda v: v.name)[0].name if len(sources) == 1 else node
