"""What a peer may say, and what no peer should: messages as stores send them, whole or with something wrong in them.

What a member says within the protocol is believed: when it says that all sessions are gone, they are. So nothing is
made that would be a lie of that kind (`is_believed`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from haagent.core.store.effects import Flush
from haagent.core.store.messages import Ask, Batch, Compare, Digests, Hello, Message, Slice
from haagent.core.store.space import SHARDS
from haagent.core.store.stamps import SHIFT
from trials.fuzz.stage import NUMBERS

ME, OTHERS = NUMBERS["A"], {NUMBERS["B"], NUMBERS["C"]}
HONEST = b"session:honest:"
NUMBERS_ODD = [0, 1, -1, 2, 255, 256, 1023, 1024, 2047, 2048, 65535, 1 << 31, 1 << 32]
NUMBERS_ODD += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1]
VALUES_ODD: list[Any] = [None, True, "", "x", b"", b"x", b"\xff" * 300, [], [[]], [1, 2], {}, {1: 2}]
VALUES_ODD += [
    {b"a": [b"", 1, 1]},
    1.5,
    float("nan"),
    float("inf"),
    [[[]] * 10] * 10,
    "\ud7ff",
    list(range(2_000)),
    [b"k"] * 2_000,
]
ENDLESS = [bytes([kind]) + b"\xff\xff\xff\xff" for kind in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]  # so long, they say
NO_MESSAGES = [b"", b"\xc1", b"\x91" * 5_000, *ENDLESS]
ODD_KEYS = [b"", b"a" * 16_384, b"a" * 16_385]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)
_any = msgspec.msgpack.Decoder()


class Heard:
    """What the store has said over the present link: what we say may fit to it."""

    def __init__(self) -> None:
        self.life = 0
        self.round = self.shard = 0  # of what it asks
        self.seq = 0  # of its stream
        self.mine = 0  # of ours, as it should have it
        self.answered = 0  # the latest round of ours that it has answered

    def hear(self, message: Any) -> None:
        match message:
            case Compare(number, _):
                self.round = number
            case Ask(number, shard):
                self.round, self.shard = number, shard
            case Digests(number):
                self.answered = number
            case Batch(seq, _) | Hello(_, _, _, _, _, seq, _):
                self.seq = seq


def hello(chance: random.Random, heard: Heard) -> list[Any]:
    heard.mine = chance.choice((0, 0, 5, 1 << 40))
    heard.life = chance.choice((heard.life, chance.getrandbits(60)))
    return [1, 1, heard.life, chance.random() < 0.8, chance.choice((0, 10, 1 << 40)), 0, heard.mine, _stamp(chance)]


def saying(chance: random.Random, heard: Heard) -> bytes:
    """A message, in its encoding."""
    said = chance.choice(KINDS)(chance, heard)
    if chance.random() < 0.5:
        for _ in range(chance.choice((1, 1, 2, 4))):
            said = _changed(chance, said)
    data = _encoder.encode(said)
    if chance.random() < 0.15:
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(data) + 1)
            data = data[:at] + chance.randbytes(chance.choice((0, 1, 1, 4))) + data[at + chance.choice((0, 1, 1, 3)) :]
    elif chance.random() < 0.03:
        data = chance.choice(NO_MESSAGES)
    return _encoder.encode(_batch(chance, heard)) if is_believed(data) else data


def is_believed(data: bytes) -> bool:
    """It would take away what an honest node has stored, and be right to, for all that anybody knows."""
    try:
        message = _decoder.decode(data)
    except (ValueError, RecursionError):
        return False
    match message:
        case Batch() | Slice():
            if isinstance(message, Slice) and any(key.startswith(HONEST) for _, key in message.absent):
                return True
            return any(
                effect.db in (0, -1) if isinstance(effect, Flush) else effect.key.startswith(HONEST)
                for effect in message.effects
            )
        case Digests():
            return bool(OTHERS & message.seen.keys()) or any(message.horizons)
    return False


# Kinds


def _stamp(chance: random.Random) -> int:
    now_ms = time.time_ns() // 1_000_000
    ms = now_ms + chance.choice((0, 0, -1, -1_000, -10_000_000, 5_000, 9_000, 60_000))
    return ms << SHIFT | chance.choice((ME, ME, ME, 2, 3, 2047))


def _key(chance: random.Random) -> bytes:
    return b"fuzz:%d" % chance.randrange(200) if chance.random() < 0.95 else chance.choice(ODD_KEYS)


def _value(chance: random.Random) -> bytes:
    return b"x" * chance.choice((0, 1, 100, 100, 3_000, 300_000) if chance.random() < 0.1 else (0, 1, 100))


def _expiry(chance: random.Random) -> int:
    return chance.choice((0, 0, 1, time.time_ns() // 1_000_000 + chance.choice((-1, 1, 1_000, 100_000)), (1 << 63) - 1))


def _effect(chance: random.Random) -> list[Any]:
    db, key, stamp, born = chance.choice((0, 0, 0, 1, 15)), _key(chance), _stamp(chance), _stamp(chance)
    floor = chance.choice((None, None, None, [_stamp(chance), _stamp(chance)]))
    names = [b"f%d" % number for number in range(chance.randint(0, 4))]
    fields = {name: [_value(chance), _stamp(chance), _stamp(chance)] for name in names}
    return chance.choice(
        (
            [1, db, key, _value(chance), _expiry(chance), stamp, born, floor],
            [1, db, key, _value(chance), _expiry(chance), stamp, born],
            [2, db, key, _expiry(chance), stamp, born],
            [3, db, key, stamp],
            [4, db, key, fields, _expiry(chance), stamp, born, floor],
            [5, db, key, list(fields), stamp, born],
            [6, chance.choice((1, 15)), stamp],
            [7, db, key, stamp, born],
        )
    )


def _effects(chance: random.Random) -> list[Any]:
    return [_effect(chance) for _ in range(chance.choice((1, 1, 2, 5, 100)))]


def _batch(chance: random.Random, heard: Heard) -> list[Any]:
    effects = _effects(chance)
    heard.mine += len(effects)
    return [4, heard.mine, effects]


def _joined(chance: random.Random, heard: Heard) -> list[Any]:
    return [2, chance.random() < 0.5]


def _resume(chance: random.Random, heard: Heard) -> list[Any]:
    return [3, chance.choice((0, heard.seq, heard.seq, heard.seq + 1)), chance.random() < 0.5]


def _ack(chance: random.Random, heard: Heard) -> list[Any]:
    return [5, chance.choice((heard.seq, heard.seq, 0, heard.seq + 1)), chance.choice((0, 0, 1))]


def _behind(chance: random.Random, heard: Heard) -> list[Any]:
    heard.mine += chance.choice((0, 1, 1_000))
    return [6, heard.mine]


def _compare(chance: random.Random, heard: Heard) -> list[Any]:
    return [7, chance.randrange(5), chance.random() < 0.5]


def _digests(chance: random.Random, heard: Heard) -> list[Any]:
    digests = [0] * SHARDS if chance.random() < 0.5 else [chance.getrandbits(63) for _ in range(SHARDS)]
    return [8, heard.round, digests, _traced(chance), _seen(chance), _stamp(chance)]


def _ask(chance: random.Random, heard: Heard) -> list[Any]:
    held = [[0, _key(chance), _stamp(chance)] for _ in range(chance.choice((0, 1, 20)))]
    return [9, chance.randrange(5), chance.randrange(SHARDS), held, _seen(chance), _stamp(chance)]


def _slice(chance: random.Random, heard: Heard) -> list[Any]:
    absent = [[0, _key(chance)] for _ in range(chance.choice((0, 1, 20)))]
    return [10, heard.round, heard.shard, _effects(chance), chance.random() < 0.5, absent]


def _synced(chance: random.Random, heard: Heard) -> list[Any]:
    return [11]


def _traced(chance: random.Random) -> list[int]:
    return sorted(chance.sample(range(SHARDS), chance.choice((0, 0, 3, SHARDS))))


def _seen(chance: random.Random) -> dict[int, Any]:
    ranges = [[_stamp(chance), _stamp(chance)] for _ in range(chance.choice((0, 1, 16, 17)))]
    return {chance.choice((ME, ME, 7, 2047, 2048)): ranges}


KINDS = (hello, _joined, _resume, *[_batch] * 4, _ack, _ack, _behind, _compare, *[_digests] * 2, _ask, *[_slice] * 2)
KINDS += (_synced,)


# Changes


def _changed(chance: random.Random, said: Any) -> Any:
    """Somewhere in it, something is another thing, or away, or there twice."""
    if isinstance(said, dict) and said and chance.random() < 0.8:
        key = chance.choice(list(said))
        return said | {key: _changed(chance, said[key])}
    if not isinstance(said, list) or not said or chance.random() < 0.05:
        return _odd(chance, said)
    at = chance.randrange(len(said))
    match chance.randrange(8):
        case 0:
            return said[:at]
        case 1:
            return said[:at] + said[at + 1 :]
        case 2:
            return said[: at + 1] + said[at:]
        case _:
            return [*said[:at], _changed(chance, said[at]), *said[at + 1 :]]


def _odd(chance: random.Random, said: Any) -> Any:
    if isinstance(said, int) and chance.random() < 0.8:
        near = said + chance.choice((-1, 1, 1 << 19, 1 << 40))
        return near if chance.random() < 0.5 and -(1 << 63) <= near < 1 << 64 else chance.choice(NUMBERS_ODD)
    return chance.choice(VALUES_ODD)


def framed(chance: random.Random, data: bytes) -> Iterable[bytes]:
    """As one frame, or in pieces of which each says whether more follow; or with a first byte that says nothing."""
    if chance.random() < 0.9:
        yield b"\x00" + data
        return
    at = chance.randrange(len(data) + 1)
    yield b"\x01" + data[:at]
    yield chance.choice((b"\x00", b"\x00", b"\x01", b"\x02", b"")) + data[at:]
