"""Commands about the server: what it can do, how it is, and what a client may think that it can set."""

from __future__ import annotations

import os
import struct

from haagent.sessions.store.patterns import compiled
from haagent.sessions.store.replies import OK, SYNTAX, Refused, Reply, Verbatim, status
from haagent.sessions.store.state import DATABASES, Client, Door
from haagent.sessions.store.table import COMMANDS, Command, family, find
from haagent.sessions.store.version import REDIS_VERSION

command = family("server", tier=1)


@command("time", 1, "loading stale fast")
def time(client: Client, args: list[bytes]) -> Reply:
    """The clock of this node: seconds, microseconds."""
    now_ms = client.door.tick()
    return [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)]


@command("command", -1, "loading stale")
def command_(client: Client, args: list[bytes]) -> Reply:
    """What commands there are."""
    return [_row(each) for each in COMMANDS.values()]


def _row(each: Command) -> Reply:
    flags = {status(flag.encode()) for flag in each.shown_flags}
    categories = {status(word.encode()) for word in each.categories}
    below = [_row(one) for one in each.below.values()]
    return [each.name.encode(), each.arity, flags, *each.keys, categories, [], [], below]


@command("command|count", 2, "loading stale")
def command_count(client: Client, args: list[bytes]) -> Reply:
    """How many commands there are."""
    return len(COMMANDS)


@command("command|info", -2, "loading stale")
def command_info(client: Client, args: list[bytes]) -> Reply:
    """Arity, flags and keys of commands."""
    if len(args) == 2:
        return command_(client, args)
    found = [_named(name) for name in args[2:]]
    return [_row(each) if each else None for each in found]


def _named(name: bytes) -> Command | None:
    return find(name.lower().split(b"|", 1))


@command("command|docs", -2, "loading stale")
def command_docs(client: Client, args: list[bytes]) -> Reply:
    """What commands do."""
    shown = list(COMMANDS.values()) if len(args) == 2 else [each for name in args[2:] if (each := _named(name))]
    return {each.name.encode(): _docs(each) for each in shown}


def _docs(each: Command) -> dict[bytes, Reply]:
    docs: dict[bytes, Reply] = {b"summary": each.about.encode(), b"group": each.family.encode()}
    if each.below:
        docs[b"subcommands"] = {one.name.encode(): _docs(one) for one in each.below.values()}
    return docs


@command("command|list", -2, "loading stale", tier=3)
def command_list(client: Client, args: list[bytes]) -> Reply:
    """The names of all commands."""
    if len(args) > 2:
        raise Refused(SYNTAX)
    return list(COMMANDS)


# What CONFIG GET knows. Suites and libraries ask for these, and set some of them; none of it does anything here.
SETTINGS = {
    b"appendfsync": b"everysec",
    b"appendonly": b"no",
    b"hash-max-listpack-entries": b"512",
    b"hash-max-listpack-value": b"64",
    b"latency-tracking": b"yes",
    b"lazyfree-lazy-expire": b"no",
    b"min-replicas-to-write": b"0",
    b"notify-keyspace-events": b"",
    b"replica-read-only": b"yes",
    b"save": b"",
    b"timeout": b"0",
}
MOST_BYTES = b"haagent-max-value"  # Redis has no such setting
FORMERLY = {
    b"hash-max-ziplist-entries": b"hash-max-listpack-entries",
    b"hash-max-ziplist-value": b"hash-max-listpack-value",
    b"slave-read-only": b"replica-read-only",
}


def fixed(door: Door) -> dict[bytes, bytes]:
    """What is configured, elsewhere."""
    return {
        b"databases": b"%d" % DATABASES,
        MOST_BYTES: b"%d" % door.store.settings.max_value_bytes,
        b"maxclients": b"%d" % door.limits.clients,
        b"maxmemory": b"%d" % door.store.settings.max_memory,
        b"maxmemory-policy": door.store.settings.eviction.encode(),
        b"port": b"%d" % door.port,
        b"proto-max-bulk-len": b"%d" % door.limits.query_bytes,
        b"unixsocket": door.path.encode(),
    }


def setting(door: Door, name: bytes) -> bytes:
    return door.config.get(name, SETTINGS[name])


@command("config", -2)
def config(client: Client, args: list[bytes]) -> Reply:
    """What is set."""
    raise AssertionError("all there is stands below it")


@command("config|get", -3, "admin dangerous noscript loading stale")
def config_get(client: Client, args: list[bytes]) -> Reply:
    """Settings whose names match."""
    known = {**{name: setting(client.door, name) for name in SETTINGS}, **fixed(client.door)}
    known |= {old: known[name] for old, name in FORMERLY.items()}
    found: dict[bytes, bytes] = {}
    for wanted in (arg.lower() for arg in args[2:]):
        if wanted in known:
            found[wanted] = known[wanted]
        else:
            expression = compiled(wanted)
            found |= {name: value for name, value in known.items() if expression.fullmatch(name)}
    return found


