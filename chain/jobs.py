"""Jobs: a deposit is frozen, rounds of training spend it, what is left goes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from chain import ledger, phases, rounds
from chain.codec import Amount, Digest, Size
from chain.context import Actions, Context, Execution, Inspection
from chain.hashes import digest_of, plain
from chain.parameters import Parameters
from chain.phases import get_job
from chain.records import Job, JobStatus, Phase, Terms
from chain.refusal import Code, Refused, require
from chain.state import State

MAX_SEATS = 128
MAX_CANDIDATES = 64
MAX_ROUNDS = 1 << 20


@dataclass(frozen=True)
class StartJob:
    """Asks for the training of a program. ``parameters`` names the first ones; ``folds`` are the
    roots of the test data, cut for cross-validation."""

    program: Annotated[bytes, Size(1, 1 << 22)]
    parameters: Digest
    folds: Annotated[tuple[Digest, ...], Size(1, 256)]
    deposit: Amount
    terms: Terms


@dataclass(frozen=True)
class StopJob:
    """Ends a job after its open round."""

    job: Digest


def inspect_program(execution: Execution, program: bytes) -> Inspection:
    """What the core knows of a program; refuses what is none. L4."""
    try:
        return execution.inspect(program)
    except ValueError as error:
        raise Refused(Code.MALFORMED, "L4", f"no program: {error}") from None


def check_terms(terms: Terms, deposit: int, parameters: Parameters) -> None:
    """L5: terms under which a round can be decided."""
    limits = (
        ("rounds", terms.rounds, MAX_ROUNDS),
        ("margin", terms.margin, 1 << 62),
        ("verifiers", terms.verifiers, MAX_SEATS),
        ("confirmers", terms.confirmers, MAX_SEATS),
        ("max_candidates", terms.max_candidates, MAX_CANDIDATES),
        ("trainer_bond", terms.trainer_bond, 1 << 62),
        ("challenge_bond", terms.challenge_bond, 1 << 40),
        ("deposit", deposit, 1 << 62),
    )
    for name, value, most in limits:
        require(
            1 <= value <= most,
            Code.LIMIT,
            "L5",
            f"{name} must be in [1, {most}], received {value}",
        )
    least = parameters.min_phase
    for phase in Phase:
        blocks = phases.length(terms, phase)
        require(
            blocks >= least,
            Code.LIMIT,
            "L5",
            f"{phase.name.lower()} must be at least {least} blocks, received {blocks}",
        )
    require(
        terms.timing.total < parameters.unbonding,
        Code.LIMIT,
        "D61",
        f"a round must last less than the {parameters.unbonding} blocks of unbonding",
    )


def check_work(terms: Terms, deposit: int, cost: int, parameters: Parameters) -> None:
    """L5: nodes cannot refuse to serve, so the terms must leave them time for their work, and pay
    for it what the chain asks for as much."""
    sets = 1 + terms.max_candidates
    for name, blocks, work in (
        ("attest_commit", terms.timing.attest_commit, sets * cost),
        ("confirm", terms.timing.confirm, cost),
    ):
        least = -(-work // parameters.node_work)
        require(
            blocks >= least,
            Code.LIMIT,
            "L5",
            f"{name} must be at least {least} blocks for {work} multiply-adds, received {blocks}",
        )
    seats = terms.verifiers * sets + terms.confirmers
    gas = -(-seats * cost // parameters.multiply_adds_per_gas)
    pay = terms.rounds * -(-gas // parameters.gas_per_token)
    require(
        deposit >= pay,
        Code.FUNDS,
        "L5",
        f"{terms.rounds} rounds of this work need a deposit of {pay}, received {deposit}",
    )


def process_start(state: State, context: Context, action: StartJob) -> State:
    """L4, L5, L6: the deposit is frozen, the minted share added, the first round opened."""
    parameters = state.parameters
    found = inspect_program(context.execution, action.program)
    check_terms(action.terms, action.deposit, parameters)
    check_work(action.terms, action.deposit, found.multiply_adds, parameters)
    require(
        len(state.rounds) < parameters.max_jobs,
        Code.LIMIT,
        "L5",
        f"at most {parameters.max_jobs} jobs run at once",
    )
    most = parameters.max_referee_work
    require(
        found.multiply_adds <= most,
        Code.LIMIT,
        "L5",
        f"a dispute must fit into a block: at most {most} multiply-adds, received "
        f"{found.multiply_adds}",
    )
    name = digest_of("job", context.transaction)
    minted = action.deposit * parameters.minted_share // 1000
    state = ledger.move(state, context.sender, ledger.ESCROW, action.deposit)
    state = ledger.mint(state, ledger.ESCROW, minted)
    job = Job(
        owner=context.sender,
        program=plain(action.program),
        graph=found.graph,
        cost=found.multiply_adds,
        genesis_parameters=action.parameters,
        parameters=action.parameters,
        folds=action.folds,
        terms=action.terms,
        status=JobStatus.RUNNING,
        deposit=action.deposit,
        minted=minted,
    )
    state = state.but(jobs=state.jobs.set(name, job)).note("job started", name, action.deposit)
    return rounds.open_round(state, name, context.height)


def process_stop(state: State, context: Context, action: StopJob) -> State:
    """L7: the owner may end a job; the open round is decided first."""
    job = get_job(state, action.job)
    require(job.owner == context.sender, Code.NOT_ALLOWED, "L7", "only the owner stops a job")
    return state.but(jobs=state.jobs.set(action.job, replace(job, stopping=True)))


ACTIONS: Actions = {StartJob: process_start, StopJob: process_stop}
