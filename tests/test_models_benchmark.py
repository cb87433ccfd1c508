"""What ``benchmarks/models.py`` measures, on networks of a few nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import models, nodes, zoo
from gvm.graph import Builder, Graph
from gvm.model import Model
from tests.small_networks import dense, examples, mlp


def classifier() -> Graph:
    g = Builder()
    x = g.input("x", (-1, 6))
    logits = dense(g, x, 3, "head")
    return g.graph(predict=(g.softmax(logits),))


def test_logits_are_what_a_final_softmax_reads() -> None:
    graph, at = models.with_logits(classifier())
    assert at == [1]
    assert [graph.producer()[v].op for v in graph.outputs["predict"]] == ["softmax", "bias_add"]
    assert models.with_logits(mlp())[1] == [0]


def test_nodes_are_within_half_a_unit_of_real_numbers() -> None:
    graph = mlp()
    (x, *_) = examples(graph)
    model = Model.from_graph(graph, x)
    measured = nodes.measure_nodes(model, graph, [np.asarray(x)])
    assert len(measured.nodes) > 3
    assert all(0 <= n.error < 1e-3 for n in measured.nodes)
    # The run with noise is as far from real numbers as the integers are.
    real = measured.real[0]
    noise = nodes.relative_error(measured.noisy[0], real)
    found = nodes.relative_error(model.run(x), real)
    assert noise / 4 < found < noise * 4


def test_a_coarse_format_misses_at_its_node() -> None:
    graph = mlp()
    (x, *_) = examples(graph)
    model = Model.from_graph(graph, x, formats="<13,3>")
    measured = nodes.measure_nodes(model, graph, [np.asarray(x)])
    assert max(n.error for n in measured.nodes) > 1e-2


def test_a_relative_error_of_nothing() -> None:
    zero, one = np.zeros(3), np.ones(3)
    assert nodes.relative_error(zero, zero) == 0
    assert nodes.relative_error(one, zero) == float("inf")
    assert nodes.relative_error(zero, one) == 1


def test_a_model_that_fails_is_a_row(tmp_path: Path) -> None:
    """Without shared files a model cannot be built: one row with the error, and status 1."""
    entry = zoo.Entry("absent", "trained", "onnx", zoo._onnx_mnist, 2, 2)
    with pytest.raises(Exception, match="no such file"):
        models.compare(entry, tmp_path, False)
    row = models._failed(entry, "GvmError: no such file")
    assert not row["met"]
    assert models.table([row])[0][-1] == "GvmError: no such file"


def test_names_of_models_are_distinct() -> None:
    names = [e.name for e in zoo.entries()]
    assert len(names) == len(set(names))
