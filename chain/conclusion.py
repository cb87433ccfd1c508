"""The end of a round: its result, its pay, and the end of a job."""

from __future__ import annotations

from dataclasses import replace

from chain import ledger, phases
from chain.codec import to_value
from chain.hashes import digest_of
from chain.records import ZERO, Job, JobStatus, Outcome, Result, Round
from chain.state import State


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
        parameters=found.candidates[0].parameters if is_final else job.parameters,
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


def conclude(state: State, job_name: bytes, found: Round, outcome: Outcome) -> State:
    """L40: ends a round. A failed one changes no parameters; either way the next may begin."""
    job = phases.get_job(state, job_name)
    if outcome not in (Outcome.FINAL, Outcome.REFUTED, Outcome.NOT_CONFIRMED):
        found = replace(found, winner=ZERO)
    if outcome in (Outcome.NO_CANDIDATE, Outcome.NO_BEACON, Outcome.NO_COMMITTEE):
        # L30: nobody could be judged; bonds that are still held go back.
        for candidate in found.candidates:
            state = ledger.move(state, ledger.BONDS, candidate.trainer, job.terms.trainer_bond)
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
