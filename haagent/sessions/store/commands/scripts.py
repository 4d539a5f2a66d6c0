"""Scripts: there is no Lua here. What session and lock libraries send is known, and done natively.

A script is known by its source, without blanks, kinds of quotes and case; its answers and errors are those of the
script in Redis, down to the line of the call that failed. Any other source is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from haagent.sessions.store.calls import OUT_OF_MEMORY
from haagent.sessions.store.numbers import needed
from haagent.sessions.store.patterns import compiled
from haagent.sessions.store.replies import OK, Refused, Reply
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import COMMANDS, family

command = family("scripting", tier=1)
NOT_KNOWN = "ERR script not supported"
NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."
NO_STRING = "ERR Lua redis lib command arguments must be strings or integers"
MOST_LOADED = 1000
LONGEST = 8 * 1024  # bytes of a source, with its blanks
SLICE = 1000  # keys

Texts = list[bytes]


class Call(NamedTuple):
    """One run of a script. Lua counts from one: `KEYS[1]` is `keys[0]`."""

    client: Client
    keys: Texts
    argv: Texts
    source: str

    def redis(self, name: str, *args: bytes) -> Reply:
        entry = COMMANDS[name.encode()]
        try:
            if entry.is_denied_full and not self.client.door.has_room():
                raise Refused(OUT_OF_MEMORY)
            entry.calls += 1
            return entry.run(self.client, [name.encode(), *args])
        except Refused as refused:
            raise Refused(refused.text + self._place(name)) from refused

    def key(self, name: str = "get") -> bytes:
        return self._text(self.keys, 1, name)

    def arg(self, number: int, name: str) -> bytes:
        return self._text(self.argv, number, name)

    def _text(self, given: Texts, number: int, name: str) -> bytes:
        if len(given) < number:
            raise Refused(NO_STRING.encode() + self._place(name))
        return given[number - 1]

    def is_ours(self) -> bool:
        """Whether the value is the token that the caller has: its lock is its own."""
        return self.redis("get", self.key()) in self.argv[:1]

    def _place(self, name: str) -> bytes:
        found = re.search(rf"""call\(\s*["']{name}""", self.source, re.IGNORECASE)
        line = self.source.count("\n", 0, found.start()) + 1 if found else 1
        return b" script: %b, on @user_script:%d." % (sum_of(self.source.encode(errors="surrogateescape")), line)


Script = Callable[[Call], Reply]
KNOWN: dict[str, Script] = {}
BLANKS = re.compile(r"\s+")
LOOSE = re.compile(r"\s*([^\w\s])\s*")  # blanks around what is no word mean nothing


def normal(source: str) -> str:
    text = source.replace("'", '"').lower().replace("server.call", "redis.call")
    return LOOSE.sub(r"\1", BLANKS.sub(" ", text)).strip().rstrip(";")


def script(source: str) -> Callable[[Script], Script]:
    def enter(run: Script) -> Script:
        KNOWN[normal(source)] = run
        return run

    return enter


@script('if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end')
def compare_and_delete(call: Call) -> Reply:  # phpredis, Laravel, Redlock
    return call.redis("del", call.key("del")) if call.is_ours() else 0


@script('if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("pexpire",KEYS[1],ARGV[2]) else return 0 end')
def compare_and_extend(call: Call) -> Reply:  # Redlock
    return call.redis("pexpire", call.key(), call.arg(2, "pexpire")) if call.is_ours() else 0


@script(
    """local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then return 0 end
    redis.call('del', KEYS[1])
    return 1"""
)
def release(call: Call) -> Reply:  # Lock of redis-py
    if not call.is_ours():
        return 0
    call.redis("del", call.key())
    return 1


@script(
    """local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then return 0 end
    local expiration = redis.call('pttl', KEYS[1])
    if not expiration then expiration = 0 end
    if expiration < 0 then return 0 end
    local newttl = ARGV[2]
    if ARGV[3] == "0" then newttl = ARGV[2] + expiration end
    redis.call('pexpire', KEYS[1], newttl)
    return 1"""
)
def extend(call: Call) -> Reply:  # Lock of redis-py
    if not call.is_ours():
        return 0
    left_ms = call.redis("pttl", call.key())
    assert isinstance(left_ms, int)
    if left_ms < 0:
        return 0
    more = call.arg(2, "pexpire")
    call.redis("pexpire", call.key(), b"%d" % (needed(more) + left_ms) if call.argv[2:3] == [b"0"] else more)
    return 1


@script(
    """local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then return 0 end
    redis.call('pexpire', KEYS[1], ARGV[2])
    return 1"""
)
def reacquire(call: Call) -> Reply:  # Lock of redis-py
    if not call.is_ours():
        return 0
    call.redis("pexpire", call.key(), call.arg(2, "pexpire"))
    return 1


@script(
    """local exists = redis.call('EXISTS', KEYS[1])
    if (exists == 1) then return redis.call('INCRBY', KEYS[1], ARGV[1]) else return false end"""
)
def add_to_existing(call: Call) -> Reply:  # django-redis
    if not call.redis("exists", call.key("exists")):
        return None
    return call.redis("incrby", call.key(), call.arg(1, "incrby"))


@script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
def add(call: Call) -> Reply:  # django-redis
    return call.redis("incrby", call.key("incrby"), call.arg(1, "incrby"))


@script("return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])")
def set_if_absent(call: Call) -> Reply:  # Laravel
    if call.redis("exists", call.key("exists")):
        return None
    return call.redis("setex", call.key(), call.arg(2, "setex"), call.arg(1, "setex"))


@script(
    """local key = KEYS[1]
    local renew = tonumber(ARGV[1])
    local data = redis.call('GET', key)
    local ttl = redis.call('TTL', key)
    if ttl > 0 then redis.call('EXPIRE', key, renew) end
    return data"""
)
def get_and_renew(call: Call) -> Reply:  # Litestar
    data, left_s = call.redis("get", call.key("get")), call.redis("ttl", call.key())
    assert isinstance(left_s, int)
    if left_s > 0:
        call.redis("expire", call.key(), call.arg(1, "expire"))
    return data


@script(
    """local cursor = 0
    repeat
        local result = redis.call('SCAN', cursor, 'MATCH', ARGV[1])
        for _,key in ipairs(result[2]) do redis.call('UNLINK', key) end
        cursor = tonumber(result[1])
    until cursor == 0"""
)
def delete_matching(call: Call) -> Reply:  # Litestar
    return _deleting(call, compiled(call.arg(1, "scan")).fullmatch, call.client.db)


def _deleting(call: Call, is_matching: Callable[[bytes], object], db: int) -> Iterator[Reply]:
    door, at = call.client.door, 0
    while True:
        at, keys = door.store.scan(door.now_ms, db, at, SLICE)
        for key in filter(is_matching, keys):
            door.store.remove(door.now_ms, db, key)
        yield None
        if not at:
            return


@command("eval", -3, "noscript stale skip_monitor no_mandatory_keys movablekeys")
def eval_(client: Client, args: list[bytes]) -> Reply:
    """Run a script, if it is one of the known ones."""
    keys, argv = _given(args)
    return _run(client, _load(client, args[1]), keys, argv)


@command("evalsha", -3, "noscript stale skip_monitor no_mandatory_keys movablekeys")
def evalsha(client: Client, args: list[bytes]) -> Reply:
    """Run a script that was loaded."""
    if len(args[1]) != 40:
        raise Refused(NO_SCRIPT)
    keys, argv = _given(args)
    source = client.door.loaded.get(args[1].lower())
    if source is None:
        raise Refused(NO_SCRIPT)
    return _run(client, source, keys, argv)


def _given(args: list[bytes]) -> tuple[Texts, Texts]:
    count = needed(args[2])
    if count > len(args) - 3:
        raise Refused("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise Refused("ERR Number of keys can't be negative")
    return args[3 : 3 + count], args[3 + count :]


def _run(client: Client, source: str, keys: Texts, argv: Texts) -> Reply:
    return KNOWN[normal(source)](Call(client, keys, argv, source))


def _load(client: Client, text: bytes) -> str:
    source = text.decode(errors="surrogateescape")
    loaded = client.door.loaded
    if len(text) > LONGEST or normal(source) not in KNOWN:
        client.door.counts["unknown_scripts"] += 1
        raise Refused(NOT_KNOWN)
    if len(loaded) < MOST_LOADED:
        loaded[sum_of(text)] = source
    return source


def sum_of(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


@command("script", -2)
def script_(client: Client, args: list[bytes]) -> Reply:
    """Scripts that were loaded."""
    raise AssertionError("all there is stands below it")


@command("script|load", 3, "noscript stale")
def script_load(client: Client, args: list[bytes]) -> Reply:
    """Load a script, if it is one of the known ones."""
    _load(client, args[2])
    return sum_of(args[2])


@command("script|exists", -3, "noscript")
def script_exists(client: Client, args: list[bytes]) -> Reply:
    """Whether scripts are loaded."""
    return [int(each.lower() in client.door.loaded) for each in args[2:]]


@command("script|flush", -2, "noscript")
def script_flush(client: Client, args: list[bytes]) -> Reply:
    """Forget the scripts that were loaded."""
    if len(args) > 3 or (len(args) == 3 and args[2].upper() not in (b"SYNC", b"ASYNC")):
        raise Refused("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    client.door.loaded.clear()
    return OK
