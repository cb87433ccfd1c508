"""A small chain to test on: keys, a genesis, an invented core, and a driver of rounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from chain import beacon, confirmation, jobs, ledger, trainers, verifiers
from chain.blocks import Block
from chain.context import Claim, Execution, Inspection, Verdict
from chain.envelope import seal
from chain.genesis import Founder, Genesis, Grant, Opening, begin
from chain.hashes import digest_of, plain
from chain.keys import Key
from chain.machine import Receipt, apply_block
from chain.parameters import Parameters, Timing
from chain.records import Entry, Job, Phase, Result, Round, Terms
from chain.refusal import Code
from chain.schedule import proposer
from chain.simulator.books import check_books
from chain.state import State, root

CHAIN = "test"
TIMING = Timing(3, 3, 3, 3, 3, 3, 3)
TERMS = Terms(3, 10, 4, 3, 3, 500, 100, TIMING)
PARAMETERS = Parameters(
    CHAIN,
    block_reward=100,
    fee_burn=0,
    power_unit=1_000,
    uptime_window=10,
    jail_blocks=5,
    missed_turns=3,
    unbonding=50,
    evidence_window=40,
    node_bond=1_000,
    min_phase=3,
    task_blocks=4,
    task_wait=20,
)
FOLDS = tuple(bytes([i]) * 32 for i in (1, 2, 3))
SALT = b"s" * 32

WITNESSES = [Key.derived("witness", i) for i in range(4)]
TRAINERS = [Key.derived("trainer", i) for i in range(3)]
NODES = [Key.derived("node", i) for i in range(7)]
OWNER, RICH = Key.derived("owner"), Key.derived("rich")
ALL = [*WITNESSES, *TRAINERS, *NODES, OWNER, RICH]
BY_ACCOUNT = {key.account: key for key in ALL}


def parameters_with(loss: int, salt: int = 0) -> bytes:
    """A name of parameters whose true loss is ``loss``, plus a little that depends on the fold."""
    return loss.to_bytes(8, "big") + salt.to_bytes(24, "big")


def truth(parameters: bytes, fold: bytes) -> Entry:
    """What an honest evaluation finds."""
    loss = int.from_bytes(parameters[:8], "big") + fold[0]
    return Entry(True, loss, digest_of("trace", parameters, fold, loss))


def inspect(program: bytes) -> Inspection:
    """An invented core knows programs by their first bytes."""
    if not program.startswith(b"program"):
        raise ValueError("does not begin with 'program'")
    return Inspection(plain(program), 5_000_000, 100)


def referee(claim: Claim, opening: bytes) -> Verdict:
    """An invented referee sees the truth, when asked the right way."""
    found = truth(claim.parameters, claim.fold)
    if opening != b"look" or (claim.loss, claim.trace) == (found.loss, found.trace):
        return Verdict.NOTHING
    return Verdict.FALSE_TRACE if claim.loss == found.loss else Verdict.FALSE_LOSS


EXECUTION = Execution(inspect, referee)
START = jobs.StartJob(b"program", parameters_with(1_000), FOLDS, 90_000, TERMS)


def genesis(
    parameters: Parameters = PARAMETERS, terms: Terms | None = TERMS, nodes: int = 7
) -> Genesis:
    """Four witnesses, seven nodes, three trainers, one job."""
    return Genesis(
        parameters,
        tuple(Grant(key.account, 1_000_000) for key in ALL),
        tuple(Founder(key.public, 100, 200_000) for key in WITNESSES),
        tuple(key.account for key in NODES[:nodes]),
        () if terms is None else (Opening(OWNER.account, replace(START, terms=terms)),),
    )


class World:
    """A state, the transactions that wait for its next block, and every receipt so far."""

    def __init__(self, made: Genesis | None = None) -> None:
        self.state: State = begin(made or genesis(), EXECUTION)
        self.waiting: list[bytes] = []
        self.blocks: list[Block] = []
        self.receipts: list[Receipt] = []
        self.nonces: dict[bytes, int] = {}

    # -- blocks

    def send(self, key: Key, action: Any, fee: int = 100, nonce: int | None = None) -> bytes:
        """Signs an action for the next block."""
        following = self.nonces.get(key.account, ledger.account_of(self.state, key.account).nonce)
        if nonce is None:
            nonce = following
            self.nonces[key.account] = following + 1
        data = seal(key, self.chain, nonce, fee, action)
        self.waiting.append(data)
        return data

    def block(self, **changes: Any) -> Block:
        """The next block: everyone has signed, the witness whose turn it is proposes."""
        state, height = self.state, self.state.height + 1
        round_ = changes.get("round", 0)
        seat = state.schedule.current[proposer(state.schedule, height, round_)]
        block = Block(
            chain=CHAIN,
            height=height,
            parent=state.parent,
            state=root(state),
            proposer=seat.account,
            round=0,
            signed=tuple(s.account for s in state.schedule.previous),
            misbehaviour=(),
            transactions=tuple(self.waiting),
        )
        return replace(block, **changes)

    def step(self, **changes: Any) -> list[Receipt]:
        """Applies the next block, checks what must always hold, returns its receipts without the
        block's own."""
        block = self.block(**changes)
        self.state, receipts = apply_block(self.state, block, EXECUTION)
        self.waiting, self.nonces = [], {}
        self.blocks.append(block)
        self.receipts += receipts
        check_invariants(self.state)
        return list(receipts[:-1])

    def do(self, key: Key, action: Any) -> Receipt:
        """A block with one action."""
        self.send(key, action)
        return self.step()[-1]

    def must(self, key: Key, action: Any) -> None:
        """A block with one action that succeeds."""
        receipt = self.do(key, action)
        assert receipt.code == Code.OK, receipt

    def until(self, height: int) -> None:
        """Empty blocks up to a height."""
        while self.state.height < height:
            self.step()

    @property
    def chain(self) -> str:
        """What signatures bind."""
        return self.state.identity

    def balance(self, key: Key) -> int:
        return ledger.balance(self.state, key.account)

    # -- the one job

    @property
    def job_name(self) -> bytes:
        return next(name for name, _ in self.state.jobs.items())

    @property
    def job(self) -> Job:
        return next(iter(self.state.jobs.values()))

    @property
    def round(self) -> Round:
        found = self.state.rounds.get(self.job_name)
        assert found is not None
        return found

    @property
    def last(self) -> Result:
        found = self.state.results.get(self.job.last)
        assert found is not None
        return found

    # -- what honest parties do in a phase

    def commit_beacon(self, keys: Iterable[Key] = WITNESSES) -> None:
        job, number = self.job_name, self.round.number
        for key in keys:
            made = beacon.commitment(CHAIN, job, number, key.account, secret_of(key, number))
            self.send(key, beacon.BeaconCommit(job, number, made))

    def reveal_beacon(self, keys: Iterable[Key] = WITNESSES) -> None:
        for key in keys:
            secret = secret_of(key, self.round.number)
            self.send(key, beacon.BeaconReveal(self.job_name, self.round.number, secret))

    def commit(self, key: Key, parameters: bytes) -> None:
        job, number = self.job_name, self.round.number
        made = trainers.commitment(CHAIN, job, number, key.account, parameters, SALT)
        self.send(key, trainers.Commit(job, number, made))

    def reveal(self, key: Key, parameters: bytes, claim: int | None = None) -> None:
        said = truth(parameters, self.fold).loss if claim is None else claim
        job, number = self.job_name, self.round.number
        self.send(key, trainers.Reveal(job, number, parameters, SALT, said))

    @property
    def fold(self) -> bytes:
        return FOLDS[self.round.fold]

    def findings(self) -> tuple[Entry, ...]:
        """What an honest verifier finds."""
        found = self.round
        named = [found.parent, *(c.parameters for c in found.candidates)]
        return tuple(truth(parameters, self.fold) for parameters in named)

    @property
    def verifiers(self) -> list[Key]:
        return [BY_ACCOUNT[a.verifier] for a in self.round.attestations]

    @property
    def confirmers(self) -> list[Key]:
        return [BY_ACCOUNT[c.confirmer] for c in self.round.confirmations]

    def attest(self, key: Key, entries: tuple[Entry, ...] | None = None) -> None:
        job, number = self.job_name, self.round.number
        found = self.findings() if entries is None else entries
        made = verifiers.commitment(CHAIN, job, number, key.account, found, SALT)
        self.send(key, verifiers.AttestCommit(job, number, made))

    def open(self, key: Key, entries: tuple[Entry, ...] | None = None) -> None:
        job, number = self.job_name, self.round.number
        found = self.findings() if entries is None else entries
        self.send(key, verifiers.AttestReveal(job, number, found, SALT))

    def confirm(self, key: Key, loss: int | None = None) -> None:
        found = self.round
        said = found.loss if loss is None else loss
        self.send(key, confirmation.Confirm(self.job_name, found.number, said, found.trace))

    # -- phases with everybody honest

    def to_reveal(self, candidates: dict[Key, bytes]) -> None:
        """Commits and beacon: ends at the beginning of REVEAL."""
        for key, parameters in candidates.items():
            self.commit(key, parameters)
        self.commit_beacon()
        self.to(Phase.BEACON)
        self.reveal_beacon()
        self.to(Phase.REVEAL)

    def to_attest(self, candidates: dict[Key, bytes]) -> None:
        """Ends at the beginning of ATTEST_COMMIT."""
        self.to_reveal(candidates)
        for key, parameters in candidates.items():
            self.reveal(key, parameters)
        self.to(Phase.ATTEST_COMMIT)

    def to_confirm(self, candidates: dict[Key, bytes]) -> None:
        """Ends at the beginning of CONFIRM."""
        self.to_attest(candidates)
        for key in self.verifiers:
            self.attest(key)
        self.to(Phase.ATTEST_REVEAL)
        for key in self.verifiers:
            self.open(key)
        self.to(Phase.CONFIRM)

    def to_challenge(self, candidates: dict[Key, bytes]) -> None:
        """Ends at the beginning of CHALLENGE."""
        self.to_confirm(candidates)
        for key in self.confirmers:
            self.confirm(key)
        self.to(Phase.CHALLENGE)

    def to(self, phase: Phase) -> None:
        """Blocks until a phase has begun; every waiting message must succeed."""
        number = self.round.number
        for _ in range(10):
            for receipt in self.step():
                assert receipt.code == Code.OK, receipt
            if self.round.phase == phase and self.round.number == number:
                return
        raise AssertionError(f"{phase.name} did not begin; {self.round}")

    def finish_round(self) -> Result:
        """Blocks until the open round is decided."""
        number = self.job.done
        for _ in range(30):
            self.step()
            if self.job.done > number:
                return self.last
        raise AssertionError(f"the round did not end: {self.round}")


def secret_of(key: Key, number: int) -> bytes:
    return digest_of("secret", key.secret, number)


def check_invariants(state: State) -> None:
    """Tokens are conserved, and each purse of the chain holds exactly what records claim."""
    check_books(state)
