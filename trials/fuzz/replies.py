"""RESP2 and RESP3 as a server may write them, and nothing else. A parser of its own: hiredis forgives much."""

from __future__ import annotations

import re

NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)")
DOUBLE = re.compile(rb"-?inf|nan|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
OF_ITEMS = {b"*": 1, b"%": 2, b"~": 1, b">": 1}
DEEPEST = 16


class Malformed(Exception):
    """The text says what, and where."""


class Unfinished(Exception):
    """It is well-formed so far."""


def replies(data: bytes) -> list[bytes]:
    """The first byte, or the whole line of an error, of each. Raises `Malformed`, or `Unfinished` at the end."""
    found, at = [], 0
    while at < len(data):
        begin, at = at, _item(data, at, 0)
        found.append(_line(data, begin)[0] if data[begin : begin + 1] == b"-" else data[begin : begin + 1])
    return found


def _item(data: bytes, at: int, depth: int) -> int:
    """Where it ends."""
    if depth > DEEPEST:
        raise Malformed(f"deeper than {DEEPEST} at {at}")
    line, end = _line(data, at)
    kind, text = line[:1], line[1:]
    match kind:
        case b"+" | b"-":
            pass  # a line is all there is
        case b":":
            _number(text, at)
        case b"_" if not text:
            pass
        case b"#" if text in (b"t", b"f"):
            pass
        case b"," if DOUBLE.fullmatch(text):
            pass
        case b"$" | b"=":
            return _bulk(data, kind, _number(text, at), end)
        case b"*" | b"%" | b"~" | b">":
            count = _number(text, at)
            if count < 0 and line != b"*-1":
                raise Malformed(f"{line!r} at {at}")
            for _ in range(max(0, count) * OF_ITEMS[kind]):
                end = _item(data, end, depth + 1)
        case _:
            raise Malformed(f"{line[:40]!r} at {at}")
    return end


def _bulk(data: bytes, kind: bytes, length: int, at: int) -> int:
    if length < 0:
        if kind == b"$" and length == -1:
            return at
        raise Malformed(f"a length of {length} at {at}")
    end = at + length + 2
    if len(data) >= at + 4 and kind == b"=" and data[at + 3 : at + 4] != b":":
        raise Malformed(f"text without a format at {at}")
    if len(data) < end:
        raise Unfinished
    if data[end - 2 : end] != b"\r\n":
        raise Malformed(f"no end of line behind {length} bytes at {at}")
    return end


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    line = data[at : end if end >= 0 else len(data)]
    if b"\n" in line or b"\r" in line.removesuffix(b"\r" if end < 0 else b""):
        raise Malformed(f"half an end of line at {at}")
    if end < 0:
        raise Unfinished
    return line, end + 2


def _number(text: bytes, at: int) -> int:
    if NUMBER.fullmatch(text) is None or text == b"-0":
        raise Malformed(f"{text[:40]!r} is not a number, at {at}")
    return int(text)
