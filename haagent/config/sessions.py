"""`sessions: {...}`: the session store of every node, what can be written there and what must not.

A node keeps sessions unless it is a witness. Applications reach the store of their own node; the stores reach each
other over the link between peers, which goes from address to address over TCP, whatever the heartbeats do. With `store:
redis` the node keeps none, and passes everything on to a Redis that others run.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Annotated, ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from haagent.config.durations import format_duration
from haagent.config.faults import quoted
from haagent.config.kinds import (
    OWN_ADDRESS_AND_PORT,
    PATH,
    Kind,
    Wrong,
    choice,
    duration,
    host_and_port,
    list_of,
    of_text,
    whole,
)
from haagent.config.schema import Draft, Option, Section
from haagent.core.store.stamps import number_of

OLDEST_HIREDIS = (3, 1)  # as in pyproject.toml; that of Debian 12 is older
MAX_SOCKET = 107  # bytes: what the kernel takes for the name of a socket
ONLY_SYNC = ("sync_timeout", "strict", "replicas")
ONLY_PEER = ("max_memory", "eviction", "max_value", "session_keys", "logout_guard", "horizon")
ONLY_REDIS = ("url", "sentinels", "master", "replicas")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(rf"([1-9][0-9]{{0,9}})({'|'.join(UNITS)})")


def format_size(size: int) -> str:
    unit = next((unit for unit in ("GiB", "MiB") if size % UNITS[unit] == 0), "KiB")
    return f"{size // UNITS[unit]}{unit}"


def _of_size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Wrong(f"{quoted(text)} is not a size", "write a whole number with `KiB`, `MiB` or `GiB`")
    return int(found[1]) * UNITS[found[2]]


def size(least: str, most: str) -> Kind:
    def convert(text: str) -> int:
        found = _of_size(text)
        if not _of_size(least) <= found <= _of_size(most):
            extent = "little" if found < _of_size(least) else "much"
            raise Wrong(f"{text} is too {extent}", f"write {least} to {most}")
        return found

    return of_text(f"a size, {least} to {most}", convert, format_size)


def _prefix(text: str) -> str:
    if text.isprintable() and " " not in text and 0 < len(text.encode()) <= 128:
        return text
    raise Wrong(f"{quoted(text)} cannot be the beginning of keys", "write it without blanks, such as `session:`")


def _socket(text: str) -> str:
    if not re.fullmatch(r"/\S+", text) or not text.isprintable():
        raise Wrong(f"{quoted(text)} is not an absolute path", "begin with `/`, and write no blanks")
    if len(text.encode()) > MAX_SOCKET:
        raise Wrong("it is too long for the name of a socket", f"write at most {MAX_SOCKET} bytes")
    return text


class RedisUrl(msgspec.Struct, frozen=True, kw_only=True):
    host: str = ""
    port: int = 6379
    path: str = ""  # of a Unix socket
    tls: bool = False
    user: str = ""
    password: str = ""
    database: int = 0

    def __repr__(self) -> str:  # without the password
        return f"RedisUrl({self.host or self.path})"


URL_HINT = "write `redis://10.0.0.5:6379/0`, `rediss://redis.example.com/0` or `unix:///run/redis/redis.sock`"
SENTINEL_HINT = "write one such as `10.0.0.5:26379` or `[fd00::5]:26379`"
NO_URL = Wrong("it is not the URL of a Redis", URL_HINT)  # it is not quoted: there may be a password in it
_HOST = r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9a-fA-F:.]{2,45}"
_DATABASE = re.compile("/?|/(0|[1-9][0-9]{0,4})")


def _url(text: str) -> RedisUrl:
    if "cluster" in text.partition(":")[0] or "," in text:
        raise Wrong(
            "a Redis Cluster sends its clients from node to node, and the door stays where it is",
            "let the application use a client of its own for it",
        )
    try:
        url = urlsplit(text)
        return _unix(url) if url.scheme == "unix" else _tcp(url)
    except ValueError:
        raise NO_URL from None


def _tcp(url: SplitResult) -> RedisUrl:
    database = _DATABASE.fullmatch(url.path)
    host = url.hostname or ""
    if url.scheme not in ("redis", "rediss") or url.query or url.fragment or database is None:
        raise NO_URL
    if host and not re.fullmatch(_HOST, host):
        raise NO_URL
    return RedisUrl(
        host=host,
        port=url.port or 6379,
        tls=url.scheme == "rediss",
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=int(database[1] or 0),
    )


def _unix(url: SplitResult) -> RedisUrl:
    query = re.fullmatch("(?:db=(0|[1-9][0-9]{0,4}))?", url.query)
    if url.hostname or url.fragment or query is None:
        raise NO_URL
    return RedisUrl(
        path=_socket(unquote(url.path)),
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=int(query[1] or 0),
    )


def _sentinel(text: str) -> str:
    found = host_and_port(text, SENTINEL_HINT)
    if not re.fullmatch(_HOST, found.host):
        raise Wrong(f"{quoted(found.host)} is not the address of a sentinel", SENTINEL_HINT)
    return str(found)


def _master(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text):
        return text
    raise Wrong(f"{quoted(text)} is not the name of a master", "write what stands in `sentinel monitor NAME`")


class SessionsConfig(Section, frozen=True):
    LATER: ClassVar = ("managed", "cluster")

    store: Annotated[
        str,
        choice("peer", "redis"),
        Option("where sessions are: `peer`, in memory, on every node that is no witness; `redis`, in one that you run"),
    ] = "peer"
    listen: Annotated[
        str,
        OWN_ADDRESS_AND_PORT,
        Option("where applications reach it, with the Redis protocol; off the loopback only with `password_file`"),
    ] = "127.0.0.1:6380"
    socket: Annotated[
        str, of_text("an absolute path", _socket), Option("and a Unix socket, for applications on this host")
    ] = ""
    socket_mode: Annotated[
        str,
        choice("0600", "0660", "0666"),
        Option("who may use that socket: the agent's user, its group too, or every user of this host"),
    ] = "0660"
    replication: Annotated[
        str,
        choice("sync", "async"),
        Option("whether a change is answered when the other nodes have it, or at once"),
    ] = "sync"
    sync_timeout_s: Annotated[
        float,
        duration("5ms", "1m"),
        Option("how long a node may take to have a change; one that takes longer is waited for no more (`sync`)"),
    ] = 0.5
    strict: Annotated[
        bool, Option("a change that no other node has is answered with `-NOREPLICAS`, not with success (`sync`)")
    ] = False
    max_memory: Annotated[int, size("1MiB", "1024GiB"), Option("how much memory the sessions of a node may take")] = (
        512 << 20
    )
    eviction: Annotated[
        str,
        choice("noeviction", "volatile-ttl", "allkeys-lru"),
        Option("what happens when it is taken: nothing new is accepted, or what expires first or was not used goes"),
    ] = "noeviction"
    max_value: Annotated[int, size("1KiB", "16MiB"), Option("how long a value may be, or all fields of a hash")] = (
        1 << 20
    )
    password_file: Annotated[
        str,
        PATH,
        Option(
            "a password in its first line, guarded like the key: applications log in with it, and we at `url`, unless"
            " that has one"
        ),
    ] = ""
    session_keys: Annotated[
        tuple[str, ...],
        list_of(of_text("the beginning of keys", _prefix), "a list of beginnings of keys"),
        Option(
            "how the keys of sessions begin: what is deleted of them stays deleted, whatever another node says later",
            otherwise="what the usual frameworks write",
            example='["session:"]',
        ),
    ] = ()
    logout_guard_s: Annotated[
        float,
        duration("0s", "5m"),
        Option("for how long a session that was deleted cannot be written again by a request that was under way"),
    ] = 0.0
    horizon_s: Annotated[
        float,
        duration("1m", "168h"),
        Option("how long a deletion is remembered: a node that was away for longer takes all from another"),
    ] = 3600.0
    url: Annotated[
        RedisUrl | None,
        of_text("the URL of a Redis", _url),
        Option(
            "where Redis is, who we are there, and the database in which clients begin (`redis`)",
            example="redis://app@10.0.0.5:6379/0",
        ),
    ] = None
    sentinels: Annotated[
        tuple[str, ...],
        list_of(of_text("an address with a port", _sentinel), "a list of addresses with ports"),
        Option(
            "who knows which one is master; then `url` has no host: `redis://app@/0` (`redis`)",
            example="[10.0.0.5:26379, 10.0.0.6:26379, 10.0.0.7:26379]",
        ),
    ] = ()
    master: Annotated[
        str, of_text("a name", _master), Option("by which name the sentinels know the master (`redis`)")
    ] = ""
    replicas: Annotated[
        int, whole(1, 16), Option("how many replicas have to have a change before it is answered (`redis`, `sync`)")
    ] = 1


def find_session_contradictions(top: Draft) -> None:
    sessions = top.section("sessions")
    if sessions is None:
        return
    if why := _lack_of_hiredis():
        sessions.place.refuse(f"needs the Python package hiredis, {why}", "install `haagent[sessions]` with pip")
    _door(sessions)
    if sessions.get("replication") == "async":
        for key in ONLY_SYNC:
            if sessions.written(key):
                sessions.refuse(key, "nobody waits with `replication: async`", "remove it, or write `sync`")
    if sessions.written("socket_mode") and not sessions.get("socket"):
        sessions.refuse("socket_mode", "there is no `socket`", "name one, or remove this")
    if sessions.get("store") == "redis":
        _redis(sessions)
    else:
        _peers(top, sessions)


def _redis(sessions: Draft) -> None:
    for key in ONLY_PEER:
        if sessions.written(key):
            sessions.refuse(key, "that is for Redis itself to know, with `store: redis`", "remove it")
    if sessions.get("consistency") == "strong":
        sessions.refuse(
            "consistency",
            "a Redis may lose at a failover what it has confirmed, so nothing makes it strong",
            "remove it, or write `store: peer`",
        )
    url, are_asked = sessions.get("url"), sessions.written("sentinels")
    is_placed = url is not None and bool(url.host or url.path)
    if are_asked and is_placed:
        sessions.refuse("url", "it names a host, and the sentinels do", "remove the host: `redis://app@/0`")
    elif not are_asked and not is_placed and (url is not None or not sessions.written("url")):
        sessions.refuse("url", "with `store: redis` nothing says where Redis is", URL_HINT)
    for key, other in (("master", "sentinels"), ("sentinels", "master")):
        if sessions.written(key) and not sessions.written(other):
            sessions.refuse(other, f"missing, and `{key}` needs it", f"write `{other}` too")


def _peers(top: Draft, sessions: Draft) -> None:
    for key in ONLY_REDIS:
        if sessions.written(key):
            sessions.refuse(key, "there is no Redis with `store: peer`", "remove it, or write `store: redis`")
    guard, horizon = sessions.get("logout_guard"), sessions.get("horizon")
    if guard is not None and horizon is not None and guard > horizon:
        sessions.refuse(
            "logout_guard",
            f"{format_duration(guard)} is longer than the horizon of {format_duration(horizon)}",
            f"write at most {format_duration(horizon)}: what is forgotten cannot be guarded",
        )
    most, value = sessions.get("max_memory"), sessions.get("max_value")
    if most is not None and value is not None and value > most:
        sessions.refuse(
            "max_value", f"{format_size(value)} is more than `max_memory`, {format_size(most)}", "write less"
        )
    _numbers(top)
    if top.get("heartbeat").get("transport") == "multicast":  # else its addresses are asked for already
        _addresses({name: node for name, node in top.sections("nodes").items() if not node.get("witness")})


def _lack_of_hiredis() -> str:
    try:
        version = metadata.version("hiredis")
    except metadata.PackageNotFoundError:
        return "which is not here"
    found = tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])
    return "" if found >= OLDEST_HIREDIS else f"{OLDEST_HIREDIS[0]}.{OLDEST_HIREDIS[1]} or later, and {version} is here"


def _numbers(top: Draft) -> None:
    taken: dict[int, str] = {}
    for name, node in top.sections("nodes").items():
        if node.get("witness"):
            continue
        if (other := taken.setdefault(number_of(name), name)) != name:
            message = f"{quoted(name)} and {quoted(other)} have by chance the same number in the session store"
            node.place.refuse(message, "give one of them another name")


def _door(sessions: Draft) -> None:
    listen = sessions.get("listen")
    if listen and not host_and_port(listen).address.is_loopback and not sessions.get("password_file"):
        sessions.refuse(
            "listen",
            f"{listen} is not on the loopback, and anybody there could read and change sessions",
            "name a `password_file` too, or write `127.0.0.1:6380`",
        )


def _addresses(nodes: dict[str, Draft]) -> None:
    """The link goes from the n-th address of a node to the n-th of the other."""
    for node in nodes.values():
        if not node.written("address") and not node.written("addresses"):
            node.refuse("address", "missing, and `sessions` needs it", "write `address: 10.20.1.10`")
    written = [node.get("addresses")[0] for node in nodes.values() if node.get("addresses")]
    for found in written:
        if (":" in found.value) != (":" in written[0].value):
            message = f"{found.value} cannot talk to {written[0].value} of another node, and `sessions` needs that"
            found.place.refuse(message, "write IPv4 and IPv6 in the same order")
