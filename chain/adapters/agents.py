"""What participants do by themselves: a witness draws its part of the beacon, a node verifies and
confirms, a trainer trains. Each looks at the state after a block and says what it would send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain import beacon, confirmation, nodes, phases, trainers, verifiers
from chain.adapters.sending import Memory, question_of
from chain.adapters.watch import Evaluate, Show, dispute, nothing
from chain.codec import decode, encode
from chain.hashes import digest_of
from chain.keys import Key
from chain.records import UNAVAILABLE, ZERO, Entry, Phase, Round
from chain.state import State

Train = Callable[[bytes, int], bytes | None]
"""(name of parameters, round) to the name of better ones; None while that is not done."""
Plan = list[tuple[Key, Any]]


@dataclass(frozen=True)
class Findings:
    """What a verifier has committed to."""

    entries: tuple[Entry, ...]


PATIENCE = 8
"""Blocks that a verifier waits for parameters before it calls them unavailable."""


@dataclass(frozen=True)
class Witness:
    """Owes the beacon of every round."""

    key: Key

    def plan(self, state: State, job: bytes, found: Round) -> Plan:
        """What to send after a block."""
        own = next((d for d in found.draws if d.witness == self.key.account), None)
        if own is None:
            return []
        secret = digest_of("beacon secret", self.key.secret, job, found.number)
        chain, number = state.parameters.chain, found.number
        if found.phase == Phase.COMMIT and own.commitment == ZERO:
            made = beacon.commitment(chain, job, number, self.key.account, secret)
            return [(self.key, beacon.BeaconCommit(job, number, made))]
        owes = own.commitment != ZERO and own.secret == ZERO
        if found.phase == Phase.BEACON and owes:
            return [(self.key, beacon.BeaconReveal(job, number, secret))]
        return []


@dataclass(frozen=True)
class Service:
    """A node for hire. ``habit``: honest; lazy (computes nothing, says what the trainers claim); or
    conspirator (in the first round certifies what trainers claim, with a trace that all
    conspirators invent alike). An honest one disputes what is certified and wrong."""

    key: Key
    evaluate: Evaluate
    memory: Memory
    habit: str = "honest"
    show: Show = nothing

    def conspires(self, found: Round) -> bool:
        """Whether it lies in a round."""
        return self.habit == "conspirator" and found.number == 0

    def plan(self, state: State, job: bytes, found: Round) -> Plan:
        """What to send after a block."""
        account = self.key.account
        node = state.nodes.get(account)
        if node is not None and node.bond < state.parameters.node_bond and self.habit != "lazy":
            return [(self.key, nodes.Join())]
        own = next((a for a in found.attestations if a.verifier == account), None)
        if own is not None:
            plan = self.attest(state, job, found, own.commitment, own.opened)
            return plan or self.watch(state, job, found)
        place = next((c for c in found.confirmations if c.confirmer == account), None)
        if place is not None and found.phase == Phase.CONFIRM and not place.sent:
            return self.confirm(state, job, found)
        return self.watch(state, job, found)

    def watch(self, state: State, job: bytes, found: Round) -> Plan:
        """Disputes what is certified and wrong."""
        if self.habit == "lazy" or self.conspires(found):
            return []
        made = dispute(self.key, self.evaluate, self.show, state, job, found)
        return [] if made is None else [(self.key, made)]

    def fold(self, state: State, job: bytes, found: Round) -> bytes:
        """The name of the drawn fold."""
        owner = state.jobs.get(job)
        return ZERO if owner is None else owner.folds[found.fold]

    def findings(self, state: State, job: bytes, found: Round) -> tuple[Entry, ...] | None:
        """One entry for the parent and each candidate; None while something is on its way."""
        if self.habit == "lazy":
            claims = [Entry(True, c.claim, ZERO) for c in found.candidates]
            return (Entry(True, 0, ZERO), *claims)
        fold, made = self.fold(state, job, found), []
        for name in (found.parent, *(c.parameters for c in found.candidates)):
            entry = self.evaluate(name, fold)
            claim = next((c.claim for c in found.candidates if c.parameters == name), None)
            if self.conspires(found) and claim is not None:
                entry = Entry(True, claim, digest_of("conspiracy", job, found.number, name))
            if entry is None and state.height < found.deadline - PATIENCE:
                return None
            made.append(UNAVAILABLE if entry is None else entry)
        return tuple(made)

    def attest(
        self, state: State, job: bytes, found: Round, committed: bytes, opened: bool
    ) -> Plan:
        """Commits to findings, opens them later."""
        if found.phase not in (Phase.ATTEST_COMMIT, Phase.ATTEST_REVEAL):
            return []
        number, chain = found.number, state.parameters.chain
        question = question_of(self.key.account, "findings", job, number)
        known = self.memory.said(question)
        if known is None:
            entries = self.findings(state, job, found)
            if entries is None:
                return []
            # What is committed to is opened, whatever comes to light in between.
            known = self.memory.say(question, encode(Findings(entries)))
        entries = decode(Findings, known).entries
        salt = digest_of("salt", self.key.secret, job, number)
        if found.phase == Phase.ATTEST_COMMIT and committed == ZERO:
            made = verifiers.commitment(chain, job, number, self.key.account, entries, salt)
            return [(self.key, verifiers.AttestCommit(job, number, made))]
        if found.phase == Phase.ATTEST_REVEAL and committed != ZERO and not opened:
            return [(self.key, verifiers.AttestReveal(job, number, entries, salt))]
        return []

    def confirm(self, state: State, job: bytes, found: Round) -> Plan:
        """Recomputes the winner; a lazy node repeats what is certified."""
        entry: Entry | None = Entry(True, found.loss, found.trace)
        if self.habit == "honest" or (self.habit == "conspirator" and not self.conspires(found)):
            name = phases.winner_of(found).parameters
            entry = self.evaluate(name, self.fold(state, job, found))
        if entry is None:
            return []
        made = confirmation.Confirm(job, found.number, entry.loss, entry.trace)
        return [(self.key, made)]


@dataclass(frozen=True)
class Trainer:
    """Trains from the parent's parameters. ``habit``: honest, liar (claims a loss of 1) or copier
    (commits to what another has committed to)."""

    key: Key
    train: Train
    evaluate: Evaluate
    habit: str = "honest"
    show: Show = nothing

    def plan(self, state: State, job: bytes, found: Round) -> Plan:
        """What to send after a block."""
        if self.habit == "honest" and found.phase == Phase.CHALLENGE:
            wrong = dispute(self.key, self.evaluate, self.show, state, job, found)
            return [] if wrong is None else [(self.key, wrong)]
        own = next((c for c in found.candidates if c.trainer == self.key.account), None)
        number, chain = found.number, state.parameters.chain
        if self.habit == "copier":
            others = [c for c in found.candidates if c.trainer != self.key.account]
            if found.phase == Phase.COMMIT and own is None and others:
                return [(self.key, trainers.Commit(job, number, others[0].commitment))]
            if found.phase == Phase.REVEAL and own is not None and not own.revealed:
                shown = next((c for c in found.candidates if c.revealed), None)
                if shown is not None:
                    copied = (shown.parameters, self.salt(job, number), shown.claim)
                    return [(self.key, trainers.Reveal(job, number, *copied))]
            return []
        if found.phase not in (Phase.COMMIT, Phase.REVEAL):
            return []
        made = self.train(found.parent, number)
        if made is None:
            return []
        salt, account = self.salt(job, number), self.key.account
        if found.phase == Phase.COMMIT and own is None:
            hidden = trainers.commitment(chain, job, number, account, made, salt)
            return [(self.key, trainers.Commit(job, number, hidden))]
        if found.phase == Phase.REVEAL and own is not None and not own.revealed:
            owner = state.jobs.get(job)
            entry = None if owner is None else self.evaluate(made, owner.folds[found.fold])
            if entry is None:
                return []
            claim = 1 if self.habit == "liar" else entry.loss
            return [(self.key, trainers.Reveal(job, number, made, salt, claim))]
        return []

    def salt(self, job: bytes, number: int) -> bytes:
        """What hides a commitment."""
        return digest_of("salt", self.key.secret, job, number)


Agent = Witness | Service | Trainer
