"""When a key ends, as clients say it: in seconds or milliseconds, from now or since 1970."""

from __future__ import annotations

from haagent.sessions.store.numbers import MAX_INTEGER, needed
from haagent.sessions.store.replies import SYNTAX, Refused

# Which word, how many milliseconds its unit has, and whether it counts from now.
WORDS = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}


def absolute(text: bytes, word: bytes, *, now_ms: int, command: str) -> int:
    number = needed(text)
    unit, is_from_now = WORDS[word]
    expires_ms = number * unit + (now_ms if is_from_now else 0)
    if number <= 0 or expires_ms > MAX_INTEGER:
        raise Refused(f"ERR invalid expire time in '{command}' command")
    return expires_ms


NOTHING: frozenset[bytes] = frozenset()
LASTING = frozenset({b"KEEPTTL", b"PERSIST"})
EXCLUDES = {b"NX": {b"XX"}, b"XX": {b"NX"}}
CONDITIONS = frozenset({b"NX", b"XX"})
OF_SET, OF_GETEX = frozenset({b"NX", b"XX", b"GET", b"KEEPTTL"}), frozenset({b"PERSIST"})


def options(args: list[bytes], *, first: int, flags: frozenset[bytes]) -> tuple[set[bytes], bytes, bytes]:
    """What SET and GETEX take behind the key: flags, and at most one of EX, PX, EXAT, PXAT with its number."""
    given: set[bytes] = set()
    word = number = b""
    at = first
    while at < len(args):
        option = args[at].upper()
        if option in flags and not (option in LASTING and word) and not given & EXCLUDES.get(option, NOTHING):
            given.add(option)
        elif option in WORDS and word in (b"", option) and not given & LASTING and at + 1 < len(args):
            at += 1
            word, number = option, args[at]
        else:
            raise Refused(SYNTAX)
        at += 1
    return given, word, number
