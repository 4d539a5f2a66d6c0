"""Hearing from the kernel: links and addresses change, and we know in the same turn of the loop.

The socket is in the multicast groups of links and of both kinds of addresses. Our own changes come back to it too
and are recognised by the port number of the socket that asked; anything else that touches an address we care about
(removed behind our back, added where it should not be) is reported as "look again": the listener compares what is
with what should be, and does not believe the message further than that.

A full queue (ENOBUFS) means that messages were lost: everything is listed again.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator

from haagent.kernel import encoding, netlink

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
SO_RCVBUFFORCE = 33
QUEUE_BYTES = 1 << 20  # about 1,000 messages: a container engine starting everything at once fits
BUDGET = 256  # datagrams read per turn, so that a flood of messages cannot starve the loop


def arrived(opened: socket.socket, *, most: int) -> Iterator[bytes | None]:
    """What has come in by now. None: the queue was full, and messages were lost."""
    for _ in range(most):
        try:
            yield opened.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None


class Monitor:
    """`link_heard` is called per message, `addresses_changed` once per turn, `lost` after a gap."""

    def __init__(
        self,
        *,
        is_own: Callable[[int], bool],
        is_watched: Callable[[bytes], bool],
        link_heard: Callable[[bytes, int], None],
        addresses_changed: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._is_own = is_own
        self._is_watched = is_watched
        self._link_heard = link_heard
        self._addresses_changed = addresses_changed
        self._lost = lost
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        opened = netlink.open_socket(groups=RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
        try:
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES)
        except PermissionError:  # in a user namespace: the ordinary limit has to do
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
        self._socket, self._loop = opened, loop
        loop.add_reader(opened, self.drain)

    def close(self) -> None:
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def drain(self) -> None:
        if self._socket is None:
            return
        has_changed = False
        for datagram in arrived(self._socket, most=BUDGET):
            if datagram is None:
                self._lost()
            else:
                has_changed |= self._read(datagram)
        if has_changed:
            self._addresses_changed()

    def _read(self, datagram: bytes) -> bool:
        has_changed = False
        for kind, _, _, port, message in netlink.split(datagram):
            if kind in (encoding.RTM_NEWADDR, encoding.RTM_DELADDR):
                if not self._is_own(port) and self._is_watched(encoding.read_address(message).packed):
                    has_changed = True
            elif kind in (encoding.RTM_NEWLINK, encoding.RTM_DELLINK) and not message[netlink.HEADER.size]:
                # A family other than 0 is a bridge's word about its port: "deleted" there means "left the bridge".
                self._link_heard(message, kind)
        return has_changed
