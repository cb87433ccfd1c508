"""Which parameters train: all, or those of given names; what is frozen runs as if none did."""

from __future__ import annotations

import numpy as np
import pytest

from gvm.errors import ImportModelError
from gvm.model import Model
from gvm.program import Step, steps_of
from gvm.trainable import only_trainable
from tests.small_networks import CROSS_ENTROPY, examples, mlp


def test_frozen_parameters_stay() -> None:
    graph = only_trainable(mlp(), "second/*")
    (x, *_) = examples(graph)
    y = np.arange(len(x)) % 3
    model = Model.from_graph(graph, x, CROSS_ENTROPY)
    before = model.parameter_arrays()
    start = float(model.evaluate(x, y))
    model.train(x, y, epochs=5, batch_size=16)
    after = model.parameter_arrays()
    changed = [n for n in before if (before[n].integers != after[n].integers).any()]
    assert changed == ["second/w", "second/b"]
    assert float(model.evaluate(x, y)) < start


def test_what_is_frozen_has_the_formats_of_a_model_that_runs() -> None:
    (x, *_) = examples(mlp())
    runs = Model.from_graph(mlp(), x)
    last = Model.from_graph(only_trainable(mlp(), "second/*"), x, CROSS_ENTROPY)
    whole = Model.from_graph(mlp(), x, CROSS_ENTROPY)

    def first_result(model: Model) -> Step:
        steps = steps_of(model.program.predict)
        return next(s for s in steps if s.name == "convert" and s.label == "first")

    assert last.parameter_arrays()["first/w"].fraction_bits == (
        runs.parameter_arrays()["first/w"].fraction_bits
    )
    assert last.parameter_arrays()["first/w"].integers.dtype == np.int16
    assert whole.parameter_arrays()["first/w"].integers.dtype == np.int32
    assert first_result(last).attributes == first_result(runs).attributes


def test_several_patterns_and_none() -> None:
    graph = mlp()
    assert only_trainable(graph, None) is graph
    both = only_trainable(graph, ["first/b", "second/?"])
    assert [p.name for p in both.parameters if p.trainable] == ["first/b", "second/w", "second/b"]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ImportModelError, match=r"trainable: 'secnd/w' matches no .*'second/w'"):
        only_trainable(mlp(), ["first/w", "secnd/w"])


def test_nothing_left_to_train_trains_nothing() -> None:
    graph = only_trainable(mlp(), "first/w")
    frozen = only_trainable(graph, "first/w")
    with pytest.raises(ImportModelError, match="matches no parameter"):
        only_trainable(frozen, "second/w")
