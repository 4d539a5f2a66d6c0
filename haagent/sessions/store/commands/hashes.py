"""Commands on values that are a hash: fields with a value each."""

from __future__ import annotations

import itertools
import random

from haagent.sessions.store.commands.scanning import cursor_of, scan_options
from haagent.sessions.store.numbers import MAX_INTEGER, MIN_INTEGER, added, integer, long_double, needed
from haagent.sessions.store.patterns import compiled
from haagent.sessions.store.replies import OK, SYNTAX, Refused, Reply
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import family

command = family("hash", tier=2)
ONE = (1, 1, 1)
MOST_AT_ONCE = 100_000  # random fields with repetitions that one reply has


@command("hset", -4, "write denyoom fast", keys=ONE)
def hset(client: Client, args: list[bytes]) -> Reply:
    """Set fields; how many of them are new."""
    return _put(client, args, "hset")


@command("hmset", -4, "write denyoom fast", keys=ONE)
def hmset(client: Client, args: list[bytes]) -> Reply:
    """Set fields."""
    _put(client, args, "hmset")
    return OK


def _put(client: Client, args: list[bytes], name: str) -> int:
    if len(args) % 2:
        raise Refused(f"ERR wrong number of arguments for '{name}' command")
    client.hash(args[1])
    fields = dict(zip(args[2::2], args[3::2], strict=True))
    return client.store.put_fields(client.door.now_ms, client.db, args[1], fields)


@command("hsetnx", 4, "write denyoom fast", keys=ONE, tier=3)
def hsetnx(client: Client, args: list[bytes]) -> Reply:
    """Set a field if there is none."""
    if args[2] in client.hash(args[1]):
        return 0
    return client.store.put_fields(client.door.now_ms, client.db, args[1], {args[2]: args[3]})


@command("hget", 3, "readonly fast", keys=ONE)
def hget(client: Client, args: list[bytes]) -> Reply:
    """The value of a field."""
    return _value(client, args[1], args[2])


def _value(client: Client, key: bytes, field: bytes) -> bytes | None:
    found = client.hash(key).get(field)
    return found[0] if found else None


@command("hmget", -3, "readonly fast", keys=ONE)
def hmget(client: Client, args: list[bytes]) -> Reply:
    """The values of several fields."""
    fields = client.hash(args[1])
    return [fields[field][0] if field in fields else None for field in args[2:]]


@command("hgetall", 2, "readonly", keys=ONE)
def hgetall(client: Client, args: list[bytes]) -> Reply:
    """All fields with their values."""
    return {field: value for field, (value, *_) in client.hash(args[1]).items()}


@command("hkeys", 2, "readonly", keys=ONE, tier=3)
def hkeys(client: Client, args: list[bytes]) -> Reply:
    """All fields."""
    return list(client.hash(args[1]))


@command("hvals", 2, "readonly", keys=ONE, tier=3)
def hvals(client: Client, args: list[bytes]) -> Reply:
    """The values of all fields."""
    return [value for value, *_ in client.hash(args[1]).values()]


@command("hdel", -3, "write fast", keys=ONE)
def hdel(client: Client, args: list[bytes]) -> Reply:
    """Delete fields."""
    client.hash(args[1])
    return client.store.remove_fields(client.door.now_ms, client.db, args[1], args[2:])


@command("hexists", 3, "readonly fast", keys=ONE)
def hexists(client: Client, args: list[bytes]) -> Reply:
    """Whether there is such a field."""
    return int(args[2] in client.hash(args[1]))


@command("hlen", 2, "readonly fast", keys=ONE)
def hlen(client: Client, args: list[bytes]) -> Reply:
    """How many fields there are."""
    return len(client.hash(args[1]))


@command("hstrlen", 3, "readonly fast", keys=ONE, tier=3)
def hstrlen(client: Client, args: list[bytes]) -> Reply:
    """How long the value of a field is."""
    return len(_value(client, args[1], args[2]) or b"")


@command("hincrby", 4, "write denyoom fast", keys=ONE)
def hincrby(client: Client, args: list[bytes]) -> Reply:
    """Add to a field that is a number."""
    by, text = needed(args[3]), _value(client, args[1], args[2])
    number = integer(text) if text is not None else 0
    if number is None:
        raise Refused("ERR hash value is not an integer")
    number += by
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise Refused("ERR increment or decrement would overflow")
    client.store.put_fields(client.door.now_ms, client.db, args[1], {args[2]: b"%d" % number})
    return number


@command("hincrbyfloat", 4, "write denyoom fast", keys=ONE, tier=3)
def hincrbyfloat(client: Client, args: list[bytes]) -> Reply:
    """Add to a field that is a number with a fraction."""
    by = long_double(args[3], "ERR value is not a valid float")
    if by is None:
        raise Refused("ERR value is NaN or Infinity")
    text = _value(client, args[1], args[2])
    total = added(long_double(b"0" if text is None else text, "ERR hash value is not a float"), by)
    client.store.put_fields(client.door.now_ms, client.db, args[1], {args[2]: total})
    return total


@command("hscan", -3, "readonly", keys=ONE, tier=3)
def hscan(client: Client, args: list[bytes]) -> Reply:
    """Fields with their values; all of them at once."""
    cursor_of(args[2])
    fields = client.hash(args[1])
    if not fields:
        return [b"0", []]
    wanted = scan_options(args, first=3, with_type=False)
    found = ((field, value) for field, (value, *_) in fields.items())
    if wanted.pattern:
        expression = compiled(wanted.pattern)
        found = ((field, value) for field, value in found if expression.fullmatch(field))
    return [b"0", list(itertools.chain.from_iterable(found))]


@command("hrandfield", -2, "readonly", keys=ONE, tier=3)
def hrandfield(client: Client, args: list[bytes]) -> Reply:
    """Any field; or so many of them, `WITHVALUES`."""
    fields = client.hash(args[1])
    if len(args) == 2:
        return random.choice(list(fields)) if fields else None  # noqa: S311 no secret
    count = needed(args[2])
    if count == MIN_INTEGER:
        raise Refused("ERR value is out of range")
    if len(args) > 4 or (len(args) == 4 and args[3].upper() != b"WITHVALUES"):
        raise Refused(SYNTAX)
    if len(args) == 4 and not -(2**62) <= count < 2**62:
        raise Refused("ERR value is out of range")
    names = list(fields)
    if not names:
        return []
    if count < -MOST_AT_ONCE:
        raise Refused("ERR value is out of range")
    chosen = _chosen(names, count)
    if len(args) == 3:
        return chosen
    pairs: list[Reply] = [[field, fields[field][0]] for field in chosen]
    return pairs if client.resp == 3 else list(itertools.chain.from_iterable(pairs))  # type: ignore[arg-type]


def _chosen(names: list[bytes], count: int) -> list[bytes]:
    """Less than nothing: so many, and the same may come again."""
    if count < 0:
        return random.choices(names, k=-count)  # noqa: S311
    return names if count >= len(names) else random.sample(names, count)
