"""A whole state as bytes, in chunks that are checked one by one, and back under its root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints

from chain.codec import (
    CodecError,
    Digest,
    Size,
    decode,
    decode_value,
    encode,
    encode_value,
    from_value,
    to_value,
)
from chain.hashes import SIZE, digest
from chain.state import HEADER, TABLES, State, root
from chain.table import Table
from gvm.cbor import CborError

CHUNK = 1 << 22
MAX_CHUNKS = 256


@dataclass(frozen=True)
class Index:
    """The hashes of a snapshot's chunks. Its own hash names the snapshot."""

    chunks: Annotated[tuple[Digest, ...], Size(1, MAX_CHUNKS)]

    @property
    def hash(self) -> bytes:
        """The snapshot's name: equal only for equal snapshots."""
        return digest("snapshot", encode(self))


def chunk_hash(data: bytes) -> bytes:
    """The name of a chunk."""
    return digest("snapshot chunk", data)


def dump(state: State, chunk: int = CHUNK) -> list[bytes]:
    """The chunks of a state: header and tables as one canonical value, cut."""
    header = [to_value(getattr(state, name)) for name in HEADER]
    tables = [
        [[key, to_value(record)] for key, record in getattr(state, name).items()] for name in TABLES
    ]
    data = encode_value([header, tables])
    return [data[at : at + chunk] for at in range(0, len(data), chunk)]


def index_of(chunks: list[bytes]) -> Index:
    """The index over chunks."""
    return Index(tuple(chunk_hash(data) for data in chunks))


def read_index(data: bytes) -> Index:
    """An index from its bytes; raises :class:`chain.codec.CodecError`."""
    return decode(Index, data)


def load(chunks: list[bytes], expected: bytes) -> State:
    """The state of chunks whose root is ``expected``; raises :class:`chain.codec.CodecError` for
    what is no state or another one."""
    try:
        value = decode_value(b"".join(chunks))
    except CborError as error:
        raise CodecError(str(error)) from None
    match value:
        case [list(header), list(tables)] if (len(header), len(tables)) == (
            len(HEADER),
            len(TABLES),
        ):
            pass
        case _:
            raise CodecError("snapshot: must be a header and tables")
    hints = get_type_hints(State, include_extras=True)
    fields: dict[str, Any] = {}
    for name, item in zip(HEADER, header, strict=True):
        fields[name] = from_value(hints[name], item)
    for name, rows in zip(TABLES, tables, strict=True):
        fields[name] = _table(name, get_args(hints[name])[0], rows)
    state = State(**fields)
    if root(state) != expected:
        raise CodecError("snapshot: the root is another one")
    return state


def _table(name: str, kind: Any, rows: Any) -> Table[Any]:
    if type(rows) is not list:
        raise CodecError(f"snapshot.{name}: must be an array")
    made: Table[Any] = Table()
    below = b""
    for row in rows:
        match row:
            case [bytes(key), value] if len(key) == SIZE and key > below:
                made = made.set(key, from_value(kind, value))
                below = key
            case _:
                raise CodecError(f"snapshot.{name}: rows are a key and a record, ascending by key")
    return made
