"""One link: its socket, what went through it and what is wrong with it.

Sending never waits and never raises: a lost heartbeat costs time, a blocked agent costs the lease. Receiving drains
the socket, at most `BUDGET` datagrams for each wake-up of the loop, so that a flood leaves the loop its turns: alarms
and the other links run between two portions.

When the kernel reports a link healthy again its socket is opened anew. An interface that was deleted and made again
has another index, and one whose IPv6 was switched off and on has forgotten its groups; a new socket is right in all
such cases, and nothing is lost with the old one.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable

import msgspec

from haagent.core.wire import LONGEST_DATAGRAM, Cause
from haagent.heartbeats import sockets
from haagent.heartbeats.plan import Binding, LinkPlan

BUDGET = 32  # datagrams for each wake-up: half a millisecond of opening, and a beat of every peer

Heard = Callable[[bytes, str], None]
Dropped = Callable[[str], None]
Outlet = tuple[socket.socket, tuple[sockets.Address, ...]]


class Look(msgspec.Struct, frozen=True):
    """What was found of a link."""

    before: socket.socket | None  # the link's own at that time
    fault: str
    is_new: bool = False  # in its place comes `fresh`, if that could be opened
    fresh: socket.socket | None = None


class LinkStatus(msgspec.Struct, frozen=True):
    name: str
    is_up: bool
    why: str  # when it is not up
    sent: int
    received: int
    overflowed: int  # lost in a full receive buffer
    send_errors: dict[str, int]  # by errno: ENETUNREACH, EAGAIN, ...
    receive_errors: dict[str, int]


def _cause(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")


class Link:
    def __init__(self, plan: LinkPlan, *, loop: asyncio.AbstractEventLoop, heard: Heard, dropped: Dropped) -> None:
        self.binding: Binding = plan.binding
        self._hosts = plan.hosts
        self._loop, self._heard, self._dropped = loop, heard, dropped
        self._socket: socket.socket | None = None
        self._index = 0
        self._destinations: tuple[sockets.Address, ...] = ()
        self._buffer = bytearray(LONGEST_DATAGRAM)
        self._content = memoryview(self._buffer)
        self._fault = "not opened yet"
        self._send_fault = ""
        self._sent = self._received = self._overflowed_before = 0
        self._send_errors: Counter[str] = Counter()
        self._receive_errors: Counter[str] = Counter()
        self._is_over = False
        self.was_up: bool | None = None  # when it was reported last; None: never

    @property
    def is_up(self) -> bool:
        return not self._fault and not self._send_fault

    def open(self) -> None:
        """Bind and listen. A link that cannot is down, with the reason, until it is looked at with success."""
        self.heed(self.look())

    def look(self) -> Look:
        """What the kernel says, and a new socket where one can work again. Any thread may do this: nothing is changed
        here, and who joins a group or asks for addresses may have to wait (for interfaces that are taken down)."""
        before, fault = self._socket, sockets.fault_of(self.binding)
        if before is not None and self._present_index() == self._index and (fault or not self._fault):
            return Look(before, fault)
        try:
            if before is not None:
                sockets.part_with(before)
            return Look(before, fault, is_new=True, fresh=sockets.open_socket(self.binding))
        except OSError as error:
            return Look(before, sockets.explain(error, self.binding), is_new=True)

    def heed(self, look: Look) -> None:
        if self._is_over or look.before is not self._socket:  # configured anew meanwhile
            if look.fresh is not None:
                look.fresh.close()
            return
        self._fault = look.fault
        if look.is_new:
            self._let_go()
            if look.fresh is not None:
                self._use(look.fresh)

    def _use(self, sock: socket.socket) -> None:
        self._socket, self._send_fault = sock, ""
        self._index = self._present_index()
        self.aim(self._hosts)
        self._loop.add_reader(sock, self._drain, sock)

    def close(self) -> None:
        self._let_go()
        self._is_over, self._fault = True, "closed"

    def _let_go(self) -> None:
        if self._socket is None:
            return
        self._overflowed_before += sockets.overflowed(self._socket)
        self._loop.remove_reader(self._socket)
        sockets.part_with(self._socket)
        self._socket.close()
        self._socket = None

    def aim(self, hosts: tuple[str, ...]) -> None:
        """Send to `hosts` from now on."""
        self._hosts = hosts
        try:
            self._destinations = tuple(sockets.address(self.binding, host) for host in hosts)
        except OSError as error:  # the interface went between bind and here: the next look opens again
            self._destinations, self._fault = (), sockets.explain(error, self.binding)

    def outlet(self) -> Outlet | None:
        """Where this link's heartbeats leave this host; None: nowhere at present."""
        return None if self._socket is None else (self._socket, self._destinations)

    def send(self, datagrams: list[bytes]) -> None:
        sock = self._socket
        if sock is None:
            return
        self._send_fault = ""
        for datagram in datagrams:
            for destination in self._destinations:
                try:
                    sock.sendto(datagram, destination)
                    self._sent += 1
                except OSError as error:
                    self._count_send_error(error)

    def status(self) -> LinkStatus:
        now_overflowed = sockets.overflowed(self._socket) if self._socket else 0
        return LinkStatus(
            name=self.binding.name,
            is_up=self.is_up,
            why=self._fault or self._send_fault,
            sent=self._sent,
            received=self._received,
            overflowed=self._overflowed_before + now_overflowed,
            send_errors=dict(self._send_errors),
            receive_errors=dict(self._receive_errors),
        )

    def _present_index(self) -> int:
        """The interface's index, which changes when it is deleted and made again. Unicast has none."""
        if not self.binding.is_multicast:
            return 0
        try:
            return socket.if_nametoindex(self.binding.interface)
        except OSError:
            return 0

    def _count_send_error(self, error: OSError) -> None:
        self._send_errors[_cause(error)] += 1
        # A full queue passes by itself; everything else is a state that somebody should know of.
        if not isinstance(error, BlockingIOError) and error.errno != errno.ENOBUFS:
            self._send_fault = f"sending fails: {sockets.explain(error, self.binding)}"

    def _drain(self, sock: socket.socket) -> None:
        """MSG_TRUNC makes the kernel tell a datagram's full length however much of it fits the buffer."""
        for _ in range(BUDGET):
            try:
                size = sock.recv_into(self._buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError as error:
                self._receive_errors[_cause(error)] += 1
                return
            self._take(size)
            if self._socket is not sock:
                return  # whoever heard it has closed or changed this link

    def _take(self, size: int) -> None:
        self._received += 1
        if size > LONGEST_DATAGRAM:
            self._dropped(Cause.OVERSIZED)
        else:
            self._heard(bytes(self._content[:size]), self.binding.name)
