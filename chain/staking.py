"""Votes: stake that stands behind a validator, held as shares, and how it leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import ledger
from chain.codec import Amount, Digest
from chain.context import Actions, Context
from chain.hashes import digest_of
from chain.parameters import PerMille
from chain.records import ZERO, Delegation, Pool, Schedule, Unbonding, Validator
from chain.refusal import Code, Refused, require
from chain.state import State

MAX_SHARES = 1 << 62
"""Of one validator or pool: a price that has fallen too far is not divided any further."""


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


def pool_key(validator: bytes, answers: int) -> bytes:
    """Where the stake is that left a validator and answers for its faults up to a height."""
    return digest_of("pool", validator, answers)


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


def answers_until(schedule: Schedule, height: int) -> int:
    """D23: the last height at which a seat counts stake that leaves in the block of ``height``: the
    next election is at the end of the round of turns, and in force two blocks later."""
    over = schedule.start + len(schedule.order) - 1
    if height < over and schedule.following != schedule.current:
        # The set changes with the next block, which begins a new round of turns.
        over = height + len(schedule.following)
    return max(height, over) + 1


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
    """Buys shares of a validator with free tokens; what they do not cost stays where it is. D22."""
    require(
        ledger.balance(state, owner) >= amount,
        Code.FUNDS,
        "D2",
        f"needs {amount} tokens, the account has {ledger.balance(state, owner)}",
    )
    state, cost = _issue(state, owner, name, amount, backup)
    return ledger.move(state, owner, ledger.BONDED, cost)


def priced(tokens: int, shares: int, amount: int) -> tuple[int, int]:
    """D22: the whole shares that ``amount`` buys where ``shares`` are worth ``tokens``, and what
    they cost, rounded up: who joins loses less than a token, whatever a share is worth."""
    if shares == 0:
        made, cost = amount, amount
    else:
        require(tokens > 0, Code.NOT_ALLOWED, "D22", "the stake behind these shares is gone")
        made = amount * shares // tokens
        cost = -(-made * tokens // shares)
    require(made > 0, Code.FUNDS, "D22", f"{amount} tokens buy no share")
    require(
        shares + made <= MAX_SHARES,
        Code.LIMIT,
        "D22",
        f"there are at most {MAX_SHARES} shares, {made} more than {shares} are too many",
    )
    return made, cost


def _issue(
    state: State, owner: bytes, name: bytes, amount: int, backup: bytes | None
) -> tuple[State, int]:
    # The tokens are the caller's to move. No backup leaves the one that the vote names.
    validator = get_validator(state, name)
    shares, cost = priced(validator.tokens, validator.shares, amount)
    key = delegation_key(owner, name)
    held = state.delegations.get(key) or Delegation(owner, name, 0)
    kept = held.backup if backup is None else backup
    held = replace(held, shares=held.shares + shares, backup=kept)
    validator = replace(validator, tokens=validator.tokens + cost, shares=validator.shares + shares)
    state = state.but(
        delegations=state.delegations.set(key, held),
        validators=state.validators.set(name, validator),
    )
    return state, cost


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
    return unbond(state, owner, name, tokens, context.height)


def unbond(state: State, owner: bytes, name: bytes, tokens: int, height: int) -> State:
    """D23: bonded tokens that left a validator answer for it as long as its seat counts them, and
    are free when evidence of that time can come no more."""
    state = ledger.move(state, ledger.BONDED, ledger.UNBONDING, tokens)
    answers = answers_until(state.schedule, height)
    key = pool_key(name, answers)
    validator = get_validator(state, name)
    pool = state.pools.get(key) or Pool(0, 0, validator.leaving)
    # A pool never grows in value, so a share is worth a token at most and none is left over.
    shares, _ = priced(pool.tokens, pool.shares, tokens)
    claim_key = unbonding_key(owner, name, height)
    claim = state.unbondings.get(claim_key) or Unbonding(
        owner, key, 0, answers + state.parameters.unbonding
    )
    claim = replace(claim, shares=claim.shares + shares)
    pool = replace(pool, tokens=pool.tokens + tokens, shares=pool.shares + shares)
    return state.but(
        pools=state.pools.set(key, pool),
        unbondings=state.unbondings.set(claim_key, claim),
        validators=state.validators.set(name, replace(validator, leaving=answers)),
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
    left = replace(pool, tokens=pool.tokens - amount, shares=pool.shares - claim.shares)
    if left.shares == 0:
        # D5: the last claim leaves what rounding kept.
        state = ledger.move(state, ledger.UNBONDING, ledger.DUST, left.tokens)
        pools = state.pools.remove(claim.pool)
    else:
        pools = state.pools.set(claim.pool, left)
    return state.but(pools=pools, unbondings=state.unbondings.remove(action.unbonding))


def process_switch(state: State, context: Context, action: Switch) -> State:
    """D26: anyone may move a vote away from a jailed validator to the backup it names. What buys no
    whole share there leaves as if it were taken back. A validator's own deposit stays: it answers
    for what the validator signed."""
    source = get_validator(state, action.validator)
    require(
        source.jailed and not source.tombstoned,
        Code.NOT_ALLOWED,
        "D26",
        "votes switch only from a jailed validator",
    )
    own = action.delegator == action.validator
    require(not own, Code.NOT_ALLOWED, "D26", "a validator's own deposit does not switch")
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
    state, cost = _issue(state, action.delegator, held.backup, tokens, None)
    if cost < tokens:
        owner, name = action.delegator, action.validator
        state = unbond(state, owner, name, tokens - cost, context.height)
    return state.note("vote switched", action.delegator, cost)


ACTIONS: Actions = {
    Declare: process_declare,
    Delegate: process_delegate,
    Undelegate: process_undelegate,
    Withdraw: process_withdraw,
    Switch: process_switch,
}
