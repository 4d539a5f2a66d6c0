"""Telling the neighbours who has an address: gratuitous ARP and unsolicited neighbour advertisements.

scapy has laid out the frames (`layouts`), addresses are written into them when the interface is known or changes, and
at the moment of a move the bytes go through a packet socket that is already open (2.4 microseconds hot; scapy's own
`sendp` needs 24 milliseconds).

Both ARP forms are sent. RFC 5227 prefers the request, and some stacks update their cache from the reply alone.
The neighbour advertisement has the override flag, so that caches replace what they have, and the router flag exactly
when this interface forwards: a router that denies being one is thrown out of its neighbours' router lists.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from haagent.kernel.facts import IpAddress, Link
from haagent.kernel.layouts import Layouts
from haagent.kernel.packet import close_aside
from haagent.kernel.rewriting import (
    ARP_SENDER_AT,
    ARP_SENDER_MAC_AT,
    ARP_TARGET_AT,
    ARP_TARGET_MAC_AT,
    IPV6_SENDER_AT,
    ND_OPTION_AT,
    ND_TARGET_AT,
    SENDER_AT,
    rewritten,
)


def announcements(layouts: Layouts, address: IpAddress, mac: bytes, *, is_router: bool) -> list[bytes]:
    """Sender and target of both forms of ARP are the address itself."""
    if address.version == 6:
        said = layouts.router_advertisement if is_router else layouts.advertisement
        places = {SENDER_AT: mac, IPV6_SENDER_AT: address.packed, ND_TARGET_AT: address.packed, ND_OPTION_AT: mac}
        return [rewritten(said, places)]
    places = {SENDER_AT: mac, ARP_SENDER_MAC_AT: mac, ARP_SENDER_AT: address.packed, ARP_TARGET_AT: address.packed}
    return [rewritten(layouts.arp_request, places), rewritten(layouts.arp_reply, places | {ARP_TARGET_MAC_AT: mac})]


def _forwards(interface: str) -> bool:
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/forwarding", encoding="ascii") as setting:
            return setting.read().strip() not in ("", "0")
    except OSError:  # the interface is going, or IPv6 is not built in: then it routes nothing
        return False


class Announcer:
    """Frames and socket of one group on one interface, ready to go."""

    def __init__(self, addresses: Sequence[IpAddress], *, layouts: Layouts, note: Callable[[str], None]) -> None:
        self._addresses = tuple(addresses)
        self._layouts, self._note = layouts, note
        self._link: Link | None = None
        self._socket: socket.socket | None = None
        self._frames: tuple[bytes, ...] = ()
        self.sent = 0  # frames, for status
        self.failed = 0

    @property
    def is_ready(self) -> bool:
        return self._socket is not None or self._has_no_neighbours

    @property
    def _has_no_neighbours(self) -> bool:
        return self._link is not None and not self._link.is_ethernet

    def link_changed(self, link: Link | None) -> None:
        """Follow the interface: another hardware address (a bond does that) or another interface of the same name."""
        before, self._link = self._link, link
        if link is None or not link.is_ethernet:
            self._shut()
            self._frames = ()
            return
        if before is None or before.mac != link.mac or not self._frames:
            self._write_frames()
        if before is None or before.index != link.index or self._socket is None:
            self._reopen()

    def _write_frames(self) -> None:
        link = self._link
        if link is None or not link.is_ethernet:
            return
        is_router = _forwards(link.name)
        self._frames = tuple(
            frame
            for address in self._addresses
            for frame in announcements(self._layouts, address, link.mac, is_router=is_router)
        )

    def send(self) -> bool:
        """Once, now. False: at least one frame did not leave; what to do about it is the caller's."""
        if self._socket is None and not self._reopen():
            return self._has_no_neighbours
        assert self._socket is not None
        for frame in self._frames:
            try:
                self._socket.send(frame)
            except OSError as error:
                self.failed += 1
                self._shut()  # ENXIO, ENETDOWN: opened again by the next call or the next link event
                self._note(f"announcement not sent: {error.strerror}")
                return False
        self.sent += len(self._frames)
        return True

    def close(self) -> None:
        self._shut()

    def _reopen(self) -> bool:
        self._shut()
        if self._link is None or not self._link.is_ethernet:
            return False
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # 0: receive nothing
        try:
            opened.bind((self._link.name, 0))
        except OSError as error:
            close_aside(opened)
            self._note(f"cannot announce on {self._link.name}: {error.strerror}")
            return False
        opened.setblocking(False)
        self._socket = opened
        return True

    def _shut(self) -> None:
        if self._socket is not None:
            close_aside(self._socket)
            self._socket = None
