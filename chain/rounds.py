"""A round of LBFT from its opening on, phase by phase."""

from __future__ import annotations

from collections.abc import Callable

from chain import beacon, confirmation, phases, selection
from chain.context import Execution
from chain.records import Draw, JobStatus, Phase, Round
from chain.state import State


def open_round(state: State, job: bytes, height: int) -> State:
    """L10: a round begins at the block after ``height``, from the job's parameters; the witnesses
    of this block owe the beacon."""
    found = phases.get_job(state, job)
    made = Round(
        number=found.done,
        phase=Phase.COMMIT,
        start=height + 1,
        deadline=height + 1 + phases.length(found.terms, Phase.COMMIT),
        parent=found.parameters,
        draws=tuple(Draw(seat.account, seat.power) for seat in state.schedule.current),
    )
    return phases.put(state, job, made)


def is_complete(state: State, job: bytes, found: Round) -> bool:
    """L12: whether every message that a phase waits for is in, so that it may end early. The
    challenge window never does: nobody knows who might still speak."""
    match found.phase:
        case Phase.COMMIT:
            most = phases.get_job(state, job).terms.max_candidates
            full = len(found.candidates) >= most
            return full and all(beacon.has_committed(draw) for draw in found.draws)
        case Phase.BEACON:
            return all(beacon.has_opened(d) for d in found.draws if beacon.has_committed(d))
        case Phase.REVEAL:
            return all(candidate.revealed for candidate in found.candidates)
        case Phase.ATTEST_COMMIT:
            return all(selection.has_committed(a) for a in found.attestations)
        case Phase.ATTEST_REVEAL:
            return all(a.opened for a in found.attestations if selection.has_committed(a))
        case Phase.CONFIRM:
            return all(c.sent for c in found.confirmations)
        case Phase.CHALLENGE:
            return False


LEAVE: dict[Phase, Callable[[State, bytes, Round, int], State]] = {
    Phase.COMMIT: beacon.leave_commit,
    Phase.BEACON: beacon.leave_beacon,
    Phase.REVEAL: selection.leave_reveal,
    Phase.ATTEST_COMMIT: selection.leave_attest_commit,
    Phase.ATTEST_REVEAL: selection.leave_attest_reveal,
    Phase.CONFIRM: confirmation.leave_confirm,
    Phase.CHALLENGE: confirmation.leave_challenge,
}


def advance_round(state: State, job: bytes, height: int) -> State:
    """L12: at the end of a block, leaves a phase that is out of time or has nothing to wait for.
    At most one phase ends in a block."""
    found = state.rounds.get(job)
    if found is None:
        # The challenges of this block have refuted its winner.
        return open_next(state, job, height)
    if height + 1 < found.deadline and not is_complete(state, job, found):
        return state
    return open_next(LEAVE[found.phase](state, job, found, height), job, height)


def open_next(state: State, job: bytes, height: int) -> State:
    """L10: a decided round is followed by the next."""
    after = state.jobs.get(job)
    if job in state.rounds or after is None or after.status != JobStatus.RUNNING:
        return state
    return open_round(state, job, height)


def advance_rounds(state: State, execution: Execution, height: int) -> State:
    """Challenges first, then the rounds of all jobs, by ascending name."""
    open_rounds = state.rounds
    state = confirmation.settle_challenges(state, execution)
    for job, _ in open_rounds.items():
        state = advance_round(state, job, height)
    return state
