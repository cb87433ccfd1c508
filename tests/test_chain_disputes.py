"""Confirmation and challenge: one honest party is enough."""

from __future__ import annotations

from dataclasses import replace

from chain import confirmation, evidence, ledger
from chain.envelope import seal
from chain.keys import Key
from chain.records import ZERO, Entry, Outcome, Phase
from chain.refusal import Code
from tests.chain_world import (
    OWNER,
    PARAMETERS,
    RICH,
    TERMS,
    TRAINERS,
    WITNESSES,
    World,
    genesis,
    parameters_with,
)

FIRST, SECOND, THIRD = TRAINERS
GOOD, BETTER, BEST = (parameters_with(loss) for loss in (900, 700, 500))
ALL_THREE = {FIRST: GOOD, SECOND: BEST, THIRD: BETTER}


def bond_of(world: World, key: Key) -> int:
    node = world.state.nodes.get(key.account)
    return 0 if node is None else node.bond


def lost(world: World, key: Key) -> int:
    """What a trainer has lost beside the fees of its transactions."""
    sent = ledger.account_of(world.state, key.account).nonce
    return 1_000_000 - 100 * sent - world.balance(key)


def test_confirmers_that_disagree_fail_the_round() -> None:
    world = World()
    world.to_confirm(ALL_THREE)
    for key in world.confirmers:
        world.confirm(key, loss=1)
    result = world.finish_round()
    assert result.outcome == Outcome.NOT_CONFIRMED
    assert world.job.parameters == parameters_with(1_000)
    assert lost(world, SECOND) == 0


def test_equivocating_confirmer_is_slashed_once_on_its_two_signatures() -> None:
    world = World()
    world.to_confirm(ALL_THREE)
    liar, *others = world.confirmers
    job, found = world.job_name, world.round
    first = confirmation.Confirm(job, 0, found.loss, found.trace)
    second = confirmation.Confirm(job, 0, 1, found.trace)
    world.confirm(liar)
    for key in others:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    signed = [seal(liar, world.chain, nonce, 100, a) for nonce, a in ((0, first), (9, second))]
    bad = [
        evidence.DoubleStatement(signed[0], seal(liar, world.chain, 9, 100, first)),
        evidence.DoubleStatement(signed[0], seal(others[0], world.chain, 0, 100, second)),
        evidence.DoubleStatement(signed[0], seal(liar, "other", 9, 100, second)),
        evidence.DoubleStatement(signed[0], signed[1][:-1] + b"!"),
        evidence.DoubleStatement(signed[0], b"noise"),
    ]
    for action in bad:
        receipt = world.do(RICH, action)
        assert (receipt.code, receipt.rule) == (Code.BAD_EVIDENCE, "L38")
    before = world.balance(RICH)
    world.must(RICH, evidence.DoubleStatement(*signed))
    assert bond_of(world, liar) == 500
    assert world.balance(RICH) == before - 100 + 50  # a tenth of what was lost
    receipt = world.do(RICH, evidence.DoubleStatement(*reversed(signed)))
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "L38")


def corrupt_confirm(world: World) -> None:
    """Every verifier of the round colludes for a false loss; ends in CHALLENGE."""
    world.to_reveal({FIRST: GOOD})
    world.reveal(FIRST, GOOD, claim=1)
    world.to(Phase.ATTEST_COMMIT)
    false = (world.findings()[0], Entry(True, 1, ZERO))
    for key in world.verifiers:
        world.attest(key, false)
    world.to(Phase.ATTEST_REVEAL)
    for key in world.verifiers:
        world.open(key, false)
    world.to(Phase.CONFIRM)
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)


def test_one_honest_challenger_refutes_every_committee() -> None:
    world = World()
    corrupt_confirm(world)
    signers = [*world.verifiers, *world.confirmers]
    before = world.balance(RICH)
    receipt = world.do(RICH, confirmation.Dispute(world.job_name, 0, b"look"))
    assert receipt.code == Code.OK
    assert world.last.outcome == Outcome.REFUTED
    assert world.job.parameters == parameters_with(1_000)
    assert [bond_of(world, key) for key in signers] == [500] * 7
    assert lost(world, FIRST) == TERMS.trainer_bond
    # Fee paid, bond back, a tenth of 7 * 500 and of the trainer's bond.
    assert world.balance(RICH) == before - 100 + 350 + 50
    # L10: the next round is open, and the job ends as any other.
    assert (world.round.number, world.round.phase) == (1, Phase.COMMIT)
    assert world.job.parameters == parameters_with(1_000)


def test_challenge_that_proves_nothing_costs_its_bond_and_delays_nothing() -> None:
    world = World()
    world.to_challenge(ALL_THREE)
    before = world.balance(RICH)
    job = world.job_name
    for count in range(2):
        world.send(RICH, confirmation.Dispute(job, 0, b"look"))
        world.send(OWNER, confirmation.Dispute(job, 0, b"noise"))
        world.step()
        assert world.balance(RICH) == before - (count + 1) * (100 + TERMS.challenge_bond)
    assert world.finish_round().outcome == Outcome.FINAL


def test_challenges_wait_for_the_referee_and_final_waits_for_them() -> None:
    world = World(genesis(replace(PARAMETERS, max_referee_work=5_000_000)))
    world.to_challenge(ALL_THREE)
    job = world.job_name
    while world.round.deadline > world.state.height + 2:
        world.step()
    for key in (RICH, OWNER, *WITNESSES[:2]):
        world.send(key, confirmation.Dispute(job, 0, b"noise"))
    assert [r.code for r in world.step()] == [Code.OK] * 4
    assert len(world.round.challenges) == 3  # one fits into a block
    receipt = world.do(RICH, confirmation.Dispute(job, 0, b"look"))
    assert receipt.code == Code.PHASE  # the window is over
    assert len(world.round.challenges) == 2
    world.step()
    world.step()
    assert world.last.outcome == Outcome.FINAL
