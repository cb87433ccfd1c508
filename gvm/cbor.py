"""Strict canonical CBOR without floats, the twin of ``gvm/_core/cbor.cc``.

Values are integers in [-2^64, 2^64 - 1], ``bytes``, ``str``, lists, dicts with ``str`` keys,
booleans and ``None``. Every value has exactly one encoding (RFC 8949 section 4.2.1: shortest
heads, definite lengths, map keys ascending by encoded bytes), and :func:`decode` refuses every
other byte string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["MAX_DEPTH", "CborError", "Value", "decode", "encode"]

MAX_DEPTH = 64  # arrays and maps open at once

Value: TypeAlias = Any
"""An integer, ``bytes``, ``str``, bool, None, a list of values or a dict of values by ``str``."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_FALSE, _TRUE, _NULL = 20, 21, 22


class CborError(ValueError):
    """A broken rule of canonical CBOR.

    ``rule`` is the rule and ``offset`` the byte at which the item at fault starts (when encoding:
    where it would have started).
    """

    def __init__(self, offset: int, rule: str) -> None:
        super().__init__(f"cbor, byte {offset}: {rule}")
        self.offset = offset
        self.rule = rule


def encode(value: Value) -> bytes:
    """The canonical bytes of a value; raises :class:`CborError` for what has none."""
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def decode(data: bytes) -> Value:
    """The value of canonical bytes; raises :class:`CborError` for every other byte string."""
    decoder = _Decoder(bytes(data))
    value = decoder.item(0)
    if decoder.offset != len(decoder.data):
        raise CborError(decoder.offset, "trailing bytes")
    return value


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for log in range(4):
        if argument < 1 << (8 << log):
            return bytes((major << 5 | 24 + log,)) + argument.to_bytes(1 << log, "big")
    raise OverflowError(argument)


def _utf8(text: str, offset: int) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise CborError(offset, "text is not valid UTF-8") from None


def _encode(value: object, out: bytearray, depth: int) -> None:
    if value is None:
        out.append(_SIMPLE << 5 | _NULL)
    elif isinstance(value, bool):
        out.append(_SIMPLE << 5 | (_TRUE if value else _FALSE))
    elif isinstance(value, int):
        if not -(1 << 64) <= value < 1 << 64:
            raise CborError(len(out), f"integer is outside [-2^64, 2^64 - 1], received {value}")
        out += _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    elif isinstance(value, bytes):
        out += _head(_BYTES, len(value))
        out += value
    elif isinstance(value, str):
        text = _utf8(value, len(out))
        out += _head(_TEXT, len(text))
        out += text
    elif isinstance(value, (list, tuple)):
        if depth == MAX_DEPTH:
            raise CborError(len(out), f"nesting is deeper than {MAX_DEPTH}")
        out += _head(_ARRAY, len(value))
        for item in value:
            _encode(item, out, depth + 1)
    elif isinstance(value, Mapping):
        _encode_map(value, out, depth)
    else:
        raise CborError(len(out), f"type cannot be encoded, received {type(value).__name__}")


def _encode_map(value: Mapping[object, object], out: bytearray, depth: int) -> None:
    if depth == MAX_DEPTH:
        raise CborError(len(out), f"nesting is deeper than {MAX_DEPTH}")
    entries: list[tuple[bytes, object]] = []
    for key, item in value.items():
        if not isinstance(key, str):
            raise CborError(len(out), "map key is not text")
        text = _utf8(key, len(out))
        entries.append((_head(_TEXT, len(text)) + text, item))
    entries.sort(key=lambda entry: entry[0])
    out += _head(_MAP, len(entries))
    for encoded_key, item in entries:
        out += encoded_key
        _encode(item, out, depth + 1)


class _Decoder:
    """A cursor over untrusted bytes; nothing is allocated beyond what the input can justify."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def head(self) -> tuple[int, int]:
        """Reads an initial byte and its argument; lengths are held against what is left."""
        start = self.offset
        if start == len(self.data):
            raise CborError(start, "unexpected end of input")
        major, info = self.data[start] >> 5, self.data[start] & 31
        if major == _TAG:
            raise CborError(start, "tags are not allowed")
        if major == _SIMPLE:
            if not _FALSE <= info <= _NULL:
                raise CborError(start, "floats and simple values are not allowed")
            self.offset += 1
            return major, info
        argument, extra = info, 0
        if info >= 24:
            if info == 31 and major >= _BYTES:
                raise CborError(start, "indefinite lengths are not allowed")
            if info > 27:
                raise CborError(start, "reserved additional information")
            extra = 1 << (info - 24)
            raw = self.data[start + 1 : start + 1 + extra]
            if len(raw) < extra:
                raise CborError(start, "unexpected end of input")
            argument = int.from_bytes(raw, "big")
            if argument < (24 if extra == 1 else 1 << (4 * extra)):
                raise CborError(start, "integer is not in its shortest form")
        left = len(self.data) - start - 1 - extra
        if (major in (_BYTES, _TEXT, _ARRAY) and argument > left) or (
            major == _MAP and argument > left // 2
        ):
            raise CborError(start, "length exceeds the input")
        self.offset = start + 1 + extra
        return major, argument

    def text(self, start: int, size: int) -> str:
        raw = self.data[self.offset : self.offset + size]
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise CborError(start, "text is not valid UTF-8") from None
        self.offset += size
        return text

    def item(self, depth: int) -> Value:
        start = self.offset
        major, argument = self.head()
        if major == _UNSIGNED:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _SIMPLE:
            return None if argument == _NULL else argument == _TRUE
        if major == _BYTES:
            self.offset += argument
            return self.data[self.offset - argument : self.offset]
        if major == _TEXT:
            return self.text(start, argument)
        if depth == MAX_DEPTH:
            raise CborError(start, f"nesting is deeper than {MAX_DEPTH}")
        if major == _ARRAY:
            return [self.item(depth + 1) for _ in range(argument)]
        return self.map(argument, depth)

    def map(self, count: int, depth: int) -> dict[str, Value]:
        result: dict[str, Value] = {}
        previous = b""
        for _ in range(count):
            start = self.offset
            if start < len(self.data) and self.data[start] >> 5 != _TEXT:
                raise CborError(start, "map key is not text")
            key = self.text(start, self.head()[1])
            encoded = self.data[start : self.offset]
            if encoded <= previous:
                same = encoded == previous
                raise CborError(start, "duplicate map key" if same else "map keys are not in order")
            previous = encoded
            result[key] = self.item(depth + 1)
        return result
