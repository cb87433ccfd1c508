"""The frames of a write-ahead log: length, checksum, record. A frame that a crash cut short ends
the log; nothing behind it had left the machine."""

from __future__ import annotations

from collections.abc import Iterator

from chain.codec import CodecError, decode, encode
from chain.hashes import SIZE, digest
from chain.orderer.state import Safety

_LENGTH = 4


def frame(record: Safety) -> bytes:
    """The bytes to append and to have on the disk before a vote leaves."""
    data = encode(record)
    return len(data).to_bytes(_LENGTH, "big") + digest("wal", data) + data


def records(log: bytes) -> Iterator[Safety]:
    """The whole records of a log, oldest first."""
    at = 0
    while at + _LENGTH + SIZE <= len(log):
        size = int.from_bytes(log[at : at + _LENGTH], "big")
        start = at + _LENGTH + SIZE
        data = log[start : start + size]
        if len(data) < size or digest("wal", data) != log[at + _LENGTH : start]:
            return
        try:
            yield decode(Safety, data)
        except CodecError:
            return
        at = start + size


def last_record(log: bytes) -> Safety | None:
    """The newest whole record."""
    found = None
    for record in records(log):
        found = record
    return found
