"""What the door knows of its clients and of itself; plain values, which the commands read and change."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from haagent.core.store.effects import Effect
from haagent.core.store.space import Hash
from haagent.core.store.store import Store
from haagent.sessions.store.replies import Refused, Reply

DATABASES = 16
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
MEBIBYTE = 2**20
EVICT_AT_ONCE = 16  # keys: what one value takes has room then, or soon
NO_FIELDS = Hash()

Ticket = asyncio.Future[bytes | None]  # done when replies may go out; its result: None, or what is answered instead
Replicate = Callable[[list[Effect]], Ticket | None]


class Limits(msgspec.Struct, frozen=True):
    clients: int = 10_000
    query_bytes: int = 16 * MEBIBYTE  # of one command, whole or in pieces
    all_query_bytes: int = 256 * MEBIBYTE  # of unfinished commands of all clients together
    output_bytes: int = 32 * MEBIBYTE  # of replies that one client has not read
    all_output_bytes: int = 512 * MEBIBYTE  # and all of them together
    output_s: float = 60.0  # and how long a client may read nothing at all while something is there for it
    idle_s: float = 0.0  # 0: a client may be silent for ever


def nothing_waits(effects: list[Effect]) -> None:
    """`replicate` where nobody else has to know."""


class Door:
    """Shared by all clients of one store."""

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits | None = None,
        password: bytes = b"",
        replicate: Replicate = nothing_waits,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.store, self.limits, self.password, self.replicate = store, limits or Limits(), password, replicate
        self.wall_ms = wall_ms
        self.now_ms = self.started_ms = wall_ms()
        self.is_loading = False
        self.is_bounded = store.settings.max_memory > 0
        self.clients: dict[int, Client] = {}
        self.last_id = 0
        self.channels: dict[bytes, dict[Client, None]] = {}
        self.patterns: dict[bytes, dict[Client, None]] = {}
        self.config: dict[bytes, bytes] = {}  # what CONFIG SET has changed
        self.loaded: dict[bytes, str] = {}  # the scripts that some client has shown, by their sum
        self.counts: Counter[str] = Counter()
        self.unknown: Counter[bytes] = Counter()  # commands that we do not have, by name
        self.query_bytes = 0  # of unfinished commands
        self.port, self.path = 0, ""

    def tick(self) -> int:
        """Read the clock: once for all commands that came together."""
        self.now_ms = self.wall_ms()
        return self.now_ms

    def load(self, *, is_loading: bool) -> None:
        """While it is, only what needs no data is answered."""
        self.is_loading = is_loading
        for client in self.clients.values():
            client.settle()

    def has_room(self) -> bool:
        """Make some, if the settings allow it."""
        return not self.store.is_full() or self.store.evict(self.now_ms, EVICT_AT_ONCE)

    def join(self, client: Client, channel: bytes) -> None:
        client.channels[channel] = None
        self.channels.setdefault(channel, {})[client] = None

    def join_pattern(self, client: Client, pattern: bytes) -> None:
        client.patterns[pattern] = None
        self.patterns.setdefault(pattern, {})[client] = None

    def leave(self, client: Client, channel: bytes) -> None:
        _leave(client, channel, client.channels, self.channels)

    def leave_pattern(self, client: Client, pattern: bytes) -> None:
        _leave(client, pattern, client.patterns, self.patterns)

    def leave_all(self, client: Client) -> None:
        for channel in list(client.channels):
            self.leave(client, channel)
        for pattern in list(client.patterns):
            self.leave_pattern(client, pattern)


def _leave(client: Client, name: bytes, own: dict[bytes, None], everyones: dict[bytes, dict[Client, None]]) -> None:
    own.pop(name, None)
    hearers = everyones.get(name, {})
    hearers.pop(client, None)
    if not hearers:
        everyones.pop(name, None)


class Client:
    """One connection, as the commands see it."""

    def __init__(
        self, door: Door, *, address: str = "", send: Callable[[Reply], None], kill: Callable[[], None]
    ) -> None:
        door.last_id += 1
        self.door, self.store, self.id, self.address = door, door.store, door.last_id, address
        self.send = send  # what is no answer: a message of a channel
        self.kill = kill
        self.since_ms = door.now_ms
        self.last = "NULL"  # the name of its latest command
        self.name, self.info = b"", {b"lib-name": b"", b"lib-ver": b""}
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.watched: dict[tuple[int, bytes], object] = {}
        self.queue: list[tuple[Any, list[bytes]]] | None = None  # the commands since MULTI
        self.closes = False
        self.start_over()

    def start_over(self) -> None:
        """As a new connection is."""
        self.db, self.resp = 0, 2
        self.is_known = not self.door.password
        self.unanswered = 0  # commands that get no reply (CLIENT REPLY); -1: none does
        self.end_transaction()

    def end_transaction(self) -> None:
        self.queue, self.poisoned, self.queued_bytes = None, False, 0
        self.watched.clear()
        self.settle()

    @property
    def listens(self) -> bool:
        """It hears channels: silence is nothing strange."""
        return bool(self.channels or self.patterns)

    def settle(self) -> None:
        """After a change of what makes commands mean something else."""
        self.is_plain = (
            self.is_known
            and self.queue is None
            and not (self.resp == 2 and self.listens)
            and not self.door.is_loading
            and not self.unanswered
        )

    def text(self, key: bytes) -> bytes | None:
        value = self.store.find(self.door.now_ms, self.db, key)
        if value is None or type(value) is bytes:
            return value
        raise Refused(WRONG_TYPE)

    def hash(self, key: bytes) -> Hash:
        """The fields of a hash; none where no key is. Only to be read."""
        value = self.store.find(self.door.now_ms, self.db, key)
        if value is None:
            return NO_FIELDS
        if type(value) is Hash:
            return value
        raise Refused(WRONG_TYPE)
