"""Beside a real Redis: the same commands, good ones and bad ones, and the same bytes come back."""

from __future__ import annotations

import random
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from haagent.sessions.store.commands import connection  # noqa: F401 fills the table
from haagent.sessions.store.commands.server import every_command
from haagent.sessions.store.table import COMMANDS
from tests.support.door import Talk, door, read, redis_server

SERVER = shutil.which("redis-server")


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    with redis_server() as path:
        version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
        if "v=7.0." not in version:
            pytest.skip(f"the answers are those of Redis 7.0, and here is {version}")
        yield path


@pytest.fixture(scope="module")
def ours() -> Iterator[int]:
    with door() as server:
        yield server.door.port


KEYS = ["s", "n", "h", "t", "none", "k2"]
START = [
    *("SET s hello", "SET n 10", "HSET h f 1 g two", "SET t x EX 1000", "MSET o 1 p 2 q 3.5 long " + "x" * 60),
    *("HSET h2 a 1 b 2.5 c nothing", "PEXPIRE h2 500000"),
]
NUMBERS = ["0", "1", "-1", "3", "100", "-7", "9223372036854775807", "-9223372036854775808", "9223372036854775808"]
NUMBERS += ["1.5", "abc", "", " 1", "01", "+1", "1e3", "inf", "nan", "16", "4294967296"]
WORDS = ["EX", "PX", "EXAT", "PXAT", "NX", "XX", "GT", "LT", "GET", "KEEPTTL", "PERSIST", "REPLACE", "DB", "ASYNC"]
WORDS += ["MATCH", "COUNT", "TYPE", "f", "g", "a", "string", "*", "WITHVALUES", "nonsense", "ex", "nx"]

# What is not asked at random: it answers differently each time, ends the connection, or is ours (LIKE_NOBODY).
LIKE_NOBODY = {
    "readonly",  # go-redis and ioredis send it, and must not fail
    "readwrite",
    "client|setinfo",  # of a later Redis; every library sends it
    "client|no-touch",
    "object",  # the others below it
    "memory",
    "function",
    "pubsub",
    "config",
    "client",
    "script",
    "cluster",
    "command|docs",
}
APART = {
    *("quit", "hello", "client|id", "client|info", "client|list", "client|kill", "client|reply", "info", "time"),
    *("randomkey", "scan", "keys", "command", "command|info", "command|count", "command|list", "hrandfield"),
    *(
        "config|get",
        "config|set",
        "memory|usage",
        "object|encoding",
        "object|refcount",
        "subscribe",
        "psubscribe",
        "eval",
        "reset",
    ),
    *("unsubscribe", "punsubscribe", "function|flush", "config|resetstat", "script|load"),
}
NEVER_GOOD = {"exec", "discard", "evalsha"}  # alone; the stories and the scripts have them
NEVER_GOOD |= {each.name for each in every_command() if each.name.startswith("cluster|")}
NEVER_BAD = {"pubsub|numsub"}
RARE = ["AUTH default x", "CLIENT NO-EVICT on", "MOVE s 3", "SCRIPT FLUSH", "MSETNX x 1", "SETEX x 5 y"]
RARE += ["PSETEX x 5000 y", "SETBIT x 3 1"]
CLOCKS = {"ttl", "pttl", "expiretime", "pexpiretime"}
SLACK = 5000


def asked_at_random() -> list[str]:
    return [each.name for each in every_command() if each.name not in LIKE_NOBODY | APART and not each.below]


def some_arguments(rng: random.Random, name: str) -> list[str]:
    command = next(each for each in every_command() if each.name == name)
    below = name.count("|") + 1
    least, most = command.least - below, (command.most if command.most < 100 else command.least + 3) - below
    count = rng.randint(least, most) if rng.random() < 0.9 else rng.randint(0, most + 1)
    args: list[str] = []
    for at in range(count):
        is_key = command.keys[0] and at == command.keys[0] - below
        pools = [KEYS] * 6 + [NUMBERS] if is_key else [KEYS, NUMBERS, NUMBERS, WORDS, WORDS]
        args.append(rng.choice(rng.choice(pools)))
    if name == "evalsha":
        args[1:2] = ["0"]
    return [*name.split("|"), *args]


