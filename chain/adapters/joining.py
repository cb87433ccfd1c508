"""How a node gets its first state from peers: it asks for offers, fetches the chunks of one that a
certificate backs, and holds the state against the certified root."""

from __future__ import annotations

import asyncio
from typing import Protocol

from chain.adapters.frames import Frame
from chain.adapters.statesync import Base, Offer, Trust, check_offer, check_snapshot
from chain.codec import CodecError, decode
from chain.snapshot import CHUNK, chunk_hash
from chain.state import State
from gvm.errors import GvmError

WAIT = 5.0
"""Seconds that a peer has for a chunk."""


class Link(Protocol):
    """The peers of a node."""

    def send(self, peer: int, frame: Frame) -> None:
        """To one of them."""

    def broadcast(self, frame: Frame) -> None:
        """To all of them."""


class Joining:
    """Frames of peers while a node has no state yet."""

    def __init__(self, link: Link, first: State, trust: Trust | None) -> None:
        self.link, self.first, self.trust = link, first, trust
        self._offers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(16)
        self._chunks: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(4)
        self.refused = "no peer has one"

    def take(self, peer: int, frame: Frame) -> None:
        """An offer or a chunk; others are for who has a state. What overflows is dropped."""
        queue = {"offer": self._offers, "chunk": self._chunks}.get(frame.kind)
        if queue is not None and not queue.full():
            queue.put_nowait((peer, frame.body))

    async def run(self, seconds: float) -> tuple[Offer, list[bytes], Base]:
        """The first snapshot that holds; raises :class:`gvm.GvmError` where none does in time."""
        try:
            async with asyncio.timeout(seconds):
                asking = asyncio.create_task(self._ask())
                try:
                    while True:
                        peer, body = await self._offers.get()
                        try:
                            return await self._fetch(peer, body)
                        except (GvmError, CodecError) as error:
                            self.refused = str(error)
                finally:
                    asking.cancel()
        except TimeoutError:
            raise GvmError(f"no snapshot within {seconds} s: {self.refused}") from None

    async def _ask(self) -> None:
        while True:
            self.link.broadcast(Frame("offers", b""))
            await asyncio.sleep(1)

    async def _fetch(self, peer: int, body: bytes) -> tuple[Offer, list[bytes], Base]:
        offer = decode(Offer, body)
        block = check_offer(offer, self.first, self.trust)
        chunks = [await self._chunk(peer, name) for name in offer.chunks]
        return offer, chunks, check_snapshot(offer, chunks, self.first, block)

    async def _chunk(self, peer: int, name: bytes) -> bytes:
        self.link.send(peer, Frame("chunks", name))
        try:
            async with asyncio.timeout(WAIT):
                while True:
                    sender, data = await self._chunks.get()
                    if sender == peer and len(data) <= CHUNK and chunk_hash(data) == name:
                        return data
        except TimeoutError:
            raise GvmError(f"peer {peer} does not send a chunk that it offered") from None
