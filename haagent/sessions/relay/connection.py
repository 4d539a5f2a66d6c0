"""A client of the relay: bytes to commands, and replies as they come. Nothing more is read than there is room for.

What waits, waits here in two places. A command that is not whole: `Requests`, up to `query_bytes`. Commands that are
not answered: the exchange, which is asked no more while there are many, or large ones. Of replies, only those to
changes are kept until replicas have these: `output_bytes` for a client, `all_output_bytes` for all. While a client does
not read, nothing is read from Redis for it, and after `output_s` without any progress it is let go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from haagent.sessions.relay.exchange import Exchange
from haagent.sessions.relay.items import Item, packed
from haagent.sessions.relay.session import Session
from haagent.sessions.relay.source import Source
from haagent.sessions.sockets import keep_alive
from haagent.sessions.store.requests import Requests
from haagent.sessions.store.state import Limits

HIGH_WATER = 256 * 1024
MOST_WAITING = 1024  # commands from which on nothing more is read
LARGE = 64 * 1024  # bytes of unanswered commands that count when all together are too many

logger = logging.getLogger(__name__)


class Relay(Protocol):
    """What all clients share."""

    limits: Limits
    password: bytes
    source: Source
    connections: set[Connection]
    query_bytes: int


class Connection(asyncio.Protocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.is_full = self._is_paused = False
        self._ends = self._closes = False  # nothing more is heard; nothing more is said
        self._counted = 0  # bytes of commands, as the relay has them in its sum
        self._written = self._drained = 0
        self._progress_s = self._loop.time()

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        keep_alive(transport.get_extra_info("socket"))
        relay = self._relay
        self._session = Session(relay.source.settings, relay.password)
        self._requests = Requests(max_bytes=relay.limits.query_bytes, is_known=self._session.is_known)
        self.exchange = Exchange(relay.source, self._session, self, most_kept=relay.limits.output_bytes)
        relay.connections.add(self)
        if len(relay.connections) > relay.limits.clients:
            relay.source.counts["refused_clients"] += 1
            self.write(b"-ERR max number of clients reached\r\n")
            self.part()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._closes = True
        self._relay.query_bytes -= self._counted
        self._relay.connections.discard(self)
        self.exchange.close()

    def data_received(self, data: bytes) -> None:
        if self._closes or self._ends:
            return
        requests, session, table = self._requests, self._session, self._relay.source.table
        found = requests.feed(data)
        try:
            if len(found) == 1 and not requests.is_unusual and data[:1] == b"*":
                self._ask([session.item(found[0], data, table)])
            elif found:
                items = [session.item(args, packed(*args), table) for args in found]
                while not requests.is_known and found:  # one at a time, until the password has been told
                    requests.is_known = session.is_known
                    found = requests.feed(b"")
                    items += [session.item(args, packed(*args), table) for args in found]
                self._ask(items)
        except Exception:
            # A bug in one command must not cost everybody else the store. It is logged whole, and told.
            logger.exception("store: a command failed")
            self._relay.source.counts["faults"] += 1
            self.drop("faulty_clients")
            return
        if requests.fault is not None and not self._closes and not self._ends:
            end = Item(b"", answer=requests.fault.wire)
            end.closes = True
            self._ask([end])
        if requests.is_unusual or self._counted or self.exchange.waiting > MOST_WAITING:
            self.go_on()

    def _ask(self, items: list[Item]) -> None:
        for count, item in enumerate(items, start=1):
            if item.closes:  # what follows is not heard
                self._ends = True
                del items[count:]
                break
        self.exchange.ask(items)

    def pause_writing(self) -> None:
        self.is_full = True
        self.exchange.read(wanted=False)

    def resume_writing(self) -> None:
        self.is_full = False
        self.exchange.read(wanted=True)

    # What the exchange tells

    def write(self, wire: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire)
            self._written += len(wire)

    def part(self) -> None:
        """Close, when what there is has been written."""
        self._closes = True
        if self._transport is not None:
            self._transport.close()

    def drop(self, cause: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._relay.source.counts[cause] += 1
        self._closes = True
        if self._transport is not None:
            self._transport.abort()

    def go_on(self) -> None:
        """Read on, or not."""
        if self._transport is None or self._closes:
            return
        relay, exchange = self._relay, self.exchange
        held = self._requests.left + exchange.waiting_bytes
        relay.query_bytes += held - self._counted
        self._counted = held
        if held > LARGE and relay.query_bytes > relay.limits.all_query_bytes:
            relay.source.counts["query_overflows"] += 1
            self.write(b"-ERR too many large requests at once\r\n")
            self.part()
            return
        wanted = exchange.waiting <= MOST_WAITING and exchange.waiting_bytes <= relay.limits.query_bytes
        if wanted is self._is_paused:
            self._is_paused = not wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def look(self, now_s: float) -> int:
        """From time to time: let go who reads nothing. How many bytes it has not read, or may not have yet."""
        if self._transport is None:
            return 0
        unread = self._transport.get_write_buffer_size()
        if not unread or self._written - unread != self._drained:
            self._drained, self._progress_s = self._written - unread, now_s
        if now_s - self._progress_s > self._relay.limits.output_s:
            self.drop("slow_readers")
        return unread + self.exchange.kept_bytes