def alike(name: str, mine: bytes, theirs: bytes) -> bool:
    if mine == theirs:
        return True
    if name in CLOCKS and mine[:1] == theirs[:1] == b":":
        return abs(int(mine[1:]) - int(theirs[1:])) < SLACK and int(mine[1:]) > 0
    return False


@pytest.mark.parametrize("resp", [2, 3])
def test_each_command_with_good_and_bad_arguments(real: str, ours: int, resp: int) -> None:
    rng = random.Random(resp)
    good: set[str] = set()
    bad: set[str] = set()
    with Talk(real, resp=resp) as theirs, Talk(ours, resp=resp) as mine:
        for line in RARE:
            assert mine.ask(*line.split()) == (answer := theirs.ask(*line.split()))
            assert answer[:1] != b"-"
            good.add(
                next(each for each in asked_at_random() if f"{line.lower()} ".startswith(each.replace("|", " ") + " "))
            )
        for name in asked_at_random():
            words = name.split("|")
            row = next(each for each in every_command() if each.name == name)
            for count in (row.least - 1, row.most + 1):
                if len(words) <= count < 100:
                    args = [*words, *["x"] * (count - len(words))]
                    assert mine.ask(*args) == (answer := theirs.ask(*args)), args
                    bad.add(name)
                    assert answer[:1] == b"-"
            for _ in range(4):
                said: list[str] = []
                for line in ["RESET", f"HELLO {resp}", "FLUSHALL", *START]:
                    for talk in (theirs, mine):
                        talk.ask(*line.split())
                for _ in range(15):
                    args = some_arguments(rng, name)
                    said.append(shlex.join(args))
                    answers = mine.ask(*args), theirs.ask(*args)
                    assert alike(name, *answers), f"RESP{resp}, after {START}: {said}: {answers}"
                    (bad if answers[1][:1] == b"-" else good).add(name)
    everything = set(asked_at_random())
    assert everything - good <= NEVER_GOOD, everything - good - NEVER_GOOD
    assert everything - bad <= NEVER_BAD


