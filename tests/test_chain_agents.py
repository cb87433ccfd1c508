"""Participants by themselves: they train, verify, confirm, and dispute what is certified and
wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain import ledger
from chain.adapters.agents import Service, Train, Trainer
from chain.adapters.sending import mark_of, sealed
from chain.adapters.watch import Show, dispute, nothing
from chain.confirmation import Dispute
from chain.envelope import read
from chain.keys import Key
from chain.machine import KINDS, admit, least_fee
from chain.records import UNAVAILABLE, ZERO, Challenge, Entry, Outcome, Phase
from tests.chain_world import (
    BY_ACCOUNT,
    EXECUTION,
    NODES,
    OWNER,
    RICH,
    TERMS,
    TIMING,
    TRAINERS,
    World,
    genesis,
    parameters_with,
    truth,
)


def test_agents_decide_a_round_by_themselves() -> None:
    """Trainers and nodes as agents in the test's small world; one node is lazy, one trainer lies,
    one copies."""
    world = World()
    keys = [Key.derived("trainer", i) for i in range(3)]
    goods = {keys[0].account: parameters_with(700), keys[1].account: parameters_with(650)}

    def trainer(key: Key, habit: str) -> Trainer:
        return Trainer(key, lambda parent, number: goods[key.account], truth, habit)

    agents: list[Any] = [trainer(keys[0], "honest"), trainer(keys[1], "liar")]
    agents.append(Trainer(keys[2], lambda parent, number: None, truth, "copier"))
    agents += [
        Service(BY_ACCOUNT[k.account], truth, Notes(), "lazy" if k is NODES[0] else "honest")
        for k in NODES
    ]
    for _ in range(40):
        if world.job.done:
            break
        world.commit_beacon() if world.state.height == 0 else None
        if world.round.phase.name == "BEACON" and not any(any(d.secret) for d in world.round.draws):
            world.reveal_beacon()
        for agent in agents:
            for key, action in agent.plan(world.state, world.job_name, world.round):
                world.send(key, action)
        world.step()
    assert world.last.outcome == Outcome.FINAL
    assert world.last.trainer == keys[0].account
    for key in keys[1:]:  # liar and copier lose their bonds
        assert world.balance(key) < 1_000_000 - 500


class Notes:
    """A memory that lasts as long as a test."""

    def __init__(self) -> None:
        self.known: dict[bytes, bytes] = {}

    def said(self, question: bytes) -> bytes | None:
        return self.known.get(question)

    def say(self, question: bytes, data: bytes) -> bytes:
        return self.known.setdefault(question, data)


def test_a_verifier_opens_what_it_committed_to() -> None:
    """Parameters that arrive between commitment and opening change nothing."""
    world = World()
    world.to_attest({Key.derived("trainer", 0): parameters_with(700)})
    arrived: dict[bytes, bool] = {}
    key, notes = world.verifiers[0], Notes()
    service = Service(key, lambda p, f: truth(p, f) if arrived else None, notes)
    ((_, commit),) = service.plan(world.state, world.job_name, world.round)
    world.must(key, commit)
    for other in world.verifiers[1:]:
        world.attest(other)
    world.to(Phase.ATTEST_REVEAL)
    arrived[b""] = True
    again = Service(key, lambda p, f: truth(p, f) if arrived else None, notes)  # after a restart
    ((_, opened),) = again.plan(world.state, world.job_name, world.round)
    world.must(key, opened)


def test_a_verifier_waits_for_parameters_then_says_so() -> None:
    world = World()
    world.to_attest({Key.derived("trainer", 0): parameters_with(700)})
    key = world.verifiers[0]
    service = Service(key, lambda parameters, fold: None, Notes())
    found = service.findings(world.state, world.job_name, world.round)
    assert found == (UNAVAILABLE, UNAVAILABLE)  # three blocks are less than its patience
    later = replace(world.round, deadline=world.state.height + 50)
    assert service.findings(world.state, world.job_name, later) is None


@pytest.mark.parametrize("honest", ["trainer", "service", "nobody"])
def test_one_honest_agent_refutes_a_conspiracy_by_itself(honest: str) -> None:
    """Every node certifies what the lying trainer claims. Whoever recomputes it disputes it."""
    keys = TRAINERS[:2]
    goods = {keys[0].account: parameters_with(700), keys[1].account: parameters_with(650)}
    terms = replace(TERMS, timing=replace(TIMING, challenge=6))
    world = World(genesis(terms=terms))
    show: Show = shown if honest == "trainer" else nothing

    def train(key: Key) -> Train:
        return lambda parent, number: goods[key.account]

    agents: list[Any] = [
        Trainer(key, train(key), truth, habit, show)
        for key, habit in zip(keys, ("honest", "liar"), strict=True)
    ]
    agents += [Service(key, truth, Notes(), "conspirator", shown) for key in NODES]
    if honest == "service":
        # Not drawn, and it watches.
        agents.append(Service(RICH, truth, Notes(), "honest", shown))
    play(world, agents)
    if honest == "nobody":
        assert (world.last.outcome, world.last.loss) == (Outcome.FINAL, 1)
        return
    assert world.last.outcome == Outcome.REFUTED
    assert [node.bond for node in world.state.nodes.values()] == [500] * 7  # all have signed
    kinds = [notice.kind for receipt in world.receipts for notice in receipt.notices]
    assert kinds.count("node slashed") == 7 and "challenge failed" not in kinds
    winner = keys[0] if honest == "trainer" else RICH
    fees = 100 * ledger.account_of(world.state, winner.account).nonce
    # A tenth of seven slashes and of the liar's bond.
    assert world.balance(winner) == 1_000_000 - fees + 7 * 50 + 50


def shown(parameters: bytes, fold: bytes) -> bytes:
    """What the referee of the small world needs."""
    return b"look"


def play(world: World, agents: list[Any]) -> None:
    """One round of agents; each says a thing once."""
    done: set[Any] = set()
    world.commit_beacon()
    for _ in range(60):
        if world.job.done:
            return
        found = world.round
        if found.phase == Phase.BEACON and not any(any(d.secret) for d in found.draws):
            world.reveal_beacon()
        for agent in agents:
            for key, action in agent.plan(world.state, world.job_name, found):
                mark = mark_of(world.state, key, action, world.job_name, found.number)
                if mark not in done:
                    done.add(mark)
                    world.send(key, action)
        world.step()
    raise AssertionError(f"the round did not end: {world.round}")


def test_a_dispute_waits_for_its_turn_its_bond_and_others() -> None:
    world = World()
    world.to_attest({TRAINERS[0]: parameters_with(700)})
    false = (world.findings()[0], Entry(True, 650, ZERO))
    for key in world.verifiers:
        world.attest(key, false)
    world.to(Phase.ATTEST_REVEAL)
    assert dispute(RICH, truth, shown, world.state, world.job_name, world.round) is None
    for key in world.verifiers:
        world.open(key, false)
    world.to(Phase.CHALLENGE)
    state, name = world.state, world.job_name
    found = replace(world.round, deadline=state.height + 1 + TIMING.challenge)

    def watched(key: Key = RICH, see: Show = shown, **changes: Any) -> Any:
        return dispute(key, truth, see, state, name, replace(found, **changes))

    made = watched()
    assert (made.subject, made.opening) == (1, b"look")
    assert watched(deadline=found.deadline + TIMING.challenge) is None  # not its turn yet
    waits = Challenge(OWNER.account, 100, 1, state.height, b"x")
    assert watched(challenges=(waits,)) is None
    assert watched(challenges=(replace(waits, subject=0),)) == made
    assert watched(Key.derived("has no bond")) is None
    assert watched(see=nothing) is None
    unknown = dispute(RICH, lambda parameters, fold: None, shown, state, name, found)
    assert unknown is None


def test_the_winner_is_disputed_before_others() -> None:
    """The liar's confirmers answer with it; while it is on its way others wait for it."""
    world = World()
    lots = {TRAINERS[0]: parameters_with(700), TRAINERS[1]: parameters_with(650)}
    world.to_attest(lots)
    parent, *own = world.findings()
    false = (parent, *(replace(entry, trace=ZERO) for entry in own))
    for key in world.verifiers:
        world.attest(key, false)
    world.to(Phase.ATTEST_REVEAL)
    for key in world.verifiers:
        world.open(key, false)
    world.to(Phase.CONFIRM)
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    state, name = world.state, world.job_name
    found = replace(world.round, deadline=state.height + 1 + TIMING.challenge)
    winner = 1 + [c.trainer for c in found.candidates].index(found.winner)
    best = found.candidates[winner - 1].parameters

    def without_best(parameters: bytes, fold: bytes) -> Entry | None:
        return None if parameters == best else truth(parameters, fold)

    made = dispute(RICH, truth, shown, state, name, found)
    assert made is not None and made.subject == winner
    assert dispute(RICH, without_best, shown, state, name, found) is None
    last = state.but(height=found.deadline - 2)
    made = dispute(RICH, without_best, shown, last, name, found)
    assert made is not None and made.subject == 3 - winner


def test_a_large_statement_is_paid_for() -> None:
    world = World()
    data = sealed(world.state, RICH, 0, Dispute(world.job_name, 0, 1, bytes(1 << 21)))
    found, gas = admit(world.state, EXECUTION, data)
    assert least_fee(world.state.parameters, gas) <= found.header.fee < 2_200
    small = sealed(world.state, RICH, 0, Dispute(world.job_name, 0, 1, b"x"))
    assert read(small, len(small), KINDS).header.fee == 1_000
