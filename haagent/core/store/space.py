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
EXPIRY_FACTOR = 0x9E3779B97F4A7C15
FIELD_FACTOR = 0xC2B2AE3D27D4EB4F
WORD = (1 << 64) - 1


class Hash(dict[bytes, Field]):
    """A hash: its fields. The first item of a field is its value."""

    __slots__ = ("bytes", "expiry_stamp", "mark")

    def __init__(self) -> None:
        super().__init__()
        self.mark = 0  # the sum of what the fields add to the digest
        self.bytes = 0
        self.expiry_stamp = 0  # of the change that has set when it expires

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


# The value; the stamp of the last change; `born`: the stamp at which the key came to be; when it expires, in
# milliseconds (0: never); the second of its bucket in the wheel (0: in none).
Entry = tuple[bytes | Hash, int, int, int, int]


class Space:
    def __init__(self, number: int) -> None:
        self.number = number
        self.shards: list[dict[bytes, Entry]] = [{} for _ in range(SHARDS)]
        self.digests = [0] * SHARDS
        self.keys = 0
        self.bytes = 0
        self.floor = 0  # what was born no later has been flushed
        self.graves: dict[bytes, int] = {}  # keys that were removed, and the stamp of that
        self.field_graves: dict[tuple[bytes, bytes], tuple[int, int]] = {}  # born and stamp
        self._wheel: dict[int, tuple[int, list[bytes]]] = {}
        self._seconds: list[int] = []  # a heap of those that have a bucket
        self._salt = number * EXPIRY_FACTOR

    def entry(self, key: bytes) -> Entry | None:
        return self.shards[crc32(key) & MASK].get(key)

    def mark(self, key: bytes, entry: Entry) -> int:
        """What the key adds to the digest of its shard, and what tells two versions of it apart."""
        value, stamp, _, expires_ms, _ = entry
        if isinstance(value, Hash):
            stamp = value.mark + value.expiry_stamp
        return (stamp + expires_ms * EXPIRY_FACTOR) * (crc32(key) * 2 + 1 + self._salt) & WORD

    def take(self, key: bytes) -> Entry | None:
        """Take it out, to change it and put it back, or not. It stays in the wheel."""
        code = crc32(key)
        entry = self.shards[code & MASK].pop(key, None)
        if entry is not None:
            self.digests[code & MASK] -= self.mark(key, entry)
            self.bytes -= size(key, entry[0])
            self.keys -= 1
        return entry

    def put(self, key: bytes, value: bytes | Hash, stamp: int, born: int, expires_ms: int, slot: int = 0) -> None:
        """Put it where nothing is. `slot` is that of what was taken from there, if anything was."""
        if expires_ms:
            second = -(-expires_ms // 1000)
            if not slot or second < slot:
                slot = self._plan(key, second)
        entry = (value, stamp, born, expires_ms, slot)
        code = crc32(key)
        self.shards[code & MASK][key] = entry
        self.digests[code & MASK] += self.mark(key, entry)
        self.bytes += size(key, value)
        self.keys += 1

    def bury(self, key: bytes, stamp: int) -> None:
        self.graves.pop(key, None)  # to the end: they lie in order of their age
        self.graves[key] = stamp

    def bury_field(self, key: bytes, name: bytes, born: int, stamp: int) -> None:
        self.field_graves.pop((key, name), None)
        self.field_graves[key, name] = (born, stamp)

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
                self.take(key)
                value, stamp, born, expires_ms, _ = entry
                if 0 < expires_ms <= now_ms:
                    freed += 1
                else:
                    self.put(key, value, stamp, born, expires_ms)
            if not bucket:
                del self._wheel[second]
                heapq.heappop(self._seconds)
        return looked, freed

    def _plan(self, key: bytes, second: int) -> int:
        bucket = self._wheel.get(second)
        if bucket is None:
            bucket = self._wheel[second] = (second, [])
            heapq.heappush(self._seconds, second)
        bucket[1].append(key)
        return bucket[0]  # the same integer for all keys of the bucket: it takes no memory of theirs


def size(key: bytes, value: bytes | Hash) -> int:
    return len(key) + ENTRY_BYTES + (value.bytes if isinstance(value, Hash) else len(value))
