"""Genesis: the first state, named by a hash that every witness signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from chain import jobs, ledger, nodes, schedule, staking
from chain.codec import Amount, Digest, Size, encode
from chain.context import Context, Execution
from chain.hashes import digest, digest_of
from chain.keys import Key, account_of, verify_signed
from chain.parameters import Parameters, PerMille
from chain.records import ZERO, Schedule
from chain.refusal import Code, require
from chain.state import State


@dataclass(frozen=True)
class Grant:
    """Tokens that an account begins with."""

    account: Digest
    amount: Amount


@dataclass(frozen=True)
class Founder:
    """A first witness: its key, commission and deposit, which its grant must cover."""

    public: Digest
    commission: PerMille
    deposit: Amount


@dataclass(frozen=True)
class Opening:
    """A job that begins with the chain."""

    owner: Digest
    job: jobs.StartJob


@dataclass(frozen=True)
class Genesis:
    """Everything that a chain begins with: constants, tokens, witnesses, nodes, jobs with program,
    first parameters and roots of test data."""

    parameters: Parameters
    grants: tuple[Grant, ...]
    founders: Annotated[tuple[Founder, ...], Size(1, 1024)]
    nodes: tuple[Digest, ...] = ()
    jobs: tuple[Opening, ...] = ()


def genesis_hash(genesis: Genesis) -> bytes:
    """The name of a genesis: the parent of the first block. D77."""
    return digest("genesis", encode(genesis))


def identity(genesis: Genesis) -> str:
    """What signatures bind: the name of the chain and the hash of its genesis, so that nothing can
    be replayed on another chain of the same name. D11."""
    return f"{genesis.parameters.chain}/{genesis_hash(genesis).hex()}"


def sign_genesis(key: Key, genesis: Genesis) -> bytes:
    """A founder's signature. D78."""
    return key.sign("genesis", genesis.parameters.chain, genesis_hash(genesis))


def require_signatures(genesis: Genesis, signatures: dict[bytes, bytes]) -> None:
    """D78: every founder has signed. ``signatures`` by public key."""
    name = genesis_hash(genesis)
    for founder in genesis.founders:
        found = signatures.get(founder.public, b"")
        valid = verify_signed(founder.public, "genesis", genesis.parameters.chain, name, found)
        require(valid, Code.BAD_SIGNATURE, "D78", "a founder has not signed the genesis")


def begin(genesis: Genesis, execution: Execution) -> State:
    """The state before the first block. Raises :class:`chain.refusal.Refused` where the genesis
    breaks a rule that transactions must keep too. D77."""
    parameters = genesis.parameters
    parameters.check()
    name = genesis_hash(genesis)
    entropy = digest_of("entropy", name)
    state = State(parameters, identity(genesis), 0, name, entropy, 0, Schedule((), (), (), (), 1))
    for grant in genesis.grants:
        ledger.require_user(grant.account)
        state = ledger.mint(state, grant.account, grant.amount)
    for founder in genesis.founders:
        account = account_of(founder.public)
        context = Context(execution, 0, name, account, founder.public)
        declared = staking.Declare(founder.commission, founder.deposit)
        state = staking.process_declare(state, context, declared)
    seats = schedule.elect(state)
    state = state.but(schedule=schedule.first_schedule(seats, entropy))
    for account in genesis.nodes:
        context = Context(execution, 0, name, account, ZERO)
        state = nodes.process_join(state, context, nodes.Join())
    for number, opening in enumerate(genesis.jobs):
        key = digest_of("genesis job", name, number)
        context = Context(execution, 0, key, opening.owner, ZERO)
        state = jobs.process_start(state, context, opening.job)
    return state.but(notices=())