STORIES = {
    "a transaction": "MULTI|SET a 1|INCR a|GET none|HSET a f 1|EXEC|GET a",
    "a poisoned transaction": "MULTI|SET a|SET a 1|EXEC|GET a|EXEC",
    "an unknown command poisons": "MULTI|NOSUCH a b|EXEC|DISCARD",
    "nested": "MULTI|MULTI|WATCH a|EXEC",
    "discarded": "MULTI|SET a 1|DISCARD|GET a|DISCARD",
    "watched and changed": "SET a 1|WATCH a|SET a 2|MULTI|PING|EXEC|MULTI|PING|EXEC",
    "watched and not changed": "SET a 1|WATCH a b|GET a|MULTI|SET a 2|EXEC",
    "watched, not there, and made": "WATCH a|SET a 1|MULTI|PING|EXEC",
    "watched and expired": "SET a 1|WATCH a|PEXPIRE a 100000|MULTI|PING|EXEC|UNWATCH",
    "watched and flushed": "SET a 1|WATCH a b|FLUSHALL|MULTI|PING|EXEC|WATCH b|FLUSHALL|MULTI|PING|EXEC",
    "watched in another database": "SELECT 3|SET a 1|WATCH a|SELECT 0|SET a 2|MULTI|PING|EXEC|SELECT 3|FLUSHALL",
    "databases": "SET a 1|SELECT 1|GET a|DBSIZE|SET a 2|MOVE a 0|MOVE a 2|SELECT 2|GET a|COPY a b DB 0|SELECT 0|GET b",
    "select": "SELECT 16|SELECT -1|SELECT x|SELECT 99999999999|SELECT 15|SELECT 0",
    "rename": "SET a 1 EX 100|RENAME a b|TTL b|RENAME none x|RENAMENX b b|SET c 1|RENAMENX b c|RENAME b b",
    "copy": "HSET a f 1|COPY a b|HGETALL b|COPY a b|COPY a b REPLACE|COPY a a|COPY none x|COPY a b DB 99|COPY a b DB",
    "types": "HSET a f 1|GET a|SET s x|HGET s f|HSET s f 1|HDEL s f|INCR a|APPEND a x|STRLEN a|GETSET a 1|GETDEL a",
    "types too": "HSET a f 1|SETRANGE a 0 x|GETRANGE a 0 1|SETNX a 1|MGET a s|SET a 1 GET|SET a 1|TYPE a|HGETALL a",
    "unknown": "NOSUCH|NOSUCH a|NOSUCH 'a b' \"c'd\"|CLIENT NOSUCH|CONFIG NOSUCH|CLIENT|CONFIG|OBJECT|SCRIPT x",
    "long unknown": f"NOSUCH {'x' * 200}|{'y' * 200} a|NOSUCH {' '.join(['abcdefghij'] * 30)}",
    "names": "CLIENT GETNAME|CLIENT SETNAME me|CLIENT GETNAME|CLIENT SETNAME 'a b'|CLIENT GETNAME|CLIENT SETNAME ''",
    "hello": "HELLO 4|HELLO x|HELLO 2 NOSUCH|HELLO 2 SETNAME|HELLO 2 SETNAME 'a b'|HELLO 2 AUTH a b",
    "password": "AUTH x|AUTH default x|AUTH nobody x|AUTH a b c",
    "ping": "PING|PING a|PING a b|ECHO a|ECHO",
    "scripts": "EVALSHA abc 0|EVALSHA abc|EVALSHA abc x|EVALSHA abc 2 a|EVALSHA abc -1|SCRIPT EXISTS abc"
    "|SCRIPT FLUSH X",
    "channels": "SUBSCRIBE a b a|UNSUBSCRIBE a|UNSUBSCRIBE|UNSUBSCRIBE|PSUBSCRIBE x*|PUNSUBSCRIBE|PUBLISH a b",
    "only channels": "SUBSCRIBE a|GET x|PING|PING x|PUBLISH a b|UNSUBSCRIBE a|GET x",
    "who hears": "PUBSUB NUMSUB a b|PUBSUB NUMPAT|PUBSUB CHANNELS|PUBSUB NUMSUB|PUBSUB CHANNELS a b",
    "reset": "SELECT 3|MULTI|RESET|GET a|SUBSCRIBE x|RESET|PING",
    "floats": "INCRBYFLOAT a 1.5|INCRBYFLOAT a -1.5|INCRBYFLOAT a 1e2|INCRBYFLOAT a 0.1|INCRBYFLOAT a 3.0e3"
    "|INCRBYFLOAT a inf|INCRBYFLOAT a 1e4000|SET a 0|INCRBYFLOAT a 1e-5|INCRBYFLOAT a -1e-5|INCRBYFLOAT a -1e-30",
    "more floats": "HINCRBYFLOAT h f 0.1|HINCRBYFLOAT h f 0.2|HINCRBYFLOAT h f nan|HSET h g x"
    "|HINCRBYFLOAT h g 1|SET a ' 1'"
    "|INCRBYFLOAT a 1|SET a '1 '|INCRBYFLOAT a 1|SET a 10000000000000000000|INCRBYFLOAT a 1",
    "scan": "SCAN x|SCAN 0 COUNT 0|SCAN 0 COUNT x|SCAN 0 MATCH|SCAN 0 X y|SCAN 0|HSCAN none 0|HSCAN none x|HSCAN none",
    "one key": "SET only 1|SCAN 0 COUNT 100|SCAN 0 COUNT 100 MATCH x*|SCAN 0 COUNT 100 TYPE hash|KEYS o*|RANDOMKEY",
    "hash": "HSET h a 1 b 2|HSCAN h 0|HSCAN h 0 MATCH a*|HSCAN h 0 COUNT 0|HRANDFIELD h 0|HRANDFIELD h 5 WITHVALUES",
    "hash too": "HSET h a|HSET h a 1 b|HMSET h a|HRANDFIELD h x|HRANDFIELD h 1 x|HRANDFIELD none|HRANDFIELD none 3",
    "flush": "FLUSHDB X|FLUSHALL ASYNC SYNC|FLUSHDB ASYNC|FUNCTION FLUSH|FUNCTION FLUSH X|FUNCTION FLUSH ASYNC",
    "settings": "CONFIG GET databases|CONFIG GET timeout|CONFIG GET save|CONFIG GET nosuch|CONFIG SET nosuch 1"
    "|CONFIG SET timeout"
    "|CONFIG SET timeout x|CONFIG SET timeout 0 timeout 0|CONFIG SET databases 4|CONFIG RESETSTAT",
    "objects": "SET i 12|SET s abc|SET l "
    + "x" * 45
    + "|HSET h a 1|OBJECT ENCODING i|OBJECT ENCODING s|OBJECT ENCODING l"
    "|OBJECT ENCODING h|OBJECT ENCODING none|OBJECT REFCOUNT s|OBJECT REFCOUNT none",
    "cluster": "CLUSTER INFO|CLUSTER NODES|SENTINEL masters",
    "a large value": f"SET a {'v' * 70_000}|GET a|STRLEN a|APPEND a x|GETRANGE a 69999 70001",
}


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("title", STORIES)
def test_stories(real: str, ours: int, title: str, resp: int) -> None:
    with Talk(real, resp=resp) as theirs, Talk(ours, resp=resp) as mine:
        for talk in (theirs, mine):
            talk.ask("FLUSHALL")
        for line in STORIES[title].split("|"):
            args = shlex.split(line)
            expected = theirs.ask(*args)
            assert mine.ask(*args) == expected, line
            for _ in args[2:] if args[0].lower() in ("subscribe",) else ():
                expected = theirs.reply()
                assert mine.reply() == expected, line


