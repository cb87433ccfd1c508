"""The orderer one step at a time: votes, locks, proofs, crashes, and what peers may send."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.application import Member
from chain.codec import CodecError
from chain.keys import Key
from chain.orderer import state as o
from chain.orderer.messages import (
    Ballot,
    Certificate,
    Decided,
    Message,
    Proposal,
    Status,
    Value,
    is_certificate,
    read_message,
    signers,
    write_message,
)
from chain.orderer.step import first_state, restore, step
from chain.orderer.wal import frame, last_record, records
from chain.simulator.applications import ListApplication
from chain.votes import NIL, SignedVote, Vote, VoteKind, sign_vote

CHAIN = "orderer"
KEYS = [Key.derived("orderer", i) for i in range(4)]
MEMBERS = tuple(Member(key.public, 10) for key in KEYS)


def config(at: int = 0) -> o.Config:
    return o.Config(CHAIN, KEYS[at], ListApplication(MEMBERS, at))


class Player:
    """One validator under test; the others are played by hand."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.config = config(at)
        self.state, actions = first_state(self.config)
        self.actions: list[o.Action] = list(actions)

    def feed(self, event: o.Event) -> list[o.Action]:
        before = self.state
        self.state, actions = step(self.config, self.state, event)
        again = step(self.config, before, event)
        assert again == (self.state, actions)  # pure: the same again
        self.actions += actions
        return list(actions)

    def hear(self, message: Message, peer: int = 9) -> list[o.Action]:
        return self.feed(o.Received(read_message(write_message(message)), peer))

    def vote(self, who: int, kind: VoteKind, block: bytes, round_: int = 0) -> list[o.Action]:
        height = self.state.height
        return self.hear(Ballot(sign_vote(KEYS[who], CHAIN, Vote(kind, height, round_, block))))

    def propose(
        self, value: Value, round_: int = 0, valid: int = 0, proof: Certificate | None = None
    ) -> list[o.Action]:
        at = self.config.application.proposer(self.state.height, round_)
        vote = Vote(VoteKind.PROPOSAL, self.state.height, round_, value.id, valid)
        return self.hear(Proposal(sign_vote(KEYS[at], CHAIN, vote), value, proof))

    def wait(self, wait: o.Wait, round_: int = 0) -> list[o.Action]:
        return self.feed(o.Timeout(wait, self.state.height, round_))

    @property
    def log(self) -> bytes:
        return b"".join(frame(a.record) for a in self.actions if isinstance(a, o.Persist))


def said(actions: list[o.Action]) -> list[tuple[VoteKind, bytes]]:
    """The votes that leave, each after what must be on the disk."""
    found = []
    for i, action in enumerate(actions):
        if isinstance(action, o.Broadcast) and isinstance(action.message, Ballot):
            assert any(
                isinstance(a, o.Persist) and action.message.vote in a.record.signed
                for a in actions[:i]
            )
            found.append((action.message.vote.vote.kind, action.message.vote.vote.block))
    return found


def value_by(author: int, height: int = 1, below: Certificate | None = None) -> Value:
    block = ListApplication(MEMBERS, author).propose(height, 0, signers(below, MEMBERS))
    return Value(block, below)


PRE, COM = VoteKind.PREVOTE, VoteKind.PRECOMMIT
X, Y = value_by(1), value_by(7)


def certificate(value: Value, who: tuple[int, ...], kind: VoteKind = COM) -> Certificate:
    vote = Vote(kind, 1, 0, value.id)
    return Certificate(1, 0, value.id, tuple(sign_vote(KEYS[i], CHAIN, vote) for i in who))


