"""What a proven fault costs."""

from __future__ import annotations

from dataclasses import replace

from chain import ledger
from chain.staking import get_validator, pool_key
from chain.state import State


def take(state: State, source: bytes, amount: int, reporter: bytes | None) -> State:
    """D34: the reporter has its share of what is lost, the rest is burned."""
    if reporter is not None:
        part = amount * state.parameters.reporter_share // 1000
        state = ledger.move(state, source, reporter, part)
        amount -= part
    return ledger.burn(state, source, amount)


def slash_validator(
    state: State, name: bytes, since: int, share: int, reporter: bytes | None = None
) -> State:
    """D32: a share of the stake behind a validator, and of what has left it and was counted by its
    seat at ``since`` or later."""
    validator = get_validator(state, name)
    lost = validator.tokens * share // 1000
    validators = state.validators.set(name, replace(validator, tokens=validator.tokens - lost))
    state = take(state.but(validators=validators), ledger.BONDED, lost, reporter)
    state = state.note("validator slashed", name, lost)
    return slash_left(state, name, since, validator.leaving, share, reporter)


def slash_left(
    state: State, name: bytes, since: int, last: int, share: int, reporter: bytes | None
) -> State:
    """D32: a share of the stake that left a validator and answers for it up to a height in
    [since, last]."""
    lost, answers = 0, get_validator(state, name).leaving
    while answers >= max(since, 1):
        key = pool_key(name, answers)
        pool = state.pools.get(key)
        if pool is None:
            break  # collected: out of the time of any evidence, as are those before it
        if answers <= last:
            part = pool.tokens * share // 1000
            pools = state.pools.set(key, replace(pool, tokens=pool.tokens - part))
            state = take(state.but(pools=pools), ledger.UNBONDING, part, reporter)
            lost += part
        answers = pool.before
    return state.note("leaving stake slashed", name, lost) if lost else state


def slash_withholding(state: State, name: bytes, height: int) -> State:
    """L17: a witness that withholds secrets is slashed and jailed, once per ``jail_blocks``: who
    crashed in many jobs at once loses what it would have lost in one."""
    validator = get_validator(state, name)
    if validator.withheld and height < validator.withheld + state.parameters.jail_blocks:
        return state
    state = slash_validator(state, name, height, state.parameters.withholding_slash)
    if not validator.jailed:
        state = jail(state, name, height)
    known = replace(get_validator(state, name), withheld=height)
    return state.but(validators=state.validators.set(name, known))


def slash_silence(state: State, name: bytes) -> State:
    """L27, D86: a node that kept silent, unless it has lost of its bond already: who crashed in
    many committees at once loses what it would have lost in one."""
    node = state.nodes.get(name)
    if node is None or node.bond < state.parameters.node_bond:
        return state
    return slash_node(state, name, state.parameters.withholding_slash)


def slash_node(state: State, name: bytes, share: int, reporter: bytes | None = None) -> State:
    """D35: a share of a node's bond; a node below the full bond serves no more."""
    node = state.nodes.get(name)
    if node is None:
        return state
    lost = node.bond * share // 1000
    state = state.but(nodes=state.nodes.set(name, replace(node, bond=node.bond - lost)))
    return take(state, ledger.BONDS, lost, reporter).note("node slashed", name, lost)


def jail(state: State, name: bytes, height: int) -> State:
    """D43: out of elections until the time is over and the operator asks."""
    validator = replace(
        get_validator(state, name),
        jailed=True,
        jailed_until=height + state.parameters.jail_blocks,
        window=b"",
        blocks=0,
        missed=0,
        missed_turns=0,
    )
    state = state.but(validators=state.validators.set(name, validator))
    return state.note("validator jailed", name, validator.jailed_until)


def expel(state: State, name: bytes, height: int) -> State:
    """D36: an equivocator never returns."""
    state = jail(state, name, height)
    validator = replace(get_validator(state, name), tombstoned=True)
    return state.but(validators=state.validators.set(name, validator))
