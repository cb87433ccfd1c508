"""Messages from peers, which may be anyone: checked first, counted then."""

from __future__ import annotations

from dataclasses import replace

from chain.orderer.messages import (
    Ballot,
    Certificate,
    Decided,
    Message,
    Proposal,
    Status,
    Value,
    is_certificate,
)
from chain.orderer.rules import decide
from chain.orderer.state import (
    MAX_DECIDED,
    MAX_EARLY,
    MAX_HEIGHTS_AHEAD,
    MAX_PROPOSALS_AHEAD,
    MAX_ROUNDS_AHEAD,
    Received,
    Send,
    Serve,
    State,
)
from chain.orderer.work import Work
from chain.votes import SignedVote, VoteKind


def take(work: Work, event: Received) -> None:
    """Takes a message in, keeps it for later, or drops it."""
    message = event.message
    if isinstance(message, Status):
        answer(work, message, event.peer)
        return
    state, height = work.state, height_of(message)
    if height > state.height:
        if is_worth_keeping(work, message, height):
            work.put(early=(*state.early, event))
        return
    if height < state.height:
        return
    match message:
        case Proposal():
            take_proposal(work, message)
        case Ballot(signed):
            take_ballot(work, signed)
        case Decided(value, found):
            take_decided(work, value, found, event.peer)


def height_of(message: Message) -> int:
    """The height that a message is of."""
    match message:
        case Status(height, _):
            return height
        case Decided(_, found):
            return found.height
        case _:
            return message.vote.vote.height


def is_behind(state: State) -> bool:
    """Whether a later height is known to be decided."""
    return any(isinstance(event.message, Decided) for event in state.early)


def is_worth_keeping(work: Work, message: Message, height: int) -> bool:
    """Whether a message of a later height is kept: proved by the validators of this height, and
    within what one of them may fill, so that nobody crowds out another. Gossip brings again what
    is not kept."""
    state, config = work.state, work.config
    known = [early.message for early in state.early]
    if isinstance(message, Decided):
        found = message.certificate
        heights = {m.certificate.height for m in known if isinstance(m, Decided)}
        is_near = height <= state.height + MAX_DECIDED and height not in heights
        rules = (state.members, config.chain, config.verify, config.quorum)
        is_whole = message.value.id == found.block
        return is_near and is_whole and is_certificate(found, height, *rules)
    if not isinstance(message, Ballot | Proposal):
        return False
    signed = message.vote
    if height > state.height + MAX_HEIGHTS_AHEAD or position(work, signed) < 0:
        return False
    if isinstance(message, Proposal):
        # A proof comes from anyone: it is judged in its height only.
        is_plain = signed.vote.kind == VoteKind.PROPOSAL and message.proof is None
        if not is_plain or message.value.id != signed.vote.block:
            return False
    elif signed.vote.kind == VoteKind.PROPOSAL:
        return False
    mine = [
        m.vote for m in known if isinstance(m, Ballot | Proposal) and m.vote.public == signed.public
    ]
    return signed not in mine and len(mine) < MAX_EARLY and is_signed(work, signed)


def is_signed(work: Work, signed: SignedVote) -> bool:
    """Whether a vote bears the signature of its key on this chain."""
    config = work.config
    payload = signed.vote.payload
    return config.verify(signed.public, "vote", config.chain, payload, signed.signature)


def position(work: Work, signed: SignedVote) -> int:
    """The position of the signer among the validators, -1 for strangers."""
    members = work.state.members
    return next((i for i, m in enumerate(members) if m.public == signed.public), -1)


