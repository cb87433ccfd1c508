"""Votes: stake that stands behind a validator, held as shares, and how it leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import ledger
from chain.codec import Amount, Digest
from chain.context import Actions, Context
from chain.hashes import digest_of
from chain.parameters import PerMille
from chain.records import ZERO, Delegation, Pool, Unbonding, Validator
from chain.refusal import Code, Refused, require
from chain.state import State


@dataclass(frozen=True)
class Declare:
    """Stands as a candidate for witness, with ``amount`` of its own."""

    commission: PerMille
    amount: Amount


@dataclass(frozen=True)
class Delegate:
    """Votes for a validator with tokens. ``backup``: who has the vote when turns are missed."""

    validator: Digest
    amount: Amount
    backup: Digest


@dataclass(frozen=True)
class Undelegate:
    """Takes shares back; their tokens are free after the unbonding time."""

    validator: Digest
    shares: Amount


@dataclass(frozen=True)
class Withdraw:
    """Collects tokens whose unbonding time is over."""

    unbonding: Digest


@dataclass(frozen=True)
class Switch:
    """Moves a vote from a validator that missed its turns to the delegator's backup."""

    delegator: Digest
    validator: Digest


def delegation_key(delegator: bytes, validator: bytes) -> bytes:
    """Where a delegation is."""
    return digest_of("delegation", delegator, validator)


def pool_key(validator: bytes, bucket: int) -> bytes:
    """Where the stake is that left a validator in a bucket of heights."""
    return digest_of("pool", validator, bucket)


def unbonding_key(delegator: bytes, validator: bytes, height: int) -> bytes:
    """Where a claim on a pool is."""
    return digest_of("unbonding", delegator, validator, height)


def get_validator(state: State, name: bytes) -> Validator:
    """A validator; refuses what is none. D21."""
    found = state.validators.get(name)
    if found is None:
        raise Refused(Code.UNKNOWN, "D21", "there is no such validator")
    return found


def own_stake(state: State, name: bytes) -> int:
    """The tokens with which a validator stands for itself. D20."""
    validator = state.validators.get(name)
    held = state.delegations.get(delegation_key(name, name))
    return 0 if validator is None or held is None else tokens_of(validator, held.shares)


def tokens_of(validator: Validator, shares: int) -> int:
    """What shares are worth, rounded down. D22."""
    return shares * validator.tokens // validator.shares if validator.shares else 0


def process_declare(state: State, context: Context, action: Declare) -> State:
    """D20: a candidate deposits at least 1000 block rewards."""
    name = context.sender
    require(name not in state.validators, Code.DUPLICATE, "D20", "is a validator already")
    least = state.parameters.deposit
    require(
        action.amount >= least,
        Code.FUNDS,
        "D20",
        f"a witness deposits at least {least} tokens, received {action.amount}",
    )
    made = Validator(context.public, action.commission)
    state = state.but(validators=state.validators.set(name, made))
    return add_stake(state, name, name, action.amount, ZERO)


def process_delegate(state: State, context: Context, action: Delegate) -> State:
    """D21: votes go to a validator that is not expelled."""
    found = get_validator(state, action.validator)
    require(not found.tombstoned, Code.NOT_ALLOWED, "D21", "the validator is expelled")
    if action.backup != ZERO:
        require(
            action.backup != action.validator and action.backup in state.validators,
            Code.UNKNOWN,
            "D26",
            "the backup must be another validator",
        )
    return add_stake(state, context.sender, action.validator, action.amount, action.backup)


def add_stake(state: State, owner: bytes, name: bytes, amount: int, backup: bytes) -> State:
    """Buys shares of a validator with free tokens. D22."""
    state = ledger.move(state, owner, ledger.BONDED, amount)
    return _issue(state, owner, name, amount, backup)


def _issue(state: State, owner: bytes, name: bytes, amount: int, backup: bytes) -> State:
    # D22: shares at the present price, rounded down in favour of those who hold some.
    validator = get_validator(state, name)
    if validator.shares == 0:
        shares = amount
    else:
        require(validator.tokens > 0, Code.NOT_ALLOWED, "D22", "the validator's stake is gone")
        shares = amount * validator.shares // validator.tokens
    require(shares > 0, Code.FUNDS, "D22", f"{amount} tokens buy no share")
    key = delegation_key(owner, name)
    held = state.delegations.get(key) or Delegation(owner, name, 0)
    held = replace(held, shares=held.shares + shares, backup=backup)
    validator = replace(
        validator, tokens=validator.tokens + amount, shares=validator.shares + shares
    )
    return state.but(
        delegations=state.delegations.set(key, held),
        validators=state.validators.set(name, validator),
    )


