"""One database of the store: the keys, and what is kept beside them.

Entries are tuples of scalars: the collector of garbage leaves them alone, and a session costs few bytes. They lie in
1024 shards by a checksum of the key that is the same on every node. One shard is the unit of everything that walks over
the keys: a digest, a slice of a snapshot, a step of SCAN, a sample for eviction. None of them is large, so none takes
long, and no single dictionary has to grow while a reply waits.

A digest is the sum of a number for each key of a shard: of its stamp and its expiry, multiplied by one that belongs to
the key. Equal contents have equal digests, whatever the order in which they came, and a change costs two additions.

The wheel knows what expires when: each key lies in one bucket, of the second in which it is looked at next. A key whose
expiry moves away stays where it is, and moves on when its bucket is due; so a touch costs nothing here.
"""

from __future__ import annotations

import heapq
from zlib import crc32

from haagent.core.store.effects import Field
from haagent.core.store.stamps import wall_ms

SHARDS = 1024
MASK = SHARDS - 1
ENTRY_BYTES = 330  # what a key costs besides its own bytes and those of its value, measured
FIELD_BYTES = 250  # and a field of a hash
GRAVE_BYTES = 200  # and a tombstone
EXPIRY_FACTOR = 0x9E3779B1  # primes, so that no two changes of one key add the same
FIELD_FACTOR = 0xC2B2AE3D
WORD = (1 << 64) - 1


class Hash(dict[bytes, Field]):
    """The fields of a hash; the first item of one is its value. It never changes once it is in an entry."""

    __slots__ = ("bytes", "expiry_stamp", "mark")

    def __init__(self, old: bytes | Hash | None = None) -> None:
        """Empty, or a copy."""
        super().__init__(old if isinstance(old, Hash) else {})
        self.mark: int = old.mark if isinstance(old, Hash) else 0  # the sum of what the fields add to the digest
        self.bytes: int = old.bytes if isinstance(old, Hash) else 0
        self.expiry_stamp: int = old.expiry_stamp if isinstance(old, Hash) else 0  # of the change that has set it

    def set(self, name: bytes, field: Field) -> None:
        self.drop(name)
        self[name] = field
        self.mark += field[1] + crc32(name) * FIELD_FACTOR
        self.bytes += len(name) + len(field[0]) + FIELD_BYTES

    def drop(self, name: bytes) -> None:
        field = self.pop(name, None)
        if field is not None:
            self.mark -= field[1] + crc32(name) * FIELD_FACTOR
            self.bytes -= len(name) + len(field[0]) + FIELD_BYTES

    def at_version(self, born: int, stamp: int) -> Hash:
        new = Hash()
        for name, (text, _, _) in self.items():
            new.set(name, (text, stamp, born))
        return new


# The value; the stamp of the last change; `born`: the stamp at which the key came to be; when it expires, in
# milliseconds (0: never); the second of its bucket in the wheel (0: in none).
Entry = tuple[bytes | Hash, int, int, int, int]


