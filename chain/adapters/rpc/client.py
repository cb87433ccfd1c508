"""A client that believes nothing it can check: proofs against roots, roots against signatures."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from chain.application import Member
from chain.blocks import Block, read_block
from chain.codec import CodecError, decode, decode_value
from chain.keys import verify_signed
from chain.orderer.messages import Decided, is_certificate
from chain.proofs import RecordProof, TransactionProof, verify_record, verify_transaction
from chain.refusal import Refused
from gvm.errors import GvmError

MAX_ANSWER = 1 << 27
Get = Callable[[str], bytes]
"""The body of a path; raises :class:`gvm.GvmError`."""


def over_http(url: str) -> Get:
    """Asks the interface at a URL such as ``http://127.0.0.1:8080``."""

    def get(path: str) -> bytes:
        try:
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                return bytes(answer.read(MAX_ANSWER))
        except urllib.error.HTTPError as found:
            raise GvmError(f"{path}: {found.read(1 << 16).decode(errors='replace')}") from None
        except OSError as found:
            raise GvmError(f"{url}: {found}") from None

    return get


def record(get: Get, state: bytes, table: str, key: bytes, height: int) -> Any:
    """The record at a key in the state after a height, whose root the caller trusts; None where
    the table has none. Raises :class:`gvm.GvmError` for what is not proved."""
    answer = json_of(get(f"/v1/proofs/records/{table}/{key.hex()}?height={height}"))
    proof = decoded(RecordProof, answer)
    if (proof.table, proof.key) != (table, key) or not verify_record(state, proof):
        raise GvmError(f"{table} {key.hex()}: the proof is wrong")
    return None if proof.record is None else decode_value(proof.record)


def transaction(get: Get, block: bytes, name: bytes) -> bytes:
    """The bytes of a transaction in a block, whose hash the caller trusts."""
    answer = json_of(get(f"/v1/proofs/transactions/{name.hex()}"))
    proof = decoded(TransactionProof, answer)
    try:
        data = bytes.fromhex(answer["transaction"])
    except (KeyError, TypeError, ValueError):
        raise GvmError("the answer holds no transaction") from None
    if not verify_transaction(block, data, proof):
        raise GvmError(f"transaction {name.hex()}: the proof is wrong")
    return data


def block(
    get: Get, height: int, members: tuple[Member, ...], identity: str, limit: int = MAX_ANSWER
) -> Block:
    """The block of a height, if more than two thirds of ``members``, its validators, have signed
    it. Its ``state`` is the root after the height below. ``identity``: what signatures are bound
    to, :func:`chain.genesis.identity`."""
    try:
        found = decode(Decided, get(f"/v1/values/{height}"))
        made = read_block(found.value.block, limit)
    except (CodecError, Refused) as error:
        raise GvmError(f"block {height}: {error}") from None
    proof = found.certificate
    proved = is_certificate(proof, height, members, identity, verify_signed)
    if not proved or proof.block != found.value.id or made.height != height:
        raise GvmError(f"block {height}: the signatures do not prove it")
    return made


def json_of(data: bytes) -> dict[str, Any]:
    """An answer that is a JSON object; raises :class:`gvm.GvmError`."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise GvmError("the answer is not a JSON object")
    return found


def decoded(kind: type[Any], answer: dict[str, Any]) -> Any:
    """The proof of an answer; raises :class:`gvm.GvmError`."""
    try:
        return decode(kind, bytes.fromhex(answer["proof"]))
    except (KeyError, TypeError, ValueError) as error:
        raise GvmError(f"the answer holds no proof: {error}") from None
