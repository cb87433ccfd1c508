"""Negative controls: settings and mutants that break one promise each. A simulator that does not
find them proves nothing by finding nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from chain.orderer import intake, rules, step
from chain.orderer.state import Safety, State
from chain.orderer.work import Work
from chain.simulator.checks import Violation
from chain.simulator.network import Network, Setting
from chain.votes import Vote, VoteKind


@dataclass(frozen=True)
class Control:
    """Something broken on purpose. ``patches``: (module, name, replacement)."""

    name: str
    setting: Setting
    patches: tuple[tuple[ModuleType | type, str, Any], ...] = ()


def at_least_half(yes: int, total: int) -> bool:
    """A quorum that two disjoint halves reach."""
    return 2 * yes >= total


def at_least_two_thirds(yes: int, total: int) -> bool:
    """Off by one: enough where more than enough is asked."""
    return 3 * yes >= 2 * total


def always(*arguments: Any, **options: Any) -> bool:
    """A check that checks nothing."""
    return True


def forgetful_restore(
    config: Any, below: tuple[State, int], record: Safety | None
) -> tuple[State, Any]:
    """A restart that does not read its log."""
    made: tuple[State, Any] = _restore(config, below, None)
    return made


def unlocked(work: Work, proposal: Vote) -> bool:
    """Neither locked nor mindful of what was nearly decided (lines 38 to 43 left out)."""
    done = _apply_proposal(work, proposal)
    work.put(locked_round=-1, locked=b"", valid_round=-1, valid=b"")
    return done


def no_timeout(work: Work, event: Any) -> None:
    """Timeouts of prevotes are forgotten."""
    if event.wait.name != "PREVOTE":
        _on_timeout(work, event)


def premature(work: Work) -> bool:
    """Decides on prevotes."""
    state = work.state
    for (round_, kind), box in state.votes.items():
        for signed in box.values():
            block = signed.vote.block
            is_known = kind == VoteKind.PREVOTE and block in state.values
            if is_known and work.has_polka(round_, block):
                found = rules.certificate(state, round_, block, kind)
                rules.decide(work, state.values[block], found)
                return True
    return _apply_decision(work)


_restore: Callable[..., Any] = step.restore
_apply_proposal = rules.apply_proposal
_apply_decision = rules.apply_decision
_on_timeout = step.on_timeout

FOUR = Setting(heights=12)
NEAR = Setting(heights=4, faults=("equivocator",), chaos=20, loss=400, crashes=0)
CONTROLS: tuple[Control, ...] = (
    Control("two of four faulty", replace(FOUR, faulty=2, faults=("equivocator", "equivocator"))),
    Control("quorum of one half", replace(FOUR, quorum=at_least_half)),
    Control(
        "quorum of exactly two thirds",
        Setting(validators=3, faulty=1, heights=12, quorum=at_least_two_thirds),
    ),
    Control("fsync skipped", replace(FOUR, fsync=False, crashes=12)),
    Control("log not read", replace(FOUR, crashes=12), ((step, "restore", forgetful_restore),)),
    Control("lock ignored", NEAR, ((rules, "apply_proposal", unlocked),)),
    Control(
        "signatures of votes not checked",
        replace(FOUR, faults=("forger",)),
        ((intake, "is_signed", always),),
    ),
    Control(
        "certificates not checked",
        replace(FOUR, faults=("forger",)),
        ((intake, "is_certificate", always),),
    ),
    Control(
        "proof of the block below not checked",
        replace(FOUR, faults=("inventor",)),
        ((intake, "is_proof_below", always),),
    ),
    Control(
        "application not asked",
        replace(FOUR, faults=("inventor",)),
        ((rules, "is_valid", always), (rules, "is_fresh", always)),
    ),
    Control("decides on prevotes", FOUR, ((rules, "apply_decision", premature),)),
    Control("prevote timeout lost", FOUR, ((step, "on_timeout", no_timeout),)),
)


@contextmanager
def broken(control: Control) -> Iterator[None]:
    """The code with a control's patches."""
    kept = [(where, name, getattr(where, name)) for where, name, _ in control.patches]
    for where, name, replacement in control.patches:
        setattr(where, name, replacement)
    try:
        yield
    finally:
        for where, name, original in kept:
            setattr(where, name, original)


def find(control: Control, seeds: range) -> tuple[int, str] | None:
    """The first seed that finds a control, and the invariant that it breaks."""
    with broken(control):
        for seed in seeds:
            try:
                Network(seed, control.setting).run()
            except Violation as violation:
                return seed, violation.invariant
    return None
