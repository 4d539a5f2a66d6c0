"""Commands on values that are one string of bytes."""

from __future__ import annotations

from haagent.core.store.store import KEEP
from haagent.sessions.store import expiries
from haagent.sessions.store.calls import TOO_LARGE
from haagent.sessions.store.expiries import absolute
from haagent.sessions.store.numbers import MAX_INTEGER, MIN_INTEGER, added, long_double, needed
from haagent.sessions.store.replies import OK, Refused, Reply
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import family

command, bitmap = family("string", tier=1), family("bitmap", tier=3)
ONE = (1, 1, 1)
NO_BIT = "ERR bit is not an integer or out of range"
NO_PLACE = "ERR bit offset is not an integer or out of range"
OVERFLOW = "ERR increment or decrement would overflow"


@command("get", 2, "readonly fast", keys=ONE)
def get(client: Client, args: list[bytes]) -> Reply:
    """The value of a key."""
    return client.text(args[1])


@command("set", -3, "write denyoom", keys=ONE)
def set_(client: Client, args: list[bytes]) -> Reply:
    """Set a key: `EX`, `PX`, `EXAT`, `PXAT`, `KEEPTTL`, `NX`, `XX`, `GET`."""
    key, value, now_ms = args[1], args[2], client.door.now_ms
    if len(args) == 3:
        client.store.put(now_ms, client.db, key, value, 0)
        return OK
    if len(args) == 5 and args[3] in (b"EX", b"PX", b"ex", b"px"):  # as most sessions are written
        until = absolute(args[4], args[3].upper(), now_ms=now_ms, command="set")
        client.store.put(now_ms, client.db, key, value, until)
        return OK
    given, word, number = expiries.options(args, first=3, flags=expiries.OF_SET)
    until = absolute(number, word, now_ms=now_ms, command="set") if word else KEEP if b"KEEPTTL" in given else 0
    before = client.text(key) if b"GET" in given else None
    if given & expiries.CONDITIONS and exists(client, key) is (b"NX" in given):
        return before
    client.store.put(now_ms, client.db, key, value, until)
    return before if b"GET" in given else OK


def exists(client: Client, key: bytes) -> bool:
    return client.store.find(client.door.now_ms, client.db, key) is not None


@command("setex psetex", 4, "write denyoom", keys=ONE)
def setex(client: Client, args: list[bytes]) -> Reply:
    """Set a key that ends after so many seconds, or milliseconds."""
    name = args[0].lower()
    now_ms = client.door.now_ms
    until = absolute(args[2], b"PX" if name == b"psetex" else b"EX", now_ms=now_ms, command=name.decode())
    client.store.put(now_ms, client.db, args[1], args[3], until)
    return OK


@command("setnx", 3, "write denyoom fast", keys=ONE)
def setnx(client: Client, args: list[bytes]) -> Reply:
    """Set a key if there is none."""
    if exists(client, args[1]):
        return 0
    client.store.put(client.door.now_ms, client.db, args[1], args[2], 0)
    return 1


@command("getex", -2, "write fast", keys=ONE)
def getex(client: Client, args: list[bytes]) -> Reply:
    """The value of a key, which from now on ends then: `EX`, `PX`, `EXAT`, `PXAT`, `PERSIST`."""
    given, word, number = expiries.options(args, first=2, flags=expiries.OF_GETEX)
    value, now_ms = client.text(args[1]), client.door.now_ms
    if value is None:
        return None
    if word:
        until = absolute(number, word, now_ms=now_ms, command="getex")
        if until <= now_ms:
            client.store.remove(now_ms, client.db, args[1])
        else:
            client.store.expire(now_ms, client.db, args[1], until)
    elif given:
        client.store.expire(now_ms, client.db, args[1], 0)
    return value


@command("getdel", 2, "write fast", keys=ONE)
def getdel(client: Client, args: list[bytes]) -> Reply:
    """The value of a key, which is deleted."""
    value = client.text(args[1])
    if value is not None:
        client.store.remove(client.door.now_ms, client.db, args[1])
    return value


@command("getset", 3, "write denyoom fast", keys=ONE)
def getset(client: Client, args: list[bytes]) -> Reply:
    """The old value of a key that gets a new one."""
    value = client.text(args[1])
    client.store.put(client.door.now_ms, client.db, args[1], args[2], 0)
    return value


@command("mget", -2, "readonly fast", keys=(1, -1, 1))
def mget(client: Client, args: list[bytes]) -> Reply:
    """The values of several keys."""
    values = (client.store.find(client.door.now_ms, client.db, key) for key in args[1:])
    return [value if type(value) is bytes else None for value in values]


@command("mset", -3, "write denyoom", keys=(1, -1, 2))
def mset(client: Client, args: list[bytes]) -> Reply:
    """Set several keys."""
    _put_all(client, args, "mset")
    return OK


@command("msetnx", -3, "write denyoom", keys=(1, -1, 2), tier=3)
def msetnx(client: Client, args: list[bytes]) -> Reply:
    """Set several keys if there is none of them."""
    if len(args) % 2 and any(exists(client, key) for key in args[1::2]):
        return 0
    _put_all(client, args, "msetnx")
    return 1


