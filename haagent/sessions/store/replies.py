"""What commands answer, and how it travels: RESP2 as ever, RESP3 for a client that said `HELLO 3`.

A command answers with plain values: bytes are a bulk string, an int, None, a list, a dict for a map, a set. What no
plain value says has a type here. `Raw` travels as it is, `Refused` is raised.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

Reply = object  # any of those above and below, and lists of them; a recursive type helps no reader


class Refused(Exception):
    """An error reply, with its prefix: `ERR no such key`."""

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self.text = text.encode() if isinstance(text, str) else text

    @property
    def wire(self) -> bytes:
        # One line, whatever a client had us quote.
        return b"-%b\r\n" % self.text.replace(b"\r", b" ").replace(b"\n", b" ")


class Raw(bytes):
    """Encoded already."""


class Verbatim(bytes):
    """Text for people: a bulk string for RESP2."""


class Push(list[Reply]):
    """Not the answer to a command: an array for RESP2."""


class Several(list[Reply]):
    """Replies one after the other: SUBSCRIBE answers once for each channel."""


class NullArray:
    """`EXEC` of a transaction that was not executed."""


class TooMuch(Exception):
    """The reply is larger than a client may leave unread."""


OK, QUEUED, PONG = Raw(b"+OK\r\n"), Raw(b"+QUEUED\r\n"), Raw(b"+PONG\r\n")
NULL_ARRAY = NullArray()
NULLS = {2: b"$-1\r\n", 3: b"_\r\n"}
NUMBERS = [b":%d\r\n" % number for number in range(256)]


SYNTAX = "ERR syntax error"
NO_REPLICAS = Raw(b"-NOREPLICAS Not enough good replicas to write.\r\n")


def status(text: bytes) -> Raw:
    return Raw(b"+%b\r\n" % text)


def encode(value: Any, resp: int, most: int) -> bytes:
    kind = type(value)
    if kind is bytes:
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if kind is Raw:
        return cast(bytes, value)
    if value is None:
        return NULLS[resp]
    if kind is int:
        return NUMBERS[value] if 0 <= value < 256 else b":%d\r\n" % value
    match value:
        case Several():
            return _joined(b"", list(value), resp, most)
        case Push():
            return _joined(b"%b%d\r\n" % (b">" if resp == 3 else b"*", len(value)), value, resp, most)
        case list():
            return _joined(b"*%d\r\n" % len(value), value, resp, most)
        case set():
            return _joined(b"%b%d\r\n" % (b"~" if resp == 3 else b"*", len(value)), sorted(value), resp, most)
        case dict():
            items = list(itertools.chain.from_iterable(value.items()))
            return _joined(b"%%%d\r\n" % len(value) if resp == 3 else b"*%d\r\n" % len(items), items, resp, most)
        case Verbatim():
            return b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value) if resp == 3 else encode(bytes(value), resp, most)
        case Refused():
            return value.wire
        case NullArray():
            return b"_\r\n" if resp == 3 else b"*-1\r\n"
    raise TypeError(f"no reply: {type(value).__name__}")


def _joined(head: bytes, items: list[Reply], resp: int, most: int) -> bytes:
    parts = [head]
    for item in items:
        parts.append(encode(item, resp, most))
        most -= len(parts[-1])
        if most < 0:
            raise TooMuch
    return b"".join(parts)
