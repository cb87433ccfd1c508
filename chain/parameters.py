"""The constants of one chain: part of its genesis, the same for every node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from chain.codec import Amount, Count, Range, Text
from chain.refusal import Code, require

Height = Annotated[int, Range(1, 1 << 32)]
Window = Annotated[int, Range(1, 1 << 16)]
PerMille = Annotated[int, Range(0, 1000)]


@dataclass(frozen=True)
class Timing:
    """How many blocks each phase of a round may last."""

    commit: Height = 20
    beacon: Height = 10
    reveal: Height = 20
    attest_commit: Height = 60
    attest_reveal: Height = 20
    confirm: Height = 60
    challenge: Height = 120

    @property
    def total(self) -> int:
        """Blocks of a round that uses every phase to its end."""
        attest = self.attest_commit + self.attest_reveal
        return self.commit + self.beacon + self.reveal + attest + self.confirm + self.challenge


@dataclass(frozen=True)
class Parameters:
    """Amounts in tokens, times in blocks, fractions in thousandths."""

    chain: Text
    # blocks and fees
    max_block_bytes: Count = 32_000_000
    max_block_gas: Count = 100_000_000
    max_block_transactions: Count = 100_000
    max_transaction_bytes: Count = 4_000_000
    gas_per_transaction: Count = 1_000
    gas_per_byte: Count = 1
    multiply_adds_per_gas: Height = 1_000_000
    gas_per_token: Height = 1_000
    gas_per_job_block: Count = 100
    max_referee_work: Count = 10_000_000_000
    # rewards and witnesses
    block_reward: Amount = 1_000
    proposer_share: PerMille = 200
    fee_burn: PerMille = 500
    max_witnesses: Height = 21
    vote_floor: PerMille = 10
    power_unit: Height = 1_000
    # uptime
    uptime_window: Window = 600
    pay_threshold: PerMille = 950
    jail_threshold: PerMille = 500
    jail_blocks: Height = 600
    downtime_slash: PerMille = 1
    missed_turns: Height = 50
    # security
    unbonding: Height = 20_000
    evidence_window: Height = 10_000
    equivocation_slash: PerMille = 50
    attestation_slash: PerMille = 500
    reporter_share: PerMille = 100
    # nodes, jobs, inference
    node_bond: Amount = 10_000
    minted_share: PerMille = 100
    max_jobs: Count = 256
    min_phase: Height = 10
    node_work: Height = 1_000_000_000
    max_tasks: Count = 4_096
    tasks_per_block: Count = 64
    task_confirmers: Height = 3
    task_blocks: Height = 60
    task_wait: Height = 600
    withholding_slash: PerMille = 50
    task_node_share: PerMille = 700
    trainer_share: PerMille = 600
    verifier_share: PerMille = 300

    @property
    def deposit(self) -> int:
        """What a witness must hold of its own. D20."""
        return 1000 * self.block_reward

    def check(self) -> None:
        """Raises :class:`chain.refusal.Refused` for constants that cannot be safe together."""
        limit = self.max_transaction_bytes
        require(
            0 < limit <= self.max_block_bytes,
            Code.LIMIT,
            "D70",
            f"max_transaction_bytes must be in [1, {self.max_block_bytes}], received {limit}",
        )
        require(
            self.unbonding > self.evidence_window,
            Code.LIMIT,
            "D33",
            f"unbonding must exceed the evidence window of {self.evidence_window} blocks, "
            f"received {self.unbonding}",
        )
        require(
            self.unbonding > self.task_blocks,
            Code.LIMIT,
            "D61",
            f"unbonding must exceed the {self.task_blocks} blocks of a task, received "
            f"{self.unbonding}",
        )
        require(
            self.gas_per_transaction >= 1,
            Code.LIMIT,
            "D13",
            "gas_per_transaction must be at least 1, received 0",
        )
        require(
            self.trainer_share + self.verifier_share <= 1000,
            Code.LIMIT,
            "L42",
            "shares of trainer and verifiers must not exceed 1000 together",
        )
        require(
            self.jail_threshold <= self.pay_threshold,
            Code.LIMIT,
            "D42",
            "the jail threshold must not exceed the pay threshold",
        )
