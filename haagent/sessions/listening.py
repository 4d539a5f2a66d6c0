"""Where clients come in, for both kinds of store: over TCP and a Unix socket; and what all together may take."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from haagent.sessions.sockets import unix_listener
from haagent.sessions.store.state import Limits

BACKLOG = 511


class DoorOptions(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 6380  # 0: any free one
    path: str = ""  # of a Unix socket; none without it
    mode: int = 0o600  # of that socket
    password: str = ""  # clients log in with it
    limits: Limits = msgspec.field(default_factory=Limits)


class Connection(Protocol):
    def look(self, now_s: float) -> int:
        """From time to time: let go who may not stay. How many bytes of replies are kept for it."""

    def drop(self, cause: str) -> None: ...


AnyConnection = TypeVar("AnyConnection", bound=Connection)


class Listening(Generic[AnyConnection]):
    def __init__(self, options: DoorOptions, come: Callable[[], asyncio.Protocol]) -> None:
        """`come`: a connection for who comes in. It is among `connections` as long as it is there."""
        self._options, self._come = options, come
        self.connections: set[AnyConnection] = set()
        self.port, self.path = 0, ""
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        loop, options = asyncio.get_running_loop(), self._options
        try:
            self._servers.append(await loop.create_server(self._come, options.host, options.port, backlog=BACKLOG))
            self.port = self._servers[0].sockets[0].getsockname()[1]
            if options.path:
                listener = unix_listener(options.path, options.mode)
                self.path = options.path
                self._servers.append(await loop.create_unix_server(self._come, sock=listener, backlog=BACKLOG))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self.connections):
            connection.drop("ended")
        if self.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def look(self, now_s: float) -> None:
        """At each connection, and at all of them: who has most goes first, until the rest is little enough."""
        kept = {connection: connection.look(now_s) for connection in list(self.connections)}
        left = sum(kept.values())
        for connection in sorted(kept, key=kept.__getitem__, reverse=True):
            if left <= self._options.limits.all_output_bytes:
                break
            left -= kept[connection]
            connection.drop("output_overflows")