def test_a_height_is_decided_with_more_than_two_thirds() -> None:
    player = Player()
    assert said(player.propose(X)) == [(PRE, X.id)]
    assert said(player.vote(1, PRE, X.id)) == []
    assert said(player.vote(2, PRE, X.id)) == [(COM, X.id)]
    assert player.state.locked == X.id
    player.vote(1, COM, X.id)
    actions = player.vote(2, COM, X.id)
    (decision,) = [a for a in actions if isinstance(a, o.Decide)]
    assert (decision.height, decision.value) == (1, X)
    assert is_certificate(decision.certificate, 1, MEMBERS, CHAIN, player.config.verify)
    player.config.application.apply(1, X.block)
    actions = player.feed(o.Applied(1))
    assert [a.wait for a in actions if isinstance(a, o.Schedule)] == [o.Wait.COMMIT]
    player.vote(3, COM, X.id)  # late, and a sign of presence
    assert player.state.height == 2
    assert player.state.below is not None and len(player.state.below.votes) == 4


def test_invalid_and_foreign_proposals_are_not_voted_for() -> None:
    player = Player()
    assert said(player.propose(Value(b"noise", None))) == [(PRE, NIL)]
    stranger = sign_vote(KEYS[2], CHAIN, Vote(VoteKind.PROPOSAL, 1, 0, X.id))
    forged = replace(stranger, public=KEYS[1].public)
    for vote in (stranger, forged):
        player = Player()
        assert player.hear(Proposal(vote, X, None)) == []
    player = Player()
    named = sign_vote(KEYS[1], CHAIN, Vote(VoteKind.PROPOSAL, 1, 0, Y.id))
    assert player.hear(Proposal(named, X, None)) == []


def test_silence_leads_through_nil_to_the_next_round() -> None:
    player = Player()
    assert said(player.wait(o.Wait.PROPOSE)) == [(PRE, NIL)]
    player.vote(1, PRE, NIL)
    assert said(player.vote(2, PRE, NIL)) == [(COM, NIL)]
    player.vote(1, COM, NIL)
    actions = player.vote(2, COM, NIL)
    assert o.Schedule(o.Wait.PRECOMMIT, 1, 0, 100) in actions
    player.wait(o.Wait.PRECOMMIT)
    assert player.state.round == 1


class Early(ListApplication):
    """Refuses X in round 0, as a block of a round that is still to come."""

    def validate(
        self,
        height: int,
        round_: int,
        block: bytes,
        signers: tuple[int, ...],
        fresh: bool = False,
    ) -> str:
        return "early" if round_ == 0 else super().validate(height, round_, block, signers)


class Stale(ListApplication):
    """Refuses X where it is said to be made for round 1."""

    def validate(
        self,
        height: int,
        round_: int,
        block: bytes,
        signers: tuple[int, ...],
        fresh: bool = False,
    ) -> str:
        return "stale" if fresh and (round_, block) == (1, X.block) else ""


def test_an_old_block_is_not_prevoted_as_a_new_one_but_may_come_with_its_proof() -> None:
    for proof in (None, certificate(X, (0, 1, 2), PRE)):
        player = Player()
        player.config = o.Config(CHAIN, KEYS[0], Stale(MEMBERS, 0))
        player.state, _ = first_state(player.config)
        player.wait(o.Wait.PROPOSE)
        for kind in (PRE, COM):
            player.vote(1, kind, NIL)
            player.vote(2, kind, NIL)
        player.wait(o.Wait.PRECOMMIT)
        assert player.state.round == 1
        valid = 0 if proof is None else 1
        expected = NIL if proof is None else X.id
        assert said(player.propose(X, 1, valid, proof)) == [(PRE, expected)]


def test_a_block_refused_in_one_round_is_asked_for_in_the_next() -> None:
    player = Player()
    player.config = o.Config(CHAIN, KEYS[0], Early(MEMBERS, 0))
    player.state, _ = first_state(player.config)
    assert said(player.propose(X)) == [(PRE, NIL)]
    for kind in (PRE, COM):
        player.vote(1, kind, NIL)
        player.vote(2, kind, NIL)
    player.wait(o.Wait.PRECOMMIT)
    assert player.state.round == 1
    assert said(player.propose(X, 1)) == [(PRE, X.id)]


