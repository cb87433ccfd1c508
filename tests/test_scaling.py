"""Delayed scaling of gradients: what is chosen, what it is worth, and that nothing moves a bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import _core, cbor
from gvm.adaptive import Adaptive, DelayedScaling
from gvm.checkpoints import Checkpoints
from gvm.gradient_groups import FIXED, groups_of
from gvm.graph import Builder, Graph
from gvm.model import Model
from gvm.program import Program, steps_of
from gvm.scaling import begin_scaling
from gvm.shards import ShardRunner
from gvm.tensors import pack_parameters, unpack
from gvm.updates import with_optimizer
from gvm.workers import WorkerPool
from tests.interpreter import Interpreter, Training
from tests.small_models import MOMENTUM, X, Y, ids, trained
from tests.small_networks import attention, cnn, dense, modelled

SCALING = DelayedScaling(history=3)
GRAPHS = ["deep", "residual", "cnn", "attention"]
Array = Any


def deep(scale: float = 1.0) -> Graph:
    """Three layers, so that one rounding of a gradient comes after another; ``scale``: of the last
    weights, through which gradients pass."""
    g = Builder()
    x = g.relu(dense(g, g.input("x", (-1, 6)), 12, "first"))
    x = g.relu(dense(g, x, 13, "second"))
    return g.graph(predict=(dense(g, x, 3, "third", scale),))


def residual() -> Graph:
    g = Builder()
    x = g.relu(dense(g, g.input("x", (-1, 6)), 8, "first"))
    y = g.add(x, dense(g, g.relu(dense(g, x, 9, "in")), 8, "out"))
    return g.graph(predict=(dense(g, g.relu(y), 3, "head"),))


def scaled(model: Model, options: DelayedScaling = SCALING) -> tuple[Program, bytes]:
    program, parameters = begin_scaling(model.program, model.parameters, options)
    return with_optimizer(program, MOMENTUM), parameters


def arrays(program: Program, parameters: bytes) -> list[Array]:
    native = _core.Program(program.encode())
    return [unpack(parameters, t, at).astype(np.int64) for t, at, _ in native.tensors(2)]


def expected_scale(history: list[int], magnitude: int, options: DelayedScaling) -> int:
    """The rule as it is written: what a step asks for, given the largest |q| of the group."""
    bits = 18 if magnitude >= 32767 else magnitude.bit_length()
    asked = max(history) + bits - (15 - options.margin)
    return max(-options.more_bits, min(options.fewer_bits, asked))


@pytest.mark.parametrize("graph", [deep(), residual()], ids=["deep", "residual"])
def test_scales_are_those_that_the_largest_gradients_ask_for(graph: Graph) -> None:
    model = Model.from_graph(graph, X, "softmax_cross_entropy", Y, progress=False)
    found = groups_of(model.program)
    program, parameters = scaled(model)
    known = program.scaling
    assert known is not None and program.grad is not None
    run = Training(program, 3, arrays(program, parameters), [])
    run.state = [np.zeros(t.shape, dtype=np.int64) for t in program.state]
    x, y = model.examples(X[:8], Y[:8], "test")
    names = sorted({found.of(v) for v in found.seen} - {FIXED})
    groups = [names.index(found.of(v)) for v in found.sites if found.of(v) != FIXED]
    history = [[0] * SCALING.history for _ in known.counts]
    moved = set()
    for step in range(8):
        grad = Interpreter(program, 8, 3, step)
        for types, given in ((program.inputs, x), (program.labels, y)):
            grad.give(types, given)
        grad.give(program.parameters, run.parameters)
        divided = []
        for node in steps_of(program.grad):
            grad.run(node)
            if node.name == "div":
                divided.append(int(np.abs(grad.values[-1]).max()))
        assert len(divided) == known.sites
        largest = [max(d for d, at in zip(divided, groups, strict=True) if at == i)
                   for i in range(len(history))]  # fmt: skip
        for row, magnitude in zip(history, largest, strict=True):
            asked = expected_scale(row, magnitude, SCALING)
            row[:] = [*row[1:], asked]
        run.advance(step, x, y)
        assert run.state[-1].tolist() == history
        chosen = [max(row) for row in history]
        moved.update(chosen)
        divisors = run.parameters[known.first].tolist()
        assert divisors[known.sites :] == [1 << (15 - e) for e in chosen]
    assert len(moved) > 1, "no scale moved: the comparison would be empty"


def test_layers_of_a_chain_have_scales_of_their_own_and_sums_one() -> None:
    def count(graph: Graph) -> int:
        model = modelled(graph, "softmax_cross_entropy")
        program, _ = scaled(model)
        assert program.scaling is not None
        return len(program.scaling.counts)

    assert count(deep()) == 2
    assert count(residual()) == 3  # of the sum and what is added to it; within; and before
    assert count(cnn()) >= 2
    assert count(attention()) >= 2


@pytest.mark.parametrize("graph", [deep(), residual(), cnn(), attention()], ids=GRAPHS)
def test_a_scale_changes_no_gradient_but_its_rounding(graph: Graph) -> None:
    # The totals of a step at scales of 1/2 and of 1, divided by their scales, are close.
    model = modelled(graph, "softmax_cross_entropy")
    program, parameters = scaled(model)
    known, grad = program.scaling, program.grad
    assert known is not None and grad is not None
    x = [np.random.default_rng(1).normal(size=t.concrete(6)) for t in program.inputs]
    inputs, labels = model.examples(x, np.arange(6) % 3, "test")
    native = _core.Program(program.encode())
    found = []
    for e in (0, -1):
        given = arrays(program, parameters)
        after, before = given[known.first + 3], given[known.first + 2]
        scale = np.array([e + i % 2 for i in range(len(known.counts))] + [0]) if e else None
        if scale is not None:
            given[known.first] = 1 << (15 + scale[after] - scale[before])
        session = _core.Session(native, 1, -1)
        session.write(2, pack_parameters(program.parameters, given))
        runner = ShardRunner(native, session, inputs, labels, None, 5)
        totals = np.zeros(runner.total_elements, dtype=np.int64)
        runner.start(np.arange(6), 0, 6, 0)
        for segment in range(runner.segments):
            runner.run(segment, totals.copy(), totals)
        found.append((totals, scale))
    places = [(t, at) for t, at, _ in native.tensors(5)]
    for parameter, group in known.gradients:
        total = program.info[parameter].gradient
        assert total is not None
        t, at = places[total]
        size = int(np.prod(t.shape))
        plain = found[0][0][at : at + size].astype(float)
        assert found[1][1] is not None
        other = found[1][0][at : at + size] * 2.0 ** found[1][1][group]
        error = np.abs(plain - other).max() / np.abs(plain).max()
        assert error < 0.1, program.info[parameter].name
    assert known.gradients


# -- what it is worth


def followed(
    formats: str, scale: float, rate: float, scaling: DelayedScaling | None
) -> tuple[Model, gvm.train.History]:
    """A run to nearest whose gradients have a given format, the last weights a given scale."""
    graph = deep(scale)
    model = Model.from_graph(graph, X, "softmax_cross_entropy", Y, formats, progress=False)
    given = {"optimizer": gvm.SGD(rate), "epochs": 4, "batch_size": 16, "seed": 5}
    return model, model.train(X, Y, **given, rounding="nearest", progress=False, scaling=scaling)


def unmoved(model: Model, scale: float) -> float:
    """The share of the first layer's weights that are what they were."""
    first = Model.from_graph(deep(scale), X, "softmax_cross_entropy", Y, progress=False)
    before, after = (m.parameter_arrays()["first/w"].integers for m in (first, model))
    return float(np.mean(before == after))


