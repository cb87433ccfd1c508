"""Protobuf's wire format, driven by a table: what ABCI needs of it and no more.

A message is a dict by field name. :meth:`Table.decode` gives every field a value: what the bytes
say, or the default of its kind; a singular message that is absent is None in a sparse message and
a message of defaults elsewhere. Unknown fields are skipped; of a singular field that comes twice
the last counts, and messages are merged, as protobuf has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_ITEMS = 1 << 18
"""Messages and repeated values in one decoded message: small bytes cannot become large memory."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_BITS = {"uint64": 64, "uint32": 32, "int64": 64, "int32": 32, "enum": 32, "bool": 1}
_SIGNED = {"int64", "int32", "enum"}
_DEFAULTS: dict[str, Any] = {**dict.fromkeys(_BITS, 0), "bool": False, "string": "", "bytes": b""}

Value: TypeAlias = dict[str, Any]


class WireError(ValueError):
    """Bytes that are no message of the asked kind."""


@dataclass(frozen=True)
class Field:
    """One field. ``kind``: a scalar of protobuf, or the name of a message."""

    number: int
    kind: str
    repeated: bool
    name: str


@dataclass(frozen=True)
class Shape:
    """A message's fields. ``sparse``: messages in it may be absent; ``choice``: and at most one is
    there, as in a oneof."""

    fields: tuple[Field, ...]
    sparse: bool
    choice: bool


class Table:
    """Every message by name."""

    def __init__(self, text: str) -> None:
        """``text``: a line per message, ``Name: number kind name; ...``; a kind that ends in ``*``
        is repeated; ``Name ? ...`` is sparse, ``Name | ...`` a choice."""
        self.shapes: dict[str, Shape] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            name, mark, rest = re.split(r"\s*([:?|])", line, maxsplit=1)
            fields = []
            for part in filter(None, map(str.strip, rest.split(";"))):
                number, kind, title = part.split()
                fields.append(Field(int(number), kind.rstrip("*"), kind[-1] == "*", title))
            self.shapes[name] = Shape(tuple(fields), mark != ":", mark == "|")
        self._by_number = {
            name: {field.number: field for field in shape.fields}
            for name, shape in self.shapes.items()
        }

    # -- encoding

    def encode(self, name: str, value: Mapping[str, Any]) -> bytes:
        """The bytes of a message: fields by number, defaults left out."""
        out = bytearray()
        known = self.shapes[name].fields
        strange = value.keys() - {field.name for field in known}
        if strange:
            raise KeyError(f"{name} has no field {sorted(strange)[0]}")
        for field in known:
            found = value.get(field.name)
            if found is None:
                continue
            if field.repeated:
                self._put_all(out, field, found)
            elif field.kind in self.shapes or found != _DEFAULTS[field.kind]:
                self._put(out, field, found)
        return bytes(out)

    def _put_all(self, out: bytearray, field: Field, values: Any) -> None:
        if field.kind in _BITS:  # packed, as proto3 writes numbers
            if values:
                body = b"".join(_varint_of(field.kind, item) for item in values)
                out += varint(field.number << 3 | _LENGTH) + varint(len(body)) + body
            return
        for item in values:
            self._put(out, field, item)

    def _put(self, out: bytearray, field: Field, value: Any) -> None:
        if field.kind in _BITS:
            out += varint(field.number << 3 | _VARINT) + _varint_of(field.kind, value)
            return
        if field.kind == "string":
            body = value.encode()
        elif field.kind == "bytes":
            body = value
        else:
            body = self.encode(field.kind, value)
        out += varint(field.number << 3 | _LENGTH) + varint(len(body)) + body

    # -- decoding

    def decode(self, name: str, data: bytes) -> Value:
        """The message of bytes; raises :class:`WireError`."""
        return _Decoder(self, data).message(name, 0, len(data), self.default(name))

    def default(self, name: str) -> Value:
        """A message of which nothing was said."""
        made: Value = {}
        shape = self.shapes[name]
        for field in shape.fields:
            if field.repeated:
                made[field.name] = []
            elif field.kind not in self.shapes:
                made[field.name] = _DEFAULTS[field.kind]
            else:
                made[field.name] = None if shape.sparse else self.default(field.kind)
        return made

    def field(self, name: str, number: int) -> Field | None:
        """A field by number."""
        return self._by_number[name].get(number)


