"""Merging: what another node has changed, into a database of this one. In any order, and as often as one likes.

A string is one register. Versions are ordered by (born, stamp, expiry), never being the latest expiry, and the greatest
stays. A removal or a flush raises a floor, for one key or for all, and what was born no later than the floor is gone.
The greatest version is the last one to fall to a floor, so it makes no difference which came first.

A hash is a register for each of its fields, ordered by (born, stamp); a removed field is a register too
(`field_graves`). When it expires is one more register of (born, stamp, expiry). Its `born` is the greatest one that the
node knew that set it, so no field is older than that: the expiry falls to a floor only with all fields.

Where nodes have made both under one name, the later born of them stays: fields that were born before a string are gone,
and a string is gone, and leaves a removal as its trace, when anything is heard of a hash that was born after it.

What shortens a life sets a floor for versions: who has forgotten the shorter life must not take an older, longer one.

A longer life may be heard of before the version that it belongs to. It waits in `early`, where it is bounded: what is
lost there the comparison of digests finds. There also lies the expiry of a hash while none of its fields is left.
"""

from __future__ import annotations

from haagent.core.store.effects import Effect, Floor, Flush, Put, PutFields, Remove, RemoveFields, Touch
from haagent.core.store.space import Entry, Hash, Space

Version = tuple[int, int]  # born and stamp
Expiry = tuple[int, int, float]  # born, stamp, and the instant, as something to compare
NEVER = float("inf")
NONE = (0, 0)
MAX_EARLY = 10_000


def newest_stamp(effect: Effect) -> int:
    match effect:
        case Put():
            return max(effect.stamp, effect.born, *(effect.floor or ()))
        case Touch() | RemoveFields() | Floor():
            return max(effect.stamp, effect.born)
        case PutFields():
            fields = (max(stamp, born) for _, stamp, born in effect.fields.values())
            return max(effect.stamp, effect.born, *(effect.floor or ()), *fields)
        case Remove() | Flush():
            return effect.stamp


def merge(space: Space, now_ms: int, change: int, effect: Effect) -> bool:
    """False: it has lost against a removal or a flush. `change` is a new stamp, for those who watch a hash."""
    match effect:
        case Put():
            return _put(space, now_ms, effect) and _raise_floor(space, change, effect.key, effect.floor)
        case Touch():
            return _touch(space, effect)
        case Remove():
            _remove(space, change, effect)
        case PutFields():
            return _put_fields(space, now_ms, change, effect) and _raise_floor(space, change, effect.key, effect.floor)
        case RemoveFields():
            return _remove_fields(space, change, effect)
        case Floor():
            _raise_floor(space, change, effect.key, (effect.born, effect.stamp))
        case Flush():
            flush(space, change, effect.stamp)
    return True


def _put(space: Space, now_ms: int, effect: Put) -> bool:
    key, born = effect.key, effect.born
    if born <= space.floor_of(key):
        return False
    if (born, effect.stamp) < space.floors.get(key, NONE):
        return True
    old = space.entry(key)
    expiry: Expiry = (born, effect.stamp, effect.expires_ms or NEVER)
    hash_born = 0
    if space.early:
        expiry = max(expiry, _early(space, key, expiry[:2]))
        hash_born = space.early.get((PutFields, key), (0,))[0]
    if old is not None and isinstance(old[0], Hash):
        hash_born = max(hash_born, old[2])
    elif old is not None and expiry <= (old[2], old[1], old[3] or NEVER):
        return True
    if born < hash_born:
        space.bury(key, born)
        if old is not None:
            _sink(space, key, old, born, effect.stamp)
        return True
    if expiry[2] > now_ms:
        space.put(key, old, effect.value, effect.stamp, born, _instant(expiry))
    elif old is not None:
        space.drop(key, old)
    return True


def _touch(space: Space, effect: Touch) -> bool:
    key = effect.key
    if effect.born <= space.floor_of(key):
        return False
    expiry = (effect.born, effect.stamp, effect.expires_ms or NEVER)
    old = space.entry(key)
    if old is None or isinstance(old[0], Hash) or (old[2], old[1]) < expiry[:2]:
        _wait(space, Put, key, expiry)
    elif expiry > (old[2], old[1], old[3] or NEVER) and (old[2], old[1]) == expiry[:2]:
        space.put(key, old, *old[:3], effect.expires_ms)
    return True


def _remove(space: Space, change: int, effect: Remove) -> None:
    key = effect.key
    if effect.stamp <= space.floor_of(key):
        return
    space.bury(key, effect.stamp)
    old = space.entry(key)
    if old is not None:
        _sink(space, key, old, effect.stamp, change)


