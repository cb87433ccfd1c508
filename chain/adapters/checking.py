"""Signatures of many transactions at once, in other processes."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from chain.adapters.execution import Remembering
from chain.envelope import PURPOSE, read
from chain.keys import verify_signed
from chain.machine import KINDS
from chain.refusal import Refused

Question = tuple[bytes, bytes, bytes]
"""Public key, payload, signature."""
LEAST = 64
"""Signatures that are worth a process's while."""


def check(identity: str, questions: list[Question]) -> list[bool]:
    """Which signatures are valid; runs in a worker."""
    return [
        verify_signed(public, PURPOSE, identity, payload, signature)
        for public, payload, signature in questions
    ]


class Checkers:
    """Workers that check signatures ahead of a block, for a cache that the block then asks.
    Results are those of :func:`chain.keys.verify_signed`; nothing depends on when or whether they
    run."""

    def __init__(self, remembering: Remembering, processes: int) -> None:
        self.remembering, self.processes = remembering, processes
        self._pool = ProcessPoolExecutor(processes, get_context("spawn"))

    def warm(self, identity: str, limit: int, transactions: Iterable[bytes]) -> int:
        """Remembers the valid signatures of transactions that are not known yet; how many were
        checked."""
        questions = []
        for data in transactions:
            try:
                found = read(data, limit, KINDS)
            except Refused:
                continue
            question = (found.header.public, found.payload, found.signature)
            if not self.remembering.knows(found.header.public, PURPOSE, identity, *question[1:]):
                questions.append(question)
        if len(questions) < LEAST:
            return 0
        share = -(-len(questions) // self.processes)
        parts = [questions[at : at + share] for at in range(0, len(questions), share)]
        answers = self._pool.map(check, [identity] * len(parts), parts)
        for part, valid in zip(parts, answers, strict=True):
            for (public, payload, signature), holds in zip(part, valid, strict=True):
                if holds:
                    self.remembering.keep(public, PURPOSE, identity, payload, signature)
        return len(questions)

    def close(self) -> None:
        """Ends the workers."""
        self._pool.shutdown()
