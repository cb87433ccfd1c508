"""Looks into a node's folder: every block is applied again, so that what is shown is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain import ledger
from chain.adapters.execution import Evaluator, Remembering
from chain.adapters.statesync import check_snapshot
from chain.adapters.store import Store
from chain.blocks import Block, block_hash, read_block
from chain.envelope import read
from chain.genesis import begin
from chain.machine import KINDS, Receipt, apply_block
from chain.orderer.messages import Certificate
from chain.records import Outcome, Result
from chain.refusal import Refused
from chain.state import State, root
from gvm.errors import GvmError


@dataclass(frozen=True)
class Shown:
    """A block, the proof that it was decided, what became of it."""

    block: Block
    certificate: Certificate
    receipts: tuple[Receipt, ...]
    root: bytes


class Explorer:
    """Follows the store of a node. ``root`` of every height is that of the next block's header."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder, read_only=True)
        evaluator = Evaluator(folder / "model.dmodel")
        self.execution = evaluator.execution(Remembering())
        self.state: State = begin(self.store.genesis(), self.execution)
        self.blocks: list[Shown] = []
        self.base = 0

    def _begin_from_snapshot(self) -> None:
        """Of a node that holds no first block: its oldest snapshot."""
        for height in self.store.snapshots()[-1:]:
            offer, chunks = self.store.snapshot(height)
            limit = self.state.parameters.max_block_bytes
            above = read_block(offer.decided.value.block, limit)
            self.state = check_snapshot(offer, chunks, self.state, above).state
            self.base = height

    @property
    def height(self) -> int:
        """The last height that was followed."""
        return self.base + len(self.blocks)

    def at(self, height: int) -> Shown:
        """The block of a height; raises :class:`gvm.GvmError` for one that is not here."""
        if not self.base < height <= self.height:
            raise GvmError(f"block must be in [{self.base + 1}, {self.height}], received {height}")
        return self.blocks[height - self.base - 1]

    def follow(self) -> list[Shown]:
        """Applies what is new."""
        return list(self.steps())

    def steps(self) -> Iterator[Shown]:
        """Applies what is new, one block at a time: ``state`` is the one after each."""
        limit = self.state.parameters.max_block_bytes
        if not self.height and not self.store.has_first_block:
            self._begin_from_snapshot()
        for _, value, certificate in self.store.blocks(self.height + 1):
            block = read_block(value.block, limit)
            self.state, receipts = apply_block(self.state, block, self.execution)
            self.blocks.append(Shown(block, certificate, receipts, root(self.state)))
            yield self.blocks[-1]

    # -- what people ask

    def status(self) -> dict[str, Any]:
        """Where the chain is."""
        state = self.state
        return {
            "chain": state.parameters.chain,
            "height": state.height,
            "block": state.parent.hex(),
            "state": root(state).hex(),
            "supply": state.supply,
            "witnesses": len(state.schedule.current),
            "nodes": len(state.nodes),
            "jobs": {name.hex(): job.status.name.lower() for name, job in state.jobs.items()},
        }

    def block(self, height: int) -> dict[str, Any]:
        """One block."""
        shown = self.at(height)
        rows = []
        limit = self.state.parameters.max_transaction_bytes
        for data, receipt in zip(shown.block.transactions, shown.receipts, strict=False):
            try:
                found = read(data, limit, KINDS)
                sender, kind = found.sender.hex(), type(found.action).__name__
            except Refused:  # a proposer may list any bytes; they change nothing
                sender, kind = "", ""
            rows.append(
                {
                    "id": receipt.transaction.hex(),
                    "sender": sender,
                    "kind": kind,
                    "code": receipt.code.name.lower(),
                    "rule": receipt.rule,
                    "gas": receipt.gas,
                }
            )
        return {
            "height": height,
            "hash": block_hash(shown.block).hex(),
            "parent": shown.block.parent.hex(),
            "proposer": shown.block.proposer.hex(),
            "round": shown.block.round,
            "signatures": len(shown.certificate.votes),
            "state after": shown.root.hex(),
            "transactions": rows,
        }

    def account(self, name: bytes) -> dict[str, Any]:
        """One account."""
        state = self.state
        found = ledger.account_of(state, name)
        validator, node = state.validators.get(name), state.nodes.get(name)
        return {
            "account": name.hex(),
            "balance": found.balance,
            "nonce": found.nonce,
            "stake": None if validator is None else validator.tokens,
            "bond": None if node is None else node.bond,
        }

    def results(self, job: bytes) -> list[Result]:
        """The decided rounds of a job, oldest first."""
        found = self.state.jobs.get(job)
        if found is None:
            raise GvmError(f"job {job.hex()}: there is none of this name")
        made, at = [], found.last
        while (result := self.state.results.get(at)) is not None:
            made.append(result)
            at = result.previous
        return made[::-1]

    def job(self, name: bytes) -> dict[str, Any]:
        """One job with its rounds."""
        results = self.results(name)
        found = self.state.jobs.get(name)
        open_round = self.state.rounds.get(name)
        return {
            "job": name.hex(),
            "owner": found.owner.hex() if found else "",
            "status": found.status.name.lower() if found else "",
            "parameters": found.parameters.hex() if found else "",
            "deposit left": found.deposit if found else 0,
            "phase": None if open_round is None else open_round.phase.name.lower(),
            "rounds": [row(result) for result in results],
        }


def row(result: Result) -> dict[str, Any]:
    """A decided round as a line of a table."""
    is_judged = result.outcome in (Outcome.FINAL, Outcome.NO_IMPROVEMENT)
    return {
        "round": result.number,
        "outcome": result.outcome.name.lower().replace("_", " "),
        "loss": result.loss if result.outcome == Outcome.FINAL else None,
        "parent_loss": result.parent_loss if is_judged else None,
        "fold": result.fold,
        "trainer": result.trainer.hex()[:12] if any(result.trainer) else "",
        "verifiers": len(result.verifiers),
        "confirmers": len(result.confirmers),
    }


def losses(results: list[Result]) -> list[tuple[int, int, int]]:
    """(round, loss of the parent, loss of the winner) of final rounds."""
    return [(r.number, r.parent_loss, r.loss) for r in results if r.outcome == Outcome.FINAL]
