"""Some seeds of the simulated network; ``benchmarks/simulation.py`` runs thousands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import simulation
from chain.application import Application
from chain.genesis import Founder, Genesis, Grant
from chain.keys import Key
from chain.machine_application import MachineApplication
from chain.parameters import Parameters
from chain.simulator.applications import machine
from chain.simulator.controls import CONTROLS, Control, find
from chain.simulator.dice import Dice
from chain.simulator.faults import ZOO
from chain.simulator.network import Network, Setting
from tests.chain_world import EXECUTION

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("fault", [*ZOO, "twin"])
def test_every_height_is_decided_beside_one_faulty_of_four(fault: str) -> None:
    for seed in range(3):
        network = Network(seed, Setting(heights=10, faults=(fault,)))
        checks = network.run()
        assert len(checks.blocks) >= 10


def test_seven_validators_bear_two_faulty() -> None:
    for seed in range(3):
        checks = Network(seed, Setting(validators=7, faulty=2, heights=6)).run()
        assert len(checks.blocks) >= 6


def test_a_seed_is_a_run() -> None:
    def run(seed: int) -> tuple[int, int, dict[int, bytes]]:
        network = Network(seed, Setting(heights=6))
        checks = network.run()
        return network.now, network.count, checks.blocks

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_equivocators_are_reported_and_nobody_else() -> None:
    evidence = 0
    for seed in range(4):
        checks = Network(seed, Setting(heights=8, faults=("equivocator",))).run()
        evidence += checks.evidence  # Checks raises for an honest one
    assert evidence > 10


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_what_is_broken_is_found(control: Control) -> None:
    assert find(control, range(40)) is not None


def chain_of(keys: list[Key]) -> Application:
    genesis = Genesis(
        Parameters("simulated", uptime_window=30, jail_blocks=5),
        tuple(Grant(key.account, 3_000_000) for key in keys),
        tuple(Founder(key.public, 0, 2_000_000) for key in keys),
    )
    return machine(genesis, EXECUTION)


def test_the_state_machine_is_ordered_too() -> None:
    for seed in range(2):
        network = Network(seed, Setting(heights=8, application=chain_of))
        checks = network.run()
        roots = set()
        for host in network.hosts:
            application = host.config.application
            if host.is_honest and isinstance(application, MachineApplication):
                roots.add(checks.roots[8])
                assert application.state.height >= 8
        assert len(roots) == 1


def test_dice_stay_within_bounds_and_are_the_same_again() -> None:
    first, second = Dice("test", 1), Dice("test", 1)
    drawn = [first.between(3, 5) for _ in range(9000)]
    assert drawn == [second.between(3, 5) for _ in range(9000)]
    assert set(drawn) == {3, 4, 5}
    assert drawn != [Dice("test", 2).between(3, 5) for _ in range(9000)]


def test_the_benchmark_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds of the journal are not run again, sums of a recorded result are added to, and either
    only while networks run the same code."""
    short, path = Setting(heights=3), tmp_path / "seeds"
    monkeypatch.setattr(simulation, "recorded", lambda setting: None)
    monkeypatch.setattr(simulation, "commit", lambda: "first")
    monkeypatch.setattr(simulation, "is_same", lambda since: since == "first")
    two = simulation.many(short, 2, 1, simulation.Journal(path))
    assert (two["seeds"], two["decided"], two["commits"]) == (2, 2, ["first"])
    monkeypatch.setattr(simulation, "commit", lambda: "second")
    journal = simulation.Journal(path)
    assert len(journal.rows) == 2
    three = simulation.many(short, 3, 1, journal)
    assert three["commits"] == ["first", "second"] and three["decided"] == 3
    monkeypatch.setattr(simulation, "recorded", lambda setting: two)
    again = simulation.many(short, 3, 1, simulation.Journal(None))
    assert again["commits"] == ["first", "second"]
    for name in ("events", "failed_rounds", "crashes", "evidence", "faults"):
        assert again[name] == three[name]
    monkeypatch.setattr(simulation, "is_same", lambda since: False)
    assert len(simulation.Journal(path).rows) == 1  # of this commit


def test_a_commit_that_nobody_knows_is_not_the_same() -> None:
    assert not simulation.is_same("0" * 12)


def test_the_document_states_the_recorded_run() -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "simulation.json").read_text())
    text = (ROOT / "docs" / "simulation.md").read_text()
    rows = [[int(c) for c in r] for r in re.findall(r"^" + r"\| (\d+) " * 8, text, re.M)]
    names = ("validators", "faulty", "seeds", "heights", "events", "failed_rounds", "crashes")
    assert rows == [[r[n] for n in (*names, "evidence")] for r in recorded["runs"]]
    assert all(r["decided"] == r["seeds"] and not r["violations"] for r in recorded["runs"])
    found = {row["control"]: row["seed"] for row in recorded["controls"]}
    assert set(found) == {control.name for control in CONTROLS}
    assert f"Each of the {len(found)} negative controls" in text
    assert max(found.values()) == found["lock ignored"] == 37
    assert list(found.values()).count(0) == 9
