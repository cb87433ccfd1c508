"""What a participant signs: one answer to each question, at the price of the chain."""

from __future__ import annotations

from typing import Any, Protocol

from chain.codec import decode, encode
from chain.confirmation import Dispute
from chain.envelope import kind_of, read, seal
from chain.hashes import digest_of
from chain.keys import Key
from chain.machine import KINDS, known_gas, least_fee
from chain.state import State

FEE = 1000
"""The least that is offered."""
RETRY = 8
"""Blocks after which a dispute that failed is tried again."""
Mark = tuple[bytes, str, bytes, int]
"""Account, kind, job, round: what a participant does once."""


class Memory(Protocol):
    """What was answered to a question for the first time, kept over restarts. L38."""

    def said(self, question: bytes) -> bytes | None:
        """The answer, if there was one."""

    def say(self, question: bytes, data: bytes) -> bytes:
        """The first answer, this one if it is the first."""


def question_of(account: bytes, kind: str, job: bytes, number: int) -> bytes:
    """The name of a question that a node answers once."""
    return digest_of("question", account, kind, job, number)


def mark_of(state: State, key: Key, action: Any, job: bytes, number: int) -> Mark:
    """What an action of a round is done once of."""
    kind = kind_of(type(action))
    if isinstance(action, Dispute):
        kind += f" {action.subject} {state.height // RETRY}"
    return (key.account, kind, job, number)


def answer(memory: Memory, mark: Mark, action: Any) -> Any:
    """The action that may be signed: the first answer to its question, on the disk before it
    leaves. A dispute answers none. L38."""
    if isinstance(action, Dispute):
        return action
    return decode(type(action), memory.say(question_of(*mark), encode(action)))


def sealed(state: State, key: Key, nonce: int, action: Any) -> bytes:
    """The signed transaction, with the fee that the known part of its work costs."""
    data = seal(key, state.identity, nonce, FEE, action)
    gas = known_gas(state, read(data, len(data), KINDS), len(data))
    least = least_fee(state.parameters, gas)
    # A larger fee may take up to eight bytes more.
    return data if least <= FEE else seal(key, state.identity, nonce, least + 8, action)
