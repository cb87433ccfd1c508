"""Payments between people."""

from __future__ import annotations

from dataclasses import dataclass

from chain import ledger
from chain.codec import Amount, Digest
from chain.context import Actions, Context
from chain.refusal import Code, require
from chain.state import State


@dataclass(frozen=True)
class Transfer:
    """Moves tokens to another account."""

    to: Digest
    amount: Amount


def process_transfer(state: State, context: Context, action: Transfer) -> State:
    """D2, D3: from the sender, never to an account of the chain itself."""
    ledger.require_user(action.to)
    require(action.amount > 0, Code.FUNDS, "D2", "amount must be positive")
    return ledger.move(state, context.sender, action.to, action.amount)


ACTIONS: Actions = {Transfer: process_transfer}
