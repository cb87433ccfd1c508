"""The envelope of a transaction: who sends, in which order, for what fee, signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from chain.codec import (
    Amount,
    CodecError,
    Count,
    Digest,
    Size,
    decode_value,
    encode_value,
    from_value,
    to_value,
)
from chain.context import Verify
from chain.hashes import digest
from chain.keys import Key, account_of
from chain.refusal import Code, Refused, require
from gvm.cbor import CborError

PURPOSE = "transaction"
_THREE, _SIGNED = b"\x83", 2 + 64
"""The head of an array of three, and the size of a signature with its head."""


@dataclass(frozen=True)
class Header:
    """What every transaction states."""

    public: Digest
    nonce: Count
    fee: Amount


@dataclass(frozen=True)
class Envelope:
    """A decoded transaction. ``action`` is one of the records that the chain knows."""

    header: Header
    action: Any
    signature: bytes
    payload: bytes
    id: bytes

    @property
    def sender(self) -> bytes:
        """The account that pays."""
        return account_of(self.header.public)


Signature = Annotated[bytes, Size(64, 64)]
Kinds = Mapping[str, type]


def kind_of(action: type) -> str:
    """The name of an action on the wire: its class in lower case with hyphens."""
    name = action.__name__
    return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")


def transaction_id(data: bytes) -> bytes:
    """The name of a transaction: a hash over all of it. D11."""
    return digest("transaction", data)


def seal(key: Key, chain: str, nonce: int, fee: int, action: Any) -> bytes:
    """The bytes of a signed transaction."""
    header = to_value(Header(key.public, nonce, fee))
    body = [header, kind_of(type(action)), to_value(action)]
    return encode_value([*body, key.sign(PURPOSE, chain, encode_value(body))])


def read(data: bytes, limit: int, kinds: Kinds) -> Envelope:
    """Decodes a transaction; refuses what is not canonical, too large or of no known kind. D10."""
    require(
        len(data) <= limit,
        Code.OVERSIZED,
        "D10",
        f"a transaction has at most {limit} bytes, received {len(data)}",
    )
    try:
        value = decode_value(data)
        if type(value) is not list or len(value) != 4:
            raise CodecError("must be an array of header, kind, action and signature")
        header = from_value(Header, value[0])
        kind = value[1]
        if type(kind) is not str or kind not in kinds:
            raise CodecError("no such kind of action")
        action: Any = from_value(kinds[kind], value[2])
        signature = value[3]
        if type(signature) is not bytes or len(signature) != 64:
            raise CodecError("the signature must have 64 bytes")
    except (CborError, CodecError) as error:
        raise Refused(Code.MALFORMED, "D10", str(error)) from None
    # The bytes are canonical: those of the first three items lie between head and signature.
    payload = _THREE + data[1:-_SIGNED]
    return Envelope(header, action, signature, payload, transaction_id(data))


def require_signature(envelope: Envelope, chain: str, verify: Verify) -> None:
    """Refuses a transaction whose signature is not the sender's for this chain. D11."""
    public, payload = envelope.header.public, envelope.payload
    valid = verify(public, PURPOSE, chain, payload, envelope.signature)
    require(valid, Code.BAD_SIGNATURE, "D11", "the signature is not valid on this chain")
