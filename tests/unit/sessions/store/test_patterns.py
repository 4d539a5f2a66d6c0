"""Patterns match what stringmatchlen of Redis matches, and no pattern takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.sessions.store.patterns import MOST, compiled, matches
from haagent.sessions.store.replies import Refused


def plainly(pattern: bytes, text: bytes) -> bool:
    """The same, one step after the other, without groups."""
    if not pattern:
        return not text
    if pattern[:1] == b"*":
        return any(plainly(pattern[1:], text[at:]) for at in range(len(text) + 1))
    if not text:
        return False
    if pattern[:1] == b"\\" and len(pattern) > 1:
        return pattern[1:2] == text[:1] and plainly(pattern[2:], text[1:])
    return pattern[:1] in (b"?", text[:1]) and plainly(pattern[1:], text[1:])


LETTERS = st.sampled_from([b"a", b"b", b"*", b"?", b"\\", b"\n", b"."])


@given(st.lists(LETTERS, max_size=8), st.lists(st.sampled_from([b"a", b"b", b"*", b"\n", b"."]), max_size=8))
def test_stars_and_letters(pattern: list[bytes], text: list[bytes]) -> None:
    joined = b"".join(pattern)
    if joined.endswith(b"\\"):
        return
    assert matches(joined, b"".join(text)) == plainly(joined, b"".join(text))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (b"*ab*b", b"ab", False),
        (b"*ab*b", b"abb", True),
        (b"h[ae]llo", b"hello", True),
        (b"h[^e]llo", b"hello", False),
        (b"h[^e]llo", b"hallo", True),
        (b"h[a-c]llo", b"hbllo", True),
        (b"h[c-a]llo", b"hbllo", True),
        (rb"h[\]]llo", b"h]llo", True),
        (rb"\*", b"*", True),
        (rb"\*", b"a", False),
        (b"a[", b"a", False),
        (b"[]", b"a", False),
        (b"[ab", b"b", True),
        (b"", b"", True),
        (b"*", b"", True),
        (b"?", b"\xff", True),
    ],
)
def test_groups(pattern: bytes, text: bytes, expected: bool) -> None:
    assert matches(pattern, text) is expected


def test_no_pattern_takes_long() -> None:
    expression = compiled(b"a*" * 2000 + b"b")
    before = time.process_time()
    assert expression.fullmatch(b"a" * 16_000) is None
    assert time.process_time() - before < 10  # backtracking would take for ever
    with pytest.raises(Refused):
        compiled(b"a" * (MOST + 1))
