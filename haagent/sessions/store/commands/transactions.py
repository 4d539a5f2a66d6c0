"""Several commands as one: MULTI, EXEC, and what was watched before.

EXEC runs its commands in one turn, slow ones too: between them nothing else happens. A key was changed if its version
was (`Client.version`), whoever changed it: a client, a peer, or the clock.
"""

from __future__ import annotations

from haagent.sessions.store.calls import EXEC_ABORT, run
from haagent.sessions.store.replies import NULL_ARRAY, OK, Refused, Reply, TooMuch
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import family

command = family("transactions", tier=1)
MOST_WATCHED = 10_000  # keys of one client
MOST_ITEMS = 5_000_000  # in all replies of one EXEC, before they are encoded


@command("multi", 1, "noscript loading stale fast allow_busy")
def multi(client: Client, args: list[bytes]) -> Reply:
    """What follows is executed by `EXEC`."""
    if client.queue is not None:
        raise Refused("ERR MULTI calls can not be nested")
    client.queue = []
    client.settle()
    return OK


@command("exec", 1, "noscript loading stale skip_slowlog")
def exec_(client: Client, args: list[bytes]) -> Reply:
    """Execute what came since `MULTI`, unless a watched key was changed."""
    queue, poisoned = client.queue, client.poisoned
    if queue is None:
        raise Refused("ERR EXEC without MULTI")
    changed = any(client.store.stamp(client.door.now_ms, *place) != stamp for place, stamp in client.watched.items())
    client.end_transaction()
    if poisoned:
        raise Refused(EXEC_ABORT)
    if changed:
        return NULL_ARRAY
    replies: list[Reply] = []
    items = 0
    for entry, queued in queue:
        replies.append(reply := run(client, entry, queued))
        items += len(reply) if isinstance(reply, list | dict) else 1
        if items > MOST_ITEMS:
            raise TooMuch
    return replies


@command("discard", 1, "noscript loading stale fast allow_busy")
def discard(client: Client, args: list[bytes]) -> Reply:
    """Forget what came since `MULTI`."""
    if client.queue is None:
        raise Refused("ERR DISCARD without MULTI")
    client.end_transaction()
    return OK


@command("watch", -2, "noscript loading stale fast allow_busy", keys=(1, -1, 1))
def watch(client: Client, args: list[bytes]) -> Reply:
    """The next `EXEC` is not executed if one of these keys is changed before it."""
    if client.queue is not None:
        raise Refused("ERR WATCH inside MULTI is not allowed")
    if len(client.watched) + len(args) > MOST_WATCHED or max(map(len, args)) > client.store.settings.max_key_bytes:
        raise Refused("ERR too many keys are watched, or one is too long")
    for key in args[1:]:
        client.watched.setdefault((client.db, key), client.store.stamp(client.door.now_ms, client.db, key))
    return OK


@command("unwatch", 1, "noscript loading stale fast allow_busy")
def unwatch(client: Client, args: list[bytes]) -> Reply:
    """Forget what was watched."""
    client.watched.clear()
    return OK
