"""Where replies end, however they come in pieces."""

from __future__ import annotations

import random

import pytest

from haagent.sessions.relay.framing import Broken, Framing, is_message

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(12345678901234567890\r\n",
    b"$0\r\n\r\n",
    b"$5\r\na\r\nbc\r\n",
    b"=8\r\ntxt:a\r\nb\r\n",
    b"!3\r\nERR\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n+c\r\n*1\r\n$2\r\n\r\n\r\n",
    b"~1\r\n$3\r\n*1\r\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
    b"|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n",
    b"|1\r\n+a\r\n*1\r\n:1\r\n*1\r\n+b\r\n",
    b"+" + b"x" * 500 + b"\r\n",
]


def cut(data: bytes, pieces: list[bytes]) -> list[bytes]:
    framing, found, begun = Framing(), [], b""
    for piece in pieces:
        at = 0
        while at < len(piece):
            end, is_whole = framing.scan(piece, at)
            assert end > at
            begun += piece[at:end]
            at = end
            if is_whole:
                found.append(begun)
                begun = b""
    assert not begun
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_replies_come_out_as_they_are_whatever_the_pieces(size: int) -> None:
    rng = random.Random(size)
    replies = [rng.choice(REPLIES) for _ in range(300)] + REPLIES
    data = b"".join(replies)
    assert cut(data, [data[at : at + size] for at in range(0, len(data), size)]) == replies


@pytest.mark.parametrize("rubbish", [b"x\r\n", b"\r\n", b"$x\r\n", b"*1\r\n$\r\n", b"*\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_what_is_no_reply_is_refused(rubbish: bytes) -> None:
    with pytest.raises(Broken):
        cut(rubbish, [rubbish])


def test_a_large_value_is_not_kept() -> None:
    framing = Framing()
    assert framing.scan(b"$1000000000\r\n", 0) == (13, False)
    piece = b"x" * 65536
    for _ in range(100):
        assert framing.scan(piece, 0) == (65536, False)
    assert not framing._line


def test_what_answers_nothing_is_told_by_its_first_word() -> None:
    message, answer = b"..>3\r\n$7\r\nmessage\r\n$1\r\n", b">3\r\n$9\r\nsubscribe\r\n"
    assert is_message(message, 2, is_asked=True)
    assert is_message(message.replace(b">", b"*"), 2, is_asked=True)
    assert is_message(answer, 0, is_asked=False)
    assert is_message(answer, 0, is_asked=True) is False
    assert is_message(b">2\r\n$10\r\ninvalidate\r\n*1\r\n", 0, is_asked=True)
    assert is_message(b"*3\r\n$7\r\nmess", 0, is_asked=True) is None
    assert is_message(b"*2\r\n:1\r\n", 0, is_asked=True) is None
    assert is_message(b"*0\r\n", 0, is_asked=True) is False
    assert is_message(b"*2\r\n$100\r\n" + b"x" * 100, 0, is_asked=True) is False
