"""What a client may send, and what no client should: commands of the store's own table, whole or damaged."""

from __future__ import annotations

import random
from collections.abc import Callable

from haagent.sessions.store import commands as _commands  # noqa: F401 fills the table
from haagent.sessions.store.commands.scripts import KNOWN
from haagent.sessions.store.table import COMMANDS, Command

Words = list[bytes]

KEYS = [b"k%d" % number for number in range(40)] + [b"session:%d" % number for number in range(40)]
ODD_KEYS = [b"", b"\r\n", b"\x00\xff", b"a" * 20_000, b"*", b"k{1}", b"session:", b"x_LOCK", b"0"]
NUMBERS = [b"0", b"1", b"-1", b"10", b"100", b"4096", b"3.5", b"-0", b"007", b"+1", b"1e3", b"0x10", b" 1", b"", b"nan"]
NUMBERS += [b"inf", b"-inf", b"2147483647", b"2147483648", b"4294967296", b"9223372036854775807"]
NUMBERS += [b"9" * 20, b"-9223372036854775808", b"9223372036854775808", b"1" * 400]
NUMBERS += [b"1.7976931348623157e308", b"5e-324", b"1_0"]
OPTIONS = b"EX PX EXAT PXAT NX XX GT LT GET KEEPTTL PERSIST COUNT MATCH TYPE WITHVALUES NOVALUES ASYNC SYNC DB REPLACE"
OPTIONS += b" SETNAME AUTH LIMIT ID ADDR LADDR USER SKIPME YES NO ON OFF SKIP string hash list none BIT BYTE all"
PATTERNS = [b"*", b"k*", b"session:?", b"[a-z]*", b"[^a]*", b"[", b"\\", b"k[0-9", b"*" * 200 + b"x", b"?" * 500]
VALUES = [b"", b"v", b"12", b"x" * 100, b"\r\n+OK\r\n", b"\xff\xfe\x00", b"$5\r\nhello\r\n", b"y" * 5_000]
LARGE = [b"z" * size for size in (70_000, 300_000, 1_048_576, 1_048_577)]
CHANNELS = [b"c%d" % number for number in range(6)]
LENGTHS = [b"-1", b"-2", b"0", b"1", b"+5", b"05", b"5 ", b" 5", b"", b"x", b"1e1", b"16777216", b"16777217"]
LENGTHS += [
    b"2147483647",
    b"2147483648",
    b"4294967297",
    b"9223372036854775807",
    b"18446744073709551616",
    b"9" * 30,
    b"9" * 70_000,
]
RUBBISH = [b"\r\n", b"\n", b"\r", b"\0", b"*", b"$", b"*1\r\n*1\r\n", b"$5\r\nhello\r\n", b":1\r\n", b"*-1\r\n"]
RUBBISH += [b"*0\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
RUBBISH += [
    b'SET "a b',
    b"SET 'a\\'",
    b'"\\xzz"\r\n',
    b"_\r\n",
    b"%1\r\n",
    b"~1\r\n",
    b">1\r\n",
    b"#t\r\n",
    b",1.5\r\n",
]
RUBBISH += [b"*1\r\n" * 3_000, b"*2147483647\r\n", b"*1000000\r\n$1\r\na\r\n", b"*1\r\n$16777216\r\n", b"a" * 70_000]
NAMES = [name for name in COMMANDS if name not in (b"quit", b"reset")]
UNKNOWN = [b"LPUSH", b"ZADD", b"SHUTDOWN", b"DEBUG", b"MONITOR", b"SYNC", b"PSYNC", b"", b"\r\n", b"\xff" * 300]
ODD_WITHIN = [b"MULTI", b"WATCH", b"UNWATCH", b"NOSUCH", b"GET", b"QUIT", b"RESET"]  # a transaction
WRITES = [name for name, command in COMMANDS.items() if "write" in command.flags]
SOURCES = [script.encode() for script in KNOWN]


def payload(chance: random.Random) -> tuple[bytes, bool]:
    """And whether every command of it is whole, so that each one behind it is heard."""
    shape = chance.choice(SHAPES)
    requests = shape(chance)
    if chance.random() < 0.45:
        return b"".join(_array(words) if chance.random() < 0.85 else _inline(words) for words in requests), True
    wire = b"".join(_damaged(chance, words) for words in requests)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 8))):
        wire = _bent(chance, wire)
    return wire, False


# Shapes: what belongs together


def _some(chance: random.Random) -> list[Words]:
    return [_words(chance) for _ in range(chance.choice((1, 1, 2, 3, 8)))]


def _transaction(chance: random.Random) -> list[Words]:
    begin = [[b"WATCH", *_keys(chance)]] if chance.random() < 0.4 else []
    odd = [[chance.choice(ODD_WITHIN)]] if chance.random() < 0.7 else []
    return [*begin, [b"MULTI"], *_some(chance), *odd, [chance.choice((b"EXEC", b"EXEC", b"EXEC", b"DISCARD"))]]


