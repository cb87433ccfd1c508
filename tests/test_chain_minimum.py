"""LBFT decides for the certified minimum, whoever misbehaves: one test for each kind of misconduct.

The winner is held against an oracle of its own: the least of what more than two thirds of the seats
opened, found by counting. Tokens are conserved after every block: the world checks it.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from chain import confirmation, ledger, trainers, verifiers
from chain.beacon import BeaconReveal
from chain.envelope import seal
from chain.evidence import DoubleStatement
from chain.hashes import digest_of
from chain.keys import Key
from chain.records import UNAVAILABLE, ZERO, Entry, Outcome, Phase, Round
from chain.refusal import Code
from tests.chain_world import (
    CHAIN,
    RICH,
    SALT,
    TERMS,
    TRAINERS,
    WITNESSES,
    World,
    parameters_with,
    secret_of,
    truth,
)

FIRST, SECOND, THIRD = TRAINERS
GOOD, BETTER, BEST = (parameters_with(loss) for loss in (900, 700, 500))
LOTS = {FIRST: GOOD, SECOND: BEST, THIRD: BETTER}


def certified_minimum(found: Round, opened: list[tuple[Entry, ...]]) -> bytes:
    """The trainer of the least certified loss, by counting what verifiers open."""
    ranking = []
    for at, candidate in enumerate(found.candidates, 1):
        entry, votes = Counter(entries[at] for entries in opened).most_common(1)[0]
        enough = Fraction(votes, len(found.attestations)) > Fraction(2, 3)
        if enough and entry.available and entry.loss == candidate.claim:
            tie = digest_of("tie", found.beacon, candidate.trainer)
            ranking.append((entry.loss, candidate.height, tie, candidate.trainer))
    return min(ranking)[-1]


def bond_of(world: World, key: Key) -> int:
    node = world.state.nodes.get(key.account)
    return 0 if node is None else node.bond


def lost(world: World, key: Key) -> int:
    sent = ledger.account_of(world.state, key.account).nonce
    return 1_000_000 - 100 * sent - world.balance(key)


def attest(world: World, said: dict[Key, tuple[Entry, ...]] | None = None) -> bytes:
    """From ATTEST_COMMIT to CONFIRM: who is in ``said`` finds that, all others the truth. Returns
    the oracle's winner."""
    found = {key: world.findings() for key in world.verifiers} | (said or {})
    for key, entries in found.items():
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key, entries in found.items():
        world.open(key, entries)
    winner = certified_minimum(world.round, list(found.values()))
    world.to(Phase.CONFIRM)
    return winner


def decide(world: World, winner: bytes) -> None:
    """From CONFIRM to the end; the round is final for the oracle's winner."""
    assert world.round.winner == winner
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    finished(world, winner)


def finished(world: World, winner: bytes) -> None:
    result = world.finish_round()
    assert (result.outcome, result.trainer) == (Outcome.FINAL, winner)
    assert world.job.parameters == result.parameters


def test_honest_majority() -> None:
    world = World()
    world.to_attest(LOTS)
    decide(world, attest(world))
    assert world.last.trainer == SECOND.account


def test_one_withholding_trainer() -> None:
    world = World()
    world.to_reveal(LOTS)
    world.reveal(FIRST, GOOD)
    world.reveal(THIRD, BETTER)
    world.to(Phase.ATTEST_COMMIT)
    decide(world, attest(world))
    assert world.last.trainer == THIRD.account
    assert lost(world, SECOND) == TERMS.trainer_bond


def test_copied_block() -> None:
    """A copy of the commitment cannot be opened; a copy of the parameters in a later commitment of
    its own loses to the earlier one."""
    world = World()
    job = world.job_name
    copied = trainers.commitment(CHAIN, job, 0, SECOND.account, BEST, SALT)
    world.commit(SECOND, BEST)
    world.step()
    world.send(FIRST, trainers.Commit(job, 0, copied))
    world.commit(THIRD, BEST)
    world.commit_beacon()
    world.to(Phase.BEACON)
    world.reveal_beacon()
    world.to(Phase.REVEAL)
    world.reveal(SECOND, BEST)
    world.reveal(THIRD, BEST)
    world.step()
    world.reveal(FIRST, BEST)
    (receipt,) = world.step()
    assert (receipt.code, receipt.rule) == (Code.MISMATCH, "L20")
    world.to(Phase.ATTEST_COMMIT)
    decide(world, attest(world))
    assert world.last.trainer == SECOND.account
    assert lost(world, FIRST) == TERMS.trainer_bond


@pytest.mark.parametrize("claim", [0, 1, 400, 10**6])
def test_lying_loss(claim: int) -> None:
    world = World()
    world.to_reveal(LOTS)
    world.reveal(FIRST, GOOD)
    world.reveal(SECOND, BEST, claim=claim)
    world.reveal(THIRD, BETTER)
    world.to(Phase.ATTEST_COMMIT)
    decide(world, attest(world))
    assert world.last.trainer == THIRD.account
    assert lost(world, SECOND) == TERMS.trainer_bond


def test_lazy_verifier() -> None:
    """It repeats the claims and knows no trace."""
    world = World()
    world.to_attest(LOTS)
    lazy = world.verifiers[0]
    guess = tuple(Entry(True, e.loss, ZERO) for e in world.findings())
    decide(world, attest(world, {lazy: guess}))
    assert world.last.trainer == SECOND.account
    assert bond_of(world, lazy) == 500
    assert lazy.account not in world.last.verifiers


