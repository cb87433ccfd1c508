"""Rounds of training from a seed: parties with drawn habits play LBFT against the state machine,
and an oracle that counts for itself says what must become of each message, bond and round."""

from __future__ import annotations

from collections import Counter
from typing import Any

from chain import beacon, ledger, nodes, trainers
from chain.blocks import Block
from chain.envelope import seal
from chain.genesis import begin
from chain.hashes import digest_of
from chain.machine import apply_block
from chain.records import ZERO, Entry, Job, JobStatus, Outcome, Phase, Round
from chain.refusal import Code
from chain.schedule import proposer
from chain.simulator import jury
from chain.simulator.books import check_books
from chain.simulator.checks import Violation
from chain.simulator.dice import Dice
from chain.simulator.stage import (
    BOND,
    CONFIRMERS,
    EXECUTION,
    FEE,
    FOLDS,
    LENGTH,
    MARGIN,
    NODE_BOND,
    NODES,
    OWNER,
    PARTIES,
    REPORTER,
    ROUNDS,
    SEATS,
    TRAINERS,
    Drawn,
    Plan,
    Say,
    first_genesis,
    is_quorum,
    truth,
)
from chain.state import State, root


class Market:
    """All rounds of one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice("market", seed)
        self.state: State = begin(first_genesis(), EXECUTION)
        self.job = next(name for name, _ in self.state.jobs.items())
        self.queue: dict[int, list[tuple[Say, Phase, int]]] = {}
        self.has = {key.account: 1_000_000 for key in (*TRAINERS, *NODES, REPORTER)}
        self.bonds = {key.account: NODE_BOND for key in NODES}
        self.since = dict.fromkeys(self.bonds, 0)
        for account in self.bonds:
            self.has[account] -= NODE_BOND
        self.purse = 90_001 + 9_000
        self.withholding = self.dice.below(ROUNDS)
        self.outcomes: list[Outcome] = []
        self.jailed: set[bytes] = set()

    # -- blocks

    @property
    def round(self) -> Round:
        """The open round."""
        found = self.state.rounds.get(self.job)
        if found is None:
            raise Violation("rounds", "no round is open")
        return found

    @property
    def owner(self) -> Job:
        """The one job."""
        found = self.state.jobs.get(self.job)
        if found is None:
            raise Violation("rounds", "the job is gone")
        return found

    def expected(self, say: Say, phase: Phase, number: int) -> tuple[Code, str]:
        """What must become of a message in the next block."""
        found = self.state.rounds.get(self.job)
        if not hasattr(say.action, "round"):
            return say.code, say.rule
        if found is None:
            return Code.UNKNOWN, "L3"
        if found.number != number:
            return Code.PHASE, "L11"
        return (say.code, say.rule) if found.phase == phase else (Code.PHASE, "L1")

    def step(self) -> None:
        """One block: what is due in it must become what was expected, and the books agree."""
        state, height = self.state, self.state.height + 1
        said, wanted, data = self.queue.pop(height, []), [], []
        nonces: dict[bytes, int] = {}
        for say, phase, number in said:
            account = say.key.account
            nonce = nonces.get(account, ledger.account_of(state, account).nonce)
            nonces[account] = nonce + 1
            data.append(seal(say.key, state.identity, nonce, FEE, say.action))
            wanted.append(self.expected(say, phase, number))
            if account in self.has:
                self.has[account] -= FEE
        block = Block(
            chain=state.parameters.chain,
            height=height,
            parent=state.parent,
            state=root(state),
            proposer=state.schedule.current[proposer(state.schedule, height, 0)].account,
            round=0,
            signed=tuple(seat.account for seat in state.schedule.previous),
            misbehaviour=(),
            transactions=tuple(data),
        )
        try:
            self.state, receipts = apply_block(state, block, EXECUTION)
        except Exception as error:
            raise Violation("block", f"{type(error).__name__}: {error}") from error
        for (say, _, _), receipt, want in zip(said, receipts, wanted, strict=False):
            if (receipt.code, receipt.rule) != want:
                found = f"{receipt.code.name} {receipt.rule}, expected {want[0].name} {want[1]}"
                raise Violation("receipt", f"height {height}, {say.action}: {found}")
        check_books(self.state)

    def phase(self, phase: Phase, said: list[Say], is_complete: bool) -> None:
        """Plays a phase to its end, which must be where the rules put it: after the block of the
        last message where ``is_complete``, at the deadline elsewhere."""
        found, begin_at = self.round, self.state.height + 1
        self.equal("phase", found.phase, phase)
        self.equal("deadline", found.deadline, begin_at + LENGTH)
        for say in said:
            entry = (say, phase, found.number)
            self.queue.setdefault(begin_at + say.when, []).append(entry)
        done = [say.when for say in said if say.code == Code.OK and say.when < LENGTH]
        end = begin_at + (max(done, default=0) if is_complete else LENGTH - 1)
        while self.state.height < end:
            self.equal("phase", self.round.phase, phase)
            self.step()
        now = self.state.rounds.get(self.job)
        if now is not None and (now.number, now.phase) == (found.number, phase):
            raise Violation("boundary", f"{phase.name} goes on after height {end}")

    def equal(self, what: str, found: Any, expected: Any) -> None:
        """Raises a violation where two things differ."""
        if found != expected:
            place = f"height {self.state.height}: {found}, expected {expected}"
            raise Violation(what, place)

    def pick(self, *weighted: tuple[str, int]) -> str:
        """One of some names, by weight."""
        names = [name for name, weight in weighted for _ in range(weight)]
        return self.dice.choice(names)

    # -- rounds

    def run(self) -> list[Outcome]:
        """Plays every round of the job; raises :class:`chain.simulator.checks.Violation`."""
        for number in range(ROUNDS):
            found = self.round
            self.equal("round", found.number, number)
            drawn = Drawn(number, self.state.height + 1, self.owner.parameters)
            self.equal("parent", found.parent, drawn.parent)
            self.close(drawn, self.play(drawn))
        self.equal("job", self.owner.status, JobStatus.FINISHED)
        self.equal("escrow", (self.owner.deposit, self.owner.minted), (0, 0))
        for _ in range(LENGTH + 2):  # what comes too late for the last round
            self.step()
        return self.outcomes

    def play(self, drawn: Drawn) -> Outcome:
        """One round up to the block that decides it; the outcome that must follow."""
        self.commit(drawn)
        if not drawn.heights:
            return Outcome.NO_CANDIDATE
        outcome = self.open_beacon(drawn)
        if outcome is not None:
            return outcome
        self.reveal(drawn)
        if not drawn.alive:
            return Outcome.NO_CANDIDATE
        drawn.beacon, drawn.fold = self.round.beacon, FOLDS[self.round.fold]
        jury.attest(self, drawn)
        pending = self.select(drawn)
        if drawn.winner != ZERO:
            self.equal("winner", self.round.winner, drawn.winner)
            pending = jury.confirm(self, drawn)
        elif all(entry is None or not entry.available for entry in drawn.certified):
            return pending
        return jury.challenge(self, drawn, pending)

    def commit(self, drawn: Drawn) -> None:
        """COMMIT: trainers, witnesses, and nodes that make up what their bonds lack."""
        dice, said, number = self.dice, [], drawn.number
        base = int.from_bytes(drawn.parent[:8], "big")
        for at, key in enumerate(TRAINERS):
            habit = self.pick(
                ("honest", 8), ("lies", 2), ("hides", 2), ("withholds", 1), ("late", 1),
                ("copies", 1), ("tardy", 1), ("absent", 1), ("twice", 1),
            )  # fmt: skip
            loss = max(base - dice.choice((-50, 0, 9, 10, 11, 100, 100, 200)), 0)
            name = loss.to_bytes(8, "big") + bytes([number, at]) + bytes(22)
            salt = digest_of("market salt", key.secret, number)
            plan = Plan(key, habit, name, salt, dice.below(2))
            drawn.plans[key.account] = plan
        honest = [p for p in drawn.plans.values() if p.habit == "honest"]
        for plan in drawn.plans.values():
            if plan.habit == "copies" and not honest:
                plan.habit = "withholds"
            if plan.habit == "copies":
                source = dice.choice(honest)
                plan.parameters, plan.salt, plan.when = source.parameters, source.salt, 2
                made = self.commitment(drawn, source)
            else:
                made = self.commitment(drawn, plan)
            action = trainers.Commit(self.job, number, made)
            if plan.habit == "absent":
                continue
            if plan.habit == "tardy":
                said.append(Say(plan.key, action, dice.between(LENGTH, LENGTH + 1)))
                continue
            said.append(Say(plan.key, action, plan.when))
            if plan.habit == "twice":
                said.append(Say(plan.key, action, plan.when, Code.DUPLICATE, "L15"))
            drawn.heights[plan.key.account] = drawn.begin + plan.when
            self.has[plan.key.account] -= BOND
        self.promised = self.commit_secrets(drawn, said)
        for account, bond in self.bonds.items():
            if bond < NODE_BOND:
                said.append(Say(PARTIES[account], nodes.Join(), 0))
                self.has[account] -= NODE_BOND - bond
                self.bonds[account], self.since[account] = NODE_BOND, drawn.begin
        whole = len(drawn.heights) == len(TRAINERS) and len(self.promised) == len(self.round.draws)
        self.phase(Phase.COMMIT, said, whole)
        if drawn.heights:
            known = {c.trainer: c.height for c in self.round.candidates}
            self.equal("candidates", known, drawn.heights)

    def commitment(self, drawn: Drawn, plan: Plan) -> bytes:
        """What a trainer commits to."""
        place = (self.job, drawn.number, plan.key.account)
        return trainers.commitment("market", *place, plan.parameters, plan.salt)

    def secret(self, account: bytes, number: int) -> bytes:
        """A witness's secret."""
        return digest_of("market secret", PARTIES[account].secret, number)

    def commit_secrets(self, drawn: Drawn, said: list[Say]) -> dict[bytes, str]:
        """The witnesses that commit, and what each will do in BEACON."""
        habits: dict[bytes, str] = {}
        is_bad = drawn.number == self.withholding
        witnesses = [draw.witness for draw in self.round.draws]
        for account in witnesses:
            habit = self.pick(("opens", 30), ("absent", 1), ("guesses", 1), ("copies", 1))
            if is_bad and self.dice.chance(250):
                habit = self.pick(("withholds", 2), ("late", 1))
            if habit == "absent":
                continue
            habits[account] = habit
            other = witnesses[0] if habit == "copies" else account
            secret = self.secret(other, drawn.number)
            made = beacon.commitment("market", self.job, drawn.number, other, secret)
            action = beacon.BeaconCommit(self.job, drawn.number, made)
            when = self.dice.below(LENGTH)
            said.append(Say(PARTIES[account], action, when))
            if self.dice.chance(50):
                said.append(Say(PARTIES[account], action, when, Code.DUPLICATE, "L16"))
        return habits

    def open_beacon(self, drawn: Drawn) -> Outcome | None:
        """BEACON: who opens nothing pays; without a quorum or without nodes the round is over."""
        said, opened = [], set()
        first = self.round.draws[0].witness
        for account, habit in self.promised.items():
            other = first if habit == "copies" else account
            if habit == "guesses":
                other = OWNER.account
            action = beacon.BeaconReveal(self.job, drawn.number, self.secret(other, drawn.number))
            if habit in ("opens", "late") or other == account:
                when = self.dice.below(LENGTH) + (LENGTH if habit == "late" else 0)
                said.append(Say(PARTIES[account], action, when))
                opened |= {account} if habit != "late" else set()
            elif habit != "withholds":
                said.append(Say(PARTIES[account], action, 0, Code.MISMATCH, "L17"))
        if not self.promised:
            said = []
        powers = {draw.witness: draw.power for draw in self.round.draws}
        self.phase(Phase.BEACON, said, len(opened) == len(self.promised))
        for account in powers:
            found = self.state.validators.get(account)
            guilty = account in self.promised and account not in opened
            again = account in self.jailed  # L17: once per jail_blocks; no market lasts as long
            jailed = found is not None and found.jailed and found.withheld >= drawn.begin
            who = account.hex()[:8]
            self.equal("jail", (who, jailed), (who, guilty and not again))
            if again:
                self.equal("jailed still", (who, found is not None and found.jailed), (who, True))
            self.jailed |= {account} if guilty else set()
        if not is_quorum(sum(powers[a] for a in opened), sum(powers.values())):
            return Outcome.NO_BEACON
        free = {
            account
            for account, bond in self.bonds.items()
            if bond == NODE_BOND and self.since[account] < drawn.begin
        } - set(drawn.heights)
        if len(free) < SEATS + CONFIRMERS:
            return Outcome.NO_COMMITTEE
        drawn_nodes = [a.verifier for a in self.round.attestations]
        drawn_nodes += [c.confirmer for c in self.round.confirmations]
        is_fair = len(set(drawn_nodes)) == SEATS + CONFIRMERS == len(drawn_nodes)
        self.equal("committees", is_fair and free.issuperset(drawn_nodes), True)
        return None

    def reveal(self, drawn: Drawn) -> None:
        """REVEAL: what is not opened in time is out, and its bond lost."""
        said, fold = [], FOLDS[self.round.fold]
        for account in drawn.heights:
            plan = drawn.plans[account]
            loss = truth(plan.parameters, fold).loss
            plan.claim = loss
            if plan.habit == "lies":
                plan.claim = self.dice.choice((max(loss - 150, 0), loss - 1, loss + 1))
            if plan.habit == "hides":
                plan.shown = self.dice.choice((0, 1, 4, 5))
            action = trainers.Reveal(self.job, drawn.number, plan.parameters, plan.salt, plan.claim)
            when = self.dice.below(LENGTH)
            if plan.habit == "copies":
                said.append(Say(plan.key, action, when, Code.MISMATCH, "L20"))
            elif plan.habit == "late":
                late = self.dice.between(LENGTH - 1, LENGTH + 1)  # one before, at, one after
                said.append(Say(plan.key, action, late))
                drawn.alive += [account] if late < LENGTH else []
            elif plan.habit != "withholds":
                said.append(Say(plan.key, action, when))
                drawn.alive.append(account)
                if plan.habit == "twice":
                    said.append(Say(plan.key, action, when, Code.DUPLICATE, "L20"))
        drawn.alive.sort()
        self.phase(Phase.REVEAL, said, len(drawn.alive) == len(drawn.heights))
        if drawn.alive:
            self.equal("revealed", [c.trainer for c in self.round.candidates], drawn.alive)

    # -- selection

    def select(self, drawn: Drawn) -> Outcome:
        """SELECT, counted here: what is certified, who wins, what follows where nobody does."""
        columns = list(zip(*drawn.opened.values(), strict=True))
        certified: list[Entry | None] = []
        for column in columns or [()] * (1 + len(drawn.alive)):
            best = Counter(column).most_common(1)
            entry, votes = best[0] if best else (None, 0)
            certified.append(entry if is_quorum(votes, SEATS) else None)
        drawn.certified = tuple(certified)
        parent = certified[0]
        if parent is None or not parent.available:
            return Outcome.NOT_CERTIFIED
        ranking = []
        for account, entry in zip(drawn.alive, certified[1:], strict=True):
            plan = drawn.plans[account]
            if entry is not None and entry.available and entry.loss == plan.claim:
                tie = digest_of("tie", drawn.beacon, account)
                ranking.append((entry.loss, drawn.heights[account], tie, account))
        if ranking and min(ranking)[0] <= parent.loss - MARGIN:
            drawn.winner = min(ranking)[-1]
        is_known = any(entry is not None for entry in certified[1:])
        return Outcome.NO_IMPROVEMENT if is_known else Outcome.NOT_CERTIFIED

    # -- accounts

    def cut(self, account: bytes, share: int, is_reported: bool = False) -> None:
        """A node loses thousandths of its bond; the reporter has a tenth of that."""
        lost = self.bonds[account] * share // 1000
        self.bonds[account] -= lost
        self.has[REPORTER.account] += lost * 100 // 1000 if is_reported else 0

    def close(self, drawn: Drawn, outcome: Outcome) -> None:
        """What the chain holds of the round that is over is what the oracle counted."""
        result = self.state.results.get(self.owner.last)
        if result is None or result.number != drawn.number:
            raise Violation("result", f"round {drawn.number} has no result")
        self.equal("outcome", result.outcome, outcome)
        if drawn.certified:
            jury.settle(self, drawn, outcome)
        elif outcome in (Outcome.NO_BEACON, Outcome.NO_COMMITTEE):
            for account in drawn.heights:
                self.has[account] += BOND
        winner, parameters = ZERO, drawn.parent
        if outcome in (Outcome.FINAL, Outcome.NOT_CONFIRMED, Outcome.REFUTED):
            winner = drawn.winner
        if outcome == Outcome.FINAL:
            parameters = drawn.plans[winner].parameters
            entry = drawn.certified[1 + drawn.alive.index(winner)]
            self.equal("loss", result.loss, None if entry is None else entry.loss)
        self.equal("trainer", result.trainer, winner)
        self.equal("parameters", self.owner.parameters, parameters)
        for account, has in self.has.items():
            who, found = account.hex()[:8], ledger.balance(self.state, account)
            self.equal("balance", (who, found), (who, has))
        for account, bond in self.bonds.items():
            who, node = account.hex()[:8], self.state.nodes.get(account)
            self.equal("bond", (who, None if node is None else node.bond), (who, bond))
        if drawn.number + 1 < ROUNDS:
            self.equal("purse", self.owner.deposit + self.owner.minted, self.purse)
        self.outcomes.append(outcome)
