"""Commands on keys, whatever their values are."""

from __future__ import annotations

import random
from collections.abc import Iterator

from haagent.core.store.space import ENTRY_BYTES, size
from haagent.sessions.store.commands.scanning import cursor_of, scan_options
from haagent.sessions.store.numbers import MAX_INTEGER, MIN_INTEGER, needed
from haagent.sessions.store.patterns import compiled
from haagent.sessions.store.replies import OK, SYNTAX, Refused, Reply, status
from haagent.sessions.store.state import DATABASES, Client
from haagent.sessions.store.table import family

command = family("generic", tier=1)
ONE, ALL, TWO = (1, 1, 1), (1, -1, 1), (1, 2, 1)
NO_KEY = "ERR no such key"
SAME = "ERR source and destination objects are the same"
LISTPACK = ((b"hash-max-listpack-entries", b"512"), (b"hash-max-listpack-value", b"64"))
SLICE = 2000  # keys that are looked at before others have their turn


@command("del", -2, "write", keys=ALL)
def del_(client: Client, args: list[bytes]) -> Reply:
    """Delete keys."""
    return sum(client.store.remove(client.door.now_ms, client.db, key) for key in args[1:])


@command("unlink", -2, "write fast", keys=ALL)
def unlink(client: Client, args: list[bytes]) -> Reply:
    """Delete keys; here the same as `DEL`."""
    return del_(client, args)


@command("exists touch", -2, "readonly fast", keys=ALL)
def exists(client: Client, args: list[bytes]) -> Reply:
    """How many of these keys there are."""
    return sum(client.store.find(client.door.now_ms, client.db, key) is not None for key in args[1:])


@command("expire", -3, "write fast", keys=ONE)
def expire(client: Client, args: list[bytes]) -> Reply:
    """A key ends after so many seconds: `NX`, `XX`, `GT`, `LT`."""
    return _expire(client, args, unit=1000, base_ms=client.door.now_ms)


@command("pexpire", -3, "write fast", keys=ONE)
def pexpire(client: Client, args: list[bytes]) -> Reply:
    """A key ends after so many milliseconds: `NX`, `XX`, `GT`, `LT`."""
    return _expire(client, args, unit=1, base_ms=client.door.now_ms)


@command("expireat", -3, "write fast", keys=ONE)
def expireat(client: Client, args: list[bytes]) -> Reply:
    """A key ends at a second of the Unix clock: `NX`, `XX`, `GT`, `LT`."""
    return _expire(client, args, unit=1000, base_ms=0)


@command("pexpireat", -3, "write fast", keys=ONE)
def pexpireat(client: Client, args: list[bytes]) -> Reply:
    """A key ends at a millisecond of the Unix clock: `NX`, `XX`, `GT`, `LT`."""
    return _expire(client, args, unit=1, base_ms=0)


