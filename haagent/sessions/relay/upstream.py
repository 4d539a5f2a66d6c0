"""A connection to Redis, for one client: bytes in, replies out, one after the other."""

from __future__ import annotations

import asyncio
import enum
import socket
from typing import Protocol, cast

from haagent.sessions.relay.framing import Broken, Framing
from haagent.sessions.sockets import keep_alive

HIGH_WATER = 256 * 1024  # unsent bytes from which on no more is read from the other side
GONE_MS = 5000  # its kernel has confirmed nothing for so long


class Fate(enum.Enum):
    """Of a reply, known at its beginning."""

    PASS = enum.auto()
    KEEP = enum.auto()
    DROP = enum.auto()
    ASIDE = enum.auto()  # passed on, and no answer to anything: a message


class Hearer(Protocol):
    def begin(self, data: bytes, at: int) -> Fate | None: ...
    def passes(self, piece: bytes) -> None: ...
    def keeps(self, piece: bytes) -> None: ...
    def end(self) -> None: ...
    def went_on(self) -> None: ...
    def push(self) -> None: ...
    def broke(self, upstream: Upstream) -> None: ...
    def lost(self, upstream: Upstream) -> None: ...


class Client(Protocol):
    is_full: bool  # it does not read

    def write(self, wire: bytes) -> None: ...
    def part(self) -> None: ...
    def drop(self, cause: str) -> None: ...
    def go_on(self) -> None: ...


class Upstream(asyncio.Protocol):
    def __init__(self, hearer: Hearer) -> None:
        self._hearer: Hearer | None = hearer
        self._transport: asyncio.Transport | None = None
        self._framing = Framing()
        self._partial = b""  # the beginning of a reply that says too little yet
        self._fate: Fate | None = None
        self.is_full = False

    @property
    def is_in_message(self) -> bool:
        return self._fate is Fate.ASIDE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        connection = self._transport.get_extra_info("socket")
        keep_alive(connection)
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)

    def data_received(self, data: bytes) -> None:
        hearer = self._hearer
        if self._partial:
            data, self._partial = self._partial + data, b""
        at, size, scan = 0, len(data), self._framing.scan
        try:
            while at < size and hearer is not None:
                fate = self._fate
                if fate is None:
                    fate = self._fate = hearer.begin(data, at)
                    if fate is None:
                        self._partial = data[at:]
                        break
                end, is_whole = scan(data, at)
                if fate is Fate.PASS or fate is Fate.ASIDE:
                    hearer.passes(data[at:end])
                elif fate is Fate.KEEP:
                    hearer.keeps(data[at:end])
                at = end
                if is_whole:
                    self._fate = None
                    if fate is not Fate.ASIDE:
                        hearer.end()
                        hearer = self._hearer  # it may have left
        except Broken:
            if hearer is not None:
                hearer.broke(self)
        else:
            if hearer is not None:
                hearer.went_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._hearer is not None:
            self._hearer.lost(self)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._hearer is not None:
            self._hearer.push()

    def write(self, wire: bytes) -> None:
        if self._transport is not None:
            self._transport.write(wire)

    def read(self, *, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """What was written still goes out; what comes back is for nobody."""
        self._hearer = None
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self._hearer = None
        if self._transport is not None:
            self._transport.abort()
