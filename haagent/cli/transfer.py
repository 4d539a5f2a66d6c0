"""Sessions out of a store and into one, some at a time, so that millions of them take no more memory than some."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from haagent.cli.door import Refusal, StoreClient, Word
from haagent.cli.outcome import Failure
from haagent.cli.session_file import Entry

READS = {b"string": "GET", b"hash": "HGETALL"}  # no other kind is in a store
READ_BYTES = 64 << 10  # of values at once: what the kernel keeps while both sides write
WRITE_BYTES, WRITE_KEYS = 1 << 20, 500
MOST_BYTES = "haagent-max-value"  # the setting; a Redis has none


class Known(NamedTuple):
    """All of a key but its value."""

    key: bytes
    kind: bytes
    expires_ms: int  # of the Unix clock; 0: never
    size: int  # bytes, with what the store needs for it


def known(client: StoreClient, keys: list[bytes]) -> list[Known]:
    """Without those that have gone meanwhile."""
    questions = [words for key in keys for words in (("TYPE", key), ("PEXPIRETIME", key), ("MEMORY", "USAGE", key))]
    replies = client.ask_all(list(questions))
    return [
        Known(key, kind, max(0, expires_ms), size)
        for key, kind, expires_ms, size in zip(keys, *(replies[at::3] for at in range(3)), strict=True)
        if kind in READS and expires_ms != -2 and size is not None
    ]


def read(client: StoreClient, db: int, keys: list[bytes]) -> Iterator[Entry]:
    """Those of them that are there, with their values."""
    portion: list[Known] = []
    for one in known(client, keys):
        if portion and sum(each.size for each in portion) + one.size > READ_BYTES:
            yield from _values(client, db, portion)
            portion = []
        portion.append(one)
    yield from _values(client, db, portion)


def _values(client: StoreClient, db: int, portion: list[Known]) -> Iterator[Entry]:
    for one, reply in zip(portion, client.ask_all([(READS[one.kind], one.key) for one in portion]), strict=True):
        value = dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else reply
        if isinstance(reply, bytes) or (isinstance(reply, list) and reply):  # else it has gone, or is of another kind
            yield Entry(db, one.key, one.expires_ms, value)


def write(
    client: StoreClient, entries: Iterable[Entry], *, replaces: bool, tell: Callable[[int], None]
) -> dict[str, int]:
    """How many were `imported`, `kept` as they were, `expired` and `refused`. `tell`: how many are done with."""
    counts = Counter(imported=0, kept=0, expired=0, refused=0)
    told = client.ask("CONFIG", "GET", MOST_BYTES)
    most = int(told[1]) if told else None
    try:
        for db, batch in _batches(entries, counts, most):
            _put(client, db, batch, counts, replaces=replaces)
            tell(counts.total())
    except Failure as error:
        done = f"Before that, {counts['imported']} sessions were imported; a second run goes on."
        raise Failure(f"{error.message} {done}", status=error.status, details=dict(counts)) from error
    return dict(counts)


def _batches(entries: Iterable[Entry], counts: Counter[str], most: int | None) -> Iterator[tuple[int, list[Entry]]]:
    """Without those that are refused in any case: a hash is made anew, and what it replaces would be gone by then."""
    batch, size = list[Entry](), 0
    for entry in entries:
        if entry.expires_ms and entry.expires_ms <= time.time() * 1000:
            counts["expired"] += 1
            continue
        if most is not None and _size(entry.value) > most:
            counts["refused"] += 1
            continue
        if batch and (entry.db != batch[0].db or size > WRITE_BYTES or len(batch) == WRITE_KEYS):
            yield batch[0].db, batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.key) + _size(entry.value)
    if batch:
        yield batch[0].db, batch


def _size(value: bytes | dict[bytes, bytes]) -> int:
    return len(value) if isinstance(value, bytes) else sum(len(name) + len(text) for name, text in value.items())


def _put(client: StoreClient, db: int, batch: list[Entry], counts: Counter[str], *, replaces: bool) -> None:
    """In one transaction. It is tried again when an application has changed one of its keys between look and change."""
    client.ask("SELECT", db)
    while batch:
        if not replaces:
            client.ask("WATCH", *(entry.key for entry in batch))
            there = client.ask_all([("EXISTS", entry.key) for entry in batch])
            counts["kept"] += sum(there)
            batch = [entry for entry, is_there in zip(batch, there, strict=True) if not is_there]
        commands = [list(_commands(entry)) for entry in batch]
        *queued, done = client.ask_all([("MULTI",), *(words for each in commands for words in each), ("EXEC",)])
        if done is None:
            continue
        aborted = isinstance(done, Refusal)
        replies = iter(queued[1:] if aborted else done)
        well: list[Entry] = []
        for entry, each in zip(batch, commands, strict=True):
            failed = sum(isinstance(next(replies), Refusal) for _ in each) > 0
            counts["refused"] += failed
            well += [] if failed else [entry]
        if aborted and len(well) == len(batch):
            raise Failure(f"The session store refuses `EXEC`: {done.text.rstrip('.')}.")
        if not aborted:
            counts["imported"] += len(well)
            break
        batch = well


def _commands(entry: Entry) -> Iterator[tuple[Word, ...]]:
    """One, or several that make a hash; each is part of a transaction."""
    if isinstance(entry.value, bytes):
        yield ("SET", entry.key, entry.value, *(("PXAT", entry.expires_ms) if entry.expires_ms else ()))
        return
    yield ("DEL", entry.key)
    yield ("HSET", entry.key, *(word for pair in entry.value.items() for word in pair))
    if entry.expires_ms:
        yield ("PEXPIREAT", entry.key, entry.expires_ms)
