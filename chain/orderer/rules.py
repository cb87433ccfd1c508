"""The rules of Algorithm 1: what a validator does once it knows enough."""

from __future__ import annotations

from chain.orderer.messages import Ballot, Certificate, Value, signers
from chain.orderer.state import Broadcast, Decide, State, Step, Wait
from chain.orderer.work import Work
from chain.votes import NIL, SignedVote, Vote, VoteKind, sign_vote

LINE_34, LINE_36, LINE_47 = 34, 36, 47


def begin_height(work: Work, height: int, enter: bool = True) -> None:
    """Lines 10 and 52 to 54: a new height with nothing locked."""
    old, application = work.state, work.config.application
    members = application.validators(height)
    key = work.config.key
    me = next((i for i, m in enumerate(members) if key and m.public == key.public), -1)
    work.state = State(height, members, me, below=old.decided, below_members=old.members)
    if enter:
        start_round(work, 0)


def start_round(work: Work, round_: int) -> None:
    """Lines 11 to 21."""
    work.put(round=round_, step=Step.PROPOSE)
    state, config = work.state, work.config
    if state.me >= 0 and config.application.proposer(state.height, round_) == state.me:
        if state.valid_round >= 0:
            value = state.values[state.valid]  # line 16
        else:
            below = signers(state.below, state.below_members)
            block = config.application.propose(state.height, round_, below)  # line 18
            value = Value(block, state.below)
        work.put(values={**state.values, value.id: value})
        made = signed_vote(work, VoteKind.PROPOSAL, value.id, state.valid_round + 1)
        work.act(Broadcast(work.proposal(made)))  # line 19
    work.schedule(Wait.PROPOSE, round_)  # line 21


def signed_vote(work: Work, kind: VoteKind, block: bytes, valid: int = 0) -> SignedVote:
    """Signs a vote, counts it, and has it on the disk before it can leave."""
    key = work.config.key
    if key is None:
        raise ValueError("an observer does not vote")
    vote = Vote(kind, work.state.height, work.state.round, block, valid)
    made = sign_vote(key, work.config.chain, vote)
    work.put(signed=(*work.state.signed, made))
    work.add_own(made)
    work.persist()
    return made


def cast(work: Work, kind: VoteKind, block: bytes) -> None:
    """Votes, and enters the step that the vote begins."""
    work.put(step=Step.PREVOTE if kind == VoteKind.PREVOTE else Step.PRECOMMIT)
    if work.state.me >= 0:
        work.act(Broadcast(Ballot(signed_vote(work, kind, block))))


def is_valid(work: Work, block: bytes) -> bool:
    """Whether the application accepts a value; asked until it does, once per round: a block of a
    round that is still to come is refused before it and accepted in it."""
    state = work.state
    here = block + state.round.to_bytes(8, "big")
    if block not in state.verdicts and here not in state.verdicts:
        value = state.values[block]
        below = signers(value.below, state.below_members)
        application = work.config.application
        verdict = application.validate(state.height, state.round, value.block, below) == ""
        work.put(verdicts={**state.verdicts, block if verdict else here: verdict})
    return block in work.state.verdicts


def is_fresh(work: Work, block: bytes) -> bool:
    """Whether the application accepts a value as made for this round."""
    state, value = work.state, work.state.values[block]
    below = signers(value.below, state.below_members)
    validate = work.config.application.validate
    if validate(state.height, state.round, value.block, below, fresh=True):
        return False
    work.put(verdicts={**state.verdicts, block: True})
    return True


def apply_rules(work: Work) -> bool:
    """Applies the first rule that applies; False where none does."""
    return (
        apply_decision(work)
        or any(apply_proposal(work, p.vote) for p in work.state.proposals.get(work.state.round, ()))
        or apply_votes(work)
        or apply_skip(work)
    )


def apply_proposal(work: Work, proposal: Vote) -> bool:
    """Lines 22 to 43, on a proposal of this round."""
    state, block = work.state, proposal.block
    if state.step == Step.PROPOSE and proposal.valid == 0:
        # Line 22: a new value, acceptable to who is not locked on another.
        free = state.locked_round < 0 or state.locked == block
        cast(work, VoteKind.PREVOTE, block if free and is_fresh(work, block) else NIL)
        return True
    before = proposal.valid - 1
    if state.step == Step.PROPOSE and before < state.round and work.has_polka(before, block):
        # Line 28: a value that had more than two thirds in a round not before the lock.
        free = state.locked_round <= before or state.locked == block
        cast(work, VoteKind.PREVOTE, block if free and is_valid(work, block) else NIL)
        return True
    ready = state.step >= Step.PREVOTE and work.has_polka(state.round, block)
    if ready and is_valid(work, block) and work.fire(LINE_36, state.round):
        # Line 36: lock, precommit, remember.
        key = (state.round, block)
        proof = state.proofs.get(key) or certificate(state, *key, VoteKind.PREVOTE)
        work.put(valid=block, valid_round=state.round, proofs={**state.proofs, key: proof})
        if state.step == Step.PREVOTE:
            work.put(locked=block, locked_round=state.round)
            cast(work, VoteKind.PRECOMMIT, block)
        return True
    return False


def apply_votes(work: Work) -> bool:
    """Lines 34, 44 and 47."""
    state, quorum = work.state, work.config.quorum
    if state.step == Step.PREVOTE:
        if work.has_polka(state.round, NIL):
            cast(work, VoteKind.PRECOMMIT, NIL)  # line 44
            return True
        power = work.power_of_any(state.round, VoteKind.PREVOTE)
        if quorum(power, state.power) and work.fire(LINE_34, state.round):
            work.schedule(Wait.PREVOTE, state.round)
            return True
    power = work.power_of_any(state.round, VoteKind.PRECOMMIT)
    if quorum(power, state.power) and work.fire(LINE_47, state.round):
        work.schedule(Wait.PRECOMMIT, state.round)
        return True
    return False


def apply_decision(work: Work) -> bool:
    """Line 49: more than two thirds precommitted a known, valid block in any round."""
    state = work.state
    for (round_, kind), box in state.votes.items():
        if kind != VoteKind.PRECOMMIT:
            continue
        for block in sorted({signed.vote.block for signed in box.values()}):
            if block == NIL or block not in state.values:
                continue
            power = work.power_for(round_, kind, block)
            if work.config.quorum(power, state.power) and is_valid(work, block):
                decide(work, state.values[block], certificate(state, round_, block, kind))
                return True
    return False


def certificate(state: State, round_: int, block: bytes, kind: VoteKind) -> Certificate:
    """The votes of a kind for a block in a round."""
    box = state.votes[(round_, kind)]
    votes = tuple(box[at] for at in sorted(box) if box[at].vote.block == block)
    return Certificate(state.height, round_, block, votes)


def decide(work: Work, value: Value, found: Certificate) -> None:
    """Line 51."""
    work.put(decided=found)
    work.act(Decide(work.state.height, value, found))


def apply_skip(work: Work) -> bool:
    """Line 55: more than a third is in a later round, so somebody honest is."""
    state = work.state
    later = sorted({round_ for round_, _ in state.votes if round_ > state.round}, reverse=True)
    for round_ in later:
        there: set[int] = set()
        for kind in (VoteKind.PREVOTE, VoteKind.PRECOMMIT):
            there.update(state.votes.get((round_, kind), {}))
        if 3 * sum(state.members[at].power for at in there) > state.power:
            start_round(work, round_)
            return True
    return False
