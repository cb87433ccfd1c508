"""The published training runs: what they say follows from the references, and from the core."""

from __future__ import annotations

import pytest

from gvm import _core
from tests.vectors import runs

RUNS = runs.published()


def test_every_plan_is_published() -> None:
    assert set(RUNS) == set(runs.PLANS)
    for name, lines in RUNS.items():
        assert lines[0].startswith(f"run {name} ")
        steps = [int(line.split()[2]) for line in lines[1:]]
        assert steps == sorted(steps)
        assert steps[: len(runs.STEPS)] == list(runs.STEPS)


@pytest.mark.parametrize("name", RUNS)
def test_runs_begin_as_the_references_say(name: str) -> None:
    data = (runs.FOLDER / f"{name}.dmodel").read_bytes()
    assert list(runs.by_references(data, RUNS[name][0].split(), 3)) == RUNS[name][1:4]


@pytest.mark.parametrize("level", _core.cpu_levels())
@pytest.mark.parametrize("name", RUNS)
def test_the_core_follows(name: str, level: int) -> None:
    """In one shard a step; gvm-conform takes other partitions, and more steps."""
    data = (runs.FOLDER / f"{name}.dmodel").read_bytes()
    assert runs.by_the_core(data, RUNS[name][0].split(), 30, level) == RUNS[name][5]