class Space:
    def __init__(self, number: int, *, lock_keys: tuple[bytes, ...] = (), by_use: bool = False) -> None:
        """`by_use`: in each shard, what was used last comes last."""
        self.number = number
        self._by_use = by_use
        self.shards: list[dict[bytes, Entry]] = [{} for _ in range(SHARDS)]
        self.digests = [0] * SHARDS
        self.keys = 0
        self.locks: set[bytes] = set()  # the keys that are locks
        self._lock_keys = lock_keys
        self.bytes = 0
        self.floor = 0  # what was born no later has been flushed
        self.forgotten = 0  # the newest stamp of a removal that left no trace
        self.horizon = 0  # and of one that a peer may not have heard of (seen.py)
        self.graves: dict[bytes, int] = {}  # keys that were removed, and the stamp of that
        self.field_graves: dict[bytes, dict[bytes, tuple[int, int]]] = {}  # of hashes: born and stamp of each removal
        self.floors: dict[bytes, tuple[int, int]] = {}  # born and stamp: earlier versions are gone
        # Longer lives of versions that have not come, by what they are of: born, stamp, expiry.
        self.early: dict[tuple[type, bytes], tuple[int, int, float]] = {}
        self._wheel: dict[int, tuple[int, list[bytes]]] = {}
        self._seconds: list[int] = []  # a heap of those that have a bucket
        self._salt = 2 * number * EXPIRY_FACTOR  # the same key in another database adds something else

    def entry(self, key: bytes) -> Entry | None:
        return self.shards[crc32(key) & MASK].get(key)

    def mark(self, key: bytes, entry: Entry) -> int:
        """What the key adds to the digest of its shard, and what tells two versions of it apart."""
        return _version(entry[0], entry[1], entry[3]) * (crc32(key) * 2 + 1 + self._salt) & WORD

    def put(self, key: bytes, old: Entry | None, value: bytes | Hash, stamp: int, born: int, expires_ms: int) -> None:
        """In the place of `old`, which is there; None: nothing is."""
        code = crc32(key)
        shard = self.shards[code & MASK]
        version = _version(value, stamp, expires_ms)
        slot = 0
        if old is None:
            self.keys += 1
            if key.endswith(self._lock_keys):
                self.locks.add(key)
            self.bytes += len(key) + ENTRY_BYTES + size(value)
        else:
            version -= _version(old[0], old[1], old[3])
            slot = old[4]
            self.bytes += size(value) - size(old[0])
            if self._by_use:
                del shard[key]
        if expires_ms:
            second = -(-expires_ms // 1000)
            if not slot or second < slot:
                slot = self._plan(key, second)
        shard[key] = (value, stamp, born, expires_ms, slot)
        self.digests[code & MASK] += version * (code * 2 + 1 + self._salt)

    def drop(self, key: bytes, old: Entry) -> None:
        """It leaves no trace but in the wheel."""
        code = crc32(key)
        del self.shards[code & MASK][key]
        self.digests[code & MASK] -= _version(old[0], old[1], old[3]) * (code * 2 + 1 + self._salt)
        self.bytes -= len(key) + ENTRY_BYTES + size(old[0])
        self.keys -= 1
        if self.locks:
            self.locks.discard(key)

    @property
    def traces(self) -> int:
        """How many, of what was removed or made shorter."""
        return len(self.graves) + len(self.field_graves) + len(self.floors)

    def floor_of(self, key: bytes) -> int:
        """What was born no later is gone."""
        return max(self.floor, self.graves.get(key, 0))

    def forget(self, before_ms: int, most: int, limit: int) -> int:
        """Drop traces of what was removed before that, and all but so many; how many. They lie nearly in order.

        0: a peer is away, and all of them should stay."""
        done = 0
        if wall_ms(self.horizon) < before_ms:
            self.horizon = 0
        while self.graves and done < limit:
            stamp = self.graves[oldest := next(iter(self.graves))]
            if wall_ms(stamp) >= before_ms and len(self.graves) <= most:
                break
            del self.graves[oldest]
            self.forgotten = max(self.forgotten, stamp)
            if not before_ms or wall_ms(stamp) >= before_ms:  # too early: there are too many
                self.horizon = max(self.horizon, stamp)
            done += 1
        while self.field_graves and done < limit:
            oldest = next(iter(self.field_graves))
            stamp = max(stamp for _, stamp in self.field_graves[oldest].values())
            if wall_ms(stamp) >= before_ms and len(self.field_graves) <= most:
                break
            del self.field_graves[oldest]
            self.forgotten = max(self.forgotten, stamp)
            done += 1
        while self.floors and done < limit:
            stamp = self.floors[oldest := next(iter(self.floors))][1]
            if wall_ms(stamp) >= before_ms and len(self.floors) <= most:
                break
            del self.floors[oldest]
            self.forgotten = max(self.forgotten, stamp)
            done += 1
        return done

    def bury(self, key: bytes, stamp: int) -> None:
        self.graves.pop(key, None)  # to the end: they lie in order of their age
        self.graves[key] = stamp

    def bury_field(self, key: bytes, name: bytes, born: int, stamp: int) -> None:
        graves = self.field_graves.pop(key, {})
        self.field_graves[key] = graves
        graves[name] = (born, stamp)

    def raise_floor(self, key: bytes, version: tuple[int, int]) -> None:
        self.floors[key] = max(version, self.floors.pop(key, version))

    def field_grave(self, key: bytes, name: bytes) -> tuple[int, int]:
        return self.field_graves.get(key, {}).get(name, (0, 0))

    def buried_since(self, key: bytes, since_ms: int) -> bool:
        stamp = self.graves.get(key)
        return stamp is not None and wall_ms(stamp) >= since_ms

    def digest(self, shard: int) -> int:
        return self.digests[shard] & WORD

    def expire(self, now_ms: int, limit: int) -> tuple[int, int]:
        """Look at so many keys that are due; how many were looked at, and how many of them had expired."""
        looked = freed = 0
        while self._seconds and looked < limit and (second := self._seconds[0]) * 1000 <= now_ms:
            bucket = self._wheel[second][1]
            while bucket and looked < limit:
                key = bucket.pop()
                looked += 1
                entry = self.entry(key)
                if entry is None or entry[4] != second:  # it is gone, or in an earlier bucket
                    continue
                if 0 < entry[3] <= now_ms:
                    self.drop(key, entry)
                    freed += 1
                else:
                    self.put(key, (*entry[:4], 0), *entry[:4])
            if not bucket:
                del self._wheel[second]
                heapq.heappop(self._seconds)
        return looked, freed

    def next_second(self) -> int:
        """In which something may expire; 0: nothing does."""
        return self._seconds[0] if self._seconds else 0

    def drop_soonest(self, now_ms: int) -> bool:
        """What expires next. False: nothing expires."""
        while self._seconds:
            second = self._seconds[0]
            bucket = self._wheel[second][1]
            while bucket:
                key = bucket.pop()
                entry = self.entry(key)
                if entry is None or entry[4] != second:
                    continue
                if not entry[3] or -(-entry[3] // 1000) > second:
                    self.put(key, (*entry[:4], 0), *entry[:4])  # it has moved
                    continue
                self.drop(key, entry)
                return True
            del self._wheel[second]
            heapq.heappop(self._seconds)
        return False

    def _plan(self, key: bytes, second: int) -> int:
        bucket = self._wheel.get(second)
        if bucket is None:
            bucket = self._wheel[second] = (second, [])
            heapq.heappush(self._seconds, second)
        bucket[1].append(key)
        return bucket[0]  # the same integer for all keys of the bucket: it takes no memory of theirs


def size(value: bytes | Hash) -> int:
    return value.bytes if isinstance(value, Hash) else len(value)


def _version(value: bytes | Hash, stamp: int, expires_ms: int) -> int:
    if isinstance(value, Hash):
        stamp = value.mark + value.expiry_stamp
    return stamp + expires_ms * EXPIRY_FACTOR
