"""Records as canonical CBOR: a frozen dataclass is the array of its fields, in order.

The bytes are those of ``gvm.cbor`` (no floats, one encoding per value). :func:`decode` holds every
field against its annotation, so that what it returns has the types that it states and encodes to
the same bytes again.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from gvm.cbor import CborError
from gvm.cbor import decode as decode_value
from gvm.cbor import encode as encode_value

__all__ = ["Amount", "CodecError", "Count", "Digest", "Range", "Short", "Size", "Text", "decode"]
__all__ += ["decode_value", "encode", "encode_value", "from_value", "to_value"]


@dataclass(frozen=True)
class Range:
    """An integer in [low, high]."""

    low: int
    high: int


@dataclass(frozen=True)
class Size:
    """Bytes, text or a tuple of low to high items (text counts its UTF-8 bytes)."""

    low: int
    high: int


Amount: TypeAlias = Annotated[int, Range(0, (1 << 63) - 1)]
"""Tokens."""
Count: TypeAlias = Annotated[int, Range(0, (1 << 63) - 1)]
"""Heights, nonces, numbers of things."""
Digest: TypeAlias = Annotated[bytes, Size(32, 32)]
"""A BLAKE3 hash, an account or another 32-byte name."""
Short: TypeAlias = Annotated[bytes, Size(0, 1 << 10)]
"""At most 1 KiB of bytes."""
Text: TypeAlias = Annotated[str, Size(0, 128)]
"""At most 128 bytes of UTF-8."""

T = TypeVar("T")
Check: TypeAlias = Callable[[Any, str], Any]


class CodecError(ValueError):
    """Bytes that are no record of the asked type."""


def encode(record: Any) -> bytes:
    """The canonical bytes of a record."""
    return encode_value(to_value(record))


def decode(kind: type[T], data: bytes) -> T:
    """The record of canonical bytes; raises :class:`CodecError` for every other byte string."""
    try:
        value = decode_value(data)
    except CborError as error:
        raise CodecError(str(error)) from None
    return from_value(kind, value)


def to_value(record: Any) -> Any:
    """A record as a value of ``gvm.cbor``."""
    if dataclasses.is_dataclass(record):
        return [to_value(getattr(record, name)) for name in _names(record.__class__)]
    if isinstance(record, tuple):
        return [to_value(item) for item in record]
    if isinstance(record, IntEnum):
        return int(record)
    return record


def from_value(kind: type[T], value: Any) -> T:
    """The record of a value; raises :class:`CodecError` with the path of the field at fault."""
    check: Check = _check(kind)  # type: ignore[arg-type]
    made: T = check(value, kind.__name__)
    return made


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@cache
def _check(kind: Any) -> Check:
    """The check of an annotation: takes a value and its path, gives the field."""
    origin = get_origin(kind)
    if origin is Annotated:
        base, limit = get_args(kind)
        return _limited(_check(base), limit)
    if origin is tuple:
        inner, dots = get_args(kind)
        if dots is not Ellipsis:
            raise TypeError(f"codec: only tuple[T, ...] is known, received {kind}")
        return _items(_check(inner))
    if origin in (Union, types.UnionType):
        some = [part for part in get_args(kind) if part is not type(None)]
        if len(some) != 1:
            raise TypeError(f"codec: only T | None is known, received {kind}")
        check = _check(some[0])
        return lambda value, path: None if value is None else check(value, path)
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return _enum(kind)
    if kind in (int, bytes, str, bool):
        return _plain(kind)
    raise TypeError(f"codec: no encoding for {kind}")


def _plain(kind: type) -> Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not kind:
            raise CodecError(f"{path}: must be {kind.__name__}, received {type(value).__name__}")
        return value

    return check


def _enum(kind: type[IntEnum]) -> Check:
    members = {int(member): member for member in kind}

    def check(value: Any, path: str) -> Any:
        if type(value) is not int or value not in members:
            raise CodecError(f"{path}: no such {kind.__name__}")
        return members[value]

    return check


def _limited(check: Check, limit: Range | Size) -> Check:
    def limited(value: Any, path: str) -> Any:
        made = check(value, path)
        if isinstance(limit, Range):
            measure, what = made, ""
        else:
            measure = len(made.encode()) if isinstance(made, str) else len(made)
            what = "size "
        if not limit.low <= measure <= limit.high:
            raise CodecError(
                f"{path}: {what}must be in [{limit.low}, {limit.high}], received {measure}"
            )
        return made

    return limited


def _items(check: Check) -> Check:
    def items(value: Any, path: str) -> Any:
        if type(value) is not list:
            raise CodecError(f"{path}: must be an array, received {type(value).__name__}")
        return tuple(check(item, f"{path}[{i}]") for i, item in enumerate(value))

    return items


def _record(kind: Any) -> Check:
    hints = get_type_hints(kind, include_extras=True)
    names = _names(kind)
    checks = [_check(hints[name]) for name in names]

    def record(value: Any, path: str) -> Any:
        if type(value) is not list or len(value) != len(names):
            raise CodecError(f"{path}: must be an array of {len(names)} fields")
        fields = zip(checks, names, value, strict=True)
        return kind(*[check(item, f"{path}.{name}") for check, name, item in fields])

    return record
