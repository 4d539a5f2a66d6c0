"""A connection with its socket: what may take how long, and how much may wait.

Time is counted in ticks (a `tick` is called every half second), not read from a clock. A process that was held up for
long gets one tick when it goes on, and reads what has come meanwhile before the next; so it takes nobody for silent
because it was deaf itself.

What is sent in one turn of the loop leaves together, as one record of TLS and one call of the kernel. When the other
end takes things in more slowly than they are sent, at most `MOST_WAITING` bytes and one message wait here, little in
the kernel (`NOT_SENT`), and `send` refuses more until there is room again.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

from haagent.peerlink.channel import Channel
from haagent.peerlink.messages import MAX_MESSAGE, Cause, Hello, Over, frame
from haagent.peerlink.settings import plain

HELLO_TICKS = 6  # until who has connected must have said who it is
PING_TICKS = 2  # without anything sent
SILENT_TICKS = 10  # without anything heard, though the other end pings
STUCK_TICKS = 20  # without anything taken, though something waits

AT_ONCE = 64 * 1024  # bytes that do not wait for the turn's end
MOST_WAITING = 1024 * 1024
ROOM_AGAIN = 256 * 1024
NOT_SENT = 128 * 1024


class Owner(Protocol):
    def met(self, connection: Connection) -> None: ...
    def linked(self, connection: Connection, hello: Hello) -> None: ...
    def received(self, connection: Connection, message: bytes) -> None: ...
    def has_room(self, connection: Connection) -> None: ...
    def ended(self, connection: Connection, over: Over) -> None: ...
    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    def __init__(self, owner: Owner, channel: Channel) -> None:
        self._owner, self.channel = owner, channel
        self._loop = asyncio.get_running_loop()
        self.gone = asyncio.Event()
        self.is_over = False
        self.host = ""
        self.ticks = self.linked_ticks = 0
        self.sent = self.received = 0  # messages
        self._transport: asyncio.Transport
        self._queue = bytearray()
        self._is_full = self._has_refused = False
        self._written = self._taken = 0  # bytes: by us, and of these by the kernel
        self._unsent = self._unheard = self._untaken = 0  # ticks

    @property
    def name(self) -> str:
        """Of the node at the other end, or that was meant; empty: a stranger."""
        return self.channel.peer.node if self.channel.peer else self.channel.meant

    @property
    def is_stranger(self) -> bool:
        """Has connected, and has not said yet who it is."""
        return not (self.channel.peer or self.channel.meant or self.is_over)

    # ------------------------------------------------------------ from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MOST_WAITING, low=ROOM_AGAIN)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        peername = transport.get_extra_info("peername")
        self.host = plain(peername[0]) if peername else ""  # none: it is gone already
        self._owner.met(self)
        self.channel.start()
        self._let_out()

    def data_received(self, data: bytes) -> None:
        if self.is_over:
            return
        self._unheard = 0
        try:
            for what in self.channel.receive(data):
                if isinstance(what, Hello):
                    self._let_out()
                    self._owner.linked(self, what)
                else:
                    self.received += 1
                    self._owner.received(self, what)
                if self._transport.is_closing():  # who heard that has ended it
                    return
        except Over as over:
            self.end(over)
            return
        self._let_out()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._has_refused and not self.is_over:
            self._has_refused = False
            self._owner.has_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(Over(Cause.CLOSED if self.channel.peer else Cause.GONE))
        self.gone.set()
        self._owner.left(self)

    # ------------------------------------------------------------ from the owner

    def send(self, message: bytes) -> bool:
        if not 0 < len(message) <= MAX_MESSAGE:
            raise ValueError(f"a message of {len(message)} bytes; it has 1 to {MAX_MESSAGE}")
        if self._is_full:
            self._has_refused = True
            return False
        self.sent += 1
        self._put(message)
        return True

    def tick(self) -> None:
        self.ticks += 1
        if self.is_over:  # what it was told last has had its time to leave
            self._transport.abort()
        elif self.channel.peer is None:
            if self.ticks > HELLO_TICKS:
                self.end(Over(Cause.LATE))
        else:
            self._watch()

    def end(self, over: Over) -> None:
        """The other end hears the last words, if it listens."""
        if self.is_over:
            return
        self.is_over = True
        self._queue.clear()
        self._owner.ended(self, over)
        self._let_out()
        self._transport.close()

    def _watch(self) -> None:
        self.linked_ticks += 1
        waiting = self._transport.get_write_buffer_size()
        taken = self._written - waiting
        self._untaken = self._untaken + 1 if waiting and taken == self._taken else 0
        self._taken = taken
        self._unheard += 1
        self._unsent += 1
        if self._unheard > SILENT_TICKS:
            self.end(Over(Cause.SILENT))
        elif self._untaken > STUCK_TICKS:
            self.end(Over(Cause.STUCK))
        elif self._unsent >= PING_TICKS and not waiting:
            self._put(b"")

    def _put(self, message: bytes) -> None:
        self._unsent = 0
        if not self._queue:
            self._loop.call_soon(self._flush)
        self._queue += frame(message)
        if len(self._queue) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._queue:
            self.channel.write(self._queue)
            self._queue.clear()
            self._let_out()

    def _let_out(self) -> None:
        if data := self.channel.outgoing():
            self._written += len(data)
            self._transport.write(data)
