"""Beginning from a snapshot: a state that a certified block names, instead of every block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from chain.application import Member
from chain.blocks import Block, block_hash, read_block
from chain.codec import CodecError, Digest, Size, decode, encode
from chain.context import Verify
from chain.genesis import begin
from chain.keys import verify_signed
from chain.machine_application import members
from chain.orderer.messages import Certificate, Decided, is_certificate
from chain.refusal import Refused
from chain.snapshot import CHUNK, MAX_CHUNKS, chunk_hash, load
from chain.state import State
from gvm.errors import GvmError

MAX_FILE = 1 << 30


@dataclass(frozen=True)
class Offer:
    """What is said of a snapshot: the decided block above it, whose header names its root, and the
    hashes of its chunks."""

    decided: Decided
    chunks: Annotated[tuple[Digest, ...], Size(1, MAX_CHUNKS)]


@dataclass(frozen=True)
class Bundle:
    """A snapshot in a file."""

    offer: Offer
    chunks: Annotated[tuple[bytes, ...], Size(1, MAX_CHUNKS)]


@dataclass(frozen=True)
class Trust:
    """A block that somebody trusted has named, for who cannot follow the witnesses from the
    genesis on. Its header names the snapshot's root."""

    height: int
    block: bytes

    @staticmethod
    def read(text: str) -> Trust:
        """From ``HEIGHT:HASH``; raises :class:`gvm.GvmError`."""
        height, _, name = text.partition(":")
        try:
            found = Trust(int(height), bytes.fromhex(name))
        except ValueError:
            found = Trust(0, b"")
        if found.height < 2 or len(found.block) != 32:
            raise GvmError(f"trust must be HEIGHT:HASH of a block, received {text!r}")
        return found


@dataclass(frozen=True)
class Base:
    """Where a node begins: a state, who validated its height and the certificate of its block."""

    state: State
    certificate: Certificate
    members: tuple[Member, ...]


def offer_of(decided: Decided, chunks: list[bytes]) -> Offer:
    """The offer of the snapshot of the state below a decided block."""
    return Offer(decided, tuple(chunk_hash(data) for data in chunks))


def check_offer(
    offer: Offer, first: State, trust: Trust | None = None, verify: Verify = verify_signed
) -> Block:
    """The block whose header names the root of an offered snapshot, if there is reason to believe
    it: more than two thirds of the witnesses of the genesis, whose state is ``first``, have signed
    it, or it is the trusted one. Raises :class:`gvm.GvmError`."""
    value, proof = offer.decided.value, offer.decided.certificate
    try:
        block = read_block(value.block, first.parameters.max_block_bytes)
    except Refused as refused:
        raise GvmError(f"snapshot: {refused}") from None
    if block.chain != first.parameters.chain or block.height < 2:
        raise GvmError(f"snapshot: of block {block.height} of the chain {block.chain!r}")
    below = value.below
    if proof.block != value.id or below is None or below.height != block.height - 1:
        raise GvmError(f"snapshot: the proof is not that of block {block.height}")
    if trust is not None:
        if (trust.height, trust.block) != (block.height, block_hash(block)):
            raise GvmError(f"snapshot: block {block.height} is not the trusted one")
        return block
    founders = members(first.schedule.current)
    if not is_certificate(proof, block.height, founders, first.identity, verify):
        raise GvmError(
            f"snapshot: the witnesses of the genesis have not signed block {block.height}; name a "
            "block that you trust"
        )
    return block


def check_snapshot(
    offer: Offer, chunks: list[bytes], first: State, block: Block, verify: Verify = verify_signed
) -> Base:
    """The state of the chunks, under the root that the block names, of the chain whose first state
    is ``first``. The block and the one below must bear the signatures of the witnesses that the
    state itself names. Raises :class:`gvm.GvmError`."""
    if tuple(chunk_hash(data) for data in chunks) != offer.chunks:
        raise GvmError("snapshot: a chunk is not the one that was offered")
    if any(len(data) > CHUNK for data in chunks):
        raise GvmError(f"snapshot: a chunk has at most {CHUNK} bytes")
    try:
        state = load(chunks, block.state)
    except CodecError as error:
        raise GvmError(str(error)) from None
    if (state.identity, state.parameters) != (first.identity, first.parameters):
        raise GvmError("snapshot: of another genesis")
    if (state.height, state.parent) != (block.height - 1, block.parent):
        raise GvmError(f"snapshot: block {block.height} does not follow it")
    schedule, below = state.schedule, offer.decided.value.below
    sets = (members(schedule.current), members(schedule.previous))
    proofs = (offer.decided.certificate, below)
    for height, found, proof in zip((block.height, state.height), sets, proofs, strict=True):
        if proof is None or not is_certificate(proof, height, found, state.identity, verify):
            raise GvmError(f"snapshot: block {height} is not signed by its witnesses")
    if below is None:
        raise GvmError("snapshot: the block carries no proof of the one below")
    return Base(state, below, sets[1])


def write_bundle(offer: Offer, chunks: list[bytes]) -> bytes:
    """A snapshot as a file."""
    return encode(Bundle(offer, tuple(chunks)))


def read_bundle(data: bytes) -> tuple[Offer, list[bytes]]:
    """A snapshot of a file; raises :class:`gvm.GvmError`."""
    try:
        found = decode(Bundle, data)
    except CodecError as error:
        raise GvmError(f"snapshot: {error}") from None
    return found.offer, list(found.chunks)


def restored(folder: Path, file: Path, trust: Trust | None) -> Base:
    """Puts the snapshot of a file into the store of a folder that holds no block; raises
    :class:`gvm.GvmError` and leaves the store as it was where it does not hold."""
    from chain.adapters.execution import Evaluator
    from chain.adapters.store import Store

    if file.stat().st_size > MAX_FILE:
        raise GvmError(f"{file}: a snapshot has at most {MAX_FILE} bytes")
    store = Store(folder)
    if store.height:
        raise GvmError(f"{folder}: holds a chain up to height {store.height} already")
    offer, chunks = read_bundle(file.read_bytes())
    first = begin(store.genesis(), Evaluator(folder / "model.dmodel").execution())
    base = check_snapshot(offer, chunks, first, check_offer(offer, first, trust))
    store.keep_snapshot(offer, chunks)
    return base