def take_shares(state: State, owner: bytes, name: bytes, shares: int) -> tuple[State, int]:
    """Gives shares up for their tokens, which stay in the bonded account. D22, D23."""
    validator = get_validator(state, name)
    key = delegation_key(owner, name)
    held = state.delegations.get(key)
    have = held.shares if held is not None else 0
    require(0 < shares <= have, Code.FUNDS, "D23", f"shares must be in [1, {have}]")
    tokens = tokens_of(validator, shares)
    left = replace(validator, tokens=validator.tokens - tokens, shares=validator.shares - shares)
    if left.shares == 0 and left.tokens:
        # D5: what rounding left behind belongs to no one.
        state = ledger.move(state, ledger.BONDED, ledger.DUST, left.tokens)
        left = replace(left, tokens=0)
    delegations = (
        state.delegations.remove(key)
        if held is None or held.shares == shares
        else state.delegations.set(key, replace(held, shares=held.shares - shares))
    )
    return state.but(delegations=delegations, validators=state.validators.set(name, left)), tokens


def process_undelegate(state: State, context: Context, action: Undelegate) -> State:
    """D23: stake leaves through a pool that can still be slashed."""
    owner, name = context.sender, action.validator
    state, tokens = take_shares(state, owner, name, action.shares)
    require(tokens > 0, Code.FUNDS, "D23", f"{action.shares} shares are worth no token")
    state = ledger.move(state, ledger.BONDED, ledger.UNBONDING, tokens)
    bucket = context.height // state.parameters.unbonding_bucket
    key = pool_key(name, bucket)
    pool = state.pools.get(key) or Pool(0, 0)
    if pool.shares == 0:
        shares = tokens
    else:
        require(pool.tokens > 0, Code.NOT_ALLOWED, "D23", "this bucket was slashed to nothing")
        shares = tokens * pool.shares // pool.tokens
    require(shares > 0, Code.FUNDS, "D23", f"{tokens} tokens make no share of the pool")
    claim_key = unbonding_key(owner, name, context.height)
    claim = state.unbondings.get(claim_key) or Unbonding(
        owner, key, 0, context.height + state.parameters.unbonding
    )
    claim = replace(claim, shares=claim.shares + shares)
    return state.but(
        pools=state.pools.set(key, Pool(pool.tokens + tokens, pool.shares + shares)),
        unbondings=state.unbondings.set(claim_key, claim),
    ).note("unbonding", claim_key, tokens)


def process_withdraw(state: State, context: Context, action: Withdraw) -> State:
    """D23: tokens are free when their time is over."""
    claim = state.unbondings.get(action.unbonding)
    if claim is None or claim.delegator != context.sender:
        raise Refused(Code.UNKNOWN, "D23", "there is no such claim of the sender")
    require(
        context.height >= claim.matures,
        Code.PHASE,
        "D23",
        f"tokens are free from height {claim.matures}, this is {context.height}",
    )
    pool = state.pools.get(claim.pool) or Pool(0, 0)
    amount = ledger.split(pool.tokens, [claim.shares, pool.shares - claim.shares])[0]
    state = ledger.move(state, ledger.UNBONDING, context.sender, amount)
    left = Pool(pool.tokens - amount, pool.shares - claim.shares)
    if left.shares == 0:
        # D5: the last claim leaves what rounding kept.
        state = ledger.move(state, ledger.UNBONDING, ledger.DUST, left.tokens)
        pools = state.pools.remove(claim.pool)
    else:
        pools = state.pools.set(claim.pool, left)
    return state.but(pools=pools, unbondings=state.unbondings.remove(action.unbonding))


def process_switch(state: State, context: Context, action: Switch) -> State:
    """D26: anyone may move a vote away from a jailed validator to the backup it names."""
    source = get_validator(state, action.validator)
    require(
        source.jailed and not source.tombstoned,
        Code.NOT_ALLOWED,
        "D26",
        "votes switch only from a jailed validator",
    )
    held = state.delegations.get(delegation_key(action.delegator, action.validator))
    if held is None or held.backup == ZERO:
        raise Refused(Code.UNKNOWN, "D26", "the vote names no backup")
    target = get_validator(state, held.backup)
    require(
        not target.jailed and not target.tombstoned,
        Code.NOT_ALLOWED,
        "D26",
        "the backup is jailed too",
    )
    state, tokens = take_shares(state, action.delegator, action.validator, held.shares)
    require(tokens > 0, Code.FUNDS, "D26", "the shares are worth no token")
    state = _issue(state, action.delegator, held.backup, tokens, ZERO)
    return state.note("vote switched", action.delegator, tokens)


ACTIONS: Actions = {
    Declare: process_declare,
    Delegate: process_delegate,
    Undelegate: process_undelegate,
    Withdraw: process_withdraw,
    Switch: process_switch,
}