def _expire(client: Client, args: list[bytes], *, unit: int, base_ms: int) -> int:
    conditions = {option.upper() for option in args[3:]}
    for option in args[3:]:
        if option.upper() not in (b"NX", b"XX", b"GT", b"LT"):
            raise Refused(b"ERR Unsupported option " + option)
    if b"NX" in conditions and len(conditions) > 1:
        raise Refused("ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= conditions:
        raise Refused("ERR GT and LT options at the same time are not compatible")
    key, until = args[1], needed(args[2]) * unit
    if until < MIN_INTEGER or until > MAX_INTEGER - base_ms:
        raise Refused(f"ERR invalid expire time in '{args[0].decode().lower()}' command")
    until += base_ms
    now_ms, before = client.door.now_ms, client.store.expires_ms(client.door.now_ms, client.db, key)
    if before is None or not _is_met(conditions, before, until):
        return 0
    if until <= now_ms:
        return int(client.store.remove(now_ms, client.db, key))
    client.store.expire(now_ms, client.db, key, until)
    return 1


def _is_met(conditions: set[bytes], before: int, until: int) -> bool:
    return not (
        (b"NX" in conditions and before)
        or (b"XX" in conditions and not before)
        or (b"GT" in conditions and (not before or until <= before))
        or (b"LT" in conditions and before and until >= before)
    )


@command("persist", 2, "write fast", keys=ONE)
def persist(client: Client, args: list[bytes]) -> Reply:
    """A key does not end by itself any more."""
    now_ms = client.door.now_ms
    if not client.store.expires_ms(now_ms, client.db, args[1]):
        return 0
    return int(client.store.expire(now_ms, client.db, args[1], 0))


@command("ttl", 2, "readonly fast", keys=ONE)
def ttl(client: Client, args: list[bytes]) -> Reply:
    """Seconds until a key ends; -1: never, -2: there is none."""
    return _until(client, args[1], unit=1000, base_ms=client.door.now_ms)


@command("pttl", 2, "readonly fast", keys=ONE)
def pttl(client: Client, args: list[bytes]) -> Reply:
    """Milliseconds until a key ends; -1: never, -2: there is none."""
    return _until(client, args[1], unit=1, base_ms=client.door.now_ms)


@command("expiretime", 2, "readonly fast", keys=ONE, tier=3)
def expiretime(client: Client, args: list[bytes]) -> Reply:
    """The second of the Unix clock at which a key ends."""
    return _until(client, args[1], unit=1000, base_ms=0)


@command("pexpiretime", 2, "readonly fast", keys=ONE, tier=3)
def pexpiretime(client: Client, args: list[bytes]) -> Reply:
    """The millisecond of the Unix clock at which a key ends."""
    return _until(client, args[1], unit=1, base_ms=0)


def _until(client: Client, key: bytes, *, unit: int, base_ms: int) -> int:
    expires_ms = client.store.expires_ms(client.door.now_ms, client.db, key)
    if not expires_ms:
        return -2 if expires_ms is None else -1
    return (max(0, expires_ms - base_ms) + unit // 2) // unit


@command("type", 2, "readonly fast", keys=ONE)
def type_(client: Client, args: list[bytes]) -> Reply:
    """What kind of value a key has: `string`, `hash`, `none`."""
    return status(kind_of(client, args[1]))


def kind_of(client: Client, key: bytes) -> bytes:
    value = client.store.find(client.door.now_ms, client.db, key)
    return b"none" if value is None else b"string" if type(value) is bytes else b"hash"


@command("scan", -2, "readonly")
def scan(client: Client, args: list[bytes]) -> Reply:
    """Keys, some at a time: `MATCH`, `COUNT`, `TYPE`."""
    at = cursor_of(args[1])
    wanted = scan_options(args, first=2, with_type=True)
    return _scan(client, at, wanted.most, wanted.pattern, wanted.kind)


def _scan(client: Client, at: int, count: int, pattern: bytes, kind: bytes) -> Iterator[Reply]:
    """In slices: a count can be as large as the whole."""
    expression = None if pattern in (b"", b"*") else compiled(pattern)
    found: list[bytes] = []
    while True:
        at, keys = client.store.scan(client.door.now_ms, client.db, at, min(count, SLICE))
        for key in keys:
            if expression is not None and not expression.fullmatch(key):
                continue
            is_kind = kind_of(client, key)
            if is_kind != b"none" and kind in (b"", is_kind):
                found.append(key)
        count -= SLICE
        if not at or count <= 0:
            yield [b"%d" % at, found]
            return
        yield None


@command("keys", 2, "readonly dangerous")
def keys(client: Client, args: list[bytes]) -> Reply:
    """All keys that match a pattern."""
    return _keys(client, client.db, args[1])


def _keys(client: Client, db: int, pattern: bytes) -> Iterator[Reply]:
    """In slices; a key that is there all the time is among them once."""
    expression, at = compiled(pattern), 0
    found: list[Reply] = []
    while True:
        at, some = client.store.scan(client.door.now_ms, db, at, SLICE)
        found += [key for key in some if expression.fullmatch(key)]
        yield found
        if not at:
            return


@command("randomkey", 1, "readonly", tier=3)
def randomkey(client: Client, args: list[bytes]) -> Reply:
    """Any key."""
    for start in (random.randrange(1024), 0):  # noqa: S311 no secret
        _, keys = client.store.scan(client.door.now_ms, client.db, start, 1)
        if keys:
            return random.choice(keys)  # noqa: S311
    return None


@command("dbsize", 1, "readonly fast")
def dbsize(client: Client, args: list[bytes]) -> Reply:
    """How many keys there are."""
    return client.store.size(client.door.now_ms, client.db)


@command("flushdb", -1, "write dangerous")
def flushdb(client: Client, args: list[bytes]) -> Reply:
    """Delete all keys of this database."""
    return _flush(client, args, client.db)


@command("flushall", -1, "write dangerous")
def flushall(client: Client, args: list[bytes]) -> Reply:
    """Delete all keys."""
    return _flush(client, args, None)


def _flush(client: Client, args: list[bytes], db: int | None) -> Reply:
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in (b"SYNC", b"ASYNC")):
        raise Refused(SYNTAX)
    client.store.flush(client.door.now_ms, db)
    return OK


@command("rename", 3, "write", keys=TWO, tier=2)
def rename(client: Client, args: list[bytes]) -> Reply:
    """Give a value another key."""
    _rename(client, args[1], args[2])
    return OK


@command("renamenx", 3, "write fast", keys=TWO, tier=2)
def renamenx(client: Client, args: list[bytes]) -> Reply:
    """Give a value another key if there is none of that name."""
    if client.store.find(client.door.now_ms, client.db, args[1]) is None:
        raise Refused(NO_KEY)
    if client.store.find(client.door.now_ms, client.db, args[2]) is not None:
        return 0
    _rename(client, args[1], args[2])
    return 1


def _rename(client: Client, old: bytes, new: bytes) -> None:
    if client.store.find(client.door.now_ms, client.db, old) is None:
        raise Refused(NO_KEY)
    if old != new:
        _copy(client, old, new, client.db)
        client.store.remove(client.door.now_ms, client.db, old)


def _copy(client: Client, old: bytes, new: bytes, db: int) -> None:
    store, now_ms = client.store, client.door.now_ms
    value, expires_ms = store.find(now_ms, client.db, old), store.expires_ms(now_ms, client.db, old)
    assert value is not None
    assert expires_ms is not None
    if type(value) is bytes:
        store.put(now_ms, db, new, value, expires_ms)
    else:
        fields = {field: text for field, (text, *_) in value.items()}  # type: ignore[union-attr]
        store.put_hash(now_ms, db, new, fields, expires_ms)


@command("copy", -3, "write denyoom", keys=TWO, tier=2)
def copy(client: Client, args: list[bytes]) -> Reply:
    """Copy a value to another key: `DB`, `REPLACE`."""
    db, replace, at = client.db, False, 3
    while at < len(args):
        option = args[at].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and at + 1 < len(args):
            at += 1
            db = database(args[at])
        else:
            raise Refused(SYNTAX)
        at += 1
    if db == client.db and args[1] == args[2]:
        raise Refused(SAME)
    now_ms = client.door.now_ms
    if client.store.find(now_ms, client.db, args[1]) is None:
        return 0
    if client.store.find(now_ms, db, args[2]) is not None and not replace:
        return 0
    _copy(client, args[1], args[2], db)
    return 1


def database(text: bytes) -> int:
    number = needed(text)
    if not -(2**31) <= number < 2**31:
        raise Refused("ERR value is out of range, value must between -2147483648 and 2147483647")
    if not 0 <= number < DATABASES:
        raise Refused("ERR DB index is out of range")
    return number


@command("move", 3, "write fast", keys=ONE, tier=3)
def move(client: Client, args: list[bytes]) -> Reply:
    """Move a key to another database."""
    db, now_ms = database(args[2]), client.door.now_ms
    if db == client.db:
        raise Refused(SAME)
    if client.store.find(now_ms, client.db, args[1]) is None or client.store.find(now_ms, db, args[1]) is not None:
        return 0
    _copy(client, args[1], args[1], db)
    client.store.remove(now_ms, client.db, args[1])
    return 1


@command("object", -2, tier=3)
def object_(client: Client, args: list[bytes]) -> Reply:
    """What a value looks like inside; told as Redis would."""
    raise AssertionError("all there is stands below it")


@command("object|encoding", 3, "readonly", keys=(2, 2, 1), tier=3)
def encoding(client: Client, args: list[bytes]) -> Reply:
    """How Redis would hold the value."""
    value = client.store.find(client.door.now_ms, client.db, args[2])
    if value is None:
        return None
    if type(value) is bytes:
        try:
            needed(value)
        except Refused:
            return b"embstr" if len(value) <= 44 else b"raw"
        return b"int"
    few, short = (int(client.door.config.get(*pair)) for pair in LISTPACK)
    is_small = len(value) <= few and all(
        len(field) <= short and len(text) <= short
        for field, (text, *_) in value.items()  # type: ignore[union-attr]
    )
    return b"listpack" if is_small else b"hashtable"


@command("object|refcount", 3, "readonly", keys=(2, 2, 1), tier=3)
def refcount(client: Client, args: list[bytes]) -> Reply:
    """Always 1."""
    return None if client.store.find(client.door.now_ms, client.db, args[2]) is None else 1


@command("memory", -2, tier=3)
def memory(client: Client, args: list[bytes]) -> Reply:
    """What values take."""
    raise AssertionError("all there is stands below it")


@command("memory|usage", -3, "readonly", keys=(2, 2, 1), tier=3)
def memory_usage(client: Client, args: list[bytes]) -> Reply:
    """About how many bytes a key takes, with its value."""
    if len(args) > 3 and (len(args) != 5 or args[3].upper() != b"SAMPLES"):
        raise Refused(SYNTAX)
    value = client.store.find(client.door.now_ms, client.db, args[2])
    return None if value is None else len(args[2]) + ENTRY_BYTES + size(value)
