"""Rounds of LBFT with honest and with hostile parties: the certified minimum wins in each."""

from __future__ import annotations

import pytest

from chain import ledger, trainers, verifiers
from chain.hashes import digest_of
from chain.keys import Key
from chain.records import UNAVAILABLE, ZERO, Entry, JobStatus, Outcome, Phase
from chain.refusal import Code
from tests.chain_world import (
    CHAIN,
    NODES,
    OWNER,
    SALT,
    TERMS,
    TIMING,
    TRAINERS,
    WITNESSES,
    World,
    genesis,
    parameters_with,
    secret_of,
    truth,
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


def test_honest_majority_decides_for_the_smallest_loss() -> None:
    world = World()
    world.to_challenge(ALL_THREE)
    result = world.finish_round()
    assert (result.outcome, result.parameters, result.trainer) == (
        Outcome.FINAL,
        BEST,
        SECOND.account,
    )
    assert (world.job.parameters, world.job.done) == (BEST, 1)
    assert len(result.verifiers) == 4 and len(result.confirmers) == 3
    assert not set(result.verifiers) & set(result.confirmers)
    # A third of deposit and minted share: 33 000; 600, 300 and 100 thousandths of it.
    assert lost(world, SECOND) == -19_800
    assert lost(world, FIRST) == lost(world, THIRD) == 0
    paid = [world.balance(k) - 999_000 + 100 * sent(world, k) for k in NODES]
    assert sorted(paid) == [1_100] * 3 + [2_475] * 4
    assert world.round.number == 1 and world.round.parent == BEST


def sent(world: World, key: Key) -> int:
    return ledger.account_of(world.state, key.account).nonce


def test_three_rounds_finish_the_job_and_return_what_is_left() -> None:
    world = World()
    for number in range(3):
        world.to_challenge({FIRST: parameters_with(500 - 100 * number)})
        result = world.finish_round()
        assert result.outcome == Outcome.FINAL
        assert result.number == number
    assert world.job.status == JobStatus.FINISHED
    assert world.job_name not in world.state.rounds
    # What rounding left of the deposit is the owner's, of the minted share burned.
    assert 0 <= world.balance(OWNER) - 910_000 < 20
    assert ledger.balance(world.state, ledger.ESCROW) == 0
    notices = [n.kind for r in world.receipts for n in r.notices]
    assert notices.count("job finished") == 1
    chain, key = [], world.job.last
    while key != ZERO:
        found = world.state.results.get(key)
        assert found is not None
        chain.append(found.number)
        key = found.previous
    assert chain == [2, 1, 0]


def test_withholding_trainer_loses_its_bond_and_delays_nobody() -> None:
    world = World()
    world.to_reveal(ALL_THREE)
    world.reveal(FIRST, GOOD)
    world.reveal(THIRD, BETTER)  # the best one stays hidden
    world.to(Phase.ATTEST_COMMIT)
    assert [c.trainer for c in world.round.candidates] == sorted([FIRST.account, THIRD.account])
    finish_honestly(world)
    assert world.last.parameters == BETTER
    assert lost(world, SECOND) == TERMS.trainer_bond


def finish_honestly(world: World) -> None:
    """From ATTEST_COMMIT to the end of the round, everybody honest."""
    for key in world.verifiers:
        world.attest(key)
    world.to(Phase.ATTEST_REVEAL)
    for key in world.verifiers:
        world.open(key)
    world.to(Phase.CONFIRM)
    confirm_honestly(world)


def confirm_honestly(world: World) -> None:
    """From CONFIRM to the end of the round, everybody honest."""
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    world.finish_round()


def test_copied_commitment_cannot_be_opened() -> None:
    world = World()
    job = world.job_name
    copied = trainers.commitment(CHAIN, job, 0, SECOND.account, BEST, SALT)
    world.commit(SECOND, BEST)
    world.send(FIRST, trainers.Commit(job, 0, copied))
    world.commit_beacon()
    world.to(Phase.BEACON)
    world.reveal_beacon()
    world.to(Phase.REVEAL)
    world.reveal(SECOND, BEST)
    world.step()
    world.reveal(FIRST, BEST)  # after the original is public
    (receipt,) = world.step()
    assert (receipt.code, receipt.rule) == (Code.MISMATCH, "L20")
    world.to(Phase.ATTEST_COMMIT)
    finish_honestly(world)
    assert world.last.trainer == SECOND.account
    assert lost(world, FIRST) == TERMS.trainer_bond


def test_copy_of_the_parent_gains_nothing() -> None:
    world = World()
    world.to_attest({FIRST: world.job.parameters})
    for key in world.verifiers:
        world.attest(key)
    world.to(Phase.ATTEST_REVEAL)
    for key in world.verifiers:
        world.open(key)
    result = world.finish_round()
    assert result.outcome == Outcome.NO_IMPROVEMENT
    assert lost(world, FIRST) == 0  # honest, only not better
    assert len(result.verifiers) == 4  # who worked is paid
    assert world.job.deposit + world.job.minted == 99_000 - 4 * 2_475


@pytest.mark.parametrize(("better_by", "outcome"), [(9, Outcome.NO_IMPROVEMENT), (10, None)])
def test_margin_is_exact(better_by: int, outcome: Outcome | None) -> None:
    world = World()
    world.to_attest({FIRST: parameters_with(1_000 - better_by)})
    for key in world.verifiers:
        world.attest(key)
    world.to(Phase.ATTEST_REVEAL)
    for key in world.verifiers:
        world.open(key)
    world.step()
    if outcome is None:
        assert world.round.phase == Phase.CONFIRM
    else:
        assert (world.round.phase, world.round.pending) == (Phase.CHALLENGE, outcome)
        assert world.finish_round().outcome == outcome


def test_lying_trainer_is_found_out_and_the_honest_minimum_wins() -> None:
    world = World()
    world.to_reveal(ALL_THREE)
    world.reveal(FIRST, GOOD, claim=1)  # claims to be the best
    world.reveal(SECOND, BEST)
    world.reveal(THIRD, BETTER)
    world.to(Phase.ATTEST_COMMIT)
    finish_honestly(world)
    assert world.last.parameters == BEST
    assert lost(world, FIRST) == TERMS.trainer_bond


def test_equal_losses_are_decided_by_the_earlier_commitment() -> None:
    world = World()
    world.commit(THIRD, parameters_with(500, 3))
    world.step()
    world.commit(FIRST, parameters_with(500, 1))
    world.commit(SECOND, parameters_with(500, 2))
    world.commit_beacon()
    world.to(Phase.BEACON)
    world.reveal_beacon()
    world.to(Phase.REVEAL)
    for salt, key in enumerate(TRAINERS, 1):
        world.reveal(key, parameters_with(500, salt))
    world.to(Phase.ATTEST_COMMIT)
    finish_honestly(world)
    assert world.last.trainer == THIRD.account


# --- verifiers ---------------------------------------------------------------------------------


def test_lazy_verifier_is_slashed_and_changes_nothing() -> None:
    world = World()
    world.to_attest(ALL_THREE)
    lazy, *honest = world.verifiers
    guess = tuple(Entry(True, e.loss, ZERO) for e in world.findings())  # claims without the trace
    world.attest(lazy, guess)
    for key in honest:
        world.attest(key)
    world.to(Phase.ATTEST_REVEAL)
    world.open(lazy, guess)
    for key in honest:
        world.open(key)
    world.to(Phase.CONFIRM)
    assert world.round.winner == SECOND.account
    assert world.round.verified == tuple(sorted(k.account for k in honest))
    assert bond_of(world, lazy) == 1_000  # what is certified may still be refuted
    confirm_honestly(world)
    assert bond_of(world, lazy) == 500


def test_copying_verifier_cannot_open_what_it_copied() -> None:
    world = World()
    world.to_attest(ALL_THREE)
    copier, *honest = world.verifiers
    for key in honest:
        world.attest(key)
    world.step()
    stolen = next(a for a in world.round.attestations if a.verifier == honest[0].account)
    job = world.job_name
    world.must(copier, verifiers.AttestCommit(job, 0, stolen.commitment))
    assert world.round.phase == Phase.ATTEST_REVEAL
    world.open(honest[0])
    world.step()
    world.open(copier)  # the findings are public now
    (receipt,) = world.step()
    assert (receipt.code, receipt.rule) == (Code.MISMATCH, "L23")
    for key in honest[1:]:
        world.open(key)
    world.to(Phase.CONFIRM)
    assert bond_of(world, copier) == 950  # opened nothing
    assert copier.account not in world.round.verified


def test_two_lazy_verifiers_of_four_stop_the_round_and_frame_nobody() -> None:
    world = World()
    world.to_attest(ALL_THREE)
    guess = tuple(Entry(True, 1, ZERO) for _ in world.findings())
    plan = [(k, guess if i < 2 else world.findings()) for i, k in enumerate(world.verifiers)]
    for key, entries in plan:
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key, entries in plan:
        world.open(key, entries)
    result = world.finish_round()
    assert result.outcome == Outcome.NOT_CERTIFIED
    assert [lost(world, key) for key in TRAINERS] == [0, 0, 0]
    assert all(bond_of(world, key) == 1_000 for key in NODES)
    assert world.job.parameters == parameters_with(1_000)


@pytest.mark.parametrize("saying", [2, 3])
def test_unavailable_only_by_more_than_two_thirds(saying: int) -> None:
    world = World()
    world.to_attest({FIRST: BEST, SECOND: GOOD})
    at = 1 + [c.trainer for c in world.round.candidates].index(FIRST.account)
    truths = world.findings()
    partly = (*truths[:at], UNAVAILABLE, *truths[at + 1 :])
    plan = [(k, partly if i < saying else truths) for i, k in enumerate(world.verifiers)]
    for key, entries in plan:
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key, entries in plan:
        world.open(key, entries)
    world.to(Phase.CONFIRM)
    assert world.round.winner == SECOND.account
    confirm_honestly(world)
    assert lost(world, FIRST) == (TERMS.trainer_bond if saying == 3 else 0)
    assert all(bond_of(world, key) == 1_000 for key in NODES)


# --- phases and the beacon ---------------------------------------------------------------------


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_reveal_is_in_time_only_before_the_deadline(late: int) -> None:
    world = World()
    world.to_reveal(ALL_THREE)
    deadline = world.round.deadline
    number = world.round.number
    world.until(deadline + late - 1)
    job = world.job_name
    found = truth(GOOD, world.fold)
    receipt = world.do(FIRST, trainers.Reveal(job, number, GOOD, SALT, found.loss))
    assert world.state.height == deadline + late
    if late < 0:
        assert receipt.code == Code.OK
        assert [c.trainer for c in world.round.candidates] == [FIRST.account]
        assert world.round.phase == Phase.ATTEST_COMMIT
    else:
        assert receipt.code == Code.PHASE
        assert receipt.rule in ("L1", "L11")
        assert lost(world, FIRST) == TERMS.trainer_bond


def test_phases_are_half_open_and_each_has_its_length() -> None:
    world = World()
    assert (world.round.phase, world.round.start) == (Phase.COMMIT, 1)
    world.commit(FIRST, GOOD)
    world.commit_beacon()
    assert [r.code for r in world.step()] == [Code.OK] * 5
    world.until(2)
    assert world.round.phase == Phase.COMMIT
    world.until(3)  # COMMIT was open at heights 1, 2, 3
    assert (world.round.phase, world.round.deadline) == (Phase.BEACON, 7)
    receipt = world.do(SECOND, trainers.Commit(world.job_name, 0, b"c" * 32))
    assert (receipt.code, receipt.rule) == (Code.PHASE, "L1")


def test_message_for_another_round_is_refused() -> None:
    world = World()
    receipt = world.do(FIRST, trainers.Commit(world.job_name, 1, b"c" * 32))
    assert (receipt.code, receipt.rule) == (Code.PHASE, "L11")


@pytest.mark.parametrize(("opening", "decided"), [(4, True), (3, True), (2, False)])
def test_beacon_needs_more_than_two_thirds(opening: int, decided: bool) -> None:
    world = World()
    world.commit(FIRST, GOOD)
    world.commit_beacon()
    world.to(Phase.BEACON)
    staked = {name: v.tokens for name, v in world.state.validators.items()}
    world.reveal_beacon(WITNESSES[:opening])
    while world.round.number == 0 and world.round.phase == Phase.BEACON:
        world.step()
    if decided:
        assert world.round.phase == Phase.REVEAL
    else:
        assert world.last.outcome == Outcome.NO_BEACON
        assert lost(world, FIRST) == 0
    for key in WITNESSES[opening:]:
        validator = world.state.validators.get(key.account)
        assert validator is not None
        assert validator.tokens < staked[key.account] * 96 // 100  # 50 thousandths, less rewards


def test_withholding_chooses_between_two_beacons_at_most_and_trainers_cannot_see_them() -> None:
    beacons = set()
    for opening in (WITNESSES, WITNESSES[:3]):
        world = World()
        world.commit(FIRST, GOOD)
        world.commit_beacon()
        world.to(Phase.BEACON)
        assert world.round.beacon == ZERO
        world.reveal_beacon(opening)
        world.to(Phase.REVEAL)
        beacons.add(world.round.beacon)
    assert len(beacons) == 2 and ZERO not in beacons


def test_beacon_secret_is_bound_to_its_witness() -> None:
    world = World()
    world.commit(FIRST, GOOD)
    world.commit_beacon()
    world.to(Phase.BEACON)
    from chain.beacon import BeaconCommit, BeaconReveal

    stolen = BeaconReveal(world.job_name, 0, secret_of(WITNESSES[1], 0))
    receipt = world.do(WITNESSES[0], stolen)
    assert (receipt.code, receipt.rule) == (Code.MISMATCH, "L17")
    receipt = world.do(FIRST, stolen)
    assert (receipt.code, receipt.rule) == (Code.NOT_ALLOWED, "L16")
    receipt = world.do(WITNESSES[0], BeaconCommit(world.job_name, 0, b"c" * 32))
    assert receipt.code == Code.PHASE


def test_rounds_without_parties_are_skipped() -> None:
    world = World()
    assert world.finish_round().outcome == Outcome.NO_CANDIDATE
    world = World(genesis(nodes=6))
    world.commit(FIRST, GOOD)
    world.commit_beacon()
    world.to(Phase.BEACON)
    world.reveal_beacon()
    world.step()
    assert world.last.outcome == Outcome.NO_COMMITTEE
    assert lost(world, FIRST) == 0


def test_trainers_and_late_nodes_judge_nobody() -> None:
    """A node that trains, and one that joined after the round began, are in no committee."""
    world = World()
    candidates = {NODES[0]: GOOD}
    for key, parameters in candidates.items():
        world.commit(key, parameters)
    world.commit_beacon()
    world.to(Phase.BEACON)
    world.reveal_beacon()
    world.step()
    assert world.last.outcome == Outcome.NO_COMMITTEE  # six nodes are left for seven seats


def test_everything_may_end_early_but_the_challenge_window() -> None:
    world = World()
    world.to_challenge(ALL_THREE)
    assert world.state.height == 6  # one block each
    final = world.round.deadline
    assert final == 7 + TIMING.challenge
    assert world.finish_round().outcome == Outcome.FINAL
    assert world.state.height == final - 1


def test_duplicates_and_strangers_are_refused() -> None:
    world = World()
    job = world.job_name
    world.commit(FIRST, GOOD)
    world.commit(FIRST, BEST)
    world.send(SECOND, trainers.Commit(job, 0, ZERO))
    world.send(SECOND, trainers.Commit(digest_of("x"), 0, b"c" * 32))
    found = [(r.code, r.rule) for r in world.step()]
    assert found == [
        (Code.OK, ""),
        (Code.DUPLICATE, "L15"),
        (Code.MALFORMED, "L14"),
        (Code.UNKNOWN, "L3"),
    ]
    world = World()
    world.to_attest(ALL_THREE)
    stranger = next(k for k in NODES if k not in world.verifiers)
    world.attest(stranger)
    world.attest(world.verifiers[0])
    world.attest(world.verifiers[0])
    assert [r.rule for r in world.step()] == ["L22", "", "L22"]
    for key in world.verifiers[1:]:
        world.attest(key)
    world.to(Phase.ATTEST_REVEAL)
    world.open(world.verifiers[0], world.findings()[:-1])
    world.open(world.verifiers[1], (Entry(False, 1, ZERO), *world.findings()[1:]))
    assert [r.code for r in world.step()] == [Code.MALFORMED, Code.MALFORMED]
