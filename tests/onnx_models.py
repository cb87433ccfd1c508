"""Small ONNX models from their text form, and the graphs of them held to ONNX's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.graph import Graph, evaluate_real
from gvm.importers.onnx import load_onnx

pytest.importorskip("onnx")
from onnx import numpy_helper, parser  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

IMAGES = "float[N,4,8,9] x"
ROWS = "float[N,6] x"
SERIES = "float[N,5,6] x"


def model(
    body: str,
    inputs: str = IMAGES,
    opset: int = 21,
    outputs: tuple[str, ...] = ("y",),
    **weights: Any,
) -> Any:
    """A model from ONNX's text form, with initialisers."""
    results = ", ".join(f"float {name}" for name in outputs)
    made = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> tested ({inputs}) => ({results}) {{{body}}}'
    )
    for name, array in weights.items():
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return made


def random(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.1, 0.7, shape).astype(np.float32)


def integers(*values: int) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


def inputs_of(graph: Graph, batch: int = 3) -> list[NDArray[Any]]:
    rng = np.random.default_rng(3)
    return [
        rng.normal(0.2, 1.0, graph.types[v].concrete(batch)).astype(np.float32)
        for v in graph.inputs
    ]


def outputs_of(graph: Graph, data: list[NDArray[Any]]) -> list[NDArray[Any]]:
    values = evaluate_real(graph, data)
    return [values[v] for v in graph.outputs["predict"]]


def check(
    source: Any,
    like: Any = None,
    tolerance: float = 2e-5,
    expected: list[NDArray[Any]] | None = None,
    batch: int = 3,
) -> Graph:
    """Imports and compares with ONNX's reference of the model, or of one that is ``like`` it."""
    graph = load_onnx(source)
    data = inputs_of(graph, batch)
    got = outputs_of(graph, data)
    if expected is None:
        reference = ReferenceEvaluator(like or source)
        names = [i.name for i in (like or source).graph.input][: len(data)]
        expected = reference.run(None, dict(zip(names, data, strict=True)))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return graph


def operators(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def names(graph: Graph) -> set[str]:
    return {p.name for p in graph.parameters}
