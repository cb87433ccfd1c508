"""Confirmation and challenge: one honest party is enough."""

from __future__ import annotations

from dataclasses import replace

from chain import confirmation, evidence, ledger
from chain.envelope import seal
from chain.keys import Key
from chain.records import UNAVAILABLE, ZERO, Entry, Outcome, Phase
from chain.refusal import Code
from tests.chain_world import (
    NODES,
    OWNER,
    PARAMETERS,
    RICH,
    START,
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
    # What was certified stands: they lied to stop the round.
    liars = [key for key in NODES if bond_of(world, key) == 500]
    assert len(liars) == 3 and not {k.account for k in liars} & set(result.verifiers)


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
    receipt = world.do(RICH, confirmation.Dispute(world.job_name, 0, 1, b"look"))
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
        world.send(RICH, confirmation.Dispute(job, 0, 1, b"look"))
        world.send(OWNER, confirmation.Dispute(job, 0, 1, b"noise"))
        world.step()
        assert world.balance(RICH) == before - (count + 1) * (100 + TERMS.challenge_bond)
    assert world.finish_round().outcome == Outcome.FINAL


# --- what does not win can be disputed too -----------------------------------------------------


def certify(world: World, false: dict[int, Entry], said: dict[Key, int] | None = None) -> list[Key]:
    """All verifiers sign the truth but for some subjects; returns them. FIRST and SECOND train."""
    world.to_reveal({FIRST: GOOD, SECOND: BEST})
    for key, parameters in ((FIRST, GOOD), (SECOND, BEST)):
        world.reveal(key, parameters, (said or {}).get(key))
    world.to(Phase.ATTEST_COMMIT)
    entries = tuple(false.get(i, entry) for i, entry in enumerate(world.findings()))
    keys = world.verifiers
    for key in keys:
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key in keys:
        world.open(key, entries)
    return keys


def place(world: World, key: Key) -> int:
    """The number of a trainer among the subjects of a round."""
    return 1 + [c.trainer for c in world.round.candidates].index(key.account)


def dispute(world: World, subject: int) -> None:
    world.must(RICH, confirmation.Dispute(world.job_name, 0, subject, b"look"))


FALSE = Entry(True, 2_000, ZERO)


def places() -> dict[Key, int]:
    world = World()
    world.to_attest({FIRST: GOOD, SECOND: BEST})
    return {key: place(world, key) for key in (FIRST, SECOND)}


def test_verifiers_who_rob_the_best_candidate_are_refuted_and_it_keeps_its_bond() -> None:
    world = World()
    best = places()[SECOND]
    signers = certify(world, {best: FALSE})
    world.to(Phase.CONFIRM)
    assert world.round.winner == FIRST.account  # the second best: its loss is true
    confirmers = world.confirmers
    for key in confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    dispute(world, best)
    assert world.last.outcome == Outcome.REFUTED
    assert [bond_of(world, key) for key in signers] == [500] * 4
    assert [bond_of(world, key) for key in confirmers] == [1_000] * 3
    assert lost(world, FIRST) == lost(world, SECOND) == 0
    assert world.job.parameters == parameters_with(1_000)


def test_a_false_loss_of_the_parent_is_refuted_before_no_improvement_is_final() -> None:
    world = World()
    signers = certify(world, {0: Entry(True, 1, ZERO)})
    world.step()
    assert (world.round.phase, world.round.pending) == (Phase.CHALLENGE, Outcome.NO_IMPROVEMENT)
    before = world.job.deposit
    dispute(world, 0)
    assert world.last.outcome == Outcome.REFUTED
    assert [bond_of(world, key) for key in signers] == [500] * 4
    assert world.job.deposit == before  # nobody is paid
    assert lost(world, FIRST) == lost(world, SECOND) == 0


def test_a_trainer_that_said_what_was_refuted_loses_its_bond_though_it_did_not_win() -> None:
    world = World()
    place_of = places()
    certify(world, {place_of[FIRST]: Entry(True, 950, ZERO)}, {FIRST: 950})
    world.to(Phase.CONFIRM)
    assert world.round.winner == SECOND.account
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    dispute(world, place_of[FIRST])
    assert world.last.outcome == Outcome.REFUTED
    assert lost(world, FIRST) == TERMS.trainer_bond
    assert lost(world, SECOND) == 0


def test_a_false_trace_of_a_true_loss_costs_its_signers_and_not_the_trainer() -> None:
    """A committee cannot take an honest trainer's bond by inventing a trace and refuting it."""
    world = World()
    world.to_attest({FIRST: GOOD})
    parent, own = world.findings()
    false = (parent, replace(own, trace=ZERO))
    signers = world.verifiers
    for key in signers:
        world.attest(key, false)
    world.to(Phase.ATTEST_REVEAL)
    for key in signers:
        world.open(key, false)
    world.to(Phase.CONFIRM)
    signers += world.confirmers
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    world.must(RICH, confirmation.Dispute(world.job_name, 0, 1, b"look"))
    assert world.last.outcome == Outcome.REFUTED
    assert lost(world, FIRST) == 0
    assert [bond_of(world, key) for key in signers] == [500] * len(signers)


def test_confirmers_that_refuse_a_false_winner_can_refute_it() -> None:
    world = World()
    world.to_reveal({FIRST: GOOD})
    world.reveal(FIRST, GOOD, claim=1)
    world.to(Phase.ATTEST_COMMIT)
    false = (world.findings()[0], Entry(True, 1, ZERO))
    signers = world.verifiers
    for key in signers:
        world.attest(key, false)
    world.to(Phase.ATTEST_REVEAL)
    for key in signers:
        world.open(key, false)
    world.to(Phase.CONFIRM)
    honest = world.confirmers
    for key in honest:
        world.confirm(key, loss=900 + world.fold[0])
    world.to(Phase.CHALLENGE)
    assert world.round.pending == Outcome.NOT_CONFIRMED
    dispute(world, 1)
    assert world.last.outcome == Outcome.REFUTED
    assert [bond_of(world, key) for key in signers] == [500] * 4
    assert [bond_of(world, key) for key in honest] == [1_000] * 3


def test_who_signed_the_false_entry_pays_whatever_it_said_of_the_parent() -> None:
    """One of four liars calls the parent unavailable, so it is not among the verified."""
    world = World()
    world.to_reveal({FIRST: GOOD})
    world.reveal(FIRST, GOOD, claim=1)
    world.to(Phase.ATTEST_COMMIT)
    parent, false = world.findings()[0], Entry(True, 1, ZERO)
    signers = world.verifiers
    plan = {key: (UNAVAILABLE if i == 0 else parent, false) for i, key in enumerate(signers)}
    for key, entries in plan.items():
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key, entries in plan.items():
        world.open(key, entries)
    world.to(Phase.CONFIRM)
    assert len(world.round.verified) == 3
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    dispute(world, 1)
    assert [bond_of(world, key) for key in signers] == [500] * 4


def test_an_honest_minority_is_not_slashed_before_the_majority_is_refuted() -> None:
    world = World()
    world.to_attest({FIRST: GOOD})
    honest, *liars = world.verifiers
    false = (world.findings()[0], Entry(True, 5, ZERO))
    plan = {honest: world.findings(), **dict.fromkeys(liars, false)}
    for key, entries in plan.items():
        world.attest(key, entries)
    world.to(Phase.ATTEST_REVEAL)
    for key, entries in plan.items():
        world.open(key, entries)
    world.step()
    assert world.round.pending == Outcome.NO_IMPROVEMENT  # the claim was called a lie
    dispute(world, 1)
    assert bond_of(world, honest) == 1_000
    assert [bond_of(world, key) for key in liars] == [500] * 3
    assert lost(world, FIRST) == 0


def test_only_what_is_certified_can_be_disputed() -> None:
    world = World()
    best = places()[SECOND]
    certify(world, {best: UNAVAILABLE})
    world.to(Phase.CONFIRM)
    for key in world.confirmers:
        world.confirm(key)
    world.to(Phase.CHALLENGE)
    for subject in (best, 3, 1 << 62):
        receipt = world.do(RICH, confirmation.Dispute(world.job_name, 0, subject, b"look"))
        assert (receipt.code, receipt.rule) == (Code.UNKNOWN, "L33")


def test_disputes_of_all_jobs_are_judged_in_the_order_in_which_they_came() -> None:
    """A job whose name comes first cannot keep the referee from another."""
    made = genesis(replace(PARAMETERS, max_referee_work=5_000_000), nodes=7)
    terms = replace(TERMS, verifiers=1, confirmers=1, timing=replace(TERMS.timing, challenge=9))
    opening = replace(made.jobs[0], job=replace(made.jobs[0].job, terms=terms))
    world = World(replace(made, jobs=(opening, opening)))
    names = [name for name, _ in world.state.jobs.items()]
    for name in names:
        # Both rounds straight to CHALLENGE, with a false loss.
        found = world.state.rounds.get(name)
        assert found is not None
        entry = Entry(True, 1, ZERO)
        waiting = replace(
            found,
            phase=Phase.CHALLENGE,
            deadline=12,
            certified=(entry,),
            pending=Outcome.NOT_CERTIFIED,
        )
        world.state = world.state.but(rounds=world.state.rounds.set(name, waiting))
    low, high = names
    for _ in range(3):
        world.send(OWNER, confirmation.Dispute(low, 0, 0, b"noise"))
    world.step()
    world.send(OWNER, confirmation.Dispute(low, 0, 0, b"noise"))
    world.send(RICH, confirmation.Dispute(high, 0, 0, b"look"))
    outcomes = []
    for _ in range(4):
        world.step()
        job = world.state.jobs.get(high)
        assert job is not None
        outcomes.append(job.done)
    # One a block: two that came before, one of the same block by name, then it.
    assert outcomes == [0, 0, 0, 1]


def test_a_job_whose_disputes_fit_into_no_block_is_refused() -> None:
    parameters = replace(PARAMETERS, max_referee_work=4_999_999)
    world = World(genesis(parameters, terms=None))
    receipt = world.do(RICH, START)
    assert (receipt.code, receipt.rule) == (Code.LIMIT, "L5")


def test_challenges_wait_for_the_referee_and_final_waits_for_them() -> None:
    world = World(genesis(replace(PARAMETERS, max_referee_work=5_000_000)))
    world.to_challenge(ALL_THREE)
    job = world.job_name
    while world.round.deadline > world.state.height + 2:
        world.step()
    for key in (RICH, OWNER, *WITNESSES[:2]):
        world.send(key, confirmation.Dispute(job, 0, 1, b"noise"))
    assert [r.code for r in world.step()] == [Code.OK] * 4
    assert len(world.round.challenges) == 3  # one fits into a block
    receipt = world.do(RICH, confirmation.Dispute(job, 0, 1, b"look"))
    assert receipt.code == Code.PHASE  # the window is over
    assert len(world.round.challenges) == 2
    world.step()
    world.step()
    assert world.last.outcome == Outcome.FINAL
