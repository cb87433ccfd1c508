"""Terms that nobody could meet, and what a crash costs that happens in many places at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import beacon, slashing, trainers
from chain.records import Phase
from tests.chain_world import (
    CHAIN,
    NODES,
    PARAMETERS,
    RICH,
    START,
    TERMS,
    TRAINERS,
    WITNESSES,
    World,
    genesis,
    secret_of,
)


def test_a_witness_that_crashed_in_many_jobs_is_slashed_once_and_jailed() -> None:
    made = genesis()
    world = World(replace(made, jobs=made.jobs * 5))
    jobs = [name for name, _ in world.state.jobs.items()]
    silent = WITNESSES[0]
    for name in jobs:
        world.send(TRAINERS[0], trainers.Commit(name, 0, b"c" * 32))
        for key in WITNESSES:
            hidden = beacon.commitment(CHAIN, name, 0, key.account, secret_of(key, 0))
            world.send(key, beacon.BeaconCommit(name, 0, hidden))
    world.step()
    world.until(3)
    assert {r.phase for r in world.state.rounds.values()} == {Phase.BEACON}
    for name in jobs:
        for key in WITNESSES[1:]:
            world.send(key, beacon.BeaconReveal(name, 0, secret_of(key, 0)))
    world.step()
    before = world.state.validators.get(silent.account)
    world.until(6)
    assert {r.phase for r in world.state.rounds.values()} == {Phase.REVEAL}
    after = world.state.validators.get(silent.account)
    assert before is not None and after is not None
    assert after.jailed and not after.tombstoned
    # 50 thousandths, less the pay of a few blocks; not five times as much.
    assert before.tokens * 949 // 1000 < after.tokens < before.tokens * 960 // 1000


def test_a_silent_node_is_slashed_until_its_bond_is_not_full() -> None:
    world = World()
    node = NODES[0].account
    once = slashing.slash_silence(world.state, node)
    found = once.nodes.get(node)
    assert found is not None and found.bond == 950
    assert slashing.slash_silence(once, node).nodes.get(node) == found
    false = slashing.slash_node(once, node, 500).nodes.get(node)
    assert false is not None and false.bond == 475  # a false finding costs more all the same


@pytest.mark.parametrize(
    ("changes", "terms", "deposit", "rule"),
    [
        ({"node_work": 5_000_000}, {}, 90_000, "L5"),  # 20 000 000 in three blocks
        ({"node_work": 7_000_000}, {}, 90_000, ""),
        ({"node_work": 7_000_000}, {"max_candidates": 4}, 90_000, "L5"),
        ({"multiply_adds_per_gas": 100}, {}, 2_850, ""),  # 3 rounds of 950 tokens
        ({"multiply_adds_per_gas": 100}, {}, 2_849, "L5"),
    ],
)
def test_terms_leave_time_and_pay_for_the_work_of_nodes(
    changes: dict[str, int], terms: dict[str, int], deposit: int, rule: str
) -> None:
    parameters = replace(PARAMETERS, **changes)  # type: ignore[arg-type]
    world = World(genesis(parameters, terms=None))
    asked = replace(START, deposit=deposit, terms=replace(TERMS, **terms))  # type: ignore[arg-type]
    world.send(RICH, asked, fee=100_000)
    (receipt,) = world.step()
    assert receipt.rule == rule
