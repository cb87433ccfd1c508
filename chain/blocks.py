"""Blocks: what an orderer decides, and how a block names its parent."""

from __future__ import annotations

from dataclasses import dataclass

from chain import merkle
from chain.codec import CodecError, Count, Digest, Text, decode, encode
from chain.evidence import Misbehaviour
from chain.hashes import digest_of
from chain.refusal import Code, Refused, require
from chain.schedule import find_seat, proposer
from chain.state import State, root


@dataclass(frozen=True)
class Block:
    """``state``: the root before this block. ``signed``: who signed the block below, ascending.
    ``round``: how many turns had passed when it was proposed."""

    chain: Text
    height: Count
    parent: Digest
    state: Digest
    proposer: Digest
    round: Count
    signed: tuple[Digest, ...]
    misbehaviour: tuple[Misbehaviour, ...]
    transactions: tuple[bytes, ...]


def block_hash(block: Block) -> bytes:
    """The name of a block: its header, with its lists as Merkle roots. D71."""
    return digest_of(
        "block",
        block.chain,
        block.height,
        block.parent,
        block.state,
        block.proposer,
        block.round,
        merkle.root(block.signed),
        merkle.root([encode(item) for item in block.misbehaviour]),
        merkle.root(block.transactions),
    )


def read_block(data: bytes, limit: int) -> Block:
    """Decodes a block; refuses what is too large or not canonical. D70."""
    require(
        len(data) <= limit,
        Code.OVERSIZED,
        "D70",
        f"a block has at most {limit} bytes, received {len(data)}",
    )
    try:
        return decode(Block, data)
    except CodecError as error:
        raise Refused(Code.MALFORMED, "D70", str(error)) from None


def require_block(state: State, block: Block) -> None:
    """Refuses a block that does not follow the state. Nothing of it is applied."""
    parameters, schedule = state.parameters, state.schedule
    require(
        block.chain == parameters.chain,
        Code.WRONG_CHAIN,
        "D72",
        f"the chain is {parameters.chain!r}, received {block.chain!r}",
    )
    require(
        block.height == state.height + 1,
        Code.BAD_BLOCK,
        "D72",
        f"height must be {state.height + 1}, received {block.height}",
    )
    require(block.parent == state.parent, Code.BAD_BLOCK, "D72", "the parent is another block")
    require(block.state == root(state), Code.BAD_BLOCK, "D73", "the state root differs")
    require(
        find_seat(schedule.current, block.proposer) is not None,
        Code.BAD_BLOCK,
        "D74",
        "the proposer is no witness of this height",
    )
    most = parameters.max_block_transactions
    require(
        len(block.transactions) <= most,
        Code.BAD_BLOCK,
        "D70",
        f"a block has at most {most} transactions, received {len(block.transactions)}",
    )
    voters = {seat.account for seat in schedule.previous}
    require(
        list(block.signed) == sorted(set(block.signed)) and voters.issuperset(block.signed),
        Code.BAD_BLOCK,
        "D75",
        "signers must be witnesses of the block below, ascending",
    )


def is_turn(state: State, block: Block) -> bool:
    """D74: whether a block is proposed by the witness whose turn it was, as our orderer asks."""
    seat = state.schedule.current[proposer(state.schedule, block.height, block.round)]
    return seat.account == block.proposer