CAD = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end'
RELEASE = """
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('del', KEYS[1])
        return 1
    """
EXTEND = """
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        local expiration = redis.call('pttl', KEYS[1])
        if not expiration then
            expiration = 0
        end
        if expiration < 0 then
            return 0
        end

        local newttl = ARGV[2]
        if ARGV[3] == "0" then
            newttl = ARGV[2] + expiration
        end
        redis.call('pexpire', KEYS[1], newttl)
        return 1
    """
REACQUIRE = """
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('pexpire', KEYS[1], ARGV[2])
        return 1
    """
INCREASE = """
                    local exists = redis.call('EXISTS', KEYS[1])
                    if (exists == 1) then
                        return redis.call('INCRBY', KEYS[1], ARGV[1])
                    else return false end
                    """
ADD = "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])"
RENEW = """
        local key = KEYS[1]
        local renew = tonumber(ARGV[1])

        local data = redis.call('GET', key)
        local ttl = redis.call('TTL', key)

        if ttl > 0 then
            redis.call('EXPIRE', key, renew)
        end

        return data
        """
DELETE = """
        local cursor = 0

        repeat
            local result = redis.call('SCAN', cursor, 'MATCH', ARGV[1])
            for _,key in ipairs(result[2]) do
                redis.call('UNLINK', key)
            end
            cursor = tonumber(result[1])
        until cursor == 0
        """