def test_gradients_too_small_for_their_format_are_kept() -> None:
    formats, scale, rate = "gradients=<8,8>", 0.0003, 0.0001
    fixed, _ = followed(formats, scale, rate, None)
    adapted, _ = followed(formats, scale, rate, DelayedScaling(history=4))
    assert unmoved(fixed, scale) == 1.0
    assert unmoved(adapted, scale) < 0.1


def test_gradients_too_large_for_their_format_are_kept() -> None:
    def clamped(history: gvm.train.History) -> list[int]:
        of = [t.clamped for t in history.tensors if t.operator in ("convert", "div")]
        return [sum(epoch) for epoch in zip(*of, strict=True)]

    formats, scale, rate = "gradients=<1,15>", 20.0, 0.001
    options = DelayedScaling(fewer_bits=10, more_bits=5)
    with pytest.warns(RuntimeWarning, match="a format is too narrow"):
        lost = clamped(followed(formats, scale, rate, None)[1])
        kept = clamped(followed(formats, scale, rate, options)[1])
    assert all(lost) and kept[0] < lost[0]
    assert not any(kept[1:])


# -- that nothing moves a bit


def run(**options: Any) -> tuple[Model, gvm.train.History]:
    return trained(scaling=SCALING, epochs=2, **options)


@pytest.fixture(scope="module")
def whole() -> tuple[Model, gvm.train.History]:
    return run()


