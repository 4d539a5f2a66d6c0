"""Commands about the connection itself: who the client is, which protocol it speaks, which database it uses."""

from __future__ import annotations

import hmac

from haagent.sessions.store.commands.keys import database
from haagent.sessions.store.numbers import integer, needed
from haagent.sessions.store.replies import OK, PONG, SYNTAX, Raw, Refused, Reply, Verbatim
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import family
from haagent.sessions.store.version import REDIS_VERSION

command = family("connection", tier=1)
LONGEST = 4096  # bytes of a name
ALWAYS = "noscript loading stale fast no_auth allow_busy"
NOT_THIS = "WRONGPASS invalid username-password pair or user is disabled."
NOT_NEEDED = (
    "ERR AUTH <password> called without any password configured for the default user."
    " Are you sure your configuration is correct?"
)
HELLO_FIRST = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option"
    " can be used to authenticate the client and select the RESP protocol version at the same time"
)


@command("hello", -1, ALWAYS)
def hello(client: Client, args: list[bytes]) -> Reply:
    """Choose RESP2 or RESP3, with `AUTH` and `SETNAME`."""
    version = 0
    if len(args) > 1:
        version = needed(args[1], "ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise Refused("NOPROTO unsupported protocol version")
    at = 2
    while at < len(args):
        option = args[at].upper()
        if option == b"AUTH" and at + 2 < len(args):
            _authenticate(client, args[at + 1], args[at + 2])
            at += 2
        elif option == b"SETNAME" and at + 1 < len(args):
            _set_name(client, args[at + 1])
            at += 1
        else:
            raise Refused(b"ERR Syntax error in HELLO option '%b'" % args[at])
        at += 1
    if not client.is_known:
        raise Refused(HELLO_FIRST)
    client.resp = version or client.resp
    client.settle()
    return {
        b"server": b"redis",
        b"version": REDIS_VERSION,
        b"proto": client.resp,
        b"id": client.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


@command("auth", -2, ALWAYS)
def auth(client: Client, args: list[bytes]) -> Reply:
    """Tell the password; the user's name is `default`."""
    if len(args) > 3:
        raise Refused(SYNTAX)
    if len(args) == 2 and not client.door.password:
        raise Refused(NOT_NEEDED)
    _authenticate(client, args[1] if len(args) == 3 else b"default", args[-1])
    return OK


def _authenticate(client: Client, user: bytes, password: bytes) -> None:
    expected = client.door.password
    if user != b"default" or not (hmac.compare_digest(password, expected) or not expected):
        client.door.counts["wrong_passwords"] += 1
        raise Refused(NOT_THIS)
    client.is_known = True
    client.settle()


@command("select", 2, "loading stale fast")
def select(client: Client, args: list[bytes]) -> Reply:
    """Use another of the 16 databases."""
    client.db = database(args[1])
    return OK


@command("ping", -1, "fast")
def ping(client: Client, args: list[bytes]) -> Reply:
    """Is somebody there?"""
    if len(args) > 2:
        raise Refused("ERR wrong number of arguments for 'ping' command")
    if client.resp == 2 and client.listens:
        return [b"pong", args[1] if len(args) == 2 else b""]
    return args[1] if len(args) == 2 else PONG


@command("echo", 2, "loading stale fast")
def echo(client: Client, args: list[bytes]) -> Reply:
    """Say the same."""
    return args[1]


@command("quit", -1, ALWAYS)
def quit_(client: Client, args: list[bytes]) -> Reply:
    """Close the connection."""
    client.closes = True
    return OK


@command("reset", 1, ALWAYS)
def reset(client: Client, args: list[bytes]) -> Reply:
    """Be as a new connection is."""
    client.door.leave_all(client)
    client.name = b""
    client.start_over()
    return Raw(b"+RESET\r\n")


@command("readonly", 1, "loading stale fast")
def readonly(client: Client, args: list[bytes]) -> Reply:
    """Accepted, and without effect: any node may be read."""
    return OK


@command("readwrite", 1, "loading stale fast")
def readwrite(client: Client, args: list[bytes]) -> Reply:
    """Accepted, and without effect."""
    return OK


@command("client", -2)
def client_(client: Client, args: list[bytes]) -> Reply:
    """Who is connected."""
    raise AssertionError("all there is stands below it")


@command("client|id", 2, "noscript loading stale")
def client_id(client: Client, args: list[bytes]) -> Reply:
    """The number of this connection."""
    return client.id


@command("client|getname", 2, "noscript loading stale")
def client_getname(client: Client, args: list[bytes]) -> Reply:
    """The name that this connection was given."""
    return client.name or None


@command("client|setname", 3, "noscript loading stale")
def client_setname(client: Client, args: list[bytes]) -> Reply:
    """Give this connection a name."""
    _set_name(client, args[2])
    return OK


def _set_name(client: Client, name: bytes) -> None:
    client.name = _plain(name, "ERR Client names cannot contain spaces, newlines or special characters.")


def _plain(text: bytes, refusal: str) -> bytes:
    if len(text) > LONGEST or any(not 33 <= letter <= 126 for letter in text):
        raise Refused(refusal)
    return text


@command("client|setinfo", 4, "noscript loading stale")
def client_setinfo(client: Client, args: list[bytes]) -> Reply:
    """Say which library this is: `LIB-NAME`, `LIB-VER`."""
    option = args[2].lower()
    if option not in client.info:
        raise Refused(b"ERR Unrecognized option '%b'" % args[2])
    refusal = f"ERR {option.decode()} cannot contain spaces, newlines or special characters."
    client.info[option] = _plain(args[3], refusal)
    return OK


@command("client|info", 2, "noscript loading stale")
def client_info(client: Client, args: list[bytes]) -> Reply:
    """All about this connection."""
    return Verbatim(_line(client))


@command("client|list", -2, "admin dangerous noscript loading stale")
def client_list(client: Client, args: list[bytes]) -> Reply:
    """All connections: `TYPE`, `ID`."""
    shown = list(client.door.clients.values())
    match [arg.lower() for arg in args[2:]]:
        case []:
            pass
        case [b"type", kind]:
            if kind not in (b"normal", b"pubsub", b"master", b"replica", b"slave"):
                raise Refused(b"ERR Unknown client type '%b'" % args[3])
            shown = [each for each in shown if _kind(each) == kind]
        case [b"id", *ids] if ids:
            wanted = {needed(each, "ERR Invalid client ID") for each in ids}
            shown = [each for each in shown if each.id in wanted]
        case _:
            raise Refused(SYNTAX)
    return Verbatim(b"".join(_line(each) for each in shown))


def _kind(client: Client) -> bytes:
    return b"pubsub" if client.listens else b"normal"


def _line(client: Client) -> bytes:
    flags = ("P" if _kind(client) == b"pubsub" else "") + ("x" if client.queue is not None else "")
    age = (client.door.now_ms - client.since_ms) // 1000
    facts = {
        "id": client.id,
        "addr": client.address,
        "name": client.name.decode(errors="replace"),
        "age": age,
        "idle": 0,
        "flags": flags or "N",
        "db": client.db,
        "sub": len(client.channels),
        "psub": len(client.patterns),
        "multi": -1 if client.queue is None else len(client.queue),
        "cmd": client.last,
        "user": "default",
        "resp": client.resp,
        "lib-name": client.info[b"lib-name"].decode(),
        "lib-ver": client.info[b"lib-ver"].decode(),
    }
    return " ".join(f"{name}={value}" for name, value in facts.items()).encode() + b"\n"


@command("client|kill", -3, "admin dangerous noscript loading stale", tier=3)
def client_kill(client: Client, args: list[bytes]) -> Reply:
    """End connections: by address, or by `ID`, `ADDR`, `TYPE`, `SKIPME`."""
    everyone = list(client.door.clients.values())
    if len(args) == 3:
        chosen = [each for each in everyone if each.address.encode() == args[2]]
        if not chosen:
            raise Refused("ERR No such client")
        _end(client, chosen)
        return OK
    if len(args) % 2:
        raise Refused(SYNTAX)
    chosen, skips = everyone, True
    for option, value in zip(args[2::2], args[3::2], strict=True):
        match option.upper():
            case b"ID":
                number = integer(value)
                if number is None or number <= 0:
                    raise Refused("ERR client-id should be greater than 0")
                chosen = [each for each in chosen if each.id == number]
            case b"ADDR":
                chosen = [each for each in chosen if each.address.encode() == value]
            case b"TYPE" if value.lower() in (b"normal", b"pubsub", b"master", b"replica", b"slave"):
                chosen = [each for each in chosen if _kind(each) == value.lower()]
            case b"TYPE":
                raise Refused(b"ERR Unknown client type '%b'" % value)
            case b"SKIPME" if value.lower() in (b"yes", b"no"):
                skips = value.lower() == b"yes"
            case _:
                raise Refused(SYNTAX)
    chosen = [each for each in chosen if not (skips and each is client)]
    _end(client, chosen)
    return len(chosen)


def _end(client: Client, chosen: list[Client]) -> None:
    for each in chosen:
        if each is client:
            client.closes = True  # after it has been told
        else:
            each.kill()


@command("client|reply", 3, "noscript loading stale", tier=3)
def client_reply(client: Client, args: list[bytes]) -> Reply:
    """Whether commands are answered: `ON`, `OFF`, `SKIP` the next one."""
    match args[2].lower():
        case b"on":
            client.unanswered = 0
        case b"off":
            client.unanswered = -1
        case b"skip":
            client.unanswered = client.unanswered or 2  # this one, and the next
        case _:
            raise Refused(SYNTAX)
    client.settle()
    return OK


@command("client|no-evict", 3, "admin noscript loading stale")
def client_no_evict(client: Client, args: list[bytes]) -> Reply:
    """Accepted, and without effect."""
    return _switch(args)


@command("client|no-touch", 3, "noscript loading stale")
def client_no_touch(client: Client, args: list[bytes]) -> Reply:
    """Accepted, and without effect: reading never changes when a key ends."""
    return _switch(args)


def _switch(args: list[bytes]) -> Reply:
    if args[2].lower() not in (b"on", b"off"):
        raise Refused(SYNTAX)
    return OK
