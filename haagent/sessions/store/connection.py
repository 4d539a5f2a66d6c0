"""One client's connection: bytes to commands, replies to bytes, in order, and never more of either than allowed.

What waits, waits in one of four places, each with an end. A command that is not whole: `Requests`, up to
`query_bytes`. Commands behind a slow one, or behind a client that does not read: `_waiting`; meanwhile nothing more is
read. Replies that other nodes have to confirm: `_held`, in order, of this connection only. Replies that the client does
not read: the transport; above its mark no further command of this client is executed, and above `output_bytes`, or
after `output_s` without any progress, the client is let go.

A slow command is an iterator: others have their turn between two of its slices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import cast

from haagent.core.store.store import TooLarge
from haagent.sessions.sockets import address_of, keep_alive
from haagent.sessions.store import commands as _commands  # noqa: F401 fills the table
from haagent.sessions.store.calls import TOO_LARGE, Attack, call
from haagent.sessions.store.replies import OK, Refused, Reply, Several, TooMuch, encode
from haagent.sessions.store.requests import Requests
from haagent.sessions.store.state import Client, Door, Ticket
from haagent.sessions.store.table import spelt

HIGH_WATER = 256 * 1024  # unread bytes of replies from which on a client's commands wait
BATCH = 64 * 1024  # bytes of replies that are made before they are written
LARGE = 64 * 1024  # bytes of an unfinished command that count when all together are too many

logger = logging.getLogger(__name__)

TOO_LONG = Refused("ERR the reply is longer than a client may have unread; ask for less at a time, with SCAN say")


class Connection(asyncio.Protocol):
    def __init__(self, door: Door, everyone: set[Connection]) -> None:
        self._door, self._everyone = door, everyone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[list[bytes]] = deque()
        self._slices: Iterator[Reply] | None = None
        self._latest: Reply = None  # of the slices
        self._ticket: Ticket | None = None  # of the command that was just executed
        self._held: deque[tuple[Ticket | None, bytes]] = deque()
        self._held_bytes = 0
        self._batch: list[bytes] | None = None  # replies of commands that came together, not yet written
        self._is_full = self._is_paused = False  # the transport has more than its mark; nothing is read
        self._counted = 0  # bytes of an unfinished command, as the door has them in its sum
        self._written = self._drained = 0
        self._progress_s = self._heard_s = self._loop.time()
        self._is_heard = False  # since we last looked

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        keep_alive(transport.get_extra_info("socket"))
        limits = self._door.limits
        self.client = Client(self._door, address=address_of(transport), send=self._send, kill=transport.abort)
        self._requests = Requests(max_bytes=limits.query_bytes, is_known=self.client.is_known)
        self._everyone.add(self)
        if len(self._everyone) > limits.clients:
            self._door.counts["refused_clients"] += 1
            self._part(b"-ERR max number of clients reached\r\n")
        else:
            self._door.clients[self.client.id] = self.client

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = self._slices = None
        self._waiting.clear()
        self._held.clear()
        self._door.query_bytes -= self._counted
        self._everyone.discard(self)
        self._door.leave_all(self.client)
        self._door.clients.pop(self.client.id, None)

    def data_received(self, data: bytes) -> None:
        if self.client.closes:
            return
        self._is_heard = True
        requests = self._requests
        found = requests.feed(data)
        if found and not self._waiting and not self._is_full and self._slices is None and not self._held:
            found = self._execute_one(found[0]) if len(found) == 1 else self._execute(found)
        if found or requests.is_unusual or self._counted:
            self._waiting.extend(found)
            self._go_on()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._go_on()

    # Executing

    @property
    def _is_blocked(self) -> bool:
        return self._is_full or self._slices is not None or self._held_bytes > HIGH_WATER

    def _execute_one(self, args: list[bytes]) -> list[list[bytes]]:
        """The same as `_execute`, for one that came alone and waits for nothing: nearly all do."""
        transport = self._transport
        assert transport is not None  # it has just given us this
        self._door.now_ms = self._door.wall_ms()
        messages: list[bytes] = []
        self._batch = messages
        wire = self._reply(args)
        self._batch = None
        if messages:
            wire = b"".join([*messages, wire])
        if self._ticket is not None:
            ticket, self._ticket = self._ticket, None
            self._hold(ticket, wire)
        elif wire and not transport.is_closing():
            transport.write(wire)
            self._written += len(wire)
        if self.client.closes:
            self._part()
        return []

    def _execute(self, found: list[list[bytes]]) -> list[list[bytes]]:
        """Execute these commands; those that have to wait are returned."""
        self._door.tick()
        replies = self._batch = []
        size = done = 0
        for args in found:
            wire = self._reply(args)
            done += 1
            size += len(wire)
            if self._ticket is not None:
                self._hold(self._ticket, wire)
                self._ticket = None
            elif wire:
                replies.append(wire)
            if self.client.closes or self._slices is not None:
                break
            if size > BATCH:
                self._flush()
                size = 0
                if self._is_blocked:
                    break
        self._flush()
        self._batch = None
        if self.client.closes:
            self._part()
            return []
        return found[done:]

    def _reply(self, args: list[bytes]) -> bytes:
        """What a command answers; b"": nothing, or later."""
        door, client = self._door, self.client
        try:
            command = spelt.get(args[0])
            if (
                command is not None
                and client.is_plain
                and command.least <= len(args) <= command.most
                and not (command.is_denied_full and door.is_bounded)
            ):
                command.calls += 1
                client.last = command.name
                reply = command.run(client, args)
                if type(reply) is bytes and not door.store.effects:
                    return b"$%d\r\n%b\r\n" % (len(reply), reply)
            else:
                reply = call(client, args)
        except Refused as refused:
            reply = refused
        except TooLarge:
            reply = Refused(TOO_LARGE)
        except Attack:
            client.closes = True
            return b""
        except TooMuch:
            self._drop("output_overflows")
            reply = OK  # for nobody; what was changed is told to the others all the same
        except Exception:
            # A bug in one command must not cost everybody else the store. It is logged whole, and told.
            logger.exception("store: a command failed")
            door.counts["faults"] += 1
            reply = Refused("ERR internal error")
        if isinstance(reply, Iterator):
            self._slices = reply
            self._loop.call_soon(self._slice)
            return b""
        return self._answer(reply)

    def _answer(self, reply: Reply) -> bytes:
        client = self.client
        if self._door.store.effects:
            self._ticket = self._door.replicate(self._door.store.take_effects())
        if client.unanswered:
            client.unanswered -= 1  # below zero: for ever
            client.settle()
            if type(reply) is not Several:  # what it hears of channels comes all the same
                return b""
        try:
            return encode(reply, client.resp, self._door.limits.output_bytes)
        except TooMuch:
            self._door.counts["output_overflows"] += 1
            return TOO_LONG.wire

    def _slice(self) -> None:
        if self._slices is None:  # the client is gone
            return
        self._door.tick()
        try:
            self._latest = next(self._slices)
        except StopIteration:
            reply, self._slices, self._latest = self._latest, None, None
        except Refused as refused:
            reply, self._slices = refused, None
        else:
            if self._door.store.effects:
                self._ticket = self._door.replicate(self._door.store.take_effects()) or self._ticket
            self._loop.call_soon(self._slice)
            return
        ticket, self._ticket = self._ticket, None
        wire = self._answer(reply)
        ticket, self._ticket = self._ticket or ticket, None
        if ticket is not None:
            self._hold(ticket, wire)
        else:
            self._write(wire)
        self._go_on()

    def _go_on(self) -> None:
        """Execute what waits, as far as it may be; then read on, or not."""
        while self._transport is not None and not self.client.closes and not self._is_blocked:
            if not self._waiting:
                was_known, self._requests.is_known = self._requests.is_known, self.client.is_known
                if was_known or not (more := self._requests.feed(b"")):
                    break
                self._waiting.extend(more)
            found = list(self._waiting)
            self._waiting.clear()
            self._waiting.extend(self._execute(found))
        if self._transport is None or self.client.closes:
            return
        if self._requests.fault is not None and not self._waiting and not self._is_blocked:
            self._part(self._requests.fault.wire)
            return
        self._count()
        self._read(bool(not self._waiting and not self._is_blocked))

    def _count(self) -> None:
        """Unfinished commands of all clients together have an end, too."""
        left = self._requests.left
        self._door.query_bytes += left - self._counted
        self._counted = left
        if left > LARGE and self._door.query_bytes > self._door.limits.all_query_bytes:
            self._door.counts["query_overflows"] += 1
            self._part(b"-ERR too many large requests at once\r\n")

    def _read(self, wanted: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or wanted is not self._is_paused:
            return
        self._is_paused = not wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    # Answering

    def _send(self, reply: Reply) -> None:
        """A message: between two replies, never before one that came earlier."""
        try:
            wire = encode(reply, self.client.resp, self._door.limits.output_bytes)
        except TooMuch:
            self._drop("output_overflows")
            return
        if self._batch is not None:
            self._batch.append(wire)
        else:
            self._write(wire)

    def _flush(self) -> None:
        if self._batch:
            self._write(self._batch[0] if len(self._batch) == 1 else b"".join(self._batch))
            self._batch.clear()

    def _write(self, wire: bytes) -> None:
        transport = self._transport
        if self._held:
            self._held.append((None, wire))
            self._held_bytes += len(wire)
            if self._held_bytes > self._door.limits.output_bytes:
                self._drop("output_overflows")
        elif transport is not None and wire and not transport.is_closing():
            transport.write(wire)
            self._written += len(wire)
            if self._is_full and transport.get_write_buffer_size() > self._door.limits.output_bytes:
                self._drop("output_overflows")

    def _hold(self, ticket: Ticket, wire: bytes) -> None:
        self._flush()
        self._held.append((ticket, wire))
        self._held_bytes += len(wire)
        ticket.add_done_callback(self._release)

    def _release(self, ticket: Ticket) -> None:
        while self._held and ((first := self._held[0][0]) is None or first.done()):
            done, wire = self._held.popleft()
            self._held_bytes -= len(wire)
            instead = None if done is None or done.cancelled() else done.result()
            rest, self._held = self._held, deque()
            self._write(wire if instead is None else instead)
            self._held = rest
        if self.client.closes and not self._held:
            self._part()
        else:
            self._go_on()

    def _part(self, wire: bytes = b"") -> None:
        """Close, when what there is has been written. A client that does not read it: see `look`."""
        self.client.closes = True
        self._write(wire)
        if self._transport is not None and not self._held:
            self._transport.close()

    def _drop(self, cause: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._door.counts[cause] += 1
        if self._transport is not None:
            self._transport.abort()

    # Looking after it

    def look(self, now_s: float) -> int:
        """From time to time: let go who does not read, or is silent for too long. How many bytes it has not read."""
        transport, limits = self._transport, self._door.limits
        if transport is None:
            return 0
        if self._is_heard:
            self._is_heard, self._heard_s = False, now_s
        unread = transport.get_write_buffer_size()
        if not unread or self._written - unread != self._drained:
            self._drained, self._progress_s = self._written - unread, now_s
        if unread > limits.output_bytes or now_s - self._progress_s > limits.output_s:
            self._drop("slow_readers")
        elif limits.idle_s and now_s - self._heard_s > limits.idle_s and not self.client.listens:
            self._drop("idle_clients")
        return unread + self._held_bytes

    def drop(self, cause: str) -> None:
        self._drop(cause)