def locked_on_x() -> Player:
    player = Player()
    player.propose(X)
    player.vote(1, PRE, X.id)
    player.vote(2, PRE, X.id)
    player.vote(1, COM, NIL)
    player.vote(2, COM, NIL)
    player.wait(o.Wait.PRECOMMIT)
    assert (player.state.round, player.state.locked) == (1, X.id)
    return player


def test_a_locked_validator_refuses_another_value_without_proof() -> None:
    player = locked_on_x()
    assert said(player.propose(Y, 1)) == [(PRE, NIL)]


def test_a_locked_validator_votes_for_its_value_again() -> None:
    player = locked_on_x()
    proof = certificate(X, (0, 1, 2), PRE)
    assert said(player.propose(X, 1, 1, proof)) == [(PRE, X.id)]


def test_a_proof_lets_who_saw_other_votes_follow() -> None:
    """An equivocator showed this validator its vote for nil and others its vote for X: without the
    proof in the proposal it could never see the two thirds, and the height would not end."""
    player = Player()
    player.propose(X)
    player.vote(1, PRE, NIL)  # X elsewhere
    player.vote(2, PRE, X.id)
    player.vote(3, PRE, NIL)
    player.wait(o.Wait.PREVOTE)
    for who in (1, 2, 3):
        player.vote(who, COM, NIL)
    player.wait(o.Wait.PRECOMMIT)
    assert player.state.round == 1
    proof = certificate(X, (0, 1, 2), PRE)
    assert said(player.propose(X, 1, 1, proof)) == [(PRE, X.id)]


@pytest.mark.parametrize(
    "proof",
    [
        None,
        certificate(X, (0, 1), PRE),
        certificate(X, (0, 1, 2), COM),
        certificate(Y, (0, 1, 2), PRE),
        certificate(X, (0, 2, 1), PRE),
        certificate(X, (0, 1, 1), PRE),
        replace(certificate(X, (0, 1, 2), PRE), round=1),
    ],
)
def test_a_proof_that_proves_nothing_is_dropped(proof: Certificate | None) -> None:
    player = Player()
    player.wait(o.Wait.PROPOSE)
    for kind in (PRE, COM):
        for who in (1, 2, 3):
            player.vote(who, kind, NIL)
    player.wait(o.Wait.PRECOMMIT)
    assert player.state.round == 1
    assert player.propose(X, 1, 1, proof) == []
    assert 1 not in player.state.proposals


def test_a_third_ahead_pulls_into_its_round() -> None:
    player = Player()
    player.vote(1, PRE, NIL, 5)
    assert player.state.round == 0
    player.vote(2, PRE, NIL, 5)
    assert player.state.round == 5


def test_a_height_that_others_decided_is_taken_over() -> None:
    player = Player()
    small, good = certificate(X, (1, 2)), certificate(X, (1, 2, 3))
    for wrong in (small, replace(good, block=Y.id), certificate(X, (1, 2, 3), PRE)):
        assert player.hear(Decided(X, wrong)) == []
    actions = player.hear(Decided(X, good), 3)
    assert [type(a) for a in actions] == [o.Decide, o.Send]
    assert actions[1] == o.Send(3, Status(2, 0))


def test_who_is_behind_waits_for_nobody_and_asks_when_it_has_used_up_what_came() -> None:
    """Five heights whose certificates lack a vote, as while a validator is down: late precommits
    of a height whose next one is decided are of no use, and more is asked for at the end only."""
    player, source, below = Player(), ListApplication(MEMBERS, 1), None
    heights = []
    for height in range(1, 6):
        value = Value(source.propose(height, 0, signers(below, MEMBERS)), below)
        vote = Vote(COM, height, 0, value.id)
        votes = tuple(sign_vote(KEYS[i], CHAIN, vote) for i in (1, 2, 3))
        below = Certificate(height, 0, value.id, votes)
        source.apply(height, value.block)
        heights.append(Decided(value, below))
    actions = [action for one in heights for action in player.hear(one, 3)]
    for height in range(1, 6):
        (decision,) = [a for a in actions if isinstance(a, o.Decide)]
        assert decision.height == height
        asked = [a for a in actions if isinstance(a, o.Send) and isinstance(a.message, Status)]
        assert len(asked) == (height in (1, 5))  # of the first nothing later was known
        player.config.application.apply(height, decision.value.block)
        actions = player.feed(o.Applied(height))
    assert [a.wait for a in actions if isinstance(a, o.Schedule)] == [o.Wait.COMMIT]
    assert player.state.height == 5


