"""Frames on a stream: four bytes of length, big-endian, then so many bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from chain.codec import CodecError, Text, decode, encode

MAX_FRAME = 1 << 26


@dataclass(frozen=True)
class Frame:
    """One message between processes. ``kind``: hello, order, transaction, want, blob, and for who
    begins from a snapshot: offers, offer, chunks, chunk."""

    kind: Text
    body: bytes


STRANGER = Frame("hello", b"stranger")
"""How one says hello that is no node of the network."""


def pack(frame: Frame) -> bytes:
    """The bytes on the stream."""
    data = encode(frame)
    return len(data).to_bytes(4, "big") + data


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None at the end of the stream or where it is no frame any more."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > MAX_FRAME:
            return None
        return decode(Frame, await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError, CodecError):
        return None
