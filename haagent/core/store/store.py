"""The store of one node: what commands read and change.

A change happens here at once, and is noted in `effects`; whoever owns the store drains them (`take_effects`) and ships
them. What other nodes have changed comes in by `apply` (merging.py). The rule that makes every order good is the same
for both:

* Of two versions of a key the one with the later `born` wins, then the one with the later stamp, then the one that
  lives longer. `born` is the stamp at which the key came to be from nothing.
* A removal wins over all that was born before it, however late it was written. This is what keeps a session deleted
  that a slow request writes once more elsewhere. Keys that are not sessions are born anew by each change, so there
  the last writer wins.
* What shortens a life is a floor for versions. Otherwise an older one that was to live longer could come late, after
  the newer one has expired, and would be taken: nothing remembers what has expired.
* What lengthens a life keeps the stamp, and is a touch; also a SET of the value that is there already.
* A flush is a removal of all keys at once: a floor under what is born.
* The fields of a hash follow the same rule one by one; the hash has one expiry.

Wall clock comes in as `now_ms`. What has expired is not there, and is freed when it is met.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from zlib import crc32

from haagent.core.store.effects import ALL, Effect, Flush, Put, PutFields, Remove, RemoveFields, Touch
from haagent.core.store.eviction import evict_one
from haagent.core.store.merging import Version, flush, merge, newest_stamp
from haagent.core.store.seen import Seen
from haagent.core.store.settings import StoreSettings
from haagent.core.store.space import GRAVE_BYTES, MASK, SHARDS, WORD, Entry, Hash, Space
from haagent.core.store.stamps import MAX_NODE_NUMBER, Clock, wall_ms

KEEP = -1  # as an expiry: that of what is there


class TooLarge(ValueError):
    """A key or a value is longer than the settings allow."""


class Store:
    def __init__(self, settings: StoreSettings, *, node_number: int, rng: random.Random) -> None:
        self.settings = settings
        self.clock = Clock(node_number, settings.max_drift_ms)
        self._newborn: set[int] = set()  # `born` of what came from nothing since the effects were taken
        self._by_use = settings.eviction == "allkeys-lru"
        self.spaces = [self._space(number) for number in range(settings.databases)]
        self.effects: list[Effect] = []
        self.expired = 0  # keys that were freed because their time was over
        self.evicted = 0
        self.seen = Seen()  # by the life that owns it
        self.forgotten = 0  # the newest stamp of a removal that may be forgotten here
        self.is_apart = False  # a peer does not hear what is removed: then that is remembered for longer
        self.late = 0  # changes of other nodes that have lost against a removal
        self.guarded = 0  # writes that the logout guard has dropped
        self._rng = rng
        self._rubbish: list[dict[bytes, Entry]] = []

    # Reading

    def find(self, now_ms: int, db: int, key: bytes) -> bytes | Hash | None:
        entry = self.spaces[db].shards[crc32(key) & MASK].get(key)
        if entry is None:
            return None
        if 0 < entry[3] <= now_ms:
            self._free(db, key, entry)
            return None
        if self._by_use:
            shard = self.spaces[db].shards[crc32(key) & MASK]
            shard[key] = shard.pop(key)
        return entry[0]

    def expires_ms(self, now_ms: int, db: int, key: bytes) -> int | None:
        """None: there is no such key; 0: it does not expire."""
        entry = self._live(now_ms, db, key)
        return None if entry is None else entry[3]

    def stamp(self, now_ms: int, db: int, key: bytes) -> int:
        """Changes with each change of the key, also of its expiry. 0: there is no such key."""
        entry = self._live(now_ms, db, key)
        return 0 if entry is None else entry[1] << 64 | entry[3]

    def size(self, now_ms: int, db: int) -> int:
        """With what has expired and was not met yet."""
        return self.spaces[db].keys

    def keys(self, now_ms: int, db: int) -> Iterator[bytes]:
        """All of them. Whoever wants to do something else in between uses `scan`."""
        for shard in range(SHARDS):
            yield from self._in_shard(now_ms, db, shard)

    def scan(self, now_ms: int, db: int, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """At least `count` keys from the cursor on, and the next cursor, 0 at the end.

        A key that is there from the first call to the last one is returned once.
        """
        found: list[bytes] = []
        while cursor < SHARDS and len(found) < count:
            found += self._in_shard(now_ms, db, cursor)
            cursor += 1
        return cursor % SHARDS, found

    @property
    def count(self) -> int:  # of all databases, as `size`
        return sum(space.keys for space in self.spaces)

    def bytes_used(self) -> int:
        return sum(space.bytes + GRAVE_BYTES * space.traces for space in self.spaces)

    def is_full(self) -> bool:
        return 0 < self.settings.max_memory < self.bytes_used()

    # Changing

    def put(self, now_ms: int, db: int, key: bytes, value: bytes, expires_ms: int = 0) -> None:
        """A string, whatever was there. An expiry in the past removes the key."""
        self._check(key, len(value))
        space, floor = self.spaces[db], None
        old = self._live(now_ms, db, key)
        if expires_ms == KEEP:
            expires_ms = 0 if old is None else old[3]
        elif 0 < expires_ms <= now_ms:
            self.remove(now_ms, db, key)
            return
        if old is None:
            if self._is_guarded(now_ms, space, key):
                self.guarded += 1
                return
            stamp = born = self.clock.next(now_ms)
            self._newborn.add(born)
        else:
            if old[0] == value and self._touch(now_ms, space, key, old, expires_ms):
                return
            if isinstance(old[0], Hash):
                self._bury(now_ms, space, key)
            stamp = self.clock.next(now_ms)
            born = stamp if isinstance(old[0], Hash) or not self._is_session(key) else old[2]
            if _is_sooner(expires_ms, old[3]):
                floor = self._raise_floor(space, key, old, (born, stamp))
        space.put(key, old, value, stamp, born, expires_ms)
        self.effects.append(Put(db, key, value, expires_ms, stamp, born, floor))

    def expire(self, now_ms: int, db: int, key: bytes, expires_ms: int) -> bool:
        """From now on it expires then; 0: never. False: there is no such key."""
        old = self._live(now_ms, db, key)
        if old is None:
            return False
        if 0 < expires_ms <= now_ms:
            return self.remove(now_ms, db, key)
        space = self.spaces[db]
        if self._touch(now_ms, space, key, old, expires_ms):
            return True
        value = old[0]
        is_sooner = _is_sooner(expires_ms, old[3])
        stamp = self.clock.next(now_ms)
        born = old[2] if isinstance(value, Hash) or self._is_session(key) else stamp
        floor = self._raise_floor(space, key, old, (born, stamp)) if is_sooner else None
        if not isinstance(value, Hash):
            space.put(key, old, value, stamp, born, expires_ms)
            self.effects.append(Put(db, key, value, expires_ms, stamp, born, floor))
            return True
        value = value.at_version(born, stamp) if is_sooner else Hash(value)
        value.expiry_stamp = stamp
        space.put(key, old, value, stamp, born, expires_ms)
        self.effects.append(PutFields(db, key, dict(value) if is_sooner else {}, expires_ms, stamp, born, floor))
        return True

    def remove(self, now_ms: int, db: int, key: bytes) -> bool:
        old = self._live(now_ms, db, key)
        if old is None:
            return False
        space = self.spaces[db]
        self._bury(now_ms, space, key)
        space.drop(key, old)
        return True

    def put_fields(self, now_ms: int, db: int, key: bytes, fields: Mapping[bytes, bytes]) -> int:
        """Into the hash that is there, or a new one; how many of them are new. The caller knows it is no string."""
        space = self.spaces[db]
        old = self._live(now_ms, db, key)
        assert old is None or isinstance(old[0], Hash), "a string is there"
        value = Hash(old[0] if old else None)
        self._check(key, value.bytes + sum(map(len, fields)) + sum(map(len, fields.values())))
        stamp = self.clock.next(now_ms)
        born, expires_ms = (stamp, 0) if old is None else old[2:4]
        if old is None:
            value.expiry_stamp = stamp
            self._newborn.add(born)
        before = len(value)
        changed = {name: (text, stamp, born) for name, text in fields.items()}
        for name, field in changed.items():
            value.set(name, field)
        space.put(key, old, value, stamp, born, expires_ms)
        self.effects.append(PutFields(db, key, changed, expires_ms, value.expiry_stamp, born))
        return len(value) - before

    def remove_fields(self, now_ms: int, db: int, key: bytes, fields: Iterable[bytes]) -> int:
        """How many of them were there. With its last field a hash is gone."""
        space = self.spaces[db]
        old = self._live(now_ms, db, key)
        if old is None:
            return 0
        value = old[0]
        assert isinstance(value, Hash), "a string is there"
        gone = [name for name in dict.fromkeys(fields) if name in value]
        if gone:
            stamp = self.clock.next(now_ms)
            effect = RemoveFields(db, key, gone, stamp, old[2])
            merge(space, now_ms, stamp, effect)
            self.effects.append(effect)
        return len(gone)

    def put_hash(self, now_ms: int, db: int, key: bytes, fields: Mapping[bytes, bytes], expires_ms: int = 0) -> None:
        """A hash of just these fields, whatever was there."""
        self._check(key, sum(map(len, fields)) + sum(map(len, fields.values())))
        self.remove(now_ms, db, key)
        if not fields or 0 < expires_ms <= now_ms:
            return
        stamp = self.clock.next(now_ms)
        value = Hash()
        value.expiry_stamp = stamp
        for name, text in fields.items():
            value.set(name, (text, stamp, stamp))
        self.spaces[db].put(key, None, value, stamp, stamp, expires_ms)
        self.effects.append(PutFields(db, key, dict(value), expires_ms, stamp, stamp))

    def flush(self, now_ms: int, db: int | None = None) -> None:
        """All keys of a database; None: of all of them. They are gone at once; `expire_some` frees their memory."""
        stamp = self.clock.next(now_ms)
        for number in range(len(self.spaces)) if db is None else (db,):
            self._empty(number, stamp)
        self.effects.append(Flush(ALL if db is None else db, stamp))

    def clear(self) -> None:
        """Forget all of it, here alone: also what was removed."""
        self.seen = Seen()
        for number in range(len(self.spaces)):
            self._empty(number, 0)

    def remove_locks(self, now_ms: int, node_number: int, before: int) -> int:
        """Those that this node has made, or changed last, before this stamp. For its locks die with its life."""
        gone = 0
        for space in self.spaces:
            for key in sorted(space.locks):  # the same seed, the same life
                entry = space.entry(key)
                if entry is not None and entry[1] < before and entry[1] & MAX_NODE_NUMBER == node_number:
                    gone += self.remove(now_ms, space.number, key)
        return gone

    def expire_some(self, now_ms: int, limit: int) -> int:
        """Free up to `limit` keys that have expired or were flushed. Where it returns `limit`, there may be more."""
        done = 0
        while self._rubbish and done < limit:
            shard = self._rubbish[-1]
            done += len(shard) + 1
            self._rubbish.pop()
        horizon_ms = self.settings.horizon_ms + 2 * self.settings.max_drift_ms
        before_ms = 0 if self.is_apart else now_ms - horizon_ms
        for space in self.spaces:
            done += space.forget(before_ms, self.settings.max_removals, limit - done)
            self.forgotten = max(self.forgotten, space.forgotten)
            if done < limit:
                looked, freed = space.expire(now_ms, limit - done)
                done += looked
                self.expired += freed
        return min(done, limit)

    def digests(self) -> list[int]:
        """Of each shard. Equal contents have equal ones; what has expired counts until it was freed."""
        used = [space.digests for space in self.spaces if space.keys]
        return [sum(parts) & WORD for parts in zip(*used, strict=True)] or [0] * SHARDS

    def apply(self, now_ms: int, effect: Effect) -> bool:
        """What another node has changed. False: it lies too far in the future, and does not count. What comes of it
        for all others is in `effects`."""
        last = self.clock.last
        if not self.clock.hear(newest_stamp(effect), now_ms):
            return False
        change = 0 if isinstance(effect, Put | Touch) else self.clock.next(now_ms)
        if isinstance(effect, Flush):
            for number in range(len(self.spaces)):
                if effect.db not in (ALL, number):
                    continue
                if effect.stamp > last:  # nothing newer is here
                    self._empty(number, effect.stamp)
                else:
                    flush(self.spaces[number], change, effect.stamp)
            return True
        if isinstance(effect, Put | PutFields) and self._was_removed(effect):
            self.late += 1
            self._bury(now_ms, self.spaces[effect.db], effect.key)  # whoever holds it hears of it
        elif not merge(self.spaces[effect.db], now_ms, change, effect):
            self.late += 1
        return True

    def evict(self, now_ms: int, limit: int) -> bool:
        """Make room, here alone, by dropping up to `limit` keys. False: there is too little."""
        if self.is_full():
            self.expire_some(now_ms, limit)
        while self.is_full() and limit:
            if not evict_one(self.spaces, self.settings.eviction, now_ms, self._rng):
                return False
            self.evicted += 1
            limit -= 1
        return not self.is_full()

    def take_effects(self) -> list[Effect]:
        """What was changed here since the last call, in order."""
        taken, self.effects = self.effects, []
        self._newborn.clear()
        return taken

    # Steps of the above

    def _space(self, number: int) -> Space:
        return Space(number, lock_keys=self.settings.lock_keys, by_use=self._by_use)

    def _empty(self, number: int, stamp: int) -> None:
        self._rubbish += self.spaces[number].shards
        self.spaces[number] = self._space(number)
        self.spaces[number].floor = stamp

    def _live(self, now_ms: int, db: int, key: bytes) -> Entry | None:
        entry = self.spaces[db].entry(key)
        if entry is not None and 0 < entry[3] <= now_ms:
            self._free(db, key, entry)
            return None
        return entry

    def _free(self, db: int, key: bytes, entry: Entry) -> None:
        self.spaces[db].drop(key, entry)
        self.expired += 1

    def _in_shard(self, now_ms: int, db: int, shard: int) -> list[bytes]:
        entries = self.spaces[db].shards[shard]
        return [key for key, entry in entries.items() if not 0 < entry[3] <= now_ms]

    def _check(self, key: bytes, length: int) -> None:
        if len(key) > self.settings.max_key_bytes:
            raise TooLarge(f"the key has {len(key)} bytes, more than {self.settings.max_key_bytes}")
        if length > self.settings.max_value_bytes:
            raise TooLarge(f"the value has {length} bytes, more than {self.settings.max_value_bytes}")

    def _is_session(self, key: bytes) -> bool:
        return key.startswith(self.settings.session_keys) and not key.endswith(self.settings.lock_keys)

    def _was_removed(self, effect: Put | PutFields) -> bool:
        """By a removal that had to be forgotten while a peer was away."""
        self.seen.hear_birth(effect.born)
        space = self.spaces[effect.db]
        return (
            effect.born <= space.horizon
            and not self.evicted
            and space.entry(effect.key) is None
            and self._is_session(effect.key)
            and self.seen.knows_birth(effect.born)
        )

    def _is_guarded(self, now_ms: int, space: Space, key: bytes) -> bool:
        guard_ms = self.settings.logout_guard_ms
        return guard_ms > 0 and space.buried_since(key, now_ms - guard_ms) and self._is_session(key)

    def _touch(self, now_ms: int, space: Space, key: bytes, old: Entry, expires_ms: int) -> bool:
        """True: the rest is as it was, and it lives as long as before, or longer."""
        value, stamp, born, before, _ = old
        if expires_ms == before:
            return True
        if not expires_ms or _is_sooner(expires_ms, before):
            return False
        if wall_ms(value.expiry_stamp if isinstance(value, Hash) else stamp) < now_ms - self.settings.horizon_ms // 2:
            return False  # a new version now and then shows that it is still in use (seen.py)
        space.put(key, old, value, stamp, born, expires_ms)
        if isinstance(value, Hash):
            self.effects.append(PutFields(space.number, key, {}, expires_ms, value.expiry_stamp, born))
        else:
            self.effects.append(Touch(space.number, key, expires_ms, stamp, born))
        return True

    def _raise_floor(self, space: Space, key: bytes, old: Entry, version: Version) -> Version | None:
        """What is put next, with this floor, lives shorter than what was there."""
        if old[2] in self._newborn:  # nobody has seen it: what it has made is as if it had not been
            self.effects = [effect for effect in self.effects if not _is_of(effect, space.number, key, old[2])]
            return None
        space.raise_floor(key, version)
        return version

    def _bury(self, now_ms: int, space: Space, key: bytes) -> None:
        """It is removed, for everybody."""
        stamp = self.clock.next(now_ms)
        space.bury(key, stamp)
        self.effects.append(Remove(space.number, key, stamp))


def _is_sooner(expires_ms: int, than_ms: int) -> bool:
    return expires_ms > 0 and (than_ms == 0 or expires_ms < than_ms)


def _is_of(effect: Effect, db: int, key: bytes, born: int) -> bool:
    return not isinstance(effect, Flush | Remove) and (effect.db, effect.key, effect.born) == (db, key, born)
