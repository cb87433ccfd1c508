"""The books of a state: tokens are conserved, and every purse of the chain holds what records
claim of it."""

from __future__ import annotations

from collections import Counter

from chain import ledger
from chain.simulator.checks import Violation
from chain.state import State


def check_books(state: State) -> None:
    """Raises :class:`chain.simulator.checks.Violation` where they do not agree. For the end of a
    block: the purse of its fees is empty."""
    total = ledger.total(state)
    _equal("supply", total, state.supply)
    low = min(account.balance for account in state.accounts.values())
    if low < 0:
        raise Violation("books", f"an account has {low} tokens")
    bonds = sum(node.bond for node in state.nodes.values())
    for name, found in state.rounds.items():
        job = state.jobs.get(name)
        if job is None:
            raise Violation("books", "a round has no job")
        bonds += job.terms.trainer_bond * len(found.candidates)
        bonds += sum(challenge.bond for challenge in found.challenges)
    rewards = sum(task.reward for task in state.tasks.values())
    claims = {
        ledger.BONDED: sum(v.tokens for v in state.validators.values()),
        ledger.UNBONDING: sum(p.tokens for p in state.pools.values()),
        ledger.ESCROW: rewards + sum(j.deposit + j.minted for j in state.jobs.values()),
        ledger.BONDS: bonds,
        ledger.FEES: 0,
    }
    for purse, claim in claims.items():
        _equal(purse.rstrip(b"\0").decode(), ledger.balance(state, purse), claim)
    shares: Counter[bytes] = Counter()
    for delegation in state.delegations.values():
        shares[delegation.validator] += delegation.shares
    for name, validator in state.validators.items():
        _equal("shares", validator.shares, shares[name])


def _equal(what: str, held: int, claimed: int) -> None:
    if held != claimed:
        raise Violation("books", f"{what}: {held} are there, {claimed} are claimed")
