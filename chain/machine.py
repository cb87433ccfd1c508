"""The state machine: a block in, the next state and receipts out. A pure function."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import (
    beacon,
    confirmation,
    envelope,
    evidence,
    inference,
    jobs,
    ledger,
    nodes,
    rewards,
    rounds,
    schedule,
    staking,
    trainers,
    transfers,
    uptime,
    verifiers,
)
from chain.blocks import Block, block_hash, require_block
from chain.codec import Count, Digest, Text
from chain.context import Actions, Context, Execution
from chain.envelope import Envelope
from chain.hashes import digest_of
from chain.parameters import Parameters
from chain.records import Notice
from chain.refusal import Code, Refused, require
from chain.state import State

HANDLERS: Actions = {
    **transfers.ACTIONS,
    **staking.ACTIONS,
    **uptime.ACTIONS,
    **evidence.ACTIONS,
    **nodes.ACTIONS,
    **jobs.ACTIONS,
    **trainers.ACTIONS,
    **beacon.ACTIONS,
    **verifiers.ACTIONS,
    **confirmation.ACTIONS,
    **inference.ACTIONS,
}
KINDS: envelope.Kinds = {envelope.kind_of(kind): kind for kind in HANDLERS}
"""Every action by its name on the wire."""


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction. ``rule``: the one that was broken, empty on success."""

    transaction: Digest
    code: Code
    rule: Text
    gas: Count
    notices: tuple[Notice, ...]


def base_gas(parameters: Parameters, size: int) -> int:
    """D13: what a transaction uses of a block by being there."""
    return parameters.gas_per_transaction + parameters.gas_per_byte * size


def known_gas(state: State, found: Envelope, size: int) -> int:
    """D13: the part of the price that is known before anything runs: bytes, the blocks for which a
    new job may have a round open, and the multiply-adds that the chain and nodes will have to do
    for a known job."""
    parameters, action = state.parameters, found.action
    gas = base_gas(parameters, size)
    if isinstance(action, jobs.StartJob):
        blocks = action.terms.rounds * action.terms.timing.total
        return gas + blocks * parameters.gas_per_job_block
    if isinstance(action, trainers.Commit | confirmation.Dispute | inference.RequestInference):
        job = state.jobs.get(action.job)
        if job is not None:
            times = 1
            if isinstance(action, trainers.Commit):
                times = job.terms.verifiers + job.terms.confirmers
            elif isinstance(action, inference.RequestInference):
                times = 1 + parameters.task_confirmers
            gas += times * job.cost // parameters.multiply_adds_per_gas
    return gas


def gas_of(state: State, execution: Execution, found: Envelope, size: int) -> int:
    """D13: the whole price. A program is inspected for it: ask who has the fee for its bytes."""
    gas, action = known_gas(state, found, size), found.action
    if isinstance(action, jobs.StartJob):
        try:
            work = jobs.inspect_program(execution, action.program).multiply_adds
        except Refused:
            work = 0  # the action will be refused, for its fee
        gas += work // state.parameters.multiply_adds_per_gas
    return gas


def least_fee(parameters: Parameters, gas: int) -> int:
    """D13: what gas costs, rounded up."""
    return -(-gas // parameters.gas_per_token)


def admit(state: State, execution: Execution, data: bytes, ahead: int = 0) -> tuple[Envelope, int]:
    """D10 to D14: what must hold before a transaction costs anything; what is cheap to see comes
    first. A pool asks the same of nonces up to ``ahead`` later. Returns the envelope and the gas
    that is known."""
    parameters = state.parameters
    found = envelope.read(data, parameters.max_transaction_bytes, KINDS)
    sender, nonce, fee = (
        ledger.account_of(state, found.sender),
        found.header.nonce,
        found.header.fee,
    )
    require(
        sender.nonce <= nonce <= sender.nonce + ahead,
        Code.NONCE,
        "D12",
        f"nonce must be {sender.nonce}, received {nonce}",
    )
    gas = known_gas(state, found, len(data))
    least = least_fee(parameters, gas)
    require(fee >= least, Code.FEE, "D13", f"the fee must be at least {least}, received {fee}")
    require(
        sender.balance >= fee,
        Code.FUNDS,
        "D14",
        f"the fee is {fee}, the account has {sender.balance}",
    )
    envelope.require_signature(found, state.identity, execution.verify)
    return found, gas


def apply_transaction(
    state: State, execution: Execution, data: bytes, height: int, gas_left: int
) -> tuple[State, Receipt]:
    """D14, D15: a transaction that is not admitted changes nothing; one that is pays its fee and
    spends its nonce, and changes nothing else if its action is refused. D16: either uses gas."""
    name, parameters = envelope.transaction_id(data), state.parameters
    base = base_gas(parameters, len(data))
    if base > gas_left:
        return state, Receipt(name, Code.GAS, "D16", 0, ())
    try:
        found, _ = admit(state, execution, data)
        gas = gas_of(state, execution, found, len(data))
        fits = gas <= gas_left or gas > parameters.max_block_gas
        require(fits, Code.GAS, "D16", f"the block has {gas_left} gas left")
    except Refused as refused:
        return state, Receipt(name, refused.code, refused.rule, base, ())
    paid = ledger.move(state, found.sender, ledger.FEES, found.header.fee)
    account = ledger.account_of(paid, found.sender)
    spent = replace(account, nonce=account.nonce + 1)
    paid = paid.but(accounts=paid.accounts.set(found.sender, spent), notices=())
    least, most = least_fee(parameters, gas), parameters.max_block_gas
    if found.header.fee < least or gas > most:
        # D13: only now is it known what the program costs.
        return paid, Receipt(name, Code.FEE, "D13", base, ())
    context = Context(execution, height, name, found.sender, found.header.public)
    try:
        done = HANDLERS[type(found.action)](paid, context, found.action)
    except Refused as refused:
        return paid, Receipt(name, refused.code, refused.rule, gas, ())
    return done.but(notices=()), Receipt(name, Code.OK, "", gas, done.notices)


def apply_block(
    state: State, block: Block, execution: Execution
) -> tuple[State, tuple[Receipt, ...]]:
    """The state after a block, and what became of each transaction; the last receipt is of the
    block itself.

    Raises :class:`chain.refusal.Refused` for a block that does not follow the state.
    """
    require_block(state, block)
    parameters, height = state.parameters, block.height
    signers = frozenset(block.signed)
    # D76: what the block says of the past, then its transactions in order, then what is due.
    state = uptime.record_signatures(state, signers, height)
    state = uptime.record_turns(state, state.schedule, height, block.round)
    for found in block.misbehaviour:
        state = evidence.process_misbehaviour(state, found, height)
    first, state = state.notices, state.but(notices=())
    receipts, gas_left = [], parameters.max_block_gas
    for data in block.transactions:
        state, receipt = apply_transaction(state, execution, data, height, gas_left)
        gas_left -= receipt.gas
        receipts.append(receipt)
    state = state.but(entropy=digest_of("entropy", state.entropy, block_hash(block)))
    state = rounds.advance_rounds(state, execution, height)
    state = inference.advance_tasks(state, height)
    state = rewards.pay_block(state, block.proposer, signers)
    state = schedule.advance_schedule(state, height)
    name = block_hash(block)
    notices = (*first, *state.notices)
    receipts.append(Receipt(name, Code.OK, "", parameters.max_block_gas - gas_left, notices))
    state = state.but(height=height, parent=name, notices=())
    return state, tuple(receipts)