def test_copying_verifier() -> None:
    """It commits to what another has committed to, and cannot open it."""
    world = World()
    world.to_attest(LOTS)
    copier, *honest = world.verifiers
    for key in honest:
        world.attest(key)
    world.step()
    stolen = next(a for a in world.round.attestations if a.verifier == honest[0].account)
    world.must(copier, verifiers.AttestCommit(world.job_name, 0, stolen.commitment))
    for key in honest:
        world.open(key)
    world.step()
    winner = certified_minimum(world.round, [world.findings()] * len(honest))
    world.open(copier)
    (receipt,) = world.step()
    assert (receipt.code, receipt.rule) == (Code.MISMATCH, "L23")
    world.to(Phase.CONFIRM)
    decide(world, winner)
    assert world.last.trainer == SECOND.account
    assert bond_of(world, copier) == 950


def test_equivocating_confirmers() -> None:
    """All of them sign a second answer: they are slashed, and the winner stays."""
    world = World()
    world.to_attest(LOTS)
    winner = attest(world)
    found, liars = world.round, world.confirmers
    nonces = {key: ledger.account_of(world.state, key.account).nonce for key in liars}
    for key in liars:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    assert found.winner == winner
    for key in liars:
        actions = [
            confirmation.Confirm(world.job_name, 0, loss, found.trace) for loss in (found.loss, 1)
        ]
        signed = [seal(key, world.chain, nonces[key], 100, action) for action in actions]
        world.send(RICH, DoubleStatement(signed[0], signed[1]))
    assert [r.code for r in world.step()] == [Code.OK] * 3
    finished(world, winner)
    assert [bond_of(world, key) for key in liars] == [500] * 3


@pytest.mark.parametrize("saying", [1, 2, 3, 4])
def test_unavailable_parameters(saying: int) -> None:
    """The best candidate's cannot be fetched by some: it wins unless that leaves it without a
    quorum; its bond is lost only where a quorum says so."""
    world = World()
    world.to_attest(LOTS)
    at = 1 + [c.trainer for c in world.round.candidates].index(SECOND.account)
    found = world.findings()
    partly = (*found[:at], UNAVAILABLE, *found[at + 1 :])
    decide(world, attest(world, dict.fromkeys(world.verifiers[:saying], partly)))
    assert world.last.trainer == (SECOND if saying == 1 else THIRD).account
    assert lost(world, FIRST) == 0
    if saying > 1:
        assert lost(world, SECOND) == (TERMS.trainer_bond if saying > 2 else 0)


@pytest.mark.parametrize("saying", [3, 4])
def test_unavailable_test_data(saying: int) -> None:
    """The owner never shows the fold: verifiers find nothing, the parent included. The trainers
    are not to blame."""
    world = World()
    world.to_attest(LOTS)
    nothing = (UNAVAILABLE,) * len(world.findings())
    keys = world.verifiers
    said = {key: nothing if i < saying else world.findings() for i, key in enumerate(keys)}
    for key, entries in said.items():
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key, entries in said.items():
        world.open(key, entries)
    assert world.finish_round().outcome == Outcome.NOT_CERTIFIED
    assert [lost(world, key) for key in TRAINERS] == [0, 0, 0]


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_late_reveal(late: int) -> None:
    """The best candidate is revealed at one block before its deadline, at it, after it."""
    world = World()
    world.to_reveal(LOTS)
    deadline = world.round.deadline
    world.reveal(FIRST, GOOD)
    world.reveal(THIRD, BETTER)
    world.until(deadline + late - 1)
    fold = world.fold
    said = trainers.Reveal(world.job_name, 0, BEST, SALT, truth(BEST, fold).loss)
    receipt = world.do(SECOND, said)
    assert world.state.height == deadline + late
    assert (receipt.code == Code.OK) == (late < 0)
    if late >= 0:
        assert (receipt.code, receipt.rule) == (Code.PHASE, "L1")
    assert world.round.phase == Phase.ATTEST_COMMIT
    decide(world, attest(world))
    assert world.last.trainer == (SECOND if late < 0 else THIRD).account
    if late >= 0:
        assert lost(world, SECOND) == TERMS.trainer_bond


@pytest.mark.parametrize("withholding", range(4))
def test_beacon_withholding(withholding: int) -> None:
    """Any one witness withholds its secret: it pays, the round goes on, and the minimum wins."""
    world = World()
    for key, parameters in LOTS.items():
        world.commit(key, parameters)
    world.commit_beacon()
    world.to(Phase.BEACON)
    silent = WITNESSES[withholding]
    world.reveal_beacon([key for key in WITNESSES if key is not silent])
    world.to(Phase.REVEAL)
    tokens = {
        k.account: v.tokens for k in WITNESSES if (v := world.state.validators.get(k.account))
    }
    assert min(tokens, key=lambda name: tokens[name]) == silent.account
    late = BeaconReveal(world.job_name, 0, secret_of(silent, 0))
    assert world.do(silent, late).rule == "L1"
    for key, parameters in LOTS.items():
        world.reveal(key, parameters)
    world.to(Phase.ATTEST_COMMIT)
    decide(world, attest(world))
    assert world.last.trainer == SECOND.account
