"""Messages between stores as frames."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core.store.effects import Flush, Put, PutFields, Remove, RemoveFields, Touch
from haagent.core.store.messages import FRAME_BYTES, Ack, Ask, Assembler, Batch, Digests, Hello, Message, Slice, frames

EFFECTS = [
    Put(0, b"k", b"v", 1, (1 << 64) - 1, 2),
    Touch(0, b"k", 1, 2, 3),
    Remove(0, b"k", 1),
    PutFields(0, b"k", {b"f": (b"v", 1, 2)}, 0, 1, 2),
    RemoveFields(0, b"k", [b"f"], 1, 2),
    Flush(-1, 5),
    Put(0, b"k", b"v", 1, 2, 3, (3, 2)),
]


@pytest.mark.parametrize(
    "message",
    [
        Hello(1, 2, True, 3, 4, 5, 6),
        Batch(7, EFFECTS),
        Slice(1, 2, EFFECTS, is_last=True, absent=[(0, b"k")]),
        Digests(1, [0, (1 << 64) - 1], [3], {1: [(2, 3)]}, 4),
        Ask(1, 2, [(0, b"k", 5)], {1: [(2, 3)]}, 0),
        Ack(1),
        Batch(1, [Put(0, b"k", bytes(3 * FRAME_BYTES), 0, 1, 1)]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    parts = frames(message)
    assert all(len(part) <= FRAME_BYTES for part in parts)
    assembler = Assembler(8 * FRAME_BYTES)
    assert [assembler.feed(part) for part in parts] == [None] * (len(parts) - 1) + [message]
    assert assembler.feed(frames(Ack(9))[0]) == Ack(9)


@pytest.mark.parametrize("frame", [b"", b"\x02", b"\x00", b"\x00nonsense", b"\x00" + msgspec.msgpack.encode([99])])
def test_nonsense_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the cause is the peer's
        Assembler(100).feed(frame)


def test_a_message_without_an_end_is_refused() -> None:
    assembler = Assembler(1000)
    assert assembler.feed(b"\x01" + bytes(700)) is None
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        assembler.feed(b"\x01" + bytes(400))


def test_an_older_release_says_no_floor() -> None:
    data = msgspec.msgpack.encode([4, 7, [[1, 0, b"k", b"v", 1, 2, 3], [4, 0, b"k", {}, 1, 2, 3]]])
    assert Assembler(1000).feed(b"\x00" + data) == Batch(
        7, [Put(0, b"k", b"v", 1, 2, 3), PutFields(0, b"k", {}, 1, 2, 3)]
    )


def test_a_newer_release_may_say_more() -> None:
    data = msgspec.msgpack.encode([5, 7, 0, "what nobody knows yet"])
    assert Assembler(1000).feed(b"\x00" + data) == Ack(7)