def test_who_is_behind_is_served() -> None:
    player = Player()
    player.hear(Decided(X, certificate(X, (1, 2, 3))))
    player.config.application.apply(1, X.block)
    player.feed(o.Applied(1))
    assert player.hear(Status(1, 0), 3) == [o.Serve(3, 1)]


def test_two_votes_are_evidence_once() -> None:
    player = Player()
    assert not reports(player.vote(1, PRE, X.id))
    assert not reports(player.vote(1, PRE, X.id))
    (report,) = reports(player.vote(1, PRE, NIL))
    assert {report.evidence.first.vote.block, report.evidence.second.vote.block} == {X.id, NIL}
    assert not reports(player.vote(1, PRE, Y.id))
    assert player.state.votes[(0, PRE)][1].vote.block == X.id  # the first counts


def reports(actions: list[o.Action]) -> list[o.Report]:
    return [a for a in actions if isinstance(a, o.Report)]


@pytest.mark.parametrize("at", [1, 3])
def test_a_restart_signs_nothing_that_differs(at: int) -> None:
    """Cut after any whole record, a validator that starts again sends the same bytes or nothing
    new for what it had signed."""
    player = Player(at)
    player.propose(X) if at != 1 else None
    value = X if at != 1 else next(iter(player.state.values.values()))
    for who in (0, 2):
        player.vote(who, PRE, value.id)
    for who in (0, 2):
        player.vote(who, COM, NIL)
    player.wait(o.Wait.PRECOMMIT)
    player.wait(o.Wait.PROPOSE, 1)
    kept = list(records(player.log))
    assert len(kept) >= 3
    for record in kept:
        state, actions = restore(config(at), (o.State(0, (), -1), 1), record)
        sent = [
            a.message.vote
            for a in actions
            if isinstance(a, o.Broadcast) and isinstance(a.message, Ballot | Proposal)
        ]
        assert set(sent) >= set(record.signed)
        again = Player(at)
        again.config, again.state = config(at), state
        known = {slot(v): v for v in record.signed}
        for event in (o.Wait.PROPOSE, o.Wait.PREVOTE, o.Wait.PRECOMMIT):
            for action in again.wait(event, again.state.round):
                if isinstance(action, o.Broadcast) and isinstance(action.message, Ballot):
                    vote = action.message.vote
                    assert known.setdefault(slot(vote), vote) == vote


def slot(signed: SignedVote) -> tuple[VoteKind, int, int]:
    return signed.vote.kind, signed.vote.height, signed.vote.round


def test_a_torn_log_ends_at_its_last_whole_record() -> None:
    player = locked_on_x()
    log = player.log
    whole = list(records(log))
    assert len(whole) >= 2
    assert last_record(b"") is None
    sizes = [len(frame(r)) for r in whole]
    for cut in (1, 10, sizes[-1] - 1):
        assert last_record(log[:-cut]) == whole[-2]
    damaged = bytearray(log)
    damaged[-1] ^= 1
    assert last_record(bytes(damaged)) == whole[-2]
    assert last_record(log) == whole[-1]


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x82\x61x\x80", write_message(Status(1, 1)) + b"\0", b"\x81\x00"]
)
def test_noise_is_no_message(data: bytes) -> None:
    with pytest.raises(CodecError):
        read_message(data)


