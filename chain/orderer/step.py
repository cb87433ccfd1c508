"""One step of a validator: ``step(state, event) -> (state, actions)``, without a clock, a socket or
a file."""

from __future__ import annotations

from chain.codec import encode
from chain.orderer.intake import height_of, is_behind, take
from chain.orderer.messages import Ballot
from chain.orderer.rules import apply_rules, begin_height, cast, start_round
from chain.orderer.state import (
    Action,
    Applied,
    Broadcast,
    Config,
    Event,
    Received,
    Safety,
    Schedule,
    State,
    Step,
    Timeout,
    Wait,
)
from chain.orderer.work import Work
from chain.records import ZERO
from chain.votes import NIL, VoteKind


def first_state(config: Config) -> tuple[State, tuple[Action, ...]]:
    """A validator before the first block."""
    work = Work(config, State(0, (), -1))
    begin_height(work, 1)
    work.act(Schedule(Wait.GOSSIP, 0, 0, config.gossip))
    return work.done()


def step(config: Config, state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """The state after an event, and what has to be done, in order. ``config`` is only asked."""
    work = Work(config, state)
    match event:
        case Received():
            take(work, event)
        case Timeout():
            on_timeout(work, event)
        case Applied(height):
            if height == state.height and state.decided is not None:
                work.put(applied=True)
    advance(work)
    return work.done()


def advance(work: Work) -> None:
    """Applies rules until none applies, through heights that are over."""
    while True:
        state = work.state
        if state.decided is None:
            if not apply_rules(work):
                return
        elif state.applied and is_height_over(work):
            begin_height(work, state.height + 1)
            # Later heights first: who takes this one in sees then how far the others are.
            for early in sorted(state.early, key=lambda event: -height_of(event.message)):
                take(work, early)
        elif state.applied and not has_fired(state, Wait.PROPOSE):
            # A moment for precommits that are on their way: they are signs of presence.
            work.fire(Wait.PROPOSE, -1)
            work.act(Schedule(Wait.COMMIT, state.height, 0, work.config.base))
            return
        else:
            return


def is_height_over(work: Work) -> bool:
    """Whether nothing is waited for after a decision: every precommit is in, or the time is over,
    or the next height is decided already, so that its block names the signers of this one."""
    state = work.state
    return is_commit_complete(work) or has_fired(state, Wait.COMMIT) or is_behind(state)


def has_fired(state: State, wait: Wait) -> bool:
    """Whether a mark of the decided height is set."""
    return (wait, -1) in state.fired


def is_commit_complete(work: Work) -> bool:
    """Whether every validator has precommitted the decided block."""
    decided = work.state.decided
    return decided is not None and len(decided.votes) == len(work.state.members)


def on_timeout(work: Work, event: Timeout) -> None:
    """Lines 57 to 67, the end of a height, and gossip."""
    state, config = work.state, work.config
    if event.wait == Wait.GOSSIP:
        work.act(Broadcast(work.status()))
        work.act(Schedule(Wait.GOSSIP, 0, 0, config.gossip))
        return
    if event.height != state.height:
        return
    if event.wait == Wait.COMMIT:
        if state.decided is not None:
            work.fire(Wait.COMMIT, -1)
    elif state.decided is not None or event.round != state.round:
        return
    elif event.wait == Wait.PROPOSE and state.step == Step.PROPOSE:
        cast(work, VoteKind.PREVOTE, NIL)  # line 57
    elif event.wait == Wait.PREVOTE and state.step == Step.PREVOTE:
        cast(work, VoteKind.PRECOMMIT, NIL)  # line 61
    elif event.wait == Wait.PRECOMMIT:
        start_round(work, state.round + 1)  # line 65


def restore(
    config: Config, below: tuple[State, int], record: Safety | None
) -> tuple[State, tuple[Action, ...]]:
    """A validator after a crash. ``below``: a state that knows the last decided height (its
    certificate and validators), and the height to go on with. ``record``: the last that reached the
    disk; it counts if it is of that height."""
    known, height = below
    work = Work(config, known)
    if record is None or record.height != height:
        begin_height(work, height)
    else:
        begin_height(work, height, enter=False)
        work.put(
            round=record.round,
            step=record.step,
            locked_round=record.locked_round - 1,
            locked=b"" if record.locked == ZERO else record.locked,
            valid_round=record.valid_round - 1,
            valid=b"" if record.valid == ZERO else record.valid,
            values={value.id: value for value in record.values},
            proofs={(proof.round, proof.block): proof for proof in record.proofs},
            signed=record.signed,
        )
        for vote in record.signed:
            work.add_own(vote)
        resend(work)
        state = work.state
        waits = {Step.PROPOSE: Wait.PROPOSE, Step.PREVOTE: Wait.PREVOTE}
        work.schedule(waits.get(state.step, Wait.PRECOMMIT), state.round)
    advance(work)
    work.act(Schedule(Wait.GOSSIP, 0, 0, config.gossip))
    return work.done()


def resend(work: Work) -> None:
    """Sends again what was signed in this height: the very same bytes."""
    for signed in work.state.signed:
        if signed.vote.kind != VoteKind.PROPOSAL:
            work.act(Broadcast(Ballot(signed)))
        elif signed.vote.block in work.state.values:
            work.act(Broadcast(work.proposal(signed)))


def record_bytes(record: Safety) -> bytes:
    """What goes into the write-ahead log."""
    return encode(record)
