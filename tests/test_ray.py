"""gvm.ray_workers: actors compute what processes do, and none of them can move a bit by dying."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import gvm
from gvm import ray_workers
from tests.test_workers import (
    _with_bad_label,
    data,
    facts,
    small_model,
    train,
    two_segments,
)

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,  # a cluster takes seconds to start
    pytest.mark.filterwarnings("ignore:a format is too narrow"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One small cluster for all tests: it takes seconds to start."""
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
        runtime_env={
            "env_vars": {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
        },
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def expected() -> tuple[Any, ...]:
    model = small_model()
    return facts(model, train(model, validation=data()))


@pytest.mark.parametrize(("count", "micro_batch"), [(2, None), (3, 1)])
def test_actors_move_no_bit(expected: tuple[Any, ...], count: int, micro_batch: int | None) -> None:
    model = small_model()
    given = {"workers": count, "micro_batch": micro_batch, "cluster": "ray"}
    assert facts(model, train(model, validation=data(), **given)) == expected
    assert ray.is_initialized()  # it was not started by the run


def test_death_of_an_actor_moves_no_bit(
    expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once while it is at work in a step, once between steps."""
    answer, killed = ray_workers.RayPool._answer, []

    def dying(self: Any, row: int, asked: Any, step: int) -> Any:
        if len(killed) < 2 and step in (1, 4):
            killed.append(step)
            os.kill(ray.get(self.actors[row].process.remote()), signal.SIGKILL)
            asked = self.actors[row].process.remote()
        return answer(self, row, asked, step)

    monkeypatch.setattr(ray_workers.RayPool, "_answer", dying)
    model = small_model()
    with pytest.warns(RuntimeWarning, match="actor . died in step") as said:
        history = train(model, validation=data(), workers=3, cluster="ray")
    assert facts(model, history) == expected
    assert killed == [1, 1] or killed == [1, 4]
    assert len([w for w in said if "died" in str(w.message)]) == len(killed)


def test_later_segments_read_the_totals_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, shared = two_segments(), two_segments()
    wanted = facts(alone, train(alone))
    assert facts(shared, train(shared, workers=2, cluster="ray")) == wanted
    # Lost in the second segment: the stand-in computes the first again.
    answer, answers = ray_workers.RayPool._answer, []

    def dying(self: Any, row: int, asked: Any, step: int) -> Any:
        answers.append(step)
        if len(answers) == 4:
            ray.kill(self.actors[row])
            asked = self.actors[row].process.remote()
        return answer(self, row, asked, step)

    monkeypatch.setattr(ray_workers.RayPool, "_answer", dying)
    lost = two_segments()
    with pytest.warns(RuntimeWarning, match="actor 1 died in step 1"):
        assert facts(lost, train(lost, workers=2, cluster="ray")) == wanted


def test_an_error_of_an_actor_is_raised_as_it_was() -> None:
    x, labels = data()
    messages = set()
    for given in ({"workers": 1}, {"workers": 2, "cluster": "ray"}):
        model = small_model()
        with pytest.raises(gvm.ProgramError) as raised:
            model.train(
                x[:8],
                _with_bad_label(labels[:8], 7),
                batch_size=8,
                seed=0,
                threads=1,
                **given,
            )
        messages.add(str(raised.value))
    assert len(messages) == 1


def test_what_is_no_cluster() -> None:
    with pytest.raises(ValueError, match="cluster must be None or 'ray', received 'slurm'"):
        train(small_model(), workers=2, cluster="slurm")
