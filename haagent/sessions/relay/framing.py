"""Where replies end. Their values are not decoded, and a large one is never there as a whole.

A reply is lines, and after the line of a bulk string that many bytes. An aggregate's line says how many replies follow
it, so one number is enough to know how deep we are: how many are still to come. An attribute stands before a reply and
is none.
"""

from __future__ import annotations

import re

LONGEST_HEAD = 64  # bytes of a line with a number in it; other lines may be longer

_MESSAGES = {b"message", b"pmessage", b"smessage"}
_ANSWERS = {kind + end for kind in (b"", b"p", b"s") for end in (b"subscribe", b"unsubscribe")}
_PUSH = ord(">")
_LINES = frozenset(b"+-:_#,(")
_BULKS = frozenset(b"$=!")
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_ATTRIBUTE = ord("|")


_FIRST_WORD = re.compile(rb"[*>]\d+\r\n\$\d+\r\n([a-z]+)\r\n")


class Broken(Exception):
    """That is no reply."""


class Framing:
    def __init__(self) -> None:
        self._to_come = 1  # replies until the outermost one is whole
        self._skip = 0  # bytes of a bulk string, with its end
        self._line = b""  # of a line that is not there as a whole: its beginning

    def scan(self, data: bytes, at: int) -> tuple[int, bool]:
        """How far the reply goes of which a piece is at `at`, and whether that is its end."""
        size = len(data)
        while at < size:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                if self._skip:
                    break
                self._to_come -= 1
            else:
                end = data.find(b"\n", at)
                if end < 0:
                    self._line = (self._line + data[at : at + LONGEST_HEAD])[:LONGEST_HEAD]
                    at = size
                    break
                line = self._line + data[at:end] if self._line else data[at:end]
                self._line = b""
                at = end + 1
                self._head(line)
            if not self._to_come:
                self._to_come = 1
                return at, True
        return at, False

    def _head(self, line: bytes) -> None:
        kind = line[0] if line else 0
        if kind in _LINES:
            self._to_come -= 1
            return
        try:
            count = int(line[1:LONGEST_HEAD])
        except ValueError:
            raise Broken(f"no reply begins with {line[:16]!r}") from None
        if kind in _BULKS:
            if count < 0:
                self._to_come -= 1
            else:
                self._skip = count + 2
        elif kind in _AGGREGATES:
            self._to_come += max(count, 0) * _AGGREGATES[kind] - (kind != _ATTRIBUTE)
        else:
            raise Broken(f"no reply begins with {line[:16]!r}")


def is_message(data: bytes, at: int, *, is_asked: bool) -> bool | None:
    """Whether the array or push that begins there answers nothing. None: it says too little yet."""
    if (found := _FIRST_WORD.match(data, at)) is not None:
        word = found[1]
    elif len(data) - at >= LONGEST_HEAD or Framing().scan(data, at)[1]:
        word = b""
    else:
        return None
    return word in _MESSAGES or (data[at] == _PUSH and not (word in _ANSWERS and is_asked))
