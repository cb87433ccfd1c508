"""What the state holds: one record per kind of thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from chain.codec import Amount, Count, Digest, Size, Text
from chain.parameters import PerMille, Timing

ZERO = bytes(32)


@dataclass(frozen=True)
class Account:
    """Tokens, and the number of transactions that the owner has spent. D1."""

    balance: Amount = 0
    nonce: Count = 0


# --- staking -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Validator:
    """A candidate for witness. ``shares`` of its ``tokens`` belong to those who voted for it.
    ``punished``: of an expelled one, the height of the earliest fault that was proved. ``leaving``:
    up to where the last stake that left answers, 0 for none. ``withheld``: the height of the last
    slash for a secret, 0 for none."""

    public: Digest
    commission: PerMille
    tokens: Amount = 0
    shares: Amount = 0
    jailed_until: Count = 0
    jailed: bool = False
    tombstoned: bool = False
    window: bytes = b""
    blocks: Count = 0
    missed: Count = 0
    missed_turns: Count = 0
    punished: Count = 0
    leaving: Count = 0
    withheld: Count = 0


@dataclass(frozen=True)
class Delegation:
    """Shares of a validator. ``backup``: where the vote goes when turns are missed, or zeros."""

    delegator: Digest
    validator: Digest
    shares: Amount
    backup: Digest = ZERO


@dataclass(frozen=True)
class Pool:
    """Stake that left a validator and answers for its faults up to one height. ``before``: the
    height of the pool that came before it, 0 for none."""

    tokens: Amount
    shares: Amount
    before: Count = 0


@dataclass(frozen=True)
class Unbonding:
    """A claim on a pool."""

    delegator: Digest
    pool: Digest
    shares: Amount
    matures: Count


@dataclass(frozen=True)
class Seat:
    """A witness of one set: account, key and voting power."""

    account: Digest
    public: Digest
    power: Count


@dataclass(frozen=True)
class Schedule:
    """Who votes: on the block below, on the next, on the one after; and the order of turns."""

    previous: tuple[Seat, ...]
    current: tuple[Seat, ...]
    following: tuple[Seat, ...]
    order: tuple[Count, ...]
    start: Count


# --- nodes and jobs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A verifier for hire since a height. ``leaves``: when its bond is free, 0 while it serves."""

    bond: Amount
    since: Count
    leaves: Count = 0


class JobStatus(IntEnum):
    """Where a job stands."""

    RUNNING = 1
    FINISHED = 2


@dataclass(frozen=True)
class Terms:
    """What the owner of a job asks for."""

    rounds: Count
    margin: Count
    verifiers: Count
    confirmers: Count
    max_candidates: Count
    trainer_bond: Amount
    challenge_bond: Amount
    timing: Timing


@dataclass(frozen=True)
class Job:
    """A subchain: the training of one program."""

    owner: Digest
    program: Digest
    graph: Digest
    cost: Count
    genesis_parameters: Digest
    parameters: Digest
    folds: Annotated[tuple[Digest, ...], Size(1, 256)]
    terms: Terms
    status: JobStatus
    deposit: Amount
    minted: Amount
    done: Count = 0
    last: Digest = ZERO
    stopping: bool = False


class Phase(IntEnum):
    """The phases of a round that wait for messages. L1."""

    COMMIT = 1
    BEACON = 2
    REVEAL = 3
    ATTEST_COMMIT = 4
    ATTEST_REVEAL = 5
    CONFIRM = 6
    CHALLENGE = 7


@dataclass(frozen=True)
class Draw:
    """A witness's part of the beacon: a commitment, then its secret."""

    witness: Digest
    power: Count
    commitment: Digest = ZERO
    secret: Digest = ZERO


@dataclass(frozen=True)
class Candidate:
    """A trainer's entry."""

    trainer: Digest
    commitment: Digest
    height: Count
    revealed: bool = False
    parameters: Digest = ZERO
    claim: Count = 0


@dataclass(frozen=True)
class Entry:
    """One verifier's finding on one set of parameters: the exact loss and the root of the trace;
    ``available`` false where the parameters could not be fetched."""

    available: bool
    loss: Count
    trace: Digest


UNAVAILABLE = Entry(False, 0, ZERO)


@dataclass(frozen=True)
class Attestation:
    """A verifier's vector of findings: on the parent, then on each revealed candidate."""

    verifier: Digest
    commitment: Digest = ZERO
    opened: bool = False
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Confirmation:
    """A confirmer's own recomputation of the winner."""

    confirmer: Digest
    sent: bool = False
    loss: Count = 0
    trace: Digest = ZERO


@dataclass(frozen=True)
class Challenge:
    """A claim that what is certified of a subject (0: the parent, k: the k-th candidate) is wrong,
    with what the referee needs to see it. ``height``: of the block that it came in."""

    challenger: Digest
    bond: Amount
    subject: Count
    height: Count
    opening: bytes


class Outcome(IntEnum):
    """How a round ended. L40."""

    FINAL = 1
    NO_CANDIDATE = 2
    NO_BEACON = 3
    NO_COMMITTEE = 4
    NOT_CERTIFIED = 5
    NO_IMPROVEMENT = 6
    NOT_CONFIRMED = 7
    REFUTED = 8


@dataclass(frozen=True)
class Round:
    """One round of a job. ``deadline``: the first height at which the phase is over.
    ``certified``: what a quorum of verifiers found of the parent and of each candidate.
    ``pending``: the outcome if no challenge succeeds."""

    number: Count
    phase: Phase
    start: Count
    deadline: Count
    parent: Digest
    draws: tuple[Draw, ...]
    candidates: tuple[Candidate, ...] = ()
    beacon: Digest = ZERO
    fold: Count = 0
    attestations: tuple[Attestation, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    verified: tuple[Digest, ...] = ()
    winner: Digest = ZERO
    loss: Count = 0
    trace: Digest = ZERO
    parent_loss: Count = 0
    certified: tuple[Entry | None, ...] = ()
    pending: Outcome | None = None
    challenges: tuple[Challenge, ...] = ()


@dataclass(frozen=True)
class Result:
    """A block of a subchain: what a round decided, and who signed for it."""

    job: Digest
    number: Count
    previous: Digest
    outcome: Outcome
    parameters: Digest
    loss: Count
    parent_loss: Count
    fold: Count
    trace: Digest
    trainer: Digest
    verifiers: tuple[Digest, ...]
    confirmers: tuple[Digest, ...]


# --- inference ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A confirmer's own output of a task; ZERO while it has not answered."""

    confirmer: Digest
    output: Digest = ZERO


@dataclass(frozen=True)
class Task:
    """An inference that somebody pays for."""

    requester: Digest
    job: Digest
    parameters: Digest
    input: Digest
    reward: Amount
    created: Count
    node: Digest = ZERO
    answers: tuple[Answer, ...] = ()
    output: Digest = ZERO
    deadline: Count = 0


@dataclass(frozen=True)
class Notice:
    """Something that happened, for people and programs that watch."""

    kind: Text
    subject: Digest
    amount: Amount = 0
