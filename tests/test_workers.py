"""Workers move no bit: not their number, not their death; and they leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import workers
from gvm.errors import HostError, ProgramError
from gvm.graph import Builder, Graph
from gvm.ops import OPERATORS
from gvm.program import Segment, Step
from gvm.shards import split
from gvm.train import History, Plan, open_workers
from gvm.updates import with_optimizer

EXAMPLES, FEATURES, CLASSES = 19, 6, 3
ROOT = Path(__file__).resolve().parent.parent


def small_graph() -> Graph:
    """A two-layer classifier, real-valued."""
    rng = np.random.default_rng(0)
    g = Builder()
    x = g.input("x", (-1, FEATURES))
    hidden = g.bias_add(
        g.matmul(x, g.parameter("w1", rng.normal(0, 0.5, (FEATURES, 5)))),
        g.parameter("b1", np.zeros(5)),
    )
    logits = g.bias_add(
        g.matmul(g.relu(hidden), g.parameter("w2", rng.normal(0, 0.5, (5, CLASSES)))),
        g.parameter("b2", np.zeros(CLASSES)),
    )
    return g.graph(predict=(logits,))


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(EXAMPLES, FEATURES)), rng.integers(0, CLASSES, EXAMPLES)


def small_model() -> gvm.Model:
    x, y = data()
    # Formats without headroom: some elements clamp, so that clamp counts say something.
    formats = gvm.Formats(activation_headroom=-1, delta_headroom=-1, weight_headroom=-1)
    return gvm.Model.from_graph(
        small_graph(), x, loss="softmax_cross_entropy", labels=y, formats=formats, check=False
    )


def two_segments() -> gvm.Model:
    """A model whose deltas are multiplied by the number of correct examples in the whole batch."""
    model = small_model()
    assert model.program.grad is not None
    grad = model.program.grad
    (whole,) = grad.segments
    sums, gradients = whole.reduce[:3], whole.reduce[3:]
    cut = max(sums) - grad.given + 1
    assert all(len(s.inputs) <= 2 for s in whole.steps)
    delta = next(
        grad.given + i for i, s in enumerate(whole.steps) if s.name == "softmax_cross_entropy_grad"
    )
    assert delta < grad.given + cut
    correct = grad.given + cut + 2
    narrow, scaled, scaled_narrow = range(correct + 1, correct + 4)

    def renamed(v: int) -> int:
        if v == delta:
            return scaled_narrow
        return v if v < grad.given + cut else v + 6

    def step(op: str, inputs: tuple[int, ...], *attributes: int) -> Step:
        return Step(OPERATORS[op].opcode, inputs, attributes)

    second = (
        step("convert", (correct,), 1, 13, 0),
        step("mul", (delta, narrow)),
        step("convert", (scaled,), 1, 12, 2),
        *(replace(s, inputs=tuple(map(renamed, s.inputs))) for s in whole.steps[cut:]),
    )
    segments = (
        Segment(whole.steps[:cut], sums),
        Segment(second, tuple(renamed(v) for v in gradients)),
    )
    program = replace(model.program, grad=replace(grad, segments=segments))
    return gvm.Model(program, model.parameters)


def train(model: gvm.Model, **options: Any) -> History:
    """Three epochs of steps with 8, 8 and 3 examples."""
    x, y = data()
    return model.train(
        x,
        y,
        **{
            "optimizer": gvm.SGD(0.1, momentum=0.9),
            "epochs": 3,
            "batch_size": 8,
            "seed": 5,
            "threads": 1,
            "progress": False,
            **options,
        },
    )


def facts(model: gvm.Model, history: History) -> tuple[Any, ...]:
    """All that must be equal, whoever trained."""
    rows = [(e.total, e.count, e.correct, e.validation) for e in history.epochs]
    return model.parameters, model.state, history.state_id, history.clamped, rows


@pytest.fixture(scope="module")
def expected() -> tuple[Any, ...]:
    model = small_model()
    found = facts(model, train(model, validation=data()))
    assert found[3], "no element clamps: the comparison of clamp counts would be empty"
    return found


def children() -> set[int]:
    """Process ids whose parent is this process, zombies too."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test that leaves a process or a folder. A test's own folder stands for /dev/shm."""
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    processes = children()
    yield
    assert list(tmp_path.iterdir()) == []
    assert children() <= processes


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("micro_batch", [None, 1, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_number_of_workers_moves_no_bit(
    expected: tuple[Any, ...], count: int, micro_batch: int | None
) -> None:
    # The last batch of an epoch has 3 examples: of seven workers, four have none.
    model = small_model()
    history = train(model, workers=count, micro_batch=micro_batch, validation=data())
    assert facts(model, history) == expected


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.filterwarnings("ignore:worker:RuntimeWarning")
def test_later_segments_read_the_totals_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(**options: Any) -> tuple[Any, ...]:
        model = two_segments()
        return facts(model, train(model, **options))

    alone = trained()
    assert any(name.startswith("grad") for name in alone[3])
    assert trained(micro_batch=2) == alone
    assert trained(workers=3) == alone
    assert trained(workers=7, micro_batch=1) == alone
    answered: list[int] = []
    real_answer = workers.Worker.answer

    def answer(worker: workers.Worker) -> None:
        # Process after process of worker 2 dies in the second segment of its second step: its
        # answers are to "open", then to two segments of each step.
        answered.append(worker.process.pid)
        if worker.row == 2 and answered.count(worker.process.pid) == 5:
            worker.process.kill()
            raise workers.Gone
        real_answer(worker)

    monkeypatch.setattr(workers.Worker, "answer", answer)
    assert trained(workers=3) == alone
    assert len(set(answered)) >= 5


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("moment", ["before a step", "at work", "before applying"])
def test_death_of_a_worker_moves_no_bit(
    expected: tuple[Any, ...], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    real_step, real_run = workers.WorkerPool.step, workers.ShardRunner.run
    real_apply = workers.ShardRunner.apply
    pool_of: list[workers.WorkerPool] = []

    def kill(row: int) -> None:
        process = pool_of[0].workers[row].process
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        killed.append(process.pid)

    def step(pool: workers.WorkerPool, indices: np.ndarray, number: int) -> np.ndarray:
        pool_of[:] = [pool]
        if moment == "before a step" and number in (2, 6):
            kill(1)
        return real_step(pool, indices, number)

    def run(runner: workers.ShardRunner, segment: int, *arrays: Any) -> None:
        # The main process is at its own shard: the workers have their orders and no answer is read.
        number = runner._where[3] if runner._where is not None else -1
        if moment == "at work" and runner is pool_of[0].runner and number in (0, 4):
            kill(2)
            kill(1)
        real_run(runner, segment, *arrays)

    def apply(runner: workers.ShardRunner, totals: np.ndarray, number: int) -> None:
        real_apply(runner, totals, number)
        if moment == "before applying" and number in (1, 5):
            kill(2)

    monkeypatch.setattr(workers.WorkerPool, "step", step)
    monkeypatch.setattr(workers.ShardRunner, "run", run)
    monkeypatch.setattr(workers.ShardRunner, "apply", apply)
    model = small_model()
    with pytest.warns(RuntimeWarning, match="was killed by signal 9 in step"):
        history = train(model, workers=3, validation=data())
    assert len(killed) >= 2
    assert facts(model, history) == expected


@pytest.mark.usefixtures("nothing_left")
def test_error_of_a_worker_is_raised_as_it_was() -> None:
    model = small_model()
    x, _ = data()
    labels = np.zeros(EXAMPLES, dtype=np.int64)
    with pytest.raises(ProgramError) as alone:
        _pool_step(model, x, _with_bad_label(labels, 0), workers_=1)
    with pytest.raises(ProgramError) as there:
        _pool_step(model, x, _with_bad_label(labels, 7), workers_=2)
    assert there.value.status == alone.value.status > 0
    assert there.value.name == alone.value.name
    assert "label" in str(there.value)


def _with_bad_label(labels: np.ndarray, at: int) -> np.ndarray:
    bad = labels.astype(np.int32)
    bad[at] = CLASSES
    return bad


def _pool_step(model: gvm.Model, x: np.ndarray, labels: np.ndarray, workers_: int) -> None:
    """One step on examples 0 to 7 in order, with labels that ``Model.train`` might refuse."""
    program = with_optimizer(model.program, gvm.SGD(0.1))
    plan = Plan(epochs=1, batch_size=8, seed=0, workers=workers_, threads=1)
    state = bytes(gvm._core.Program(program.encode()).info()["state_bytes"])
    with open_workers(
        program.encode(), plan, model.quantized_inputs(x), [labels], model.parameters, state
    ) as pool:
        pool.step(np.arange(8), 0)


@pytest.mark.usefixtures("nothing_left")
def test_worker_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    with pytest.raises(HostError, match="worker 1 did not start: ended with status 1"):
        train(small_model(), workers=3)


@pytest.mark.usefixtures("nothing_left")
def test_interrupt_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.ShardRunner, "apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), workers=3)


def test_workers_end_with_a_killed_main_process() -> None:
    # Nobody is left to clean up but the workers.
    script = textwrap.dedent(
        """
        import sys, time
        sys.path.insert(0, "tests")
        import numpy as np
        import test_workers as t
        from gvm import workers
        def step(pool, indices, number):
            print(pool.folder.name, *(w.process.pid for w in pool.workers.values()), flush=True)
            time.sleep(60)
        workers.WorkerPool.step = step
        t.train(t.small_model(), workers=3)
        """
    )
    main = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert main.stdout is not None
    folder, *others = main.stdout.readline().split()
    main.kill()
    main.wait()
    main.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (Path(folder).exists() or any(map(_alive, others))):
        time.sleep(0.05)
    assert len(others) == 2
    assert not any(map(_alive, others))
    assert not Path(folder).exists()


def _alive(pid: str) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_library_output_does_not_disturb_the_answers(
    tmp_path: Path, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Something that prints whenever Python starts.
    (tmp_path / "sitecustomize.py").write_text("import atexit; atexit.register(print, 'bye')")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = small_model()
    assert facts(model, train(model, workers=2, validation=data())) == expected


def test_full_shared_memory_falls_back_to_files(
    expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SPARE_BYTES", 1 << 62)
    assert workers._place(0) is None
    model = small_model()
    assert facts(model, train(model, workers=2, validation=data())) == expected


def test_split_is_contiguous_and_even() -> None:
    for count in range(12):
        for parts in range(1, 9):
            found = split(np.arange(count), parts)
            assert len(found) == parts
            assert np.concatenate([part for part, _ in found]).tolist() == list(range(count))
            assert all(part.size == 0 or part[0] == offset for part, offset in found)
            sizes = [len(part) for part, _ in found]
            assert max(sizes) - min(sizes) <= 1
            assert count == 0 or sizes[0] > 0


def test_no_warning_without_a_death() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "a format is too narrow")  # of this model it is
        train(small_model(), workers=2, epochs=1)
