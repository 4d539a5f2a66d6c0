"""Patterns of KEYS, SCAN, PSUBSCRIBE and CONFIG GET, as stringmatchlen reads them.

Each `*` but the last takes the shortest way to what follows it and never comes back (an atomic group): no pattern makes
matching slower than the text times the pattern. No pattern is longer than a key may be.
"""

from __future__ import annotations

import functools
import re

from haagent.sessions.store.replies import Refused

MOST = 16 * 1024  # bytes


@functools.lru_cache(maxsize=256)
def compiled(pattern: bytes) -> re.Pattern[bytes]:
    if len(pattern) > MOST:
        raise Refused("ERR pattern is too long")
    pieces: list[bytes] = [b""]
    at = 0
    while at < len(pattern):
        match pattern[at : at + 1]:
            case b"*":
                if pieces[-1] or len(pieces) == 1:
                    pieces.append(b"")
            case b"?":
                pieces[-1] += b"."
            case b"[":
                at, group = _group(pattern, at + 1)
                pieces[-1] += group
            case b"\\" if at + 1 < len(pattern):
                at += 1
                pieces[-1] += re.escape(pattern[at : at + 1])
            case letter:
                pieces[-1] += re.escape(letter)
        at += 1
    first, *rest = pieces
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = b"".join(b"(?>.*?%b)" % piece for piece in rest[:-1])
    return re.compile(first + middle + b".*" + rest[-1], re.DOTALL)


def _group(pattern: bytes, at: int) -> tuple[int, bytes]:
    """Where `[...]` ends, and the same as a regular expression; without its end it goes on to the pattern's."""
    is_negated = pattern[at : at + 1] == b"^"
    at += is_negated
    members: list[bytes] = []
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            at += 1
            members.append(re.escape(pattern[at : at + 1]))
        elif at + 2 < len(pattern) and pattern[at + 1] == ord("-"):
            low, high = sorted((pattern[at], pattern[at + 2]))
            members.append(re.escape(bytes([low])) + b"-" + re.escape(bytes([high])))
            at += 2
        else:
            members.append(re.escape(pattern[at : at + 1]))
        at += 1
    if not members:
        return at, b"." if is_negated else b"(?!)"
    return at, b"[%b%b]" % (b"^" if is_negated else b"", b"".join(members))


def matches(pattern: bytes, text: bytes) -> bool:
    return compiled(pattern).fullmatch(text) is not None
