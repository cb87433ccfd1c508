"""Mutants: single slips in the rules of the state machine. What plays rounds from seeds
(``chain.simulator.market``) must notice each; the orderer's are in ``controls``."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chain import (
    beacon,
    conclusion,
    confirmation,
    evidence,
    nodes,
    phases,
    quorum,
    rounds,
    selection,
    slashing,
    trainers,
    verifiers,
)
from chain.simulator.checks import Violation
from chain.simulator.market import Market


@dataclass(frozen=True)
class Mutant:
    """A function in whose source one piece is replaced by another."""

    name: str
    function: Callable[..., Any]
    old: str
    new: str


@contextmanager
def injected(mutant: Mutant) -> Iterator[None]:
    """The code with a mutant in it, wherever the function is held."""
    source = textwrap.dedent(inspect.getsource(mutant.function))
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.old!r} must stand once in the function")
    made: dict[str, Any] = dict(mutant.function.__globals__)
    exec("from __future__ import annotations\n" + source.replace(mutant.old, mutant.new), made)
    function: Any = mutant.function
    kept = function.__code__
    function.__code__ = made[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = kept


def find(mutant: Mutant, seeds: range) -> tuple[int, str] | None:
    """The first seed that notices a mutant, and by what."""
    with injected(mutant):
        for seed in seeds:
            try:
                Market(seed).run()
            except Violation as violation:
                return seed, violation.invariant
    return None


MUTANTS: tuple[Mutant, ...] = (
    Mutant("quorum of exactly two thirds", quorum.has_quorum, "yes > 2", "yes >= 2"),
    Mutant("quorum of one half", quorum.has_quorum, "3 * yes > 2 * total", "2 * yes > total"),
    Mutant("certified by most", selection.certified, "has_quorum(yes, seats)", "2 * yes > seats"),
    Mutant("silent seats not counted", selection.certified, "len(found.attestations)",
           "sum(a.opened for a in found.attestations)"),
    Mutant("largest loss first", selection.order_key, "return loss", "return -loss"),
    Mutant("later commitment first", selection.order_key, "candidate.height", "-candidate.height"),
    Mutant("ties by account", selection.order_key, "height, tie", "height, candidate.trainer"),
    Mutant("unrevealed stays", selection.leave_reveal,
           "tuple(c for c in found.candidates if c.revealed)", "found.candidates"),
    Mutant("unrevealed pays nothing", selection.leave_reveal, "if not candidate.revealed", "if 0"),
    Mutant("silence is free", selection.judge_verifiers, "slashing.slash_silence(state, name)",
           "state"),
    Mutant("everybody is verified", selection.judge_verifiers, "t in (None, e)", "True"),
    Mutant("claims not held against losses", selection.leave_attest_reveal,
           " and truth.loss == candidate.claim", ""),
    Mutant("no margin", selection.leave_attest_reveal,
           "loss + phases.get_job(state, job).terms.margin", "loss"),
    Mutant("margin off by one", selection.leave_attest_reveal, "<= found.parent_loss",
           "< found.parent_loss"),
    Mutant("last of the order wins", selection.leave_attest_reveal, "contenders[0]",
           "contenders[-1]"),
    Mutant("parent not measured", selection.leave_attest_reveal,
           "is_measured and any(truths[1:])", "any(truths[1:])"),
    Mutant("framed by hidden test data", conclusion.settle_bonds,
           "truth == UNAVAILABLE and is_measured", "truth == UNAVAILABLE"),
    Mutant("unavailable is free", conclusion.settle_bonds,
           "truth == UNAVAILABLE and is_measured", "False"),
    Mutant("false claims are free", conclusion.settle_bonds, "truth.loss != candidate.claim",
           "False"),
    Mutant("unavailable is a fault", conclusion.is_false, "entry.available and ", ""),
    Mutant("false findings are free", conclusion.slash_liars, "is_false(entry, truth)", "False"),
    Mutant("false confirmations are free", conclusion.slash_liars,
           "(own.loss, own.trace) != (found.loss, found.trace)", "False"),
    Mutant("refuted quorum still judges", conclusion.conclude, "outcome != Outcome.REFUTED",
           "True"),
    Mutant("budget of all rounds", conclusion.pay_round, "(job.terms.rounds - job.done)",
           "job.terms.rounds"),
    Mutant("pay among those who came", conclusion.pay_round, "verifiers // job.terms.verifiers",
           "verifiers // max(1, len(result.verifiers))"),
    Mutant("failed rounds pay", conclusion.pay_round, "if result.outcome == Outcome.FINAL:",
           "if result.trainer != ZERO:"),
    Mutant("no improvement pays nobody", conclusion.pay_round,
           "(Outcome.FINAL, Outcome.NO_IMPROVEMENT)", "(Outcome.FINAL,)"),
    Mutant("pay leaves the deposit", conclusion.pay, "job.deposit - (amount - minted)",
           "job.deposit"),
    Mutant("minted rest is kept", conclusion.finish,
           "ledger.burn(state, ledger.ESCROW, job.minted)", "state"),
    Mutant("deposit is kept", conclusion.finish,
           "ledger.move(state, ledger.ESCROW, job.owner, job.deposit)", "state"),
    Mutant("unconfirmed wins", confirmation.leave_confirm,
           "Outcome.FINAL if confirmed else Outcome.NOT_CONFIRMED", "Outcome.FINAL"),
    Mutant("confirmed by silence", confirmation.leave_confirm,
           "len(found.confirmations)", "max(1, sum(c.sent for c in found.confirmations))"),
    Mutant("second confirmation counts", confirmation.process_confirm, "not own.sent", "True"),
    Mutant("disputes at one price", confirmation.process_dispute, "<< count", ""),
    Mutant("disputes are free", confirmation.process_dispute,
           "ledger.move(state, context.sender, ledger.BONDS, bond)", "state"),
    Mutant("failed dispute is free", confirmation.judge,
           "ledger.burn(state, ledger.BONDS, challenge.bond)",
           "ledger.move(state, ledger.BONDS, challenge.challenger, challenge.bond)"),
    Mutant("every dispute is upheld", confirmation.judge,
           "execution.referee(claim, challenge.opening)", "True"),
    Mutant("no dispute is upheld", confirmation.judge,
           "execution.referee(claim, challenge.opening)", "False"),
    Mutant("wrong subject judged", confirmation.claim_of, "[subject - 1]", "[-1]"),
    Mutant("all verifiers are guilty", confirmation.signers_of,
           " and a.entries[subject] == entry", ""),
    Mutant("confirmers are never guilty", confirmation.signers_of,
           "confirmers_of(found) if is_winner else ()", "()"),
    Mutant("confirmers are always guilty", confirmation.signers_of, "if is_winner else ()",
           "if found.pending is not None else ()"),
    Mutant("refuted trainer keeps its bond", confirmation.refute,
           " and candidates[subject - 1].claim == stated", " and False"),
    Mutant("false trace is the trainer's fault", confirmation.refute,
           "verdict == Verdict.FALSE_LOSS and ", ""),
    Mutant("refuted round is final", confirmation.refute, "Outcome.REFUTED",
           "found.pending or Outcome.REFUTED"),
    Mutant("beacon of half the power", beacon.leave_beacon,
           "has_quorum(sum(d.power for d in opened), sum(d.power for d in found.draws))",
           "2 * len(opened) > len(found.draws)"),
    Mutant("withheld secret is free", beacon.leave_beacon,
           "slashing.slash_withholding(state, draw.witness, height)", "state"),
    Mutant("absence is withholding", beacon.leave_beacon,
           "has_committed(draw) and not has_opened(draw)", "not has_opened(draw)"),
    Mutant("trainers judge themselves", beacon.leave_beacon, "if n not in trainers", ""),
    Mutant("nodes that joined in the round", beacon.leave_beacon, "found.start)", "height)"),
    Mutant("overlapping committees", beacon.leave_beacon, "drawn[terms.verifiers :]",
           "drawn[-terms.confirmers - 1 : -1]"),
    Mutant("any secret opens", beacon.process_reveal, "own.commitment == expected and ", ""),
    Mutant("second secret counts", beacon.process_commit, "not has_committed(own)", "True"),
    Mutant("beacon commitments name nobody", beacon.commitment, "round_, witness", "round_"),
    Mutant("commitments name no trainer", trainers.commitment, "round_, trainer", "round_"),
    Mutant("commitments name no verifier", verifiers.commitment, "round_, verifier", "round_"),
    Mutant("second candidate counts", trainers.process_commit,
           "all(c.trainer != context.sender for c in found.candidates)", "True"),
    Mutant("candidates are free", trainers.process_commit,
           "ledger.move(state, context.sender, ledger.BONDS, terms.trainer_bond)", "state"),
    Mutant("any parameters open", trainers.process_reveal, "own.commitment == expected", "True"),
    Mutant("second opening counts", trainers.process_reveal, "not own.revealed", "True"),
    Mutant("any findings open", verifiers.process_reveal, "own.commitment == made", "True"),
    Mutant("too few findings", verifiers.process_reveal, "len(action.entries) == expected", "True"),
    Mutant("unavailable with a loss", verifiers.process_reveal,
           "e.available or (e.loss == 0 and e.trace == ZERO)", "True"),
    Mutant("findings opened twice", verifiers.process_reveal, "not own.opened", "True"),
    Mutant("findings committed twice", verifiers.process_commit, "own.commitment == ZERO", "True"),
    Mutant("phases a block shorter", phases.begin, "height + 1 +", "height +"),
    Mutant("phases a block longer", phases.begin, "height + 1 +", "height + 2 +"),
    Mutant("messages of any round", phases.get_open, "found.number == number", "True"),
    Mutant("messages of any phase", phases.is_open, "found.phase == phase and ", ""),
    Mutant("a block after the deadline", rounds.advance_round, "height + 1 <", "height <"),
    Mutant("one opening ends REVEAL", rounds.is_complete,
           "all(candidate.revealed", "any(candidate.revealed"),
    Mutant("one opening ends ATTEST-REVEAL", rounds.is_complete, "all(a.opened", "any(a.opened"),
    Mutant("one confirmation ends CONFIRM", rounds.is_complete, "all(c.sent", "any(c.sent"),
    Mutant("witnesses are not waited for", rounds.is_complete,
           "full and all(beacon.has_committed(draw) for draw in found.draws)", "full"),
    Mutant("bonds lost whole", slashing.slash_node, "share // 1000", "1"),
    Mutant("reporters get nothing", slashing.take, "reporter is not None", "False"),
    Mutant("what is slashed stays", slashing.take, "return ledger.burn(state, source, amount)",
           "return state"),
    Mutant("nodes serve with any bond", nodes.serving, "node.bond >= bond", "True"),
    Mutant("nodes serve at once", nodes.serving, " and node.since < before", ""),
    Mutant("bonds are made up twice", nodes.process_join, "bond - held)", "bond)"),
    Mutant("the same answer is evidence", evidence.process_double_statement,
           " and first.action != second.action", ""),
    Mutant("one fault, many slashes", evidence.process_double_statement,
           "key not in state.faults", "True"),
)  # fmt: skip