class _Decoder:
    def __init__(self, table: Table, data: bytes) -> None:
        self.table, self.data, self.items = table, data, 0

    def message(self, name: str, at: int, end: int, made: Value) -> Value:
        shape = self.table.shapes[name]
        while at < end:
            key, at = self.varint(at, end)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise WireError(f"{name}: field numbers are in [1, 2^29), received {number}")
            field = self.table.field(name, number)
            if field is None:
                at = self.skip(name, wire, at, end)
                continue
            if shape.choice:  # the last alternative counts
                self.clear(name, made, field)
            if field.kind in _BITS and wire == _VARINT:
                raw, at = self.varint(at, end)
                self.keep(made, field, _number(field.kind, raw))
                continue
            if wire != _LENGTH or (field.kind in _BITS and not field.repeated):
                raise WireError(f"{name}.{field.name}: wire type {wire} does not fit {field.kind}")
            start, at = self.span(name, at, end)
            if field.kind in _BITS:
                while start < at:
                    raw, start = self.varint(start, at)
                    self.keep(made, field, _number(field.kind, raw))
            elif field.kind in ("bytes", "string"):
                self.keep(made, field, self.text(field, self.data[start:at]))
            else:
                self.submessage(made, field, start, at)
        return made

    def clear(self, name: str, made: Value, field: Field) -> None:
        empty = self.table.default(name)
        made.update({other: value for other, value in empty.items() if other != field.name})

    def submessage(self, made: Value, field: Field, start: int, end: int) -> None:
        before = None if field.repeated else made[field.name]
        into = self.table.default(field.kind) if before is None else before
        found = self.message(field.kind, start, end, into)
        self.keep(made, field, found)

    def keep(self, made: Value, field: Field, value: Any) -> None:
        if not field.repeated:
            made[field.name] = value
            return
        self.items += 1
        if self.items > MAX_ITEMS:
            raise WireError(f"{field.name}: more than {MAX_ITEMS} items in one message")
        made[field.name].append(value)

    def text(self, field: Field, raw: bytes) -> Any:
        if field.kind == "bytes":
            return raw
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise WireError(f"{field.name}: is not UTF-8") from None

    def span(self, name: str, at: int, end: int) -> tuple[int, int]:
        size, at = self.varint(at, end)
        if size > end - at:
            raise WireError(f"{name}: a length of {size} exceeds the {end - at} bytes left")
        return at, at + size

    def skip(self, name: str, wire: int, at: int, end: int) -> int:
        if wire == _VARINT:
            return self.varint(at, end)[1]
        if wire == _LENGTH:
            return self.span(name, at, end)[1]
        if wire not in (_FIXED64, _FIXED32):
            raise WireError(f"{name}: wire type {wire} is not in use")
        at += 8 if wire == _FIXED64 else 4
        if at > end:
            raise WireError(f"{name}: ends inside a field")
        return at

    def varint(self, at: int, end: int) -> tuple[int, int]:
        found = shift = 0
        while at < end:
            byte = self.data[at]
            at += 1
            found |= (byte & 127) << shift
            if byte < 128:
                if found >> 64:
                    raise WireError("a varint exceeds 64 bits")
                return found, at
            shift += 7
            if shift > 63:
                raise WireError("a varint exceeds ten bytes")
        raise WireError("the bytes end inside a varint")


def varint(value: int) -> bytes:
    """A number in [0, 2^64) as a base-128 varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint_of(kind: str, value: int) -> bytes:
    low, high = (-(1 << _BITS[kind] - 1), 1 << _BITS[kind] - 1) if kind in _SIGNED else (0, 1 << 64)
    if kind in ("uint32", "bool"):
        high = 1 << _BITS[kind]
    if not low <= value < high:
        raise OverflowError(f"{kind} must be in [{low}, {high}), received {value}")
    return varint(value & (1 << 64) - 1)


def _number(kind: str, raw: int) -> int | bool:
    if kind == "bool":
        return raw != 0
    bits = _BITS[kind]
    raw &= (1 << bits) - 1
    return raw - (1 << bits) if kind in _SIGNED and raw >> bits - 1 else raw
