"""A round of LBFT with honest agents and invented losses: what the state machine itself costs."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

from chain import ledger
from chain.adapters.agents import Agent, Service, Trainer, Witness
from chain.blocks import Block
from chain.context import Execution, Inspection, Verdict
from chain.envelope import seal
from chain.genesis import Founder, Genesis, Grant, Opening, begin
from chain.hashes import digest_of, plain
from chain.jobs import StartJob
from chain.keys import Key
from chain.machine import apply_block
from chain.parameters import Parameters, Timing
from chain.records import Entry, Outcome, Terms
from chain.refusal import Code
from chain.schedule import proposer
from chain.state import State, root

TRAINERS, ROUNDS = 3, 50
FIRST = 1 << 40
WITNESSES = [Key.derived("witness", i) for i in range(4)]


def loss_of(parameters: bytes, fold: bytes) -> Entry:
    """Parameters are named by their loss."""
    loss = int.from_bytes(parameters[:8], "big")
    return Entry(True, loss, digest_of("trace", parameters, fold))


def better(step: int, parent: bytes, number: int) -> bytes:
    """Parameters whose loss is smaller by a step, in any round."""
    return (int.from_bytes(parent[:8], "big") - step).to_bytes(8, "big") + parent[8:]


class Answers(dict[bytes, bytes]):
    """First answers, in memory."""

    def said(self, question: bytes) -> bytes | None:
        """The answer, if there was one."""
        return self.get(question)

    def say(self, question: bytes, data: bytes) -> bytes:
        """The first answer."""
        return self.setdefault(question, data)


class Training:
    """A chain with one job and committees of a size."""

    def __init__(self, verifiers: int) -> None:
        nodes = [Key.derived("node", i) for i in range(2 * verifiers + 1)]
        trainers = [Key.derived("trainer", i) for i in range(TRAINERS)]
        owner = Key.derived("owner")
        terms = Terms(
            rounds=ROUNDS,
            margin=1,
            verifiers=verifiers,
            confirmers=verifiers,
            max_candidates=TRAINERS,
            trainer_bond=1_000,
            challenge_bond=1_000,
            timing=Timing(9, 9, 9, 9, 9, 9, 1),
        )
        first = FIRST.to_bytes(8, "big") + bytes(24)
        folds = (plain(b"fold"), plain(b"another fold"))
        job = StartJob(b"program", first, folds, 5_000_000, terms)
        people = (*WITNESSES, *nodes, *trainers, owner)
        genesis = Genesis(
            Parameters("rounds", node_bond=10_000, min_phase=1),
            tuple(Grant(key.account, 10_000_000) for key in people),
            tuple(Founder(key.public, 0, 2_000_000) for key in WITNESSES),
            tuple(key.account for key in nodes),
            (Opening(owner.account, job),),
        )
        inspection = Inspection(plain(b"program"), 1_000_000, 100)
        self.execution = Execution(
            lambda program: inspection, lambda claim, opening: Verdict.NOTHING
        )
        self.state: State = begin(genesis, self.execution)
        self.agents: list[Agent] = [Witness(key) for key in WITNESSES]
        self.agents += [Service(key, loss_of, Answers()) for key in nodes]
        self.agents += [
            Trainer(key, partial(better, 1 + at), loss_of) for at, key in enumerate(trainers)
        ]
        self.seconds, self.transactions, self.size, self.blocks = 0.0, 0, 0, 0

    def step(self) -> None:
        """A block with what every agent wants to say."""
        state, height = self.state, self.state.height + 1
        said = []
        for job, found in state.rounds.items():
            for agent in self.agents:
                for key, action in agent.plan(state, job, found):
                    nonce = ledger.account_of(state, key.account).nonce
                    said.append(seal(key, state.identity, nonce, 1_000, action))
        seats = state.schedule
        block = Block(
            state.parameters.chain,
            height,
            state.parent,
            root(state),
            seats.current[proposer(seats, height, 0)].account,
            0,
            tuple(seat.account for seat in seats.previous),
            (),
            tuple(said),
        )
        begin_ = time.perf_counter()
        self.state, receipts = apply_block(state, block, self.execution)
        root(self.state)
        self.seconds += time.perf_counter() - begin_
        if any(receipt.code != Code.OK for receipt in receipts):
            raise RuntimeError("a message was refused")
        self.transactions += len(said)
        self.size += sum(map(len, said))
        self.blocks += 1

    def round(self) -> float:
        """Steps until the open round is final; seconds of the state machine."""
        (_, job), *_ = self.state.jobs.items()
        before, done = self.seconds, job.done
        while job.done == done:
            self.step()
            (_, job), *_ = self.state.jobs.items()
        result = self.state.results.get(job.last)
        if result is None or result.outcome != Outcome.FINAL:
            raise RuntimeError("a round was not final")
        return self.seconds - before


def time_round(verifiers: int, seconds: float) -> dict[str, Any]:
    """The median of rounds, every signature checked."""
    training = Training(verifiers)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or (time.perf_counter() < end and len(found) < ROUNDS):
        found.append(training.round())
    return {
        "verifiers": verifiers,
        "confirmers": verifiers,
        "blocks": training.blocks // len(found),
        "transactions": training.transactions // len(found),
        "bytes": training.size // len(found),
        "milliseconds": round(1000 * statistics.median(found), 1),
    }