@pytest.mark.parametrize(
    "options",
    [
        {"micro_batch": 1},
        {"micro_batch": 5},
        {"threads": 2},
        {"workers": 2},
        {"workers": 3, "micro_batch": 2},
        {"backend": "cpu-scalar"},
    ],
    ids=str,
)
def test_every_cut_gives_the_same(whole: Any, options: dict[str, Any]) -> None:
    model, history = run(**options)
    assert ids(history) == ids(whole[1])
    assert model.state == whole[0].state


def test_a_killed_worker_moves_nothing(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = WorkerPool.step

    def killing(self: Any, indices: Array, number: int) -> Array:
        if number in (1, 5):
            self.workers[1].process.kill()
        return step(self, indices, number)

    monkeypatch.setattr(WorkerPool, "step", killing)
    with pytest.warns(RuntimeWarning, match="worker"):
        _, history = run(workers=2)
    assert ids(history) == ids(whole[1])


class Stop(Exception):
    """What ends a run in mid-epoch."""


def test_a_run_goes_on_from_any_step(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, path = Checkpoints.write, tmp_path / "run.dmodel"
    for at in range(1, 13):

        def counted(self: Checkpoints, parameters: bytes, state: bytes, training: Any) -> None:
            write(self, parameters, state, training)
            if training.step == at:  # noqa: B023
                raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "write", counted)
            with pytest.raises(Stop):
                run(checkpoint=path, checkpoint_every=1)
        again = gvm.load(path)
        assert again.program.scaling is not None
        history = again.train(
            X, Y, optimizer=MOMENTUM, epochs=2, batch_size=16, resume=True, progress=False
        )
        assert ids(history) == ids(whole[1])
        assert again.state == whole[0].state


def test_batch_normalisation_of_totals_has_one_scale() -> None:
    from tests.test_batch_training import examples, model, network

    x, y = examples()
    found = []
    for options in ({}, {"workers": 2}, {"micro_batch": 4}):
        made = model(network())
        history = made.train(
            x, y, batch_size=11, epochs=2, seed=7, scaling=SCALING, progress=False, **options
        )
        found.append(history.state_id)
        assert made.program.scaling is not None
    assert len(set(found)) == 1


# -- files, other runs, refusals


def test_another_run_begins_at_scales_of_one() -> None:
    model, _ = run()
    parameters = model.parameter_arrays()
    assert (parameters["scaling/divisors"].integers != 1 << 15).any()
    program, begun = begin_scaling(model.program, model.parameters, None)
    assert program is model.program
    native = _core.Program(program.encode())
    known = program.scaling
    assert known is not None
    for i, (t, at, _) in enumerate(native.tensors(2)):
        now = unpack(begun, t, at)
        if i == known.first:
            assert (now == 1 << 15).all()
        else:
            assert (now == unpack(model.parameters, t, at)).all()
    again = model.train(X, Y, epochs=1, batch_size=16, seed=5, progress=False)
    assert again.train_id != "" and model.program.scaling == known


@pytest.mark.parametrize("profile", ["w32", "w16"])
@pytest.mark.parametrize("optimizer", [gvm.Adam(0.01), gvm.SGD(0.1, clip_norm=1.0)], ids=str)
def test_optimizers_learn_with_it(profile: str, optimizer: gvm.optimizers.Optimizer) -> None:
    model, history = trained(scaling="delayed", profile=profile, optimizer=optimizer, epochs=6)
    assert model.evaluate(X, Y).accuracy > 0.85
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_predictions_and_exports_do_not_read_it(tmp_path: Path) -> None:
    model, _ = run()
    path = tmp_path / "m.safetensors"
    model.save_parameters(path, "integers")
    fresh = gvm.load(saved(model, tmp_path))
    fresh.load_parameters(path)
    assert np.array_equal(fresh.run(X), model.run(X))
    assert fresh.parameters_id == model.parameters_id
    assert not any("scaling" in s.label for s in steps_of(model.program.predict))


def saved(model: Model, folder: Path) -> Path:
    model.save(folder / "m.dmodel")
    return folder / "m.dmodel"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 0}, r"history must be in \[1, 4096\], received 0"),
        ({"margin": 9}, r"margin must be in \[0, 8\], received 9"),
        ({"fewer_bits": -1}, r"fewer_bits must be in \[0, 15\], received -1"),
        ({"fewer_bits": 8, "more_bits": 8}, "at most 15, received 16"),
    ],
)
def test_options_that_are_none(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DelayedScaling(**options)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="scaling must be None or 'delayed', received 'dynamic'"):
        trained(scaling="dynamic")
    model, _ = run()
    other = DelayedScaling(history=5)
    with pytest.raises(gvm.GvmError, match=r"resume: scaling must be that of the run.*history=5"):
        model.train(X, Y, epochs=3, batch_size=16, resume=True, scaling=other)
    with pytest.raises(gvm.GvmError, match=r"was trained with DelayedScaling\(history=3.*again"):
        model.train(X, Y, epochs=1, batch_size=16, scaling=other)
    g = Builder()
    linear = g.graph(predict=(dense(g, g.input("x", (-1, 6)), 3, "only"),))
    one = Model.from_graph(linear, X, "softmax_cross_entropy", Y, progress=False)
    with pytest.raises(gvm.GvmError, match="scaling: the model has no gradient between layers"):
        one.train(X, Y, scaling="delayed")


@pytest.mark.parametrize("change", ["first", "counts", "gradients", "sites", "kind"])
def test_an_info_that_does_not_fit_the_program_is_refused(tmp_path: Path, change: str) -> None:
    model, _ = run()
    data = saved(model, tmp_path).read_bytes()
    program, parameters, state, info = _core.parse_file(data)
    body = cbor.decode(info)
    wrong = {
        "first": lambda s: [s[0], s[1] + 1, *s[2:]],
        "counts": lambda s: [*s[:3], [999], s[4]],
        "gradients": lambda s: [*s[:4], [[0, 7]]],
        "sites": lambda s: [*s[:2], s[2] + 1, *s[3:]],
        "kind": lambda s: "delayed",
    }[change]
    body["scaling"] = wrong(body["scaling"])
    path = tmp_path / "bad.dmodel"
    path.write_bytes(_core.write_file(program, parameters, state, cbor.encode(body)))
    with pytest.raises(gvm.ProgramError, match=r"bad\.dmodel: its info section is not one"):
        gvm.load(path)


def test_adaptive_is_what_its_encoding_says() -> None:
    known = run()[0].program.scaling
    assert known is not None
    assert Adaptive.decoded(cbor.decode(cbor.encode(known.encoded()))) == known
