"""This host as the activation sees it: a kernel that is asked, and listened to.

Links and addresses change, and we know in the same turn of the loop. The listening socket is in the multicast groups of
links and of both kinds of addresses. Our own changes come back to it too and are recognised by the port number of the
socket that asked; anything else that touches an address we care about (removed behind our back, added where it should
not be) is reported as "look again": the listener compares what is with what should be, and does not believe the message
further than that.

A full queue (ENOBUFS) means that messages were lost: everything is listed again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

from haagent.kernel import encoding, netlink
from haagent.kernel.addresses import Kernel
from haagent.kernel.facts import AddressError, Vip
from haagent.kernel.layouts import Layouts
from haagent.kernel.sockets import widen

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
QUEUE_BYTES = 1 << 20  # about 1,000 messages: a container engine starting everything at once fits
BUDGET = 256  # datagrams read per turn, so that a flood of messages cannot starve the loop


class Host(Kernel):
    def __init__(self, layouts: Layouts) -> None:
        super().__init__()
        self._layouts = layouts
        self._watched: frozenset[bytes] = frozenset()
        self._changed: Callable[[], None] = lambda: None
        self._monitor: socket.socket | None = None

    def start(self, vips: Iterable[Vip], changed: Callable[[], None]) -> None:
        """`changed` is called when somebody else touched one of the addresses, or news of that may have been lost."""
        self._changed = changed
        self.open()
        self._listen()  # before listing, so that nothing falls in between
        self.load_links()
        self.watch(vips)

    def watch(self, vips: Iterable[Vip]) -> None:
        vips = tuple(vips)
        self._prepared |= {vip: encoding.Prepared(vip, self._layouts) for vip in vips if vip not in self._prepared}
        self._watched = frozenset(vip.packed for vip in vips)

    def close(self) -> None:
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor)
            self._monitor.close()
            self._monitor = None
        super().close()

    def _listen(self) -> None:
        opened = netlink.open_socket(groups=RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
        widen(opened, socket.SO_RCVBUF, QUEUE_BYTES)
        self._monitor = opened
        asyncio.get_running_loop().add_reader(opened, self._drain, opened)

    def _drain(self, opened: socket.socket) -> None:
        has_changed = False
        for datagram in netlink.arrived(opened, most=BUDGET):
            if datagram is None:
                self._list_again()
            else:
                has_changed |= self._read(datagram)
        if has_changed:
            self._changed()

    def _read(self, datagram: bytes) -> bool:
        """Whether it tells of somebody else's change of an address that is watched."""
        has_changed = False
        for kind, _, _, port, message in netlink.split(datagram):
            if kind in (encoding.RTM_NEWADDR, encoding.RTM_DELADDR):
                has_changed |= port != self.port and encoding.read_address(message).packed in self._watched
            elif kind in (encoding.RTM_NEWLINK, encoding.RTM_DELLINK) and not message[netlink.HEADER.size]:
                # A family other than 0 is a bridge's word about its port: "deleted" there means "left the bridge".
                link = encoding.read_link(message)
                if kind == encoding.RTM_DELLINK:
                    self.links.forget(link.index)
                else:
                    self.links.learn(link)
        return has_changed

    def _list_again(self) -> None:
        try:
            self.load_links()
        except AddressError:
            # The list could not be had now; the regular comparison asks again within two seconds.
            return
        self._changed()
