"""One interface, listened to and spoken on: two packet sockets, for ARP and for IPv6's neighbour discovery.

They are opened when the configuration is read and follow the interface (another hardware address, another interface of
the same name). A packet socket sees a frame before any firewall does, so the gate of this host hides nothing from it.
A socket that cannot be opened or breaks is opened again with the next question; what was wrong is told once.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable

from haagent.guards import filter as packet_filter
from haagent.guards.frames import Heard, read_arp, read_discovery
from haagent.kernel.facts import IpAddress, Link
from haagent.kernel.sockets import close_aside

ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
PACKET_OUTGOING = 4
BUDGET = 64  # frames read at one waking of each socket: a flood takes its turn like everybody else
QUEUE_BYTES = 128 * 1024


class Sniffer:
    def __init__(self, interface: str, *, heard: Callable[[str, Heard], None], tell: Callable[[str], None]) -> None:
        self.interface = interface
        self.link: Link | None = None
        self.complaint = ""  # what the kernel refuses; a link that is down is somebody else's to report
        self._heard, self._tell = heard, tell
        self._addresses: frozenset[IpAddress] = frozenset()
        self._gateways: frozenset[IpAddress] = frozenset()
        self._sockets: dict[int, socket.socket] = {}

    @property
    def fault(self) -> str:
        """Why nothing can be asked or heard here; empty: it can."""
        if self.link is None:
            return f"{self.interface} does not exist"
        return self.link.fault() or self.complaint

    @property
    def has_neighbours(self) -> bool:
        """ARP and neighbour discovery are spoken here. Where they are not (a tunnel) nobody can be asked."""
        return self.link is None or self.link.is_ethernet

    def listen_for(self, addresses: Iterable[IpAddress], gateways: Iterable[IpAddress]) -> None:
        wanted = frozenset(addresses), frozenset(gateways)
        if wanted != (self._addresses, self._gateways):
            self._addresses, self._gateways = wanted
            self._open()

    def link_changed(self, link: Link | None) -> None:
        before, self.link = self.link, link
        if link is None or before is None or before.index != link.index or not self._sockets:
            self._open()

    def say(self, frames: Iterable[bytes]) -> bool:
        """False: not all of them have left."""
        if not self._sockets:
            self._open()
        for frame in frames:
            way = self._sockets.get(int.from_bytes(frame[12:14], "big"))
            try:
                if way is None:
                    return False
                way.send(frame)
            except OSError as error:
                self._complain(f"cannot ask on {self.interface}: {error.strerror}")
                self.close()
                return False
        return True

    def drain(self) -> None:
        """Read what has arrived, now: before silence is taken for an answer."""
        for kind in tuple(self._sockets):
            self._read(kind)

    def close(self) -> None:
        for opened in self._sockets.values():
            asyncio.get_running_loop().remove_reader(opened)
            close_aside(opened)
        self._sockets.clear()

    # how

    def _open(self) -> None:
        self.close()
        if self.link is None or not self.link.is_ethernet:
            return
        both = self._addresses | self._gateways
        programs = {
            ETH_P_ARP: packet_filter.arp(_packed(self._addresses, 4), _packed(self._gateways, 4)),
            ETH_P_IPV6: packet_filter.discovery(_packed(both, 6)),
        }
        try:
            for kind, version in ((ETH_P_ARP, 4), (ETH_P_IPV6, 6)):
                if _packed(both, version):
                    self._sockets[kind] = self._opened(kind, programs[kind])
        except OSError as error:
            self._complain(f"cannot listen on {self.interface}: {error.strerror}")
            self.close()
            return
        self.complaint = ""

    def _opened(self, kind: int, program: list[packet_filter.Instruction]) -> socket.socket:
        # Protocol 0 receives nothing: no frame comes in before the filter is there.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
            packet_filter.attach(opened, program)
            opened.bind((self.interface, kind))
        except OSError:
            close_aside(opened)
            raise
        asyncio.get_running_loop().add_reader(opened, self._read, kind)
        return opened

    def _read(self, kind: int) -> None:
        read = read_arp if kind == ETH_P_ARP else read_discovery
        for _ in range(BUDGET):
            opened = self._sockets.get(kind)  # what is heard may make us open it anew
            if opened is None:
                return
            try:
                frame, sender = opened.recvfrom(packet_filter.SNAP)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # then the socket stays, and works again when the interface does
                    self._complain(f"cannot listen on {self.interface}: {error.strerror}")
                    self.close()
                return
            if sender[2] == PACKET_OUTGOING:
                continue
            found = read(frame)
            if found is not None:
                self._heard(self.interface, found)

    def _complain(self, text: str) -> None:
        if text != self.complaint:
            self.complaint = text
            self._tell(text)


def _packed(addresses: Iterable[IpAddress], version: int) -> list[bytes]:
    return sorted(address.packed for address in addresses if address.version == version)
