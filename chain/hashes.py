"""BLAKE3, one domain per use: equal bytes never hash alike for two purposes."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from chain.codec import encode_value

SIZE = 32


def digest(domain: str, data: bytes) -> bytes:
    """The hash of bytes in a domain (BLAKE3's key derivation with context ``gvm chain DOMAIN``)."""
    return bytes(blake3(data, derive_key_context=f"gvm chain {domain}").digest())


def digest_of(domain: str, *parts: Any) -> bytes:
    """The hash of values in a domain, through their canonical encoding: no two lists of parts meet
    in one byte string."""
    return digest(domain, encode_value(list(parts)))


def stream(domain: str, seed: bytes, size: int, offset: int = 0) -> bytes:
    """``size`` pseudo-random bytes from ``offset`` of the extended output of a seed."""
    made = blake3(seed, derive_key_context=f"gvm chain {domain}")
    return bytes(made.digest(length=size, seek=offset))


def plain(data: bytes) -> bytes:
    """BLAKE3 without a domain: the name of content that other programs hash too."""
    return bytes(blake3(data).digest())
