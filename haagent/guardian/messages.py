"""What goes over the channel between agent and guardian: a kind, and a list of plain values.

A list that does not fit one message is sent in several; only the last one completes it, so that an agent that dies in
the middle has left what was complete before. The first one says that it is the first: what was left unfinished is void.

The values are written as Python writes them, and read as literals: whatever the agent sends, it is data.
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Sequence
from typing import Any

HELLO = b"H"  # node, lease in seconds, whether to log as JSON; carries the descriptor of the run directory's lock
ADDRESSES = b"A"  # all that the agent may have, 4 or 16 bytes each; replaces the former list
LINKS = b"L"  # per heartbeat socket its destinations, as `sendto` wants them; carries the sockets in the same order
WORDS = b"W"  # the datagrams of the last words
VOID = b"V"  # a clean stop: nothing is left to be done

MAX_MESSAGE = 1 << 16
_HEAD = struct.Struct("=c??")  # kind, whether the list begins and whether it ends here


def messages(kind: bytes, values: Sequence[object]) -> list[bytes]:
    data, room = repr(list(values)).encode(), MAX_MESSAGE - _HEAD.size
    starts = range(0, len(data), room)
    return [_HEAD.pack(kind, at == 0, at == starts[-1]) + data[at : at + room] for at in starts]


class Reader:
    """Puts the lists together again."""

    def __init__(self) -> None:
        self._unfinished: dict[bytes, bytes] = {}

    def read(self, message: bytes) -> tuple[bytes, list[Any] | None]:
        """The kind, and the list when this message completes it."""
        kind, begins, ends = _HEAD.unpack_from(message)
        data = (b"" if begins else self._unfinished.pop(kind, b"")) + message[_HEAD.size :]
        if ends:
            return kind, ast.literal_eval(data.decode())
        self._unfinished[kind] = data
        return kind, None