@command("config|set", -4, "admin dangerous noscript loading stale", tier=3)
def config_set(client: Client, args: list[bytes]) -> Reply:
    """Accepted for some names that test suites set, and without effect."""
    if len(args) % 2:
        raise Refused(SYNTAX)
    new: dict[bytes, bytes] = {}
    for given, value in zip(args[2::2], args[3::2], strict=True):
        name = FORMERLY.get(given.lower(), given.lower())
        if name not in SETTINGS and name not in fixed(client.door):
            raise Refused(b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % given)
        why = "duplicate parameter" if name in new else "" if name in SETTINGS else "can't set immutable config"
        if not why and SETTINGS[name].isdigit() and not value.isdigit():
            why = "argument couldn't be parsed into an integer"
        if why:
            raise Refused(b"ERR CONFIG SET failed (possibly related to argument '%b') - %b" % (given, why.encode()))
        new[name] = value[:1024]
    client.door.config |= new
    return OK


@command("config|resetstat", 2, "admin dangerous noscript loading stale", tier=3)
def config_resetstat(client: Client, args: list[bytes]) -> Reply:
    """Accepted, and without effect: what is counted here only grows."""
    return OK


@command("info", -1, "loading stale dangerous")
def info(client: Client, args: list[bytes]) -> Reply:
    """How this node is."""
    wanted = {arg.decode(errors="replace").lower() for arg in args[1:]} or {"default"}
    parts = []
    for name, facts in _sections(client.door).items():
        if {name.lower(), "all", "everything"} & wanted or ("default" in wanted and name != "Commandstats"):
            parts.append("".join([f"# {name}\r\n", *(f"{key}:{value}\r\n" for key, value in facts.items())]))
    return Verbatim("\r\n".join(parts).encode())


def _sections(door: Door) -> dict[str, dict[str, object]]:
    settings = door.store.settings
    uptime_s, used = (door.now_ms - door.started_ms) // 1000, door.store.bytes_used()
    spaces = {f"db{db}": door.store.size(door.now_ms, db) for db in range(DATABASES)}
    unknown = {f"unknown_{name.decode()}": count for name, count in sorted(door.unknown.items())}
    loading = {"loading": int(door.is_loading), **({"loading_eta_seconds": 1} if door.is_loading else {})}
    return {
        "Server": {
            "redis_version": REDIS_VERSION.decode(),
            "redis_mode": "standalone",
            "os": "Linux",
            "arch_bits": 8 * struct.calcsize("P"),
            "process_id": os.getpid(),
            "tcp_port": door.port,
            "uptime_in_seconds": uptime_s,
            "uptime_in_days": uptime_s // 86400,
        },
        "Clients": {
            "connected_clients": len(door.clients),
            "maxclients": door.limits.clients,
        },
        "Memory": {"used_memory": used, "maxmemory": settings.max_memory, "maxmemory_policy": settings.eviction},
        "Persistence": {**loading, "rdb_bgsave_in_progress": 0, "aof_enabled": 0, "aof_rewrite_in_progress": 0},
        "Stats": {
            "total_connections_received": door.last_id,
            "total_commands_processed": sum(each.calls for each in every_command()),
            "expired_keys": door.store.expired,
            "rejected_connections": door.counts["refused_clients"],
            "pubsub_channels": len(door.channels),
            "pubsub_patterns": len(door.patterns),
        },
        "Replication": {"role": "master", "connected_slaves": 0, "master_repl_offset": 0},
        "Cluster": {"cluster_enabled": 0},
        "Haagent": {**dict(sorted(door.counts.items())), **unknown},
        "Commandstats": {
            f"cmdstat_{each.name}": f"calls={each.calls},rejected_calls={each.refused}"
            for each in every_command()
            if each.calls or each.refused
        },
        "Keyspace": {name: f"keys={size},expires=0,avg_ttl=0" for name, size in spaces.items() if size},
    }


def every_command() -> list[Command]:
    return [one for each in COMMANDS.values() for one in (each, *each.below.values())]


@command("role", 1, "noscript loading stale fast dangerous", tier=3)
def role(client: Client, args: list[bytes]) -> Reply:
    """Always a master: any node may be written to."""
    return [b"master", 0, []]


@command("function", -2, tier=3)
def function(client: Client, args: list[bytes]) -> Reply:
    """There are no functions."""
    raise AssertionError("all there is stands below it")


@command("function|flush", -2, "write noscript", tier=3)
def function_flush(client: Client, args: list[bytes]) -> Reply:
    """Accepted: there are no functions."""
    if len(args) > 3 or (len(args) == 3 and args[2].upper() not in (b"SYNC", b"ASYNC")):
        raise Refused("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    return OK


@command("cluster", -2, tier=2)
def cluster(client: Client, args: list[bytes]) -> Reply:
    """There is no Redis Cluster."""
    raise AssertionError("all there is stands below it")


@command("cluster|info cluster|myid cluster|nodes cluster|shards cluster|slots", 2, "loading stale", tier=2)
def cluster_info(client: Client, args: list[bytes]) -> Reply:
    """Refused, as by a Redis that is not part of one."""
    raise Refused("ERR This instance has cluster support disabled")