def test_messages_for_later_heights_are_kept_within_limits() -> None:
    player = Player()
    for round_ in range(2 * o.MAX_EARLY):
        vote = sign_vote(KEYS[1], CHAIN, Vote(PRE, 2, round_, NIL))
        for _ in range(2):
            player.feed(o.Received(Ballot(vote), 1))
    assert len(player.state.early) == o.MAX_EARLY
    # Another validator's are kept nevertheless; heights far ahead are not.
    for ahead in (1, o.MAX_HEIGHTS_AHEAD, o.MAX_HEIGHTS_AHEAD + 1):
        vote = sign_vote(KEYS[2], CHAIN, Vote(PRE, 1 + ahead, 0, NIL))
        player.feed(o.Received(Ballot(vote), 1))
    assert len(player.state.early) == o.MAX_EARLY + 2
    far = sign_vote(KEYS[1], CHAIN, Vote(PRE, 1, o.MAX_ROUNDS_AHEAD + 1, NIL))
    player.feed(o.Received(Ballot(far), 1))
    assert player.state.votes == {}


def test_an_observer_follows_and_says_nothing() -> None:
    player = Player()
    player.config = o.Config(CHAIN, None, ListApplication(MEMBERS, 0))
    player.state, _ = first_state(player.config)
    player.propose(X)
    for kind in (PRE, COM):
        for who in (1, 2, 3):
            actions = player.vote(who, kind, X.id)
            assert said(actions) == []
    assert player.state.decided is not None


def test_strangers_fill_nothing() -> None:
    """Nor do changed copies of what validators have signed."""
    player, stranger = Player(), Key.derived("stranger")
    value = value_by(1, 2, certificate(X, (0, 1, 2)))
    vote = Vote(VoteKind.PROPOSAL, 2, 0, value.id)
    own = sign_vote(KEYS[2], CHAIN, vote)
    real = Ballot(sign_vote(KEYS[1], CHAIN, Vote(PRE, 2, 0, NIL)))
    backed = sign_vote(KEYS[2], CHAIN, Vote(VoteKind.PROPOSAL, 2, 1, value.id, 1))
    few = Certificate(2, 0, value.id, certificate(X, (0, 1)).votes)
    for message in (
        Ballot(sign_vote(stranger, CHAIN, Vote(PRE, 2, 0, NIL))),
        Ballot(replace(real.vote, vote=replace(real.vote.vote, round=1))),
        Ballot(own),
        Proposal(real.vote, value, None),
        Proposal(own, Value(b"other", None), None),
        Proposal(own, value, few),
        Proposal(backed, value, certificate(X, (0, 1, 2), PRE)),
        Proposal(sign_vote(stranger, CHAIN, vote), value, None),
        Decided(value, few),
        Decided(X, Certificate(2, 0, value.id, ())),
    ):
        player.feed(o.Received(message, 1))
        assert player.state.early == (), message
    player.feed(o.Received(Proposal(own, value, None), 1))
    player.feed(o.Received(real, 1))
    assert len(player.state.early) == 2


def test_decided_heights_ahead_are_kept_once_each_and_close_by() -> None:
    player = Player()
    for height in (2, 2, 3, 1 + o.MAX_DECIDED, 2 + o.MAX_DECIDED):
        value = Value(b"%d" % height, None)
        vote = Vote(COM, height, 0, value.id)
        votes = tuple(sign_vote(KEYS[i], CHAIN, vote) for i in range(3))
        player.feed(o.Received(Decided(value, Certificate(height, 0, value.id, votes)), 1))
    assert len(player.state.early) == 3


def test_a_proposer_cannot_fill_the_memory_with_rounds_to_come() -> None:
    player = Player()
    for round_ in range(0, 4 * o.MAX_PROPOSALS_AHEAD, 4):
        player.propose(Value(b"%d" % round_, None), round_)
    assert max(player.state.proposals) <= o.MAX_PROPOSALS_AHEAD
