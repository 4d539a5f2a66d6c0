"""What stores say to each other over an ordered, reliable link, and its encoding.

The structs are `array_like` and append only: a new field goes last and has a default, an older reader ignores it. A
message that does not fit into a frame travels in pieces, each with one byte before it: whether more follow.
"""

from __future__ import annotations

import msgspec

from haagent.core.store.effects import Effect
from haagent.core.store.snapshot import Mark

VERSION = 1
FRAME_BYTES = 1024 * 1024
MORE, LAST = b"\x01", b"\x00"


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first message of each link. A stream is numbered from 1 in each life; after `first` it can be resumed."""

    version: int
    life: int
    is_ready: bool
    keys: int
    first: int
    seq: int
    since: int  # a stamp: the first one of the life


class Joined(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The sender is ready now; with `has_kept`, with a store of its own, and not with that of somebody who was."""

    has_kept: bool


class Resume(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Send your stream from after this on; `is_complete`: I have all that was before."""

    seq: int
    is_complete: bool


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Effects of the stream; `seq` is the number of the last one."""

    seq: int
    effects: list[Effect]


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """All up to this is here, but for so many of the last batch that lie in the future."""

    seq: int
    refused: int = 0


class Behind(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What you have to get next is gone from the backlog. The stream stands at `seq`."""

    seq: int


class Compare(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Tell me your digests; with `traces`, also in which shards you know of removals."""

    round: int
    traces: bool


class Digests(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """`seen` and `forgotten` as in seen.py: they tell what is gone of what I do not hold. And for each database, the
    horizon."""

    round: int
    digests: list[int]
    traced: list[int]
    seen: dict[int, list[tuple[int, int]]]
    forgotten: int
    horizons: list[int] = []


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """I hold these keys of a shard, and have seen that: what do I lack?"""

    round: int
    shard: int
    held: list[Mark]
    seen: dict[int, list[tuple[int, int]]]
    forgotten: int


class Slice(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """An answer, or a part of it. The last one says which of the keys that were named are not held here."""

    round: int
    shard: int
    effects: list[Effect]
    is_last: bool
    absent: list[tuple[int, bytes]] = []


class Synced(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """I have all that you had when we began to compare, and all of your stream since."""


Message = Hello | Joined | Resume | Batch | Ack | Behind | Compare | Digests | Ask | Slice | Synced

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Message)


def frames(message: Message) -> list[bytes]:
    data = _ENCODER.encode(message)
    room = FRAME_BYTES - 1
    if len(data) <= room:
        return [LAST + data]
    pieces = [data[at : at + room] for at in range(0, len(data), room)]
    return [*(MORE + piece for piece in pieces[:-1]), LAST + pieces[-1]]


class Assembler:
    """Messages from the frames of one link. Raises ValueError for what is none."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, frame: bytes) -> Message | None:
        self._pieces.append(frame[1:])
        self._size += len(frame)
        if frame[:1] not in (MORE, LAST) or self._size > self._max_bytes:
            raise ValueError(f"a message of more than {self._max_bytes} bytes, or no frame of one")
        if frame[:1] == MORE:
            return None
        data = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return _DECODER.decode(data)
