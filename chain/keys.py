"""Ed25519 under rules on which every implementation agrees.

Libraries differ on encodings that no honest signer makes. :func:`verify` refuses those before the
library sees them: y >= p in the key or in R, points of small order, S >= L. What is left is the
equation S B = R + k A, without the cofactor, as RFC 8032 section 5.1.7 permits.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chain.codec import encode_value
from chain.hashes import digest, digest_of

PUBLIC, SIGNATURE, SECRET = 32, 64, 32

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
_ORDER_8 = int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16)
SMALL_ORDER = frozenset({0, 1, P - 1, _ORDER_8, P - _ORDER_8})
"""The y of the eight points whose order divides 8."""


def signing_bytes(domain: str, chain: str, payload: bytes) -> bytes:
    """What is signed: the purpose and the chain are part of it, so nothing can be replayed in
    another place."""
    return encode_value(["gvm signature", domain, chain, payload])


def is_acceptable_point(encoded: bytes) -> bool:
    """Whether 32 bytes may be a key or R: y < p, and not of small order."""
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    return len(encoded) == PUBLIC and y < P and y not in SMALL_ORDER


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature over bytes is valid under the strict rules."""
    if len(public) != PUBLIC or len(signature) != SIGNATURE:
        return False
    if not is_acceptable_point(public) or not is_acceptable_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def account_of(public: bytes) -> bytes:
    """The account that a public key owns."""
    return digest("account", public)


class Key:
    """A secret key. Signing is deterministic (RFC 8032)."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET:
            raise ValueError(f"key: must have {SECRET} bytes, received {len(secret)}")
        self.secret = secret
        self._private = Ed25519PrivateKey.from_private_bytes(secret)
        self.public: bytes = self._private.public_key().public_bytes_raw()
        self.account = account_of(self.public)

    @staticmethod
    def derived(*parts: str | int | bytes) -> Key:
        """A key that anyone can derive: for tests and simulations, never for tokens of value."""
        return Key(digest_of("derived key", *parts))

    def sign(self, domain: str, chain: str, payload: bytes) -> bytes:
        """A signature over a payload for one purpose on one chain."""
        return self._private.sign(signing_bytes(domain, chain, payload))


def verify_signed(public: bytes, domain: str, chain: str, payload: bytes, signature: bytes) -> bool:
    """Whether :meth:`Key.sign` could have made a signature."""
    return verify(public, signing_bytes(domain, chain, payload), signature)
