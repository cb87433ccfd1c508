"""Tokens: every movement goes through here, so that none appears or is lost."""

from __future__ import annotations

from dataclasses import replace

from chain.records import Account
from chain.refusal import Code, require
from chain.state import State


def module(name: str) -> bytes:
    """The account of a part of the chain. No key hashes to it. D3."""
    return f"module/{name}".encode().ljust(32, b"\0")


BONDED = module("bonded")  # stake of validators
UNBONDING = module("unbonding")  # stake on its way out
ESCROW = module("escrow")  # deposits of jobs, rewards of tasks
BONDS = module("bonds")  # of nodes, trainers, challengers
FEES = module("fees")  # of the block in progress
DUST = module("dust")  # what rounding leaves
MAX_SUPPLY = (1 << 63) - 1
"""All tokens together fit into one Amount. D4."""
MODULES = (BONDED, UNBONDING, ESCROW, BONDS, FEES, DUST)


def account_of(state: State, name: bytes) -> Account:
    """An account; empty where nobody was there yet."""
    return state.accounts.get(name) or Account()


def balance(state: State, name: bytes) -> int:
    """The tokens of an account."""
    return account_of(state, name).balance


def _add(state: State, name: bytes, amount: int) -> State:
    old = account_of(state, name)
    return state.but(accounts=state.accounts.set(name, replace(old, balance=old.balance + amount)))


def move(state: State, source: bytes, target: bytes, amount: int) -> State:
    """Moves tokens; refuses what the source does not have. D2."""
    require(amount >= 0, Code.FUNDS, "D2", f"amount must not be negative, received {amount}")
    have = balance(state, source)
    require(have >= amount, Code.FUNDS, "D2", f"needs {amount} tokens, the account has {have}")
    return state if amount == 0 else _add(_add(state, source, -amount), target, amount)


def room(state: State) -> int:
    """The tokens that may still be made. D4."""
    return MAX_SUPPLY - state.supply


def mint(state: State, target: bytes, amount: int) -> State:
    """Makes tokens, never more than there may be. D4."""
    left = room(state)
    require(amount <= left, Code.LIMIT, "D4", f"at most {left} tokens can be made, not {amount}")
    return state if amount == 0 else _add(state, target, amount).but(supply=state.supply + amount)


def burn(state: State, source: bytes, amount: int) -> State:
    """Destroys tokens. D4."""
    have = balance(state, source)
    require(have >= amount, Code.FUNDS, "D2", f"needs {amount} tokens, the account has {have}")
    return state if amount == 0 else _add(state, source, -amount).but(supply=state.supply - amount)


def split(amount: int, weights: list[int]) -> list[int]:
    """An amount in proportion to weights, each part rounded down; the rest is dust. D5."""
    total = sum(weights)
    return [amount * weight // total if total else 0 for weight in weights]


def require_user(name: bytes, rule: str = "D3") -> None:
    """Refuses an account of the chain itself. D3."""
    allowed = not name.startswith(b"module/")
    require(allowed, Code.NOT_ALLOWED, rule, "accounts of the chain itself cannot be paid")


def total(state: State) -> int:
    """The tokens of all accounts: equal to the supply after every block. D4."""
    return sum(account.balance for account in state.accounts.values())
