"""Telling the neighbours who has an address: gratuitous ARP and unsolicited neighbour advertisements.

scapy composes the frames when the configuration is read or the interface changes; at the moment of a move the bytes go
through a packet socket that is already open (2.4 microseconds hot; scapy's own `sendp` needs 24 milliseconds).

Both ARP forms are sent. RFC 5227 prefers the request, and some stacks update their cache from the reply alone.
The neighbour advertisement has the override flag, so that caches replace what they have, and the router flag exactly
when this interface forwards: a router that denies being one is thrown out of its neighbours' router lists.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

from haagent.address.facts import IpAddress, Link

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"

Note = Callable[[str], None]

_loading = threading.Lock()


def load_scapy() -> None:
    """Half a second of imports. Call it in a worker thread, before the first frame is needed."""
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it comments on the host's routes; we use none
    with _loading, _no_home():
        import scapy.layers.inet6
        import scapy.layers.l2  # noqa: F401


@contextlib.contextmanager
def _no_home() -> Iterator[None]:
    """scapy makes directories for its console in the user's home; not where there can be none."""
    names = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "/dev/null/none"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def arp_frames(mac: str, address: str) -> tuple[bytes, bytes]:
    """The request form and the reply form: sender and target are both the address itself."""
    from scapy.layers.l2 import ARP, Ether

    ethernet = Ether(dst=BROADCAST, src=mac, type=0x0806)
    request = ARP(op=1, hwsrc=mac, psrc=address, hwdst="00:00:00:00:00:00", pdst=address)
    reply = ARP(op=2, hwsrc=mac, psrc=address, hwdst=mac, pdst=address)
    return bytes(ethernet / request), bytes(ethernet / reply)


def neighbour_advertisement(mac: str, address: str, *, is_router: bool) -> bytes:
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import Ether

    return bytes(
        Ether(dst=ALL_NODES_MAC, src=mac, type=0x86DD)
        / IPv6(src=address, dst=ALL_NODES, hlim=255)
        / ICMPv6ND_NA(tgt=address, R=int(is_router), S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


def frames(link: Link, addresses: Sequence[IpAddress]) -> tuple[bytes, ...]:
    mac = link.mac.hex(":")
    composed: list[bytes] = []
    for address in addresses:
        if address.version == 4:
            composed += arp_frames(mac, str(address))
        else:
            composed.append(neighbour_advertisement(mac, str(address), is_router=_forwards(link.name)))
    return tuple(composed)


def _forwards(interface: str) -> bool:
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/forwarding", encoding="ascii") as setting:
            return setting.read().strip() not in ("", "0")
    except OSError:  # the interface is going, or IPv6 is not built in: then it routes nothing
        return False


class Announcer:
    """Frames and socket of one group on one interface, ready to go."""

    def __init__(self, addresses: Sequence[IpAddress], *, note: Note) -> None:
        self._addresses = tuple(addresses)
        self._note = note
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
            self._frames = frames(link, self._addresses)
        if before is None or before.index != link.index or self._socket is None:
            self._reopen()

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
            opened.close()
            self._note(f"cannot announce on {self._link.name}: {error.strerror}")
            return False
        opened.setblocking(False)
        self._socket = opened
        return True

    def _shut(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
