"""The stage of a market: who takes part, what is fixed, and what an oracle knows of a round."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from chain import jobs
from chain.context import Claim, Execution, Inspection, Verdict
from chain.genesis import Founder, Genesis, Grant, Opening
from chain.hashes import digest_of, plain
from chain.keys import Key
from chain.parameters import Parameters, Timing
from chain.records import ZERO, Entry, Terms
from chain.refusal import Code

ROUNDS, LENGTH, MARGIN = 3, 3, 10
SEATS, CONFIRMERS = 6, 3
FEE, BOND, DISPUTE_BOND, NODE_BOND = 100, 500, 100, 1_000
WITNESSES = [Key.derived("market witness", i) for i in range(6)]
TRAINERS = [Key.derived("market trainer", i) for i in range(3)]
NODES = [TRAINERS[0], *(Key.derived("market node", i) for i in range(19))]
OWNER, REPORTER = Key.derived("market owner"), Key.derived("market reporter")
PARTIES = {key.account: key for key in (*WITNESSES, *TRAINERS, *NODES, OWNER, REPORTER)}
FOLDS = tuple(bytes([i]) * 32 for i in (1, 2, 3))
FIRST = (1_000).to_bytes(8, "big") + bytes(24)
TERMS = Terms(ROUNDS, MARGIN, SEATS, CONFIRMERS, 3, BOND, DISPUTE_BOND, Timing(*[LENGTH] * 7))


def truth(parameters: bytes, fold: bytes) -> Entry:
    """The exact loss of an invented core: it stands in the name of the parameters."""
    loss = int.from_bytes(parameters[:8], "big") + fold[0]
    return Entry(True, loss, digest_of("trace", parameters, fold))


def referee(claim: Claim, opening: bytes) -> Verdict:
    """Sees the truth when asked the right way."""
    found = truth(claim.parameters, claim.fold)
    if opening != b"look" or (claim.loss, claim.trace) == (found.loss, found.trace):
        return Verdict.NOTHING
    return Verdict.FALSE_TRACE if claim.loss == found.loss else Verdict.FALSE_LOSS


EXECUTION = Execution(lambda program: Inspection(plain(program), 5_000_000, 100), referee)


def first_genesis() -> Genesis:
    """Six witnesses of equal power, twenty nodes of which one trains too, three trainers, a job."""
    parameters = Parameters(
        "market",
        block_reward=100,
        fee_burn=0,
        power_unit=100_000,
        jail_blocks=500,
        unbonding=50,
        evidence_window=40,
        node_bond=NODE_BOND,
        min_phase=LENGTH,
        task_blocks=4,
    )
    job = jobs.StartJob(b"program", FIRST, FOLDS, 90_001, TERMS)
    return Genesis(
        parameters,
        tuple(Grant(account, 1_000_000) for account in PARTIES),
        tuple(Founder(key.public, 100, 250_000) for key in WITNESSES),
        tuple(key.account for key in NODES),
        (Opening(OWNER.account, job),),
    )


@dataclass(frozen=True)
class Say:
    """A message, at which block of its phase it comes, and what must become of it there. One that
    comes when its phase is over must be refused for that."""

    key: Key
    action: Any
    when: int
    code: Code = Code.OK
    rule: str = ""


@dataclass
class Plan:
    """What a trainer does in a round."""

    key: Key
    habit: str
    parameters: bytes
    salt: bytes
    when: int
    claim: int = 0
    shown: int = SEATS


@dataclass
class Drawn:
    """What the oracle knows of the open round."""

    number: int
    begin: int
    parent: bytes
    plans: dict[bytes, Plan] = field(default_factory=dict)
    heights: dict[bytes, int] = field(default_factory=dict)
    beacon: bytes = ZERO
    fold: bytes = ZERO
    alive: list[bytes] = field(default_factory=list)
    opened: dict[bytes, tuple[Entry, ...]] = field(default_factory=dict)
    certified: tuple[Entry | None, ...] = ()
    winner: bytes = ZERO
    said: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    lie: tuple[int, Entry] | None = None


def is_quorum(yes: int, seats: int) -> bool:
    """More than two thirds, counted another way than the chain does."""
    return Fraction(yes, seats) > Fraction(2, 3)
