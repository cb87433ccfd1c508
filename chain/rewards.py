"""What a block pays to those who made it."""

from __future__ import annotations

from dataclasses import replace

from chain import ledger
from chain.staking import get_validator
from chain.state import State
from chain.uptime import is_above


def pay_validator(state: State, source: bytes, name: bytes, amount: int) -> State:
    """D52: the operator has its commission, the rest raises the price of the shares."""
    validator = get_validator(state, name)
    commission = amount * validator.commission // 1000 if validator.shares else amount
    state = ledger.move(state, source, name, commission)
    state = ledger.move(state, source, ledger.BONDED, amount - commission)
    grown = replace(validator, tokens=validator.tokens + amount - commission)
    return state.but(validators=state.validators.set(name, grown))


def pay_block(state: State, proposer: bytes, signers: frozenset[bytes]) -> State:
    """D50, D51: mints the block reward; the proposer has its share and the fees that are not
    burned, those who signed the block below and were present enough have the rest by voting power.
    Without the burning a proposer's own transactions would cost it nothing."""
    parameters = state.parameters
    fees = ledger.balance(state, ledger.FEES)
    state = ledger.burn(state, ledger.FEES, fees * parameters.fee_burn // 1000)
    reward = min(parameters.block_reward, ledger.room(state))
    state = ledger.mint(state, ledger.FEES, reward)
    signing = reward * (1000 - parameters.proposer_share) // 1000
    first = ledger.balance(state, ledger.FEES) - signing
    state = pay_validator(state, ledger.FEES, proposer, first)
    seats = [
        seat
        for seat in state.schedule.previous
        if seat.account in signers
        and is_above(
            get_validator(state, seat.account), parameters.uptime_window, parameters.pay_threshold
        )
    ]
    parts = ledger.split(signing, [seat.power for seat in seats])
    for seat, part in zip(seats, parts, strict=True):
        state = pay_validator(state, ledger.FEES, seat.account, part)
    # D5: the rest of the block's purse is dust.
    return ledger.move(state, ledger.FEES, ledger.DUST, ledger.balance(state, ledger.FEES))
