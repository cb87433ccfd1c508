"""ONNX models without a batch: every dimension is known, and every axis is one like another.

What :mod:`gvm.onnx_backend` runs. Inputs are shared tensors (docs/decisions/0017), integers stay
whole numbers, and inputs from which shapes, axes, indices or trip counts are worked out are
constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gvm.errors import ImportModelError
from gvm.graph import Graph, Value
from gvm.importers import UnsupportedModel
from gvm.importers.division import settle_quotients
from gvm.importers.fold import fold_affine
from gvm.importers.lowering import Constant
from gvm.importers.masks import settle_masks
from gvm.importers.normalization import fuse_normalizations
from gvm.importers.onnx import check_finite, translator_of, without_functions
from gvm.importers.onnx_nodes import KNOWN
from gvm.importers.onnx_whole import element_type
from gvm.importers.shapes import Opaque, Tensor
from gvm.importers.transposes import sink_transposes

__all__ = ["StaticModel", "known_inputs", "load_static"]


@dataclass(frozen=True)
class StaticModel:
    """A model for one shape of each input, and one value of those that must be known."""

    graph: Graph | None
    """None where no output depends on a value that is not known."""
    inputs: tuple[str, ...]
    """Names of the inputs of the graph, in order."""
    outputs: tuple[int | NDArray[Any], ...]
    """Of the model: the number of an output of the graph, or a constant."""


def load_static(
    model: Any, values: Mapping[str, NDArray[Any]], known: Iterable[str]
) -> StaticModel:
    """The real-valued graph of an onnx.ModelProto for inputs like ``values``.

    ``known``: inputs whose values are constants of the graph; those without elements are too.
    Raises UnsupportedModel with every node that has no translation, ImportModelError for a model or
    an input at fault.
    """
    description = model.graph.name or "ModelProto"
    model = without_functions(model, description)
    t = translator_of(model, description)
    known = set(known)
    names = []
    for value in model.graph.input:
        name = value.name
        if name not in values:
            if name in t.done:
                continue
            raise ImportModelError(f"{description}: input {name!r} is not given")
        array = values[name]
        if name in known or array.size == 0:
            t.done[name] = Constant(array, name)
            continue
        held = t.g.input(name, array.shape, element_type(array.dtype, name))
        t.done[name] = Tensor(held, kind=array.dtype.name if array.dtype.kind in "iu" else "")
        names.append(name)
    wanted = [o.name for o in model.graph.output]
    t.walk(model.graph, wanted)
    if t.problems:
        raise UnsupportedModel(description, tuple(t.problems))
    found: list[int | NDArray[Any]] = []
    results: list[Value] = []
    for name in wanted:
        result = t.done.get(name)
        if isinstance(result, Opaque):
            result = result.tensor()
        if isinstance(result, Constant):
            found.append(result.data)
        elif isinstance(result, Tensor):
            found.append(len(results))
            results.append(result.value)
        else:
            raise ImportModelError(f"{description}: output {name!r} must be a tensor")
    check_finite(t, description)
    if not results:
        return StaticModel(None, (), tuple(found))
    graph = fold_affine(
        sink_transposes(
            settle_masks(settle_quotients(fuse_normalizations(t.low.g.graph(predict=results))))
        )
    )
    return StaticModel(graph, tuple(names), tuple(found))


def known_inputs(model: Any) -> frozenset[str]:
    """Inputs of an onnx.ModelProto from whose values operands that must be known are worked out."""
    model = without_functions(model, model.graph.name or "ModelProto")
    nodes: list[Any] = []
    needed: set[str] = set()
    _collect(model.graph, nodes, needed)
    before = -1
    while len(needed) != before:
        before = len(needed)
        for node in reversed(nodes):
            if node.op_type in ("Shape", "Size"):
                continue
            if needed.intersection(node.output):
                needed.update(name for name in _read(node) if name)
            for given, inner in _bound(node):
                if inner in needed:
                    needed.add(given)
    return frozenset(i.name for i in model.graph.input if i.name in needed)


def _collect(graph: Any, nodes: list[Any], needed: set[str]) -> None:
    for node in graph.node:
        nodes.append(node)
        needed.update(node.input[i] for i in KNOWN.get(node.op_type, ()) if i < len(node.input))
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                _collect(inner, nodes, needed)
    needed.discard("")


def _graphs(attribute: Any) -> Sequence[Any]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _read(node: Any) -> list[str]:
    """What the results of a node, and of the bodies it has, are worked out from."""
    bodies = [g for a in node.attribute for g in _graphs(a)]
    return [*node.input, *(o.name for g in bodies for o in g.output)]


def _bound(node: Any) -> list[tuple[str, str]]:
    """Operands of a node and the inputs of its body that they become."""
    pairs: list[tuple[str, str]] = []
    for attribute in node.attribute:
        for graph in _graphs(attribute):
            pairs += zip(node.input, (i.name for i in graph.input), strict=False)
    return pairs
