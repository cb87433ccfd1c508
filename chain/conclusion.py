"""The end of a round: its result, its pay, and the end of a job."""

from __future__ import annotations

from dataclasses import replace

from chain import ledger, phases, slashing
from chain.codec import to_value
from chain.hashes import digest_of
from chain.records import (
    UNAVAILABLE,
    ZERO,
    Candidate,
    Entry,
    Job,
    JobStatus,
    Outcome,
    Result,
    Round,
)
from chain.state import State

Truths = tuple[Entry | None, ...]
"""What is certified of the parent and of each candidate; None where there was no quorum."""


def result_of(job_name: bytes, job: Job, found: Round, outcome: Outcome) -> Result:
    """L40: the block of the subchain that a round makes, linked to the one before."""
    is_final = outcome == Outcome.FINAL
    signed = [c for c in found.confirmations if c.sent]
    agreed = [c.confirmer for c in signed if (c.loss, c.trace) == (found.loss, found.trace)]
    return Result(
        job=job_name,
        number=found.number,
        previous=job.last,
        outcome=outcome,
        parameters=phases.winner_of(found).parameters if is_final else job.parameters,
        loss=found.loss,
        parent_loss=found.parent_loss,
        fold=found.fold,
        trace=found.trace,
        trainer=found.winner,
        verifiers=found.verified,
        confirmers=tuple(agreed),
    )


def result_key(result: Result) -> bytes:
    """The hash of a subchain's block. L40."""
    return digest_of("result", to_value(result))


def pay(state: State, job_name: bytes, to: bytes, amount: int) -> State:
    """L41: from the job's deposit and minted share, in the proportion in which they are left."""
    if amount == 0:
        return state
    job = phases.get_job(state, job_name)
    minted = amount * job.minted // (job.deposit + job.minted)
    left = replace(job, minted=job.minted - minted, deposit=job.deposit - (amount - minted))
    state = ledger.move(state, ledger.ESCROW, to, amount)
    return state.but(jobs=state.jobs.set(job_name, left)).note("paid", to, amount)


def pay_round(state: State, job_name: bytes, result: Result) -> State:
    """L42, L43: a final round pays trainer, verifiers and confirmers; a round that found nothing
    better pays its verifiers. Every seat has a fixed part, so that silence earns no one more."""
    job, parameters = phases.get_job(state, job_name), state.parameters
    budget = (job.deposit + job.minted) // (job.terms.rounds - job.done)
    trainer = budget * parameters.trainer_share // 1000
    verifiers = budget * parameters.verifier_share // 1000
    confirmers = budget - trainer - verifiers
    if result.outcome in (Outcome.FINAL, Outcome.NO_IMPROVEMENT):
        for name in result.verifiers:
            state = pay(state, job_name, name, verifiers // job.terms.verifiers)
    if result.outcome == Outcome.FINAL:
        state = pay(state, job_name, result.trainer, trainer)
        for name in result.confirmers:
            state = pay(state, job_name, name, confirmers // job.terms.confirmers)
    return state


def forfeit(state: State, job: bytes, candidate: Candidate, why: str) -> State:
    """L21, L25, L26: a trainer's bond is burned."""
    bond = phases.get_job(state, job).terms.trainer_bond
    return ledger.burn(state, ledger.BONDS, bond).note(why, candidate.trainer, bond)


def give_back(state: State, job: bytes, candidate: Candidate) -> State:
    """L30: a trainer that did no wrong has its bond back."""
    bond = phases.get_job(state, job).terms.trainer_bond
    return ledger.move(state, ledger.BONDS, candidate.trainer, bond)


def settle_bonds(state: State, job: bytes, found: Round, truths: Truths) -> State:
    """L25, L26, L30: what becomes of the trainers' bonds when a round is over and what is certified
    stands."""
    is_measured = truths[0] is not None and truths[0].available
    for candidate, truth in zip(found.candidates, truths[1:], strict=True):
        if truth == UNAVAILABLE and is_measured:
            # L25: only more than two thirds can say so: fewer cannot frame a trainer. Where the
            # parent was not found either, the test data may be what is missing.
            state = forfeit(state, job, candidate, "unavailable")
        elif truth is not None and truth.available and truth.loss != candidate.claim:
            # L26: the claim was a lie.
            state = forfeit(state, job, candidate, "false claim")
        else:
            state = give_back(state, job, candidate)
    return state


def is_false(entry: Entry, truth: Entry | None) -> bool:
    """L27: whether a finding contradicts a certified one. To have found a thing unavailable is no
    fault, whatever the others found."""
    return entry.available and truth not in (None, UNAVAILABLE, entry)


def slash_liars(state: State, found: Round, truths: Truths) -> State:
    """L27, L31: those who signed another finding than the certified one, when nobody could refute
    it until the end."""
    share = state.parameters.attestation_slash
    for attestation in found.attestations:
        pairs = zip(attestation.entries, truths, strict=True) if attestation.opened else ()
        if any(is_false(entry, truth) for entry, truth in pairs):
            state = slashing.slash_node(state, attestation.verifier, share)
    for own in found.confirmations:
        if own.sent and (own.loss, own.trace) != (found.loss, found.trace):
            state = slashing.slash_node(state, own.confirmer, share)
    return state


def conclude(state: State, job_name: bytes, found: Round, outcome: Outcome) -> State:
    """L40: ends a round. A failed one changes no parameters; either way the next may begin."""
    job = phases.get_job(state, job_name)
    if outcome not in (Outcome.FINAL, Outcome.REFUTED, Outcome.NOT_CONFIRMED):
        found = replace(found, winner=ZERO)
    if found.certified and outcome != Outcome.REFUTED:
        state = settle_bonds(state, job_name, found, found.certified)
        state = slash_liars(state, found, found.certified)
    else:
        # L30: nobody was judged, or what was certified is worth nothing.
        for candidate in found.candidates:
            state = give_back(state, job_name, candidate)
    result = result_of(job_name, job, found, outcome)
    state = pay_round(state, job_name, result)
    key = result_key(result)
    job = replace(
        phases.get_job(state, job_name),
        parameters=result.parameters,
        done=job.done + 1,
        last=key,
    )
    state = state.but(
        jobs=state.jobs.set(job_name, job),
        rounds=state.rounds.remove(job_name),
        results=state.results.set(key, result),
    ).note(f"round {outcome.name.lower().replace('_', ' ')}", key, found.loss)
    is_over = job.stopping or job.done >= job.terms.rounds
    return finish(state, job_name, job) if is_over else state


def finish(state: State, job_name: bytes, job: Job) -> State:
    """L44, L45: what is left of the deposit goes back to the owner, what is left of the minted
    share is burned, and a notice says so."""
    state = ledger.move(state, ledger.ESCROW, job.owner, job.deposit)
    state = ledger.burn(state, ledger.ESCROW, job.minted)
    done = replace(job, status=JobStatus.FINISHED, deposit=0, minted=0)
    state = state.but(jobs=state.jobs.set(job_name, done))
    return state.note("job finished", job_name, job.deposit)
