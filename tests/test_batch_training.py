"""Batch normalisation in training: statistics and gradients of the whole batch, the same for every
way of cutting it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm
from gvm import _core, cbor
from gvm.autodiff import with_loss
from gvm.batch_training import batch_normalized
from gvm.errors import GvmError, ImportModelError
from gvm.graph import Builder, Graph, evaluate_real
from gvm.info import read_info
from gvm.model import Model
from gvm.templates import resnet
from gvm.workers import WorkerPool

Array = NDArray[Any]
COUNT, CLASSES = 22, 3


def network(unbiased: bool = False, keep: float = 0.9) -> Graph:
    """A convolution and a dense layer, each normalised, and logits."""
    draw = np.random.default_rng(5)
    g = Builder()
    x = g.input("x", (-1, 5, 5, 2))

    def normalized(v: int, name: str) -> int:
        n = g.shape(v)[-1]
        return batch_normalized(
            g,
            v,
            mean=g.parameter(f"{name}/mean", draw.normal(size=n), trainable=False),
            variance=g.parameter(f"{name}/variance", draw.uniform(0.5, 2, n), trainable=False),
            scale=g.parameter(f"{name}/gamma", draw.uniform(0.5, 1.5, n)),
            shift=g.parameter(f"{name}/beta", draw.normal(size=n) / 4),
            epsilon=1e-3,
            keep=keep,
            unbiased=unbiased,
            name=name,
        )

    kernel = g.parameter("conv/kernel", draw.normal(size=(3, 3, 2, 4)) / 4)
    y = g.conv2d(x, kernel, strides=(1, 1), padding=(0, 0, 0, 0))
    y = g.relu(normalized(int(y), "first"))
    y = g.matmul(g.reshape(y, shape=(-1, 36)), g.parameter("dense", draw.normal(size=(36, 6)) / 6))
    y = g.relu(normalized(int(y), "second"))
    logits = g.matmul(y, g.parameter("head", draw.normal(size=(6, CLASSES))))
    logits = g.bias_add(logits, g.parameter("head/bias", np.zeros(CLASSES)))
    return g.graph(predict=(logits,))


def examples(count: int = COUNT) -> tuple[Array, Array]:
    draw = np.random.default_rng(1)
    return draw.normal(size=(count, 5, 5, 2)), draw.integers(0, CLASSES, count)


def model(graph: Graph | None = None) -> Model:
    x, y = examples()
    return Model.from_graph(graph or network(), x, "softmax_cross_entropy", y, max_batch=32)


def trained(**options: Any) -> tuple[str, Model]:
    x, y = examples()
    made = model()
    given: dict[str, Any] = {"batch_size": 11, "epochs": 2, "seed": 7, "progress": False}
    optimizer = gvm.SGD(0.05, momentum=0.9)
    history = made.train(x, y, optimizer=optimizer, **(given | options))
    return history.state_id, made


@pytest.fixture(scope="module")
def whole() -> tuple[str, Model]:
    return trained()


@pytest.mark.parametrize(
    "options",
    [
        {"micro_batch": 1},
        {"micro_batch": 4},
        {"threads": 2},
        {"workers": 2},
        {"workers": 3, "micro_batch": 2},
        {"backend": "cpu-scalar"},
    ],
    ids=str,
)
def test_every_cut_gives_the_same(whole: tuple[str, Model], options: dict[str, Any]) -> None:
    state_id, made = trained(**options)
    assert state_id == whole[0]
    assert made.parameters_id == whole[1].parameters_id


def test_a_killed_worker_moves_nothing(
    whole: tuple[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = WorkerPool.step

    def killing(self: Any, indices: Array, number: int) -> Array:
        if number == 1:
            self.workers[1].process.kill()
        return step(self, indices, number)

    monkeypatch.setattr(WorkerPool, "step", killing)
    with pytest.warns(RuntimeWarning, match="worker"):
        state_id, _ = trained(workers=2)
    assert state_id == whole[0]


def test_a_run_resumes_from_any_checkpoint(whole: tuple[str, Model], tmp_path: Path) -> None:
    x, y = examples()
    path = tmp_path / "run.dmodel"
    trained(epochs=1, checkpoint=path)
    again = gvm.load(path)
    history = again.train(x, y, epochs=2, batch_size=11, resume=True, micro_batch=3, progress=False)
    assert history.state_id == whole[0]
    assert os.path.getsize(path) > 0


def test_the_history_is_that_of_the_loss(whole: tuple[str, Model]) -> None:
    x, y = examples()
    history = model().train(x, y, batch_size=COUNT, epochs=1, progress=False)
    assert history.epochs[0].count == COUNT
    # The loss of the first batch by its own statistics, in real numbers.
    graph = with_loss(network(), "softmax_cross_entropy")
    total = evaluate_real(graph, [x], [y])[graph.outputs["loss"][0]]
    assert history.epochs[0].loss == pytest.approx(float(total) / COUNT, rel=0.01)


@pytest.mark.parametrize("unbiased", [False, True])
def test_running_statistics_follow_the_batch(unbiased: bool) -> None:
    x, y = examples()
    made = model(network(unbiased))
    before = {k: v.real() for k, v in made.parameter_arrays().items()}
    made.train(x, y, optimizer=gvm.SGD(1e-6), batch_size=COUNT, epochs=1, progress=False)
    after = {k: v.real() for k, v in made.parameter_arrays().items()}
    graph = network()
    convolved = evaluate_real(graph, [x])[graph.nodes[0].outputs[0]].reshape(-1, 4)
    variance = convolved.var(axis=0, ddof=int(unbiased))
    for name, now in (("first/mean", convolved.mean(axis=0)), ("first/variance", variance)):
        assert after[name] == pytest.approx(0.9 * before[name] + 0.1 * now, abs=2e-3)


def test_gradients_are_those_of_the_loss() -> None:
    x, y = examples(9)
    graph = with_loss(network(), "softmax_cross_entropy")
    loss, grad = graph.outputs["loss"][0], graph.outputs["grad"][3:]
    made = evaluate_real(graph, [x], [y])
    trainable = [p for p in graph.parameters if p.trainable]
    assert len(grad) == len(trainable) == 8

    def total(index: int, place: tuple[int, ...], step: float) -> float:
        data = graph.parameters[index].data.copy()
        data[place] += step
        moved = list(graph.parameters)
        moved[index] = replace(moved[index], data=data)
        found = evaluate_real(replace(graph, parameters=tuple(moved)), [x], [y])
        # The loss that is differentiated is that of the batch's own statistics.
        return float(found[loss])

    for value, p in zip(grad, trainable, strict=True):
        index = graph.parameters.index(p)
        for place in (tuple(0 for _ in p.data.shape), tuple(d - 1 for d in p.data.shape)):
            rise = total(index, place, 1e-5) - total(index, place, -1e-5)
            assert made[value][place] == pytest.approx(rise / 2e-5, rel=2e-3, abs=2e-4), p.name


@pytest.mark.parametrize(
    "optimizer",
    [
        gvm.SGD(0.05),
        gvm.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, clip_norm=1.0),
        gvm.Adam(0.01, clip_value=0.1),
        gvm.RMSprop(0.01),
    ],
    ids=["sgd", "nesterov", "adam", "rmsprop"],
)
@pytest.mark.parametrize("profile", ["w32", "w16"])
def test_every_optimizer_learns(optimizer: gvm.Optimizer, profile: str) -> None:
    x, y = examples()
    made = model()
    before = made.evaluate(x, y, progress=False)
    history = made.train(
        x, y, optimizer=optimizer, epochs=12, batch_size=11, profile=profile, progress=False
    )
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert made.evaluate(x, y, progress=False) < before


def test_use_goes_by_running_statistics(whole: tuple[str, Model]) -> None:
    x, _ = examples()
    _, made = whole
    # One example alone is what it is among others.
    together = made.run(x, progress=False)
    alone = np.concatenate([made.run(x[i : i + 1], progress=False) for i in range(3)])
    assert np.array_equal(together[:3], alone)
    ops = [s.name for s in made.program.predict.segments[0].steps]
    assert ops.count("batch_normalize") == 2 and "reduce_sum" not in ops


def test_a_file_keeps_the_rules(whole: tuple[str, Model], tmp_path: Path) -> None:
    path = tmp_path / "kept.dmodel"
    whole[1].save(path)
    again = gvm.load(path)
    assert again.program.info == whole[1].program.info
    assert sum(p.rule is not None for p in again.program.info) == 6


def test_a_rule_that_is_none_is_refused(whole: tuple[str, Model]) -> None:
    whole_bytes = whole[1].bytes
    native = _core.Program(whole_bytes)
    rule = [61, [10**6], [0] * 9]
    rows = [[p.name, p.trainable, 0, None, None, rule] for p in whole[1].program.info]
    body = {"parameters": rows, "count_total": 0, "training": None, "labels": {}, "about": {}}
    with pytest.raises(ValueError, match="parameters 0"):
        read_info(cbor.encode(body), native)


def test_a_shared_layer_is_refused() -> None:
    g = Builder()
    x = g.input("x", (-1, 3))
    parts = {
        "mean": g.parameter("mean", np.zeros(3), trainable=False),
        "variance": g.parameter("variance", np.ones(3), trainable=False),
        "scale": g.parameter("gamma", np.ones(3)),
        "shift": g.parameter("beta", np.zeros(3)),
    }
    y = batch_normalized(g, x, **parts, epsilon=1e-3, keep=0.9)  # type: ignore[arg-type]
    y = batch_normalized(g, y, **parts, epsilon=1e-3, keep=0.9)  # type: ignore[arg-type]
    with pytest.raises(ImportModelError, match="in one place only"):
        with_loss(g.graph(predict=(y,)), "softmax_cross_entropy")


def test_the_template_normalises() -> None:
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 3))
    made = resnet(8, (8, 8, 3), 4, width=4, batch_norm=True, calibration=x, max_batch=8)
    names = set(made.parameter_arrays())
    assert "stem/gamma" in names and "stem/bias" not in names
    assert "stage_2/block_1/shortcut/variance" in names
    with pytest.raises(GvmError, match="momentum"):
        batch_normalized(Builder(), 0, mean=0, variance=0, scale=0, shift=0, epsilon=1e-3, keep=1.0)
