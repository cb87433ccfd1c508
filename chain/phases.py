"""When a message of a round may stand in a block: one function for every phase."""

from __future__ import annotations

from dataclasses import replace

from chain.context import Context
from chain.records import Candidate, Job, JobStatus, Phase, Round, Terms
from chain.refusal import Code, Refused, require
from chain.state import State


def get_job(state: State, name: bytes) -> Job:
    """A job that runs; refuses others. L3."""
    found = state.jobs.get(name)
    if found is None or found.status != JobStatus.RUNNING:
        raise Refused(Code.UNKNOWN, "L3", "there is no such running job")
    return found


def is_open(found: Round, phase: Phase, height: int) -> bool:
    """L1: whether a message of a phase may stand in the block of a height: from the one at which
    the phase began up to, and without, its deadline."""
    return found.phase == phase and found.start <= height < found.deadline


def get_open(state: State, context: Context, job: bytes, number: int, phase: Phase) -> Round:
    """The open round of a job in a phase; refuses another round (L11) or phase (L1)."""
    found = state.rounds.get(job)
    if found is None:
        raise Refused(Code.UNKNOWN, "L3", "the job has no open round")
    require(
        found.number == number,
        Code.PHASE,
        "L11",
        f"this is round {found.number}, received a message for round {number}",
    )
    require(
        is_open(found, phase, context.height),
        Code.PHASE,
        "L1",
        f"the phase is {found.phase.name.lower()} until height {found.deadline}",
    )
    return found


def winner_of(found: Round) -> Candidate:
    """The candidate that was selected; only from CONFIRM on."""
    return next(c for c in found.candidates if c.trainer == found.winner)


def put(state: State, job: bytes, changed: Round) -> State:
    """The state with a changed round."""
    return state.but(rounds=state.rounds.set(job, changed))


def length(terms: Terms, phase: Phase) -> int:
    """How many blocks a phase may last."""
    found: int = getattr(terms.timing, phase.name.lower())
    return found


def begin(state: State, job: bytes, changed: Round, phase: Phase, height: int) -> State:
    """L13: enters a phase at the end of the block of a height: the next block is its first."""
    deadline = height + 1 + length(get_job(state, job).terms, phase)
    return put(state, job, replace(changed, phase=phase, deadline=deadline))