SCRIPTS = {
    "compare and delete": (CAD, [["s", "no"], ["none", "x"], ["h", "x"], ["s", "hello"], ["s"]]),
    "release": (RELEASE, [["s", "no"], ["none", "x"], ["h", "x"], ["s", "hello"], ["s"]]),
    "extend": (
        EXTEND,
        [["s", "hello", "5", "0"], ["t", "x", "5000", "0"], ["t", "x", "90000", "1"], ["h", "x", "1", "1"]],
    ),
    "reacquire": (REACQUIRE, [["s", "no", "1"], ["s", "hello", "x"], ["s", "hello"], ["s", "hello", "50000"]]),
    "increase": (INCREASE, [["n", "5"], ["none", "5"], ["s", "1"], ["n", "x"], ["h", "1"]]),
    "add": (ADD, [["s", "v", "10"], ["none", "v", "10"], ["none2", "v", "0"], ["none3", "v", "x"]]),
    "renew": (RENEW, [["t", "500"], ["s", "500"], ["none", "5"], ["h", "5"]]),
    "delete": (DELETE, [["x", "s*"], ["x", "*"]]),
}


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("title", SCRIPTS)
def test_scripts(real: str, ours: int, title: str, resp: int) -> None:
    source, runs = SCRIPTS[title]
    with Talk(real, resp=resp) as theirs, Talk(ours, resp=resp) as mine:
        for line in ["FLUSHALL", "SCRIPT FLUSH", *START]:
            for talk in (theirs, mine):
                talk.ask(*line.split())
        for how in ("SCRIPT LOAD", "EVAL", "EVALSHA"):
            if how == "SCRIPT LOAD":
                lines = [["SCRIPT", "LOAD", source]]
            else:
                sent = source if how == "EVAL" else read(mine.ask("SCRIPT", "LOAD", source)).decode()  # type: ignore[attr-defined]
                lines = [[how, sent, "1", *run] for run in runs] + [[how, sent, "0"], [how, sent, "5", "a"]]
            for line in lines:
                expected = theirs.ask(*line)
                assert mine.ask(*line) == expected, line
        for key in (*KEYS, "none2"):
            for question in ("TYPE", "TTL"):
                answers = mine.ask(question, key), theirs.ask(question, key)
                assert alike(question.lower(), *answers), (question, key, answers)


def test_flags_arity_and_keys_are_those_of_redis(real: str, ours: int) -> None:
    ignored = {b"@admin", b"@dangerous", b"@connection"}
    with Talk(real) as theirs, Talk(ours) as mine:
        for name in sorted({name.decode() for name in COMMANDS} - {"readonly", "readwrite"}):
            rows = [read(talk.ask("COMMAND", "INFO", name))[0] for talk in (mine, theirs)]  # type: ignore[index]
            mine_, theirs_ = ((row[0], row[1], sorted(row[2]), row[3:6], sorted(set(row[6]) - ignored)) for row in rows)
            assert mine_ == theirs_


def test_what_clients_are_told_has_the_same_shape(real: str, ours: int) -> None:
    with Talk(real) as theirs, Talk(ours) as mine:
        hello = [re.sub(rb"id\r\n:\d+", b"id", talk.ask("HELLO", "3")) for talk in (mine, theirs)]
        known = [line for line in hello[0].split(b"\r\n") if line and not line.startswith(b"$")]
        assert known == [line for line in hello[1].split(b"\r\n") if line and not line.startswith(b"$")]
        for question in (["CLIENT", "INFO"], ["CLIENT", "LIST"], ["INFO"], ["INFO", "server", "replication"]):
            asked = [re.sub(rb"# Haagent.*?# ", b"# ", talk.ask(*question), flags=re.DOTALL) for talk in (mine, theirs)]
            assert [answer[:1] for answer in asked] == [b"=", b"="]
            fields = [set(re.findall(rb"(?:^|[ \n])([a-z_0-9-]+)[:=]", answer)) for answer in asked]
            assert fields[0] - {b"lib-name", b"lib-ver"} <= fields[1], question
        assert len(read(mine.ask("TIME"))) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("byte", [b"\n", b"\r", b"\xff", b"'", b"a"])
def test_who_does_not_speak_the_protocol_is_told_so_in_one_line(real: str, ours: int, byte: bytes) -> None:
    told = []
    for where in (real, ours):
        with Talk(where) as talk:
            talk.socket.sendall(b"*2\r\n" + byte + b"3\r\n")
            told.append(talk.rest())
    assert told[0] == told[1]
    assert told[1].count(b"\n") == 1
