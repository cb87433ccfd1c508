"""The beacon: randomness that is fixed before anyone knows it, after the candidates are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import conclusion, nodes, phases, slashing
from chain.codec import Count, Digest
from chain.context import Actions, Context
from chain.draw import uniform
from chain.hashes import digest_of
from chain.quorum import has_quorum
from chain.records import ZERO, Attestation, Confirmation, Draw, Outcome, Phase, Round
from chain.refusal import Code, Refused, require
from chain.state import State


@dataclass(frozen=True)
class BeaconCommit:
    """A witness's commitment to a secret."""

    job: Digest
    round: Count
    commitment: Digest


@dataclass(frozen=True)
class BeaconReveal:
    """The secret."""

    job: Digest
    round: Count
    secret: Digest


def commitment(chain: str, job: bytes, round_: int, witness: bytes, secret: bytes) -> bytes:
    """L16: what a witness commits to."""
    return digest_of("beacon commitment", chain, job, round_, witness, secret)


def has_committed(draw: Draw) -> bool:
    """Whether a witness has committed."""
    return draw.commitment != ZERO


def has_opened(draw: Draw) -> bool:
    """Whether a witness has opened its commitment."""
    return draw.secret != ZERO


def own_draw(found: Round, witness: bytes) -> Draw:
    """The part of the beacon that a witness owes; refuses others. L16."""
    own = next((draw for draw in found.draws if draw.witness == witness), None)
    if own is None:
        raise Refused(Code.NOT_ALLOWED, "L16", "the sender is no witness of this round")
    return own


def with_draw(found: Round, changed: Draw) -> Round:
    """A round with one witness's part changed."""
    draws = tuple(changed if d.witness == changed.witness else d for d in found.draws)
    return replace(found, draws=draws)


def process_commit(state: State, context: Context, action: BeaconCommit) -> State:
    """L16: once, while trainers commit."""
    found = phases.get_open(state, context, action.job, action.round, Phase.COMMIT)
    own = own_draw(found, context.sender)
    require(not has_committed(own), Code.DUPLICATE, "L16", "the witness has committed")
    require(action.commitment != ZERO, Code.MALFORMED, "L16", "a commitment is not zero")
    changed = with_draw(found, replace(own, commitment=action.commitment))
    return phases.put(state, action.job, changed)


def process_reveal(state: State, context: Context, action: BeaconReveal) -> State:
    """L17: the opening of the witness's own commitment."""
    found = phases.get_open(state, context, action.job, action.round, Phase.BEACON)
    own = own_draw(found, context.sender)
    require(has_committed(own), Code.UNKNOWN, "L17", "the witness has not committed")
    require(not has_opened(own), Code.DUPLICATE, "L17", "the witness has opened already")
    expected = commitment(
        state.parameters.chain, action.job, action.round, context.sender, action.secret
    )
    require(
        own.commitment == expected and action.secret != ZERO,
        Code.MISMATCH,
        "L17",
        "this does not open the commitment",
    )
    return phases.put(state, action.job, with_draw(found, replace(own, secret=action.secret)))


def leave_commit(state: State, job: bytes, found: Round, height: int) -> State:
    """L15: a round without candidates decides nothing."""
    if not found.candidates:
        return conclusion.conclude(state, job, found, Outcome.NO_CANDIDATE)
    return phases.begin(state, job, found, Phase.BEACON, height)


def leave_beacon(state: State, job: bytes, found: Round, height: int) -> State:
    """L17, L18, L19: the beacon is the hash of the opened secrets; it needs more than 2/3 of the
    voting power. It draws the fold and two disjoint committees."""
    for draw in found.draws:
        if has_committed(draw) and not has_opened(draw):
            # L17: who withholds a secret pays for the chance to choose between two beacons.
            state = slashing.slash_withholding(state, draw.witness, height)
    opened = [draw for draw in found.draws if has_opened(draw)]
    if not has_quorum(sum(d.power for d in opened), sum(d.power for d in found.draws)):
        return conclusion.conclude(state, job, found, Outcome.NO_BEACON)
    owner = phases.get_job(state, job)
    terms, folds = owner.terms, owner.folds
    seed = digest_of(
        "beacon",
        job,
        found.number,
        [[draw.witness, draw.secret] for draw in opened],
        [[c.trainer, c.commitment] for c in found.candidates],
    )
    trainers = {c.trainer for c in found.candidates}
    # L19: nodes that joined before the round, without its trainers.
    names = [n for n in nodes.serving(state, found.start) if n not in trainers]
    if len(names) < terms.verifiers + terms.confirmers:
        return conclusion.conclude(state, job, found, Outcome.NO_COMMITTEE)
    seats = terms.verifiers + terms.confirmers
    drawn = nodes.draw_committee(names, digest_of("committee", seed), seats)
    verifiers, confirmers = sorted(drawn[: terms.verifiers]), sorted(drawn[terms.verifiers :])
    drawn_round = replace(
        found,
        beacon=seed,
        fold=uniform(digest_of("fold", seed), 0, len(folds))[0],
        attestations=tuple(Attestation(name) for name in verifiers),
        confirmations=tuple(Confirmation(name) for name in confirmers),
    )
    return phases.begin(state, job, drawn_round, Phase.REVEAL, height)


ACTIONS: Actions = {BeaconCommit: process_commit, BeaconReveal: process_reveal}
