"""What is in the store, as effects: all of it in slices, what was removed, and what somebody lacks of a shard.

It need not be of one instant: what changes meanwhile is shipped as well, and effects may come in any order. A slice
ends when it is full, and may be a little fuller by one effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from zlib import crc32

from haagent.core.store.effects import Effect, Floor, Flush, Put, PutFields, Remove, RemoveFields
from haagent.core.store.space import MASK, SHARDS, Entry, Hash, Space

SLICE_BYTES = 256 * 1024
Mark = tuple[int, bytes, int]  # a key that is held: its database, itself, and what tells versions apart
EFFECT_BYTES = 64  # what an effect takes on the wire besides its key and its value, at most


def weight(effect: Effect) -> int:
    """Its bytes on the wire, roughly, and not less."""
    match effect:
        case Put():
            return len(effect.key) + len(effect.value) + EFFECT_BYTES
        case PutFields():
            fields = sum(len(name) + len(field[0]) + 32 for name, field in effect.fields.items())
            return len(effect.key) + fields + EFFECT_BYTES
        case RemoveFields():
            return len(effect.key) + sum(len(name) + 8 for name in effect.fields) + EFFECT_BYTES
        case Flush():
            return EFFECT_BYTES
    return len(effect.key) + EFFECT_BYTES


def shard_of(effect: Effect) -> int:
    return 0 if isinstance(effect, Flush) else crc32(effect.key) & MASK


def slices(spaces: Sequence[Space], now_ms: int) -> Iterator[list[Effect]]:
    """First the floors and the traces of removals, so that nothing that was removed comes up for a moment."""
    part: list[Effect] = []
    filled = 0
    for effect in chain(traces(spaces), *(of_shard(spaces, now_ms, shard) for shard in range(SHARDS))):
        part.append(effect)
        filled += weight(effect)
        if filled >= SLICE_BYTES:
            yield part
            part, filled = [], 0
    if part:
        yield part


def traces(spaces: Sequence[Space]) -> Iterator[Effect]:
    """Of what was removed."""
    for space in spaces:
        if space.floor:
            yield Flush(space.number, space.floor)
        for key, stamp in list(space.graves.items()):
            yield Remove(space.number, key, stamp)
        for key, (born, stamp) in list(space.floors.items()):
            yield Floor(space.number, key, stamp, born)
        for key in list(space.field_graves):
            yield from of_fields(space, key)


def of_fields(space: Space, key: bytes) -> Iterator[Effect]:
    for name, (born, stamp) in space.field_graves.get(key, {}).items():
        yield RemoveFields(space.number, key, [name], stamp, born)


def of_shard(spaces: Sequence[Space], now_ms: int, shard: int) -> Iterator[Effect]:
    for space in spaces:
        for key, entry in list(space.shards[shard].items()):
            if not 0 < entry[3] <= now_ms:
                yield of_key(space, key, entry)


def of_key(space: Space, key: bytes, entry: Entry) -> Put | PutFields:
    value, stamp, born, expires_ms, _ = entry
    floor = space.floors.get(key) if space.floors else None
    if isinstance(value, Hash):
        return PutFields(space.number, key, value, expires_ms, value.expiry_stamp, born, floor)
    return Put(space.number, key, value, expires_ms, stamp, born, floor)


def held(spaces: Sequence[Space], now_ms: int, shard: int) -> list[Mark]:
    return [
        (space.number, key, space.mark(key, entry))
        for space in spaces
        for key, entry in space.shards[shard].items()
        if not 0 < entry[3] <= now_ms
    ]


def missing(
    spaces: Sequence[Space], now_ms: int, shard: int, theirs: Sequence[Mark], is_gone: Callable[[Entry], bool]
) -> Iterator[Effect]:
    """What somebody who holds these keys of a shard lacks: keys, other versions, and that some were removed.

    But not what is gone where it is lacking.
    """
    known = {(db, key): mark for db, key, mark in theirs}
    for space in spaces:
        if space.floor:
            yield Flush(space.number, space.floor)
        for key, entry in list(space.shards[shard].items()):
            mark = known.get((space.number, key))
            if (
                mark != space.mark(key, entry)
                and not 0 < entry[3] <= now_ms
                and (mark is not None or not is_gone(entry))
            ):
                yield of_key(space, key, entry)
    for db, key, mark in theirs:
        space = spaces[db]
        mine = space.entry(key)
        if mine is None or space.mark(key, mine) != mark:
            if key in space.graves:
                yield Remove(db, key, space.graves[key])
            if key in space.floors and (mine is None or 0 < mine[3] <= now_ms):  # else it is with what was given
                yield Floor(db, key, space.floors[key][1], space.floors[key][0])
            yield from of_fields(space, key)
