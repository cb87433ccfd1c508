"""The committees of a market: attestations, confirmations and disputes with drawn habits, and what
they cost or earn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chain import confirmation, verifiers
from chain.envelope import seal
from chain.evidence import DoubleStatement
from chain.hashes import digest_of
from chain.records import UNAVAILABLE, ZERO, Entry, Outcome, Phase
from chain.refusal import Code
from chain.simulator.stage import (
    BOND,
    CONFIRMERS,
    DISPUTE_BOND,
    FEE,
    LENGTH,
    PARTIES,
    REPORTER,
    ROUNDS,
    SEATS,
    Drawn,
    Say,
    is_quorum,
    truth,
)

if TYPE_CHECKING:
    from chain.simulator.market import Market


def invented(market: Market, drawn: Drawn, entries: tuple[Entry, ...]) -> tuple[int, Entry]:
    """A lie about one subject: mostly one that a trainer tells too, so that it may win."""
    at = market.dice.below(len(entries))
    claims = [drawn.plans[account].claim for account in drawn.alive]
    liars = [i for i, claim in enumerate(claims, 1) if claim < entries[i].loss]
    if liars and market.dice.chance(700):
        at = market.dice.choice(liars)
    loss = max(entries[at].loss - 1 - market.dice.below(200), 0)
    if at:
        claim = drawn.plans[drawn.alive[at - 1]].claim
        # The loss that the trainer states; where it is true, the trace alone may be the lie.
        is_right = claim == entries[at].loss
        loss = claim if not is_right or market.dice.chance(500) else loss
    return at, Entry(True, loss, digest_of("invented", drawn.number))


def findings(market: Market, drawn: Drawn, habit: str, seat: int) -> tuple[Entry, ...]:
    """What a verifier says it found."""
    fold, dice = drawn.fold, market.dice
    shown = [True, *(seat < drawn.plans[account].shown for account in drawn.alive)]
    names = [drawn.parent, *(drawn.plans[account].parameters for account in drawn.alive)]
    true = [truth(name, fold) for name in names]
    found = [e if s else UNAVAILABLE for e, s in zip(true, shown, strict=True)]
    at = dice.below(len(found))
    match habit:
        case "lazy":
            claims = [drawn.plans[account].claim for account in drawn.alive]
            found = [Entry(True, loss, ZERO) for loss in (0, *claims)]
        case "false":
            found[at] = Entry(True, true[at].loss + 1 + dice.below(3), digest_of("false", seat))
        case "sayer":
            found[at] = UNAVAILABLE
        case "blind":
            found = [UNAVAILABLE] * len(found)
        case "odd":
            found[at] = Entry(False, 1, ZERO)
        case "short":
            found.pop()
        case "conspires":
            if drawn.lie is None:
                drawn.lie = invented(market, drawn, tuple(true))
            found = true
            found[drawn.lie[0]] = drawn.lie[1]
    return tuple(found)


def habits_of(market: Market) -> list[str]:
    """What the verifiers do: a conspiracy, an owner that hides its test data, or some faults."""
    dice, found = market.dice, ["honest"] * SEATS
    if dice.chance(200):
        return ["conspires"] * (SEATS - dice.below(2)) + ["honest"]
    if dice.chance(60):
        return ["blind"] * dice.between(4, SEATS) + ["honest"] * 2
    for at in range(dice.choice((0, 0, 1, 1, 1, 2, 3))):
        found[at] = dice.choice(
            ("lazy", "false", "sayer", "silent", "mute", "copies", "switches", "late", "tardy",
             "short", "odd")
        )  # fmt: skip
    return found


def attest(market: Market, drawn: Drawn) -> None:
    """ATTEST-COMMIT and ATTEST-REVEAL; who has opened nothing pays at once."""
    dice, job, number = market.dice, market.job, drawn.number
    seats = [a.verifier for a in market.round.attestations]
    habits = dict(zip(seats, habits_of(market), strict=False))
    honest = [account for account in seats if habits[account] == "honest"]
    commits: list[Say] = []
    opens: list[Say] = []
    committed: set[bytes] = set()
    made: dict[bytes, tuple[bytes, tuple[Entry, ...], bytes]] = {}
    for seat, account in enumerate(seats):
        entries = findings(market, drawn, habits[account], seat)
        salt = digest_of("market salt", account, number)
        place = ("market", job, number, account)
        made[account] = (verifiers.commitment(*place, entries, salt), entries, salt)
    for account in seats:
        key, habit = PARTIES[account], habits[account]
        hidden, entries, salt = made[account]
        when = dice.below(LENGTH - 1)
        if habit == "silent":
            continue
        if habit == "copies" and honest:
            hidden, entries, salt = made[honest[0]]
            when = LENGTH - 1
        commit = verifiers.AttestCommit(job, number, hidden)
        if habit == "tardy":
            commits.append(Say(key, commit, dice.between(LENGTH, LENGTH + 1)))
            continue
        commits.append(Say(key, commit, when))
        committed.add(account)
        if dice.chance(30):
            commits.append(Say(key, commit, when, Code.DUPLICATE, "L22"))
        if habit == "mute":
            continue
        if habit == "switches":
            entries = (Entry(True, entries[0].loss + 1, entries[0].trace), *entries[1:])
        when = dice.below(LENGTH) + (LENGTH if habit == "late" else 0)
        said = verifiers.AttestReveal(job, number, entries, salt)
        if habit in ("copies", "switches") and (habit == "switches" or honest):
            opens.append(Say(key, said, when, Code.MISMATCH, "L23"))
        elif habit in ("short", "odd"):
            opens.append(Say(key, said, when, Code.MALFORMED, "L23"))
        else:
            opens.append(Say(key, said, when))
            if habit != "late":
                drawn.opened[account] = entries
                if dice.chance(30):
                    opens.append(Say(key, said, when, Code.DUPLICATE, "L23"))
    market.phase(Phase.ATTEST_COMMIT, commits, len(committed) == SEATS)
    market.phase(Phase.ATTEST_REVEAL, opens, len(drawn.opened) == len(committed))
    for account in seats:
        if account not in drawn.opened:
            market.cut(account, 50)


def confirm(market: Market, drawn: Drawn) -> Outcome:
    """CONFIRM: the others of a conspiracy agree to whatever is certified."""
    dice, said = market.dice, []
    seats = [c.confirmer for c in market.round.confirmations]
    entry = drawn.certified[1 + drawn.alive.index(drawn.winner)]
    certified = UNAVAILABLE if entry is None else entry
    own = truth(drawn.plans[drawn.winner].parameters, drawn.fold)
    for account in seats:
        habit = market.pick(("honest", 27), ("wrong", 1), ("silent", 1), ("late", 1))
        found = certified if drawn.lie is not None else own
        words = (found.loss + (habit == "wrong"), found.trace)
        action = confirmation.Confirm(market.job, drawn.number, *words)
        if habit == "silent":
            continue
        when = dice.below(LENGTH) + (LENGTH if habit == "late" else 0)
        said.append(Say(PARTIES[account], action, when))
        if habit == "late":
            continue
        drawn.said[account] = words
        if dice.chance(30):
            said.append(Say(PARTIES[account], action, when, Code.DUPLICATE, "L31"))
    market.phase(Phase.CONFIRM, said, len(drawn.said) == len(seats))
    good = (certified.loss, certified.trace)
    yes = sum(words == good for words in drawn.said.values())
    return Outcome.FINAL if is_quorum(yes, CONFIRMERS) else Outcome.NOT_CONFIRMED


def challenge(market: Market, drawn: Drawn, pending: Outcome) -> Outcome:
    """CHALLENGE: evidence of second answers, disputes that prove nothing, and one that does where
    something false is certified and somebody looks."""
    dice, said, end = market.dice, [], market.state.height + LENGTH
    fold = drawn.fold
    names = [drawn.parent, *(drawn.plans[account].parameters for account in drawn.alive)]
    lies = [
        at
        for at, (name, entry) in enumerate(zip(names, drawn.certified, strict=True))
        if entry is not None and entry.available and entry != truth(name, fold)
    ]
    true = [
        at
        for at, entry in enumerate(drawn.certified)
        if entry is not None and entry.available and at not in lies
    ]
    said += second_answers(market, drawn)
    bogus = dice.choice((0, 0, 0, 1, 2)) if true else 0
    for count in range(bogus):
        at = dice.choice(true)
        action = confirmation.Dispute(market.job, drawn.number, at, b"look")
        said.append(Say(REPORTER, action, 0))
        market.has[REPORTER.account] -= DISPUTE_BOND << count
    if dice.chance(100):
        action = confirmation.Dispute(market.job, drawn.number, len(names), b"look")
        said.append(Say(REPORTER, action, 0, Code.UNKNOWN, "L33"))
    if not lies or dice.chance(100):
        late = bool(lies) and dice.chance(500)
        if late:
            action = confirmation.Dispute(market.job, drawn.number, lies[0], b"look")
            said.append(Say(REPORTER, action, LENGTH))
        market.phase(Phase.CHALLENGE, said, False)
        return pending
    at, when = lies[0], dice.between(1, LENGTH - 1)
    blind = confirmation.Dispute(market.job, drawn.number, at, b"do not look")
    if dice.chance(200):
        said.append(Say(REPORTER, blind, when - 1))
        # It waits behind those of its block, and costs as much more.
        market.has[REPORTER.account] -= DISPUTE_BOND << (bogus if when == 1 else 0)
    action = confirmation.Dispute(market.job, drawn.number, at, b"look")
    said.append(Say(REPORTER, action, when))
    market.phase(Phase.CHALLENGE, said, True)
    market.equal("refuted in time", market.state.height <= end, True)
    refute(market, drawn, at)
    return Outcome.REFUTED


def second_answers(market: Market, drawn: Drawn) -> list[Say]:
    """A confirmer that signs twice is slashed on the evidence of both, once; one that repeats
    itself is not."""
    if not drawn.said or not market.dice.chance(200):
        return []
    account = market.dice.choice(sorted(drawn.said))
    loss, trace = drawn.said[account]
    key, identity = PARTIES[account], market.state.identity
    first, again, other = (
        seal(key, identity, nonce, FEE, confirmation.Confirm(market.job, drawn.number, lost, trace))
        for nonce, lost in ((0, loss), (1, loss), (2, loss + 7))
    )
    market.cut(account, 500, is_reported=True)
    return [
        Say(REPORTER, DoubleStatement(first, again), 0, Code.BAD_EVIDENCE, "L38"),
        Say(REPORTER, DoubleStatement(first, other), 0),
        Say(REPORTER, DoubleStatement(other, again), 0, Code.DUPLICATE, "L38"),
    ]


def refute(market: Market, drawn: Drawn, at: int) -> None:
    """Who signed what was refuted pays, the trainer that said the same too; all others have their
    bonds back."""
    lie = drawn.certified[at]
    signers = [account for account, entries in drawn.opened.items() if entries[at] == lie]
    if at and drawn.alive[at - 1] == drawn.winner and lie is not None:
        good = (lie.loss, lie.trace)
        signers += [account for account, words in drawn.said.items() if words == good]
    for account in signers:
        market.cut(account, 500, is_reported=True)
    for index, account in enumerate(drawn.alive, 1):
        name = drawn.plans[account].parameters
        said_it = (
            index == at
            and lie is not None
            and drawn.plans[account].claim == lie.loss != truth(name, drawn.fold).loss
        )
        market.has[account] += 0 if said_it else BOND
        market.has[REPORTER.account] += BOND * 100 // 1000 if said_it else 0


def verified(drawn: Drawn) -> list[bytes]:
    """Who found everything that is certified."""
    return sorted(
        account
        for account, entries in drawn.opened.items()
        if all(c in (None, e) for e, c in zip(entries, drawn.certified, strict=True))
    )


def settle(market: Market, drawn: Drawn, outcome: Outcome) -> None:
    """Bonds and pay of a round in which something was measured; those of a refuted one were settled
    when the dispute was judged."""
    if outcome == Outcome.REFUTED:
        return
    parent = drawn.certified[0]
    for account, entry in zip(drawn.alive, drawn.certified[1:], strict=True):
        is_blamed = entry is not None and (
            entry.loss != drawn.plans[account].claim
            if entry.available
            else parent is not None and parent.available
        )
        market.has[account] += 0 if is_blamed else BOND
    for account, entries in drawn.opened.items():
        if any(
            e.available and c is not None and c.available and e != c
            for e, c in zip(entries, drawn.certified, strict=True)
        ):
            market.cut(account, 500)
    if drawn.winner != ZERO:
        entry = drawn.certified[1 + drawn.alive.index(drawn.winner)]
        good = None if entry is None else (entry.loss, entry.trace)
        for account, words in drawn.said.items():
            if words != good:
                market.cut(account, 500)
        agreeing = [account for account, words in drawn.said.items() if words == good]
    budget = market.purse // (ROUNDS - drawn.number)
    of_trainer, of_verifiers = budget * 600 // 1000, budget * 300 // 1000
    pay: Counter[bytes] = Counter()
    if outcome in (Outcome.FINAL, Outcome.NO_IMPROVEMENT):
        for account in verified(drawn):
            pay[account] += of_verifiers // SEATS
    if outcome == Outcome.FINAL:
        pay[drawn.winner] += of_trainer
        for account in agreeing:
            pay[account] += (budget - of_trainer - of_verifiers) // CONFIRMERS
    for account, amount in pay.items():
        market.has[account] += amount
        market.purse -= amount
