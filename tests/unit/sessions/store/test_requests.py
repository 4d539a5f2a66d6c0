"""The codec: whole, byte by byte, with more behind it; and what Redis refuses, refused in its words."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.sessions.store.replies import NULL_ARRAY, Push, Refused, Several, TooMuch, Verbatim, encode
from haagent.sessions.store.requests import Requests, words
from tests.support.door import packed

MANY = 2**30


def fed(*chunks: bytes, is_known: bool = True, max_bytes: int = MANY) -> tuple[list[list[bytes]], str]:
    requests = Requests(max_bytes=max_bytes, is_known=is_known)
    found: list[list[bytes]] = []
    for chunk in chunks:
        found += requests.feed(chunk)
    return found, str(requests.fault or "")


def in_pieces(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(5)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


COMMANDS = st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), min_size=1, max_size=5)


@given(COMMANDS, st.randoms(use_true_random=False))
def test_it_does_not_matter_how_commands_are_cut(commands: list[list[bytes]], rng: random.Random) -> None:
    data = b"".join(packed(*args) for args in commands)
    assert fed(data) == (commands, "")
    assert fed(*(data[at : at + 1] for at in range(len(data)))) == (commands, "")
    assert fed(*in_pieces(data, rng)) == (commands, "")


def test_what_trails_waits_for_its_rest() -> None:
    requests = Requests(max_bytes=MANY)
    whole = packed("SET", "k", "v" * 1000)
    assert requests.feed(packed("GET", "a") + whole[:40]) == [[b"GET", b"a"]]
    assert requests.left
    assert requests.feed(whole[40:] + b"PING\r\n") == [[b"SET", b"k", b"v" * 1000], [b"PING"]]
    assert not requests.left


def test_values_that_look_like_protocol_are_values() -> None:
    for value in (b",1\r\n", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"$-1\r\n", b"", b",1"):
        data = packed("SET", "k", value)
        assert fed(data)[0] == [[b"SET", b"k", value]]
        assert fed(*(data[at : at + 1] for at in range(len(data))))[0] == [[b"SET", b"k", value]]


def test_a_command_that_the_mark_would_complete_is_not_complete() -> None:
    requests = Requests(max_bytes=MANY)
    assert requests.feed(b"*2\r\n$3\r\nGET\r\n$2\r\n") == []
    assert requests.feed(b"ab\r\n") == [[b"GET", b"ab"]]
    assert requests.feed(b"*1\r\n") == []
    assert requests.feed(b"$4\r\nPING\r\n") == [[b"PING"]]


REFUSED = {
    b"*3000000000\r\n": "invalid multibulk length",
    b"*x\r\n": "invalid multibulk length",
    b"*1\r\n$-1\r\n": "invalid bulk length",
    b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n": "invalid bulk length",
    b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n": "expected '$', got 'f'",
    b"*1\r\n*1\r\n$4\r\nPING\r\n": "expected '$', got '*'",
    b"*2\r\n$3\r\nGET\r\n:1\r\n": "expected '$', got ':'",
    b"*2\r\n,1\r\n,1\r\n": "expected '$', got ','",
    b'SET "a b\r\n': "unbalanced quotes in request",
    b"x" * 70_000: "too big inline request",
    b"*" + b"1" * 70_000: "too big mbulk count string",
    b"*1\r\n$" + b"1" * 70_000: "too big bulk count string",
}


@pytest.mark.parametrize("data", REFUSED, ids=lambda data: repr(data[:20]))
def test_what_redis_refuses_is_refused(data: bytes) -> None:
    assert fed(packed("PING") + data) == ([[b"PING"]], REFUSED[data])
    assert fed(packed("PING"), *(data[at : at + 1000] for at in range(0, len(data), 1000)))[1] == REFUSED[data]


@pytest.mark.parametrize(
    "data",
    [
        b"*20000000\r\n",
        b"*1\r\n*20000000\r\n",
        b"*1\r\n$1\r\naXX*20000000\r\n",
        b"*1\r\n>20000000\r\n",
        b"*1\r\n~20000000\r\n",
        b"*1\r\n%20000000\r\n",
        b"*1\r\n*00000000020000000\r\n",
        b"*1\r\n" + b"*900000\r\n" * 9,
    ],
    ids=repr,
)
def test_who_announces_much_costs_little(data: bytes) -> None:
    """A list of so many would take 160 MB, and with the 2,147,483,647 that Redis takes, seconds and all memory."""
    tracemalloc.start()
    try:
        fed(packed("PING") + data)
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"*0\r\n", b"*-1\r\n", b"\r\n", b"  \r\n", b"*0\r\n*-5\r\n\n"])
def test_what_is_empty_is_passed_over(data: bytes) -> None:
    assert fed(data + packed("PING")) == ([[b"PING"]], "")


def test_before_the_password_little_is_read() -> None:
    assert fed(packed(*"abcdefghijk"), is_known=False)[1] == "unauthenticated multibulk length"
    assert fed(packed("AUTH", "x" * 20_000), is_known=False)[1] == "unauthenticated bulk length"
    requests = Requests(max_bytes=MANY, is_known=False)
    large = packed("MSET", *"abcdefghijklmnopqrst")
    assert requests.feed(packed("AUTH", "x") + large) == [[b"AUTH", b"x"]]
    requests.is_known = True  # it was the right one
    assert requests.feed(b"") == [[b"MSET", *(letter.encode() for letter in "abcdefghijklmnopqrst")]]


def test_a_command_has_an_end() -> None:
    data = packed("MSET", *["x" * 100] * 100)
    assert fed(data[:5000], data[5000:-1], max_bytes=10_000)[1] == "too big request"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"get a", [b"get", b"a"]),
        (b"  set \"a b\" 'c d'  ", [b"set", b"a b", b"c d"]),
        (rb'x "\x41\n\"\\\q" ', [b"x", b'A\n"\\q']),
        (rb"'it\'s' 'a\b'", [b"it's", rb"a\b"]),
        (b'foo"bar" baz', [b"foobar", b"baz"]),
        (b'""', [b""]),
        (b"a\0b", [b"a"]),
        (b'"a"b', None),
        (b"'a", None),
        (rb"'a\'", None),
        (b'a "b', None),
    ],
)
def test_inline_words(line: bytes, found: list[bytes] | None) -> None:
    assert words(line) == found


@pytest.mark.parametrize(
    ("reply", "second", "third"),
    [
        (b"a", b"$1\r\na\r\n", b"$1\r\na\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (5, b":5\r\n", b":5\r\n"),
        (-12345, b":-12345\r\n", b":-12345\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        ([b"a", None, [1]], b"*3\r\n$1\r\na\r\n$-1\r\n*1\r\n:1\r\n", b"*3\r\n$1\r\na\r\n_\r\n*1\r\n:1\r\n"),
        ({b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        ({b"a"}, b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
        (Push([b"a"]), b"*1\r\n$1\r\na\r\n", b">1\r\n$1\r\na\r\n"),
        (Several([1, 2]), b":1\r\n:2\r\n", b":1\r\n:2\r\n"),
        (Verbatim(b"x"), b"$1\r\nx\r\n", b"=5\r\ntxt:x\r\n"),
        (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (Refused("ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
    ],
)
def test_replies(reply: object, second: bytes, third: bytes) -> None:
    assert (encode(reply, 2, MANY), encode(reply, 3, MANY)) == (second, third)


def test_a_reply_has_an_end() -> None:
    with pytest.raises(TooMuch):
        encode([b"x" * 1000] * 100, 2, 50_000)