def _pubsub(chance: random.Random) -> list[Words]:
    names = (b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE")
    said = [[chance.choice(names), *chance.sample(CHANNELS, chance.randint(0, 4))] for _ in range(chance.randint(1, 5))]
    said.insert(chance.randrange(len(said) + 1), [b"PUBLISH", chance.choice(CHANNELS), chance.choice(VALUES)])
    return [*said, *_some(chance)]


def _greeting(chance: random.Random) -> list[Words]:
    version = chance.choice((b"2", b"3", b"3", b"3", b"4", b"1", b"x", b"-3"))
    more = chance.choice(([], [], [b"AUTH", b"default", b"x"], [b"SETNAME", b"a"], [b"SETNAME"], [b"AUTH"]))
    return [[b"HELLO", version, *more], *_some(chance)]


def _silence(chance: random.Random) -> list[Words]:
    manner = chance.choice((b"SKIP", b"OFF", b"ON"))
    return [[b"CLIENT", b"REPLY", manner], *_some(chance), [b"CLIENT", b"REPLY", b"ON"]]


def _script(chance: random.Random) -> list[Words]:
    source = chance.choice(SOURCES) if chance.random() < 0.8 else chance.choice((b"return 1", b"", b"\0" * 9_000))
    count = b"%d" % chance.randint(0, 3) if chance.random() < 0.7 else chance.choice(NUMBERS)
    arguments = [_argument(chance) for _ in range(chance.randint(0, 5))]
    return [chance.choice(([b"EVAL", source, count, *arguments], [b"SCRIPT", b"LOAD", source]))]


def _pipeline(chance: random.Random) -> list[Words]:
    words = _words(chance)
    return [words] * chance.choice((30, 100, 500)) if sum(map(len, words)) < 1_000 else [words]


def _large(chance: random.Random) -> list[Words]:
    key = chance.choice(KEYS)
    return [[b"SET", key, chance.choice(LARGE)], [b"APPEND", key, chance.choice(LARGE)], *[[b"GET", key]] * 8]


Shape = Callable[[random.Random], list[Words]]
SHAPES: list[Shape] = [*[_some] * 40, *[_transaction] * 15, *[_pubsub] * 10, *[_greeting] * 10, *[_silence] * 5]
SHAPES += [*[_script] * 8, *[_pipeline] * 3, _large]


# Words


def _words(chance: random.Random) -> Words:
    if chance.random() < 0.04:
        return [chance.choice(UNKNOWN), *(_argument(chance) for _ in range(chance.randint(0, 3)))]
    name = chance.choice(NAMES if chance.random() < 0.6 else WRITES)
    if name.startswith(b"flush") and chance.random() < 0.95:
        name = b"set"  # else there is never much in the store
    command = COMMANDS[name]
    words = [name.upper() if chance.random() < 0.8 else name]
    if command.below:
        below = chance.choice(list(command.below))
        words.append(below)
        command = command.below[below]
    count = _count(chance, command) - len(words)
    first = len(words)
    for place in range(first, first + max(0, count)):
        is_key = place == 1 or (command.keys[1] < 0 and place % max(1, command.keys[2]) == 0)
        words.append(_key(chance) if is_key and chance.random() < 0.85 else _argument(chance))
    return words


def _count(chance: random.Random, command: Command) -> int:
    """Of words, with the name: mostly as many as it wants."""
    if chance.random() < 0.1:
        return chance.randint(1, 12)
    more = chance.choice((0, 0, 1, 2, 3, 4)) if command.arity < 0 else 0
    return command.least + more


def _key(chance: random.Random) -> bytes:
    return chance.choice(KEYS) if chance.random() < 0.97 else chance.choice(ODD_KEYS)


def _keys(chance: random.Random) -> Words:
    return [_key(chance) for _ in range(chance.randint(1, 3))]


WORDS = OPTIONS.split(b" ")
POOLS = (KEYS, NUMBERS, NUMBERS, WORDS, WORDS, PATTERNS, VALUES, VALUES, CHANNELS)


def _argument(chance: random.Random) -> bytes:
    return chance.choice(chance.choice(POOLS))


# Bytes


def _array(words: Words) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _inline(words: Words) -> bytes:
    """As an array, if it cannot be said on one line."""
    line = b" ".join(words)
    return line + b"\r\n" if all(words) and line.isalnum() else _array(words)


def _damaged(chance: random.Random, words: Words) -> bytes:
    """One of its lengths, ends or items is not what it should be."""
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    head, at = b"*%d\r\n" % len(words), chance.randrange(len(words))
    match chance.randrange(10):
        case 0:
            head = b"*%b\r\n" % chance.choice(LENGTHS)
        case 1:
            head = b"*%d\r\n" % (len(words) + chance.choice((-1, 1, 2, 1_000)))
        case 2:
            parts[at] = b"$%b\r\n%b\r\n" % (chance.choice(LENGTHS), words[at])
        case 3:
            parts[at] = b"$%d\r\n%b\r\n" % (max(0, len(words[at]) + chance.choice((-1, 1, 2, 60_000))), words[at])
        case 4:
            parts[at] = chance.choice(RUBBISH)
        case 5:
            parts[at] = _array([words[at]] * chance.randint(0, 3))  # an array in an array
        case 6:
            head = chance.choice((b"", b"*", b"*1\n", b"\r\n" * chance.randint(1, 50)))
        case 7:
            return b" ".join(words) + chance.choice((b"\r\n", b"\n", b"\r", b""))
        case 8:
            return chance.choice(RUBBISH)
        case _:
            pass
    return head + b"".join(parts)


def _bent(chance: random.Random, wire: bytes) -> bytes:
    at = chance.randrange(len(wire) + 1)
    match chance.randrange(5):
        case 0:
            return wire[:at]
        case 1:
            return wire[:at] + chance.randbytes(chance.choice((1, 2, 9))) + wire[at:]
        case 2:
            return wire[:at] + wire[at + chance.choice((1, 2, 9)) :]
        case 3:
            return wire[:at] + chance.choice((b"\r\n", b"\n", b"$", b"*", b"-", b"0", b"9", b"\0")) + wire[at + 1 :]
        case _:
            other = chance.randrange(len(wire) + 1)
            return wire[:at] + wire[min(at, other) : max(at, other)] + wire[at:]
