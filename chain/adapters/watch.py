"""Whoever recomputes what is certified and finds another loss disputes it, by itself."""

from __future__ import annotations

from collections.abc import Callable

from chain import confirmation, ledger
from chain.hashes import digest_of
from chain.keys import Key
from chain.records import ZERO, Entry, Job, Phase, Round
from chain.state import State

Evaluate = Callable[[bytes, bytes], Entry | None]
"""(name of parameters, name of fold) to the finding; None while something has not arrived."""
Show = Callable[[bytes, bytes], bytes | None]
"""(name of parameters, name of fold) to the opening that a referee needs; None where the bytes are
not here."""


def nothing(parameters: bytes, fold: bytes) -> None:
    """Shows nothing: who has it never disputes."""


def turn_of(job: Job, name: bytes, found: Round, account: bytes) -> int:
    """The block of the challenge window from which an account may dispute: spread over its first
    half, since each dispute that waits doubles the bond of the next."""
    window = job.terms.timing.challenge
    draw = digest_of("turn", account, name, found.number)
    return found.deadline - window + int.from_bytes(draw[:4], "big") % max(1, window // 2)


def is_winner(found: Round, subject: int) -> bool:
    """Whether a subject is the candidate that was selected."""
    return found.candidates[subject - 1].trainer == found.winner


def dispute(
    key: Key, evaluate: Evaluate, show: Show, state: State, name: bytes, found: Round
) -> confirmation.Dispute | None:
    """L33: the dispute of a subject whose certified finding is not what comes out here, when it is
    this account's turn, it has the bond, and nobody's dispute of the subject waits. The winner
    comes first, since its confirmers answer too: the others wait for it almost to the end. What
    cannot be fetched cannot be disputed."""
    job = state.jobs.get(name)
    if found.phase != Phase.CHALLENGE or job is None:
        return None
    fold, account = job.folds[found.fold], key.account
    names = (found.parent, *(candidate.parameters for candidate in found.candidates))
    known = [
        evaluate(parameters, fold) if confirmation.disputable(found, at) else None
        for at, parameters in enumerate(names)
    ]
    if state.height + 1 < turn_of(job, name, found, account):
        return None
    bond = job.terms.challenge_bond << len(found.challenges)
    if ledger.balance(state, account) < bond:
        return None
    waiting = {challenge.subject for challenge in found.challenges}
    order = sorted(range(len(names)), key=lambda at: not (at and is_winner(found, at)))
    if found.winner != ZERO and known[order[0]] is None and state.height + 2 < found.deadline:
        return None
    for at in order:
        own = known[at]
        if own is None or own == found.certified[at] or at in waiting:
            continue
        opening = show(names[at], fold)
        if opening is not None:
            return confirmation.Dispute(name, found.number, at, opening)
    return None