def take_proposal(work: Work, message: Proposal) -> None:
    """Only from the proposer of the round, and of the value that it names, whose proof for the
    height below holds; a value proposed again with the prevotes of the round that it names."""
    signed, value, proof = message.vote, message.value, message.proof
    state, vote = work.state, signed.vote
    if state.decided is not None or vote.kind != VoteKind.PROPOSAL:
        return
    if not 0 <= vote.valid <= vote.round <= state.round + MAX_PROPOSALS_AHEAD:
        return
    expected = work.config.application.proposer(state.height, vote.round)
    if position(work, signed) != expected or value.id != vote.block:
        return
    if not is_signed(work, signed) or not is_proof_below(work, value):
        return
    if vote.valid:
        if proof is None or not is_polka(work, proof, vote.valid - 1, vote.block):
            return
        key = (proof.round, proof.block)
        if key not in state.proofs:
            work.put(proofs={**state.proofs, key: proof})
    work.add_proposal(signed)
    if value.id not in work.state.values and any(
        known.vote.block == value.id for known in work.state.proposals.get(vote.round, ())
    ):
        work.put(values={**work.state.values, value.id: value})


def is_polka(work: Work, proof: Certificate, round_: int, block: bytes) -> bool:
    """Whether a certificate holds the prevotes for a block in a round of this height."""
    state, config = work.state, work.config
    if (proof.round, proof.block) != (round_, block):
        return False
    if state.proofs.get((round_, block)) == proof:
        return True
    rules = (config.chain, config.verify, config.quorum, VoteKind.PREVOTE)
    return is_certificate(proof, state.height, state.members, *rules)


def is_proof_below(work: Work, value: Value) -> bool:
    """Whether a value carries the certificate of the height below: of the block that was decided,
    by any quorum of its precommits."""
    state, found = work.state, value.below
    if state.below is None:
        return found is None
    if found is None or found.block != state.below.block:
        return False
    if found == state.below:
        return True
    config, height = work.config, state.height - 1
    return is_certificate(
        found, height, state.below_members, config.chain, config.verify, config.quorum
    )


def take_ballot(work: Work, signed: SignedVote) -> None:
    """A prevote or precommit of a validator; after the decision only late precommits for it."""
    state, vote, at = work.state, signed.vote, position(work, signed)
    if at < 0 or vote.kind == VoteKind.PROPOSAL or vote.valid != 0:
        return
    if vote.round > state.round + MAX_ROUNDS_AHEAD:
        return
    known = state.votes.get((vote.round, vote.kind), {}).get(at)
    if known == signed or not is_signed(work, signed):
        return
    work.add_vote(at, signed)
    found = state.decided
    if found is not None and vote.kind == VoteKind.PRECOMMIT:
        if (vote.round, vote.block) == (found.round, found.block):
            extend(work, found, signed)


def extend(work: Work, found: Certificate, signed: SignedVote) -> None:
    """Adds a late precommit to the certificate of the decided block."""
    if any(vote.public == signed.public for vote in found.votes):
        return
    order = {member.public: i for i, member in enumerate(work.state.members)}
    votes = sorted((*found.votes, signed), key=lambda vote: order[vote.public])
    work.put(decided=replace(found, votes=tuple(votes)))


def take_decided(work: Work, value: Value, found: Certificate, peer: int) -> None:
    """Catch-up: a value that the validators of this height have decided; asks for more when no
    later one is here."""
    state, config = work.state, work.config
    if state.decided is not None or value.id != found.block or not is_proof_below(work, value):
        return
    members = state.members
    if is_certificate(found, state.height, members, config.chain, config.verify, config.quorum):
        decide(work, value, found)
        if not is_behind(work.state):
            work.act(Send(peer, work.status()))


def answer(work: Work, status: Status, peer: int) -> None:
    """Gossip: a peer below is served decided heights; one in this height gets what is known of its
    round and of the round of the valid value."""
    state = work.state
    if status.height < state.height + (state.decided is not None):
        work.act(Serve(peer, status.height))
        return
    if status.height != state.height or state.decided is not None:
        return
    rounds = sorted({status.round, state.round, max(state.valid_round, 0)})
    for round_ in rounds:
        for signed in state.proposals.get(round_, ()):
            if signed.vote.block in state.values:
                work.act(Send(peer, work.proposal(signed)))
        for kind in (VoteKind.PREVOTE, VoteKind.PRECOMMIT):
            box = state.votes.get((round_, kind), {})
            for at in sorted(box):
                work.act(Send(peer, Ballot(box[at])))
