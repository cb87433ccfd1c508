"""A short drill: every way to execute a run ends in one state (the long one: benchmarks)."""

from __future__ import annotations

import pytest

import gvm
from benchmarks import drill

STEPS = 200


def test_ways_are_the_full_product() -> None:
    ways = list(drill.ways())
    assert len(ways) == len(set(ways)) == 2 * (len(gvm.backends()) - 1) * (2 * 4 * 3 + 1)
    assert {w.workers for w in ways} == {1, 2, 3, 7, 48}
    assert {w.threads for w in ways} == {1, 2}
    assert len({w.micro_batch for w in ways}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("profile", drill.PROFILES)
def test_every_way_ends_in_one_state(profile: str) -> None:
    expected, different, seconds = drill.drill(STEPS, (profile,))
    assert len(seconds) == (len(gvm.backends()) - 1) * (2 * 4 * 3 + 1)
    assert different == {}
    assert expected[profile]["steps"] == STEPS


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real_execute = drill.execute
    odd = drill.Way("w32", gvm.backends()[1], 1, 1, 5)

    def execute(graph: drill.Graph, way: drill.Way, steps: int) -> tuple[dict[str, object], float]:
        return real_execute(graph, way, steps + drill.STEPS_PER_EPOCH * (way == odd))

    monkeypatch.setattr(drill, "execute", execute)
    monkeypatch.setattr(drill, "WORKERS", (1,))
    monkeypatch.setattr(drill, "CROWD", 2)
    _, different, _ = drill.drill(1, ("w32",))
    assert list(different) == [odd]
