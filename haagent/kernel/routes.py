"""Asking the kernel which way a packet would go: for finding the gateway of an interface.

The default route is found by asking for a destination that only a default route covers (the addresses that RFC 5737
and RFC 3849 keep for documentation), and by looking whether the route that would be used is one: on a router with a
million routes this takes microseconds too, where a list of them would take a second.
"""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address

import msgspec

from haagent.kernel import netlink
from haagent.kernel.encoding import AF_INET, AF_INET6
from haagent.kernel.facts import AddressError, IpAddress

RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_MULTIPATH, RTA_VIA = 1, 4, 5, 7, 9, 18
FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: tell the route, not what becomes of the packet
UNICAST = 1
NOWHERE = {4: ("192.0.2.1", "198.51.100.1", "203.0.113.1"), 6: ("2001:db8::1",)}
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, lengths, tos, table, protocol, scope, type, flags
_HOP = struct.Struct("=HBBi")  # length, flags, hops, interface


class Way(msgspec.Struct, frozen=True):
    """How this host would send to an address."""

    index: int  # of the interface
    source: IpAddress | None  # which of its own addresses it would use
    is_direct: bool  # without a router: the address is a neighbour's


class Routes(netlink.Inquirer):
    def gateway(self, index: int) -> IpAddress | None:
        """Of the interface's default route; IPv4 first. None: it has no such route."""
        for version, places in NOWHERE.items():
            for place in places:
                answer = self._route(ip_address(place), index=index, flags=FIB_MATCH)
                if answer is None or _ROUTE.unpack_from(answer, netlink.HEADER.size)[1]:
                    continue  # no way, or one that is meant for this network: routers throw such packets away
                found = _gateway_in(answer, index)
                if found is not None and found.version == version:
                    return found
        return None

    def way_to(self, address: IpAddress, *, index: int = 0) -> Way | None:
        """`index`: over this interface only. None: there is no way."""
        answer = self._route(address, index=index)
        if answer is None or _ROUTE.unpack_from(answer, netlink.HEADER.size)[7] != UNICAST:
            return None
        found = _attributes(answer)
        if RTA_OIF not in found:
            return None
        source = ip_address(found[RTA_PREFSRC]) if RTA_PREFSRC in found else None
        is_direct = RTA_GATEWAY not in found and RTA_VIA not in found
        return Way(struct.unpack("=I", found[RTA_OIF])[0], source, is_direct)

    def _route(self, address: IpAddress, *, index: int, flags: int = 0) -> bytes | None:
        family = AF_INET if address.version == 4 else AF_INET6
        body = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, flags)
        body += netlink.attribute(RTA_DST, address.packed)
        if index:
            body += netlink.attribute(RTA_OIF, struct.pack("=I", index))
        kind, answer = self.answer(netlink.message(RTM_GETROUTE, body))
        if kind == netlink.ERROR:
            _check_refusal(*netlink.read_error(answer))
        return answer if kind == RTM_NEWROUTE else None


def _check_refusal(code: int, text: str) -> None:
    """Unreachable, prohibited, blackholed (EINVAL), or the interface is gone: there is no way. Else it is a fault."""
    if code not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV, errno.EINVAL, errno.EACCES, errno.ENETDOWN):
        raise AddressError(f"the kernel tells no route: {text or errno.errorcode.get(code, code)}")


def _attributes(message: bytes) -> dict[int, bytes]:
    return dict(netlink.attributes(message, netlink.HEADER.size + _ROUTE.size))


def _gateway_in(message: bytes, index: int) -> IpAddress | None:
    found = _attributes(message)
    if RTA_GATEWAY in found and RTA_OIF in found and struct.unpack("=I", found[RTA_OIF])[0] == index:
        return ip_address(found[RTA_GATEWAY])
    hops = found.get(RTA_MULTIPATH, b"")
    for (*_, interface), at, end in netlink.records(hops, _HOP):
        below = dict(netlink.attributes(hops[:end], at + _HOP.size))
        if interface == index and RTA_GATEWAY in below:
            return ip_address(below[RTA_GATEWAY])
    return None
