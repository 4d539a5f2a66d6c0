"""What a store may say: numbers and sizes within their bounds. Types are the decoder's (messages.py).

A peer is one of us, but what it says may be wrong all the same: by a fault there, or by a release that nobody has tried
with this one. Nothing of such a message counts. A lie within the bounds is not found here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from haagent.core.store.effects import ALL, Effect, Floor, Flush, Put, PutFields, Remove, RemoveFields, Touch
from haagent.core.store.insync import Peer
from haagent.core.store.messages import Ack, Ask, Batch, Behind, Compare, Digests, Hello, Message, Resume, Slice
from haagent.core.store.seen import MAX_RANGES, Ranges
from haagent.core.store.space import SHARDS, WORD
from haagent.core.store.stamps import MAX_NODE_NUMBER

# What no configuration lets a client write. Nodes may be configured differently, so it is not what ours allows.
MAX_KEY_BYTES = 16 * 1024
MAX_VALUE_BYTES = 16 * 1024 * 1024
MAX_NUMBER = (1 << 63) - 1


class Nonsense(ValueError):
    """No store says that. The text says what."""


def check(message: Message, peer: Peer, *, seq: int, databases: int) -> None:
    """Raises `Nonsense`. Our stream stands at `seq`."""
    if not (peer.has_greeted or isinstance(message, Hello)):
        raise Nonsense(f"{type(message).__name__} comes before its greeting")
    match message:
        case Hello():
            _numbers(message.version, message.life, message.keys, message.first, message.seq, message.since)
        case Resume():
            _within("a place in our stream", message.seq, 0, seq)
        case Batch():
            if not message.effects or message.seq != peer.heard + len(message.effects):
                raise Nonsense("a batch does not follow the one before it")
            _effects(message.effects, databases)
        case Ack():
            _within("a place in our stream", message.seq, 0, peer.reader.sent)
            _numbers(message.refused)
        case Behind():
            _within("a place in its stream", message.seq, peer.heard, MAX_NUMBER)
        case Compare():
            _numbers(message.round)
        case Digests():
            _within("the number of digests", len(message.digests), SHARDS, SHARDS)
            _within("a digest", min(message.digests), 0, WORD)
            _shards(message.traced)
            _seen(message.seen, message.forgotten)
            _within("the number of horizons", len(message.horizons), 0, databases)
            _numbers(*message.horizons)
        case Ask():
            _shards([message.shard])
            _keys(((db, key) for db, key, _ in message.held), databases)
            _seen(message.seen, message.forgotten)
        case Slice():
            _shards([message.shard])
            _effects(message.effects, databases)
            _keys(message.absent, databases)


def _effects(effects: Iterable[Effect], databases: int) -> None:
    for effect in effects:
        if isinstance(effect, Flush):
            _within("a database", effect.db, ALL, databases - 1)
        else:
            _keys([(effect.db, effect.key)], databases)
        _numbers(effect.stamp)
        match effect:
            case Put():
                _within("the length of a value", len(effect.value), 0, MAX_VALUE_BYTES)
                _numbers(effect.expires_ms, effect.born, *(effect.floor or ()))
            case PutFields():
                for name, (value, stamp, born) in effect.fields.items():
                    _within("the length of a field", max(len(name), len(value)), 0, MAX_VALUE_BYTES)
                    _numbers(stamp, born)
                _numbers(effect.expires_ms, effect.born, *(effect.floor or ()))
            case Touch():
                _numbers(effect.expires_ms, effect.born)
            case RemoveFields():
                _within("the length of a field", max(map(len, effect.fields), default=0), 0, MAX_VALUE_BYTES)
                _numbers(effect.born)
            case Floor():
                _numbers(effect.born)
            case Flush() | Remove():
                pass


def _keys(keys: Iterable[tuple[int, bytes]], databases: int) -> None:
    for db, key in keys:
        _within("a database", db, 0, databases - 1)
        _within("the length of a key", len(key), 0, MAX_KEY_BYTES)


def _shards(shards: Iterable[int]) -> None:
    for shard in shards:
        _within("a shard", shard, 0, SHARDS - 1)


def _seen(seen: Ranges, forgotten: int) -> None:
    _numbers(forgotten)
    for number, ranges in seen.items():
        _within("the number of a node", number, 0, MAX_NODE_NUMBER)
        _within("the ranges of what it has seen", len(ranges), 0, MAX_RANGES)
        _numbers(*chain.from_iterable(ranges))


def _numbers(*numbers: int) -> None:
    for number in numbers:
        _within("a number", number, 0, MAX_NUMBER)


def _within(what: str, number: int, low: int, high: int) -> None:
    if not low <= number <= high:
        raise Nonsense(f"{what} is {number}, and not {low} to {high}")
