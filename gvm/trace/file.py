"""The trace of a run: what it was, and the hashes of its tensors every so many steps.

The file is append-only (docs/traces.md has its bytes)::

    8 bytes   "GVMTRACE"
    8 bytes   size of the header, little-endian
    header    canonical CBOR
    records   kind (1 byte: 0 a state, 1 the end), step (8 bytes), for a state the hashes of all
              parameters and all state (32 bytes each), link (32 bytes)

A link is BLAKE3 of the link before and the record; the first one is that of the header. So a file
is whole or its damage is found, and a run that was interrupted goes on behind its last whole
record.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gvm import _core, cbor
from gvm.errors import GvmError
from gvm.trace.tree import SIZE

MAGIC = b"GVMTRACE"
NAME = "trace.gvmt"
VERSION = 2
MAX_HEADER = 1 << 20
STATE, END = 0, 1
_INTEGERS = (
    *("version", "seed", "batch_size", "count", "every", "step", "epoch", "taken"),
    *("values", "inputs", "parameters", "tensors"),
)
_HASHES = ("train", "listing", "state")


@dataclass(frozen=True)
class Header:
    """What a run is: all that its results depend on, and how often it was recorded."""

    train: bytes
    """train_id of the program."""
    listing: bytes
    """``Listing.id``: the nodes, for a referee without the program."""
    data: tuple[bytes, ...]
    """Hashes of the inputs, then the labels: whole arrays, row-major, little-endian."""
    count: int
    """Examples."""
    batch_size: int
    seed: int
    every: int
    """Steps from one record to the next."""
    values: int
    """Values of a step of the program; ``inputs`` of them come first, before the labels."""
    inputs: int
    parameters: int
    tensors: int
    """Parameters and state tensors."""
    step: int = 0
    """The first step; ``epoch`` and ``taken`` say where in the data it begins."""
    epoch: int = 0
    taken: int = 0
    state: bytes = bytes(SIZE)
    """Hash of the hashes of the tensors that it begins with."""

    def encoded(self) -> bytes:
        """Canonical bytes."""
        return cbor.encode(self._named() | {"every": self.every})

    def _named(self) -> dict[str, Any]:
        names = (*_INTEGERS, *_HASHES)
        named = {n: getattr(self, n) for n in names if n not in ("version", "every")}
        return named | {"version": VERSION, "data": list(self.data)}

    @staticmethod
    def decoded(data: bytes) -> Header:
        """The inverse of ``encoded``; raises ValueError."""
        body: Any = cbor.decode(data)
        names = {"data", *_INTEGERS, *_HASHES}
        if not isinstance(body, dict) or set(body) != names:
            raise ValueError(f"the header must have the fields {', '.join(sorted(names))}")
        if body["version"] != VERSION:
            raise ValueError(f"a trace of version {VERSION} is needed, received {body['version']}")
        listed = body["data"]
        hashes = [*(body[n] for n in _HASHES), *(listed if isinstance(listed, list) else [None])]
        if not all(isinstance(h, bytes) and len(h) == SIZE for h in hashes):
            raise ValueError("the header has a hash that is none")
        if not all(type(body[n]) is int and 0 <= body[n] < 2**64 for n in _INTEGERS):
            raise ValueError("the header has a number that is none")
        if not 0 < body["batch_size"] or not 0 < body["every"] or not body["taken"] < body["count"]:
            raise ValueError("batch_size, every and count must be above 0, taken below count")
        fields = {n: body[n] for n in (*_INTEGERS, *_HASHES) if n != "version"}
        return Header(data=tuple(listed), **fields)

    @cached_property
    def id(self) -> bytes:
        """The name of the run: BLAKE3 of all but how often it was recorded."""
        return _core.blake3(b"gvm.trace.v2\n" + cbor.encode(self._named()))

    @property
    def link(self) -> bytes:
        """The first link: BLAKE3 of the header."""
        return _core.blake3(b"gvm.trace.header.v2\n" + self.encoded())

    def place(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and how many of its examples were taken before."""
        begun = -(-(self.count - self.taken) // self.batch_size)
        done = step - self.step
        if done < begun:
            return self.epoch, self.taken + done * self.batch_size
        epochs, within = divmod(done - begun, -(-self.count // self.batch_size))
        return self.epoch + 1 + epochs, within * self.batch_size

    def batch(self, step: int) -> int:
        """The examples of a step."""
        return min(self.batch_size, self.count - self.place(step)[1])

    def state_root(self, step: int, roots: bytes) -> bytes:
        """The root of a state with tensors of these hashes."""
        return self.root_of(step, _core.blake3(roots))

    def root_of(self, step: int, tensors: bytes) -> bytes:
        """The root of a state: of the run, where it stands, and the hash of its tensors' hashes."""
        epoch, taken = self.place(step)
        body = {
            "run": self.id,
            "step": step,
            "epoch": epoch,
            "taken": taken,
            "tensors": tensors,
        }
        return _core.blake3(b"gvm.trace.state.v1\n" + cbor.encode(body))


@dataclass
class Trace:
    """A trace that was read: every link was checked."""

    path: Path
    header: Header
    records: dict[int, bytes] = field(default_factory=dict)
    """By step, ascending: the hashes of parameters and state before it."""
    ended: bool = False
    link: bytes = b""
    """The last link."""
    size: int = 0
    """Bytes up to the last record that stands where one is due; a run that goes on does so from
    there."""
    regular: bytes = b""
    """The link of that record."""

    @property
    def last(self) -> int:
        """The step of the last record."""
        return max(self.records)

    @property
    def root(self) -> bytes:
        """The name of the trace: of the run and the roots of its recorded states, each of which
        has a proof under it."""
        states = b"".join(self.header.state_root(s, r) for s, r in self.records.items())
        body = {"run": self.header.id, "last": self.last, "states": _core.blake3(states)}
        return _core.blake3(b"gvm.trace.root.v1\n" + cbor.encode(body))


def read_trace(path: str | os.PathLike[str], unfinished: bool = False) -> Trace:
    """The trace of a run's folder. What is damaged, cut short or not at its end is a GvmError that
    names the file; ``unfinished``: a trace may end anywhere behind a first whole record, and what
    follows the last whole one is left out."""
    where = Path(path)
    file = where / NAME if where.is_dir() else where
    try:
        data = file.read_bytes()
    except OSError as error:
        raise GvmError(f"{file}: {error.strerror}") from error
    try:
        return _parse(file, data, unfinished)
    except ValueError as error:
        raise GvmError(f"{file}: {error}") from None


def _parse(path: Path, data: bytes, unfinished: bool) -> Trace:
    if data[:8] != MAGIC:
        raise ValueError("not a trace")
    size = int.from_bytes(data[8:16], "little")
    if len(data) < 16 or size > MAX_HEADER or len(data) < 16 + size:
        raise ValueError("the header is cut short")
    header = Header.decoded(data[16 : 16 + size])
    trace = Trace(path, header, link=header.link, regular=header.link, size=16 + size)
    at, irregular = trace.size, False
    while at < len(data) and not trace.ended:
        kind = data[at]
        if kind not in (STATE, END):
            raise ValueError(f"byte {at}: no record begins here")
        length = 9 + (header.tensors * SIZE if kind == STATE else 0)
        body, link = data[at : at + length], data[at + length : at + length + SIZE]
        if len(link) < SIZE:
            if unfinished:
                break
            raise ValueError(f"byte {at}: the last record is cut short")
        if linked(trace.link, body) != link:
            raise ValueError(f"byte {at}: the record was changed: its link is not that of it")
        step = int.from_bytes(body[1:9], "little")
        if kind == END:
            if not trace.records or step != trace.last:
                raise ValueError(f"byte {at}: the end must be at the last record")
            trace.ended = True
        else:
            wanted = trace.last + header.every if trace.records else header.step
            # Only the state at the end may stand between.
            if irregular or not (step == wanted or trace.records and trace.last < step < wanted):
                raise ValueError(f"byte {at}: step {step} does not follow, {wanted} does")
            if not trace.records and _core.blake3(body[9:]) != header.state:
                raise ValueError(f"byte {at}: not the state that the header begins with")
            irregular = step != wanted
            trace.records[step] = body[9:]
        trace.link, at = link, at + length + SIZE
        if kind == STATE and not irregular:
            trace.size, trace.regular = at, link
    if at < len(data) and trace.ended:
        raise ValueError(f"byte {at}: something follows the end")
    if not trace.records:
        raise ValueError("there is no record")
    if not trace.ended and not unfinished:
        raise ValueError("the trace has no end: the run was interrupted, or the file was cut")
    return trace


def linked(link: bytes, record: bytes) -> bytes:
    """The link of a record."""
    return _core.blake3(link + record)


def record(step: int, roots: bytes) -> bytes:
    """A state's record without its link."""
    return bytes([STATE]) + step.to_bytes(8, "little") + roots


def end(step: int) -> bytes:
    """The end's record without its link."""
    return bytes([END]) + step.to_bytes(8, "little")