def _put_fields(space: Space, now_ms: int, change: int, effect: PutFields) -> bool:
    key = effect.key
    floor = space.floor_of(key)
    if effect.born <= floor:
        return False
    old = space.entry(key)
    if old is not None and not isinstance(old[0], Hash):
        if effect.born < old[2]:
            return True
        floor, old = _end_string(space, key, old), None
    expiry: Expiry = (effect.born, effect.stamp, effect.expires_ms or NEVER)
    value = Hash()
    if old is not None:
        assert isinstance(old[0], Hash)
        value = Hash(old[0])
        expiry = max(expiry, (old[2], value.expiry_stamp, old[3] or NEVER))
    for name, field in effect.fields.items():
        version = (field[2], field[1])
        mine = value.get(name)
        known = max(space.field_grave(key, name), NONE if mine is None else (mine[2], mine[1]))
        if field[2] > floor and version > known and version >= space.floors.get(key, NONE):
            value.set(name, field)
    if not value:
        _wait(space, PutFields, key, expiry)
        return True
    if old is None:
        expiry = max(expiry, space.early.pop((PutFields, key), expiry))
    value.expiry_stamp = expiry[1]
    if expiry[2] > now_ms:
        space.put(key, old, value, change, expiry[0], _instant(expiry))
    elif old is not None:
        space.drop(key, old)
    return True


def _remove_fields(space: Space, change: int, effect: RemoveFields) -> bool:
    key, version = effect.key, (effect.born, effect.stamp)
    if effect.born <= space.floor_of(key):
        return False
    old = space.entry(key)
    if old is not None and not isinstance(old[0], Hash):
        if effect.born < old[2]:
            return True
        _end_string(space, key, old)
        old = None
    for name in effect.fields:
        if version > space.field_grave(key, name):
            space.bury_field(key, name, *version)
    if old is None:
        _wait(space, PutFields, key, (effect.born, 0, NEVER))  # less than each that somebody has set
    else:
        assert isinstance(old[0], Hash)
        mine = {name: old[0][name] for name in effect.fields if name in old[0]}
        _without(space, key, old, [name for name, field in mine.items() if (field[2], field[1]) < version], change)
    return True


def _raise_floor(space: Space, change: int, key: bytes, floor: Version | None) -> bool:
    if floor is None or floor[0] <= space.floor_of(key) or floor <= space.floors.get(key, NONE):
        return True
    space.raise_floor(key, floor)
    old = space.entry(key)
    if old is None:
        return True
    if isinstance(old[0], Hash):
        _without(space, key, old, [name for name, field in old[0].items() if (field[2], field[1]) < floor], change)
    elif (old[2], old[1]) < floor:
        space.drop(key, old)
    return True


def _end_string(space: Space, key: bytes, old: Entry) -> int:
    """A hash that was born later ends the string; the floor that it leaves."""
    space.bury(key, old[2])
    space.drop(key, old)
    return old[2]


def flush(space: Space, change: int, stamp: int) -> None:
    """What was born no later is gone."""
    if stamp <= space.floor:
        return
    space.floor = stamp
    for shard in space.shards:
        for key, entry in list(shard.items()):
            _sink(space, key, entry, stamp, change)
    space.graves = {key: grave for key, grave in space.graves.items() if grave > stamp}
    for key, graves in list(space.field_graves.items()):
        space.field_graves[key] = {name: grave for name, grave in graves.items() if grave[0] > stamp}
        if not space.field_graves[key]:
            del space.field_graves[key]


def _sink(space: Space, key: bytes, old: Entry, floor: int, change: int) -> None:
    value, _, born, _, _ = old
    if born <= floor:
        space.drop(key, old)
    elif isinstance(value, Hash):
        _without(space, key, old, [name for name, field in value.items() if field[2] <= floor], change)


def _without(space: Space, key: bytes, old: Entry, names: list[bytes], change: int) -> None:
    """The hash without these fields."""
    if not names:
        return
    assert isinstance(old[0], Hash)
    value, born, expires_ms = Hash(old[0]), *old[2:4]
    for name in names:
        value.drop(name)
    if value:
        space.put(key, old, value, change, born, expires_ms)
    else:
        space.drop(key, old)
        _wait(space, PutFields, key, (born, value.expiry_stamp, expires_ms or NEVER))


def _wait(space: Space, kind: type, key: bytes, expiry: Expiry) -> None:
    known = space.early.pop((kind, key), expiry)
    space.early[kind, key] = max(known, expiry)
    if len(space.early) > MAX_EARLY:
        del space.early[next(iter(space.early))]


def _early(space: Space, key: bytes, version: tuple[int, int]) -> Expiry:
    """The longer life of this version of a string, if it was heard of before."""
    known = space.early.get((Put, key))
    if known is None or version < known[:2]:
        return (0, 0, 0)
    del space.early[Put, key]
    return known if known[:2] == version else (0, 0, 0)


def _instant(expiry: Expiry) -> int:
    return 0 if expiry[2] == NEVER else int(expiry[2])
