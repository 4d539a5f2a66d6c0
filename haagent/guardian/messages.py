"""What goes over the channel between agent and guardian: a kind, and a list of byte strings.

A list that does not fit one message is sent in several; only the last one completes it, so that an agent that dies in
the middle has left what was complete before. The first one says that it is the first: what was left unfinished is void.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

HELLO = b"H"  # node, lease in ms, `json` or nothing; carries the descriptor of the run directory's lock
ADDRESSES = b"A"  # all that the agent may have, 4 or 16 bytes each; replaces the former list
LINKS = b"L"  # per heartbeat socket its destinations, one a line; carries the sockets in the same order
WORDS = b"W"  # the datagrams of the last words
VOID = b"V"  # a clean stop: nothing is left to be done

MAX_MESSAGE = 1 << 16
_HEAD = struct.Struct("=c??")  # kind, whether the list begins and whether it ends here
_LENGTH = struct.Struct("=H")


def messages(kind: bytes, parts: Iterable[bytes]) -> list[bytes]:
    filled: list[bytes] = []
    body = b""
    for part in parts:
        piece = _LENGTH.pack(len(part)) + part
        if len(body) + len(piece) > MAX_MESSAGE - _HEAD.size:
            filled.append(body)
            body = b""
        body += piece
    filled.append(body)
    last = len(filled) - 1
    return [_HEAD.pack(kind, number == 0, number == last) + body for number, body in enumerate(filled)]


class Reader:
    """Puts the lists together again."""

    def __init__(self) -> None:
        self._unfinished: dict[bytes, list[bytes]] = {}

    def read(self, message: bytes) -> tuple[bytes, list[bytes] | None]:
        """The kind, and the list when this message completes it."""
        kind, begins, ends = _HEAD.unpack_from(message)
        parts = [] if begins else self._unfinished.pop(kind, [])
        at = _HEAD.size
        while at < len(message):
            (length,) = _LENGTH.unpack_from(message, at)
            at += _LENGTH.size
            parts.append(message[at : at + length])
            at += length
        if ends:
            return kind, parts
        self._unfinished[kind] = parts
        return kind, None


def destinations(targets: Sequence[tuple[object, ...]]) -> bytes:
    return "\n".join(" ".join(str(word) for word in target) for target in targets).encode()


def read_destinations(text: bytes) -> list[tuple[str | int, ...]]:
    """As `sendto` wants them: (host, port), for IPv6 also (flow, scope)."""
    rows = [line.split() for line in text.decode().splitlines()]
    return [(row[0], *(int(word) for word in row[1:])) for row in rows]