def _put_all(client: Client, args: list[bytes], name: str) -> None:
    if not len(args) % 2:
        raise Refused(f"ERR wrong number of arguments for '{name}' command")
    settings = client.store.settings
    if max(map(len, args[1::2])) > settings.max_key_bytes or max(map(len, args[2::2])) > settings.max_value_bytes:
        raise Refused(TOO_LARGE)  # before any of them is set
    for key, value in zip(args[1::2], args[2::2], strict=True):
        client.store.put(client.door.now_ms, client.db, key, value, 0)


@command("incr", 2, "write denyoom fast", keys=ONE)
def incr(client: Client, args: list[bytes]) -> Reply:
    """Add one to a number."""
    return _add(client, args[1], 1)


@command("decr", 2, "write denyoom fast", keys=ONE)
def decr(client: Client, args: list[bytes]) -> Reply:
    """Take one from a number."""
    return _add(client, args[1], -1)


@command("incrby", 3, "write denyoom fast", keys=ONE)
def incrby(client: Client, args: list[bytes]) -> Reply:
    """Add to a number."""
    return _add(client, args[1], needed(args[2]))


@command("decrby", 3, "write denyoom fast", keys=ONE)
def decrby(client: Client, args: list[bytes]) -> Reply:
    """Take from a number."""
    by = needed(args[2])
    if by == MIN_INTEGER:
        raise Refused("ERR decrement would overflow")
    return _add(client, args[1], -by)


def _add(client: Client, key: bytes, by: int) -> int:
    text = client.text(key)
    number = (needed(text) if text is not None else 0) + by
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise Refused(OVERFLOW)
    client.store.put(client.door.now_ms, client.db, key, b"%d" % number, KEEP)
    return number


@command("incrbyfloat", 3, "write denyoom fast", keys=ONE, tier=3)
def incrbyfloat(client: Client, args: list[bytes]) -> Reply:
    """Add to a number with a fraction."""
    text, refusal = client.text(args[1]), "ERR value is not a valid float"
    total = added(long_double(b"0" if text is None else text, refusal), long_double(args[2], refusal))
    client.store.put(client.door.now_ms, client.db, args[1], total, KEEP)
    return total


@command("strlen", 2, "readonly fast", keys=ONE)
def strlen(client: Client, args: list[bytes]) -> Reply:
    """How long a value is."""
    return len(client.text(args[1]) or b"")


@command("append", 3, "write denyoom fast", keys=ONE, tier=2)
def append(client: Client, args: list[bytes]) -> Reply:
    """Add at the end of a value."""
    value = (client.text(args[1]) or b"") + args[2]
    client.store.put(client.door.now_ms, client.db, args[1], value, KEEP)
    return len(value)


@command("getrange substr", 4, "readonly", keys=ONE, tier=3)
def getrange(client: Client, args: list[bytes]) -> Reply:
    """A part of a value."""
    first, last = needed(args[2]), needed(args[3])
    value = client.text(args[1]) or b""
    if first < 0 and last < 0 and first > last:
        return b""
    first, last = (max(0, at + len(value) if at < 0 else at) for at in (first, last))
    return value[first : last + 1]


@command("setrange", 4, "write denyoom", keys=ONE, tier=3)
def setrange(client: Client, args: list[bytes]) -> Reply:
    """Write over a part of a value."""
    at, part = needed(args[2]), args[3]
    if at < 0:
        raise Refused("ERR offset is out of range")
    value = client.text(args[1]) or b""
    if not part:
        return len(value)
    if at + len(part) > client.store.settings.max_value_bytes:
        raise Refused(TOO_LARGE)
    value = value[:at].ljust(at, b"\0") + part + value[at + len(part) :]
    client.store.put(client.door.now_ms, client.db, args[1], value, KEEP)
    return len(value)


@bitmap("setbit", 4, "write denyoom", keys=ONE)
def setbit(client: Client, args: list[bytes]) -> Reply:
    """Set a bit of a value; the old one."""
    at, bit = _bit_place(args[2]), needed(args[3], NO_BIT)
    if bit not in (0, 1):
        raise Refused(NO_BIT)
    value = client.text(args[1]) or b""
    if at // 8 >= client.store.settings.max_value_bytes:
        raise Refused(TOO_LARGE)
    bits = bytearray(value.ljust(at // 8 + 1, b"\0"))
    mask = 0x80 >> at % 8
    before = int(bool(bits[at // 8] & mask))
    bits[at // 8] = bits[at // 8] & ~mask | (mask if bit else 0)
    client.store.put(client.door.now_ms, client.db, args[1], bytes(bits), KEEP)
    return before


@bitmap("getbit", 3, "readonly fast", keys=ONE)
def getbit(client: Client, args: list[bytes]) -> Reply:
    """A bit of a value."""
    at, value = _bit_place(args[2]), client.text(args[1]) or b""
    return int(at // 8 < len(value) and bool(value[at // 8] & 0x80 >> at % 8))


def _bit_place(text: bytes) -> int:
    at = needed(text, NO_PLACE)
    if not 0 <= at < 2**32:
        raise Refused(NO_PLACE)
    return at
