"""Netlink in bytes: pyroute2 has written what we send (`layouts`); `struct` reads what the kernel says.

Why both. A message that adds an address is laid out once, by the library that knows how. The address is written into
it ahead of need, and in the moment only some numbers are (here link index and lifetime; the sequence number by who
sends it): 4 microseconds instead of 200. What the kernel reports must be read in the middle of a move, so a walk over
a few attributes takes the place of a general decoder; and a removal of something seen is the kernel's own report with
another message type.

Lifetimes. An address is added with a finite `valid_lft`, so that it goes by itself when nobody renews it. IPv6:
`preferred_lft` is 0. Such an address answers as any other, but the host does not choose it as the source of
connections that it opens itself; those would break when the address moves, heartbeats included. IPv4 does not look
at `preferred_lft` when it chooses (the first address of the subnet wins, which a later one is not): it equals
`valid_lft`.

IPv6 flags: NODAD (the lease is our duplicate detection; DAD costs a second) and, when the host has an address of
its own in the same subnet, NOPREFIXROUTE: otherwise the kernel would put our short lifetime on the host's own
on-link route.
"""

from __future__ import annotations

import struct
from collections.abc import Set

from haagent.kernel.facts import MAX_LABEL, Link, Seen, Vip
from haagent.kernel.layouts import Layouts
from haagent.kernel.netlink import ACK, HEADER, attribute, attributes, message, places, read_text

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22

AF_INET, AF_INET6 = 2, 10
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS, IFA_PROTO = 1, 2, 3, 6, 8, 11
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200
IFLA_ADDRESS, IFLA_IFNAME, IFLA_AF_SPEC = 1, 3, 26
IFLA_INET_CONF, DEVCONF_PROMOTE_SECONDARIES = 1, 20
IFF_UP, IFF_LOOPBACK, IFF_LOWER_UP = 0x1, 0x8, 0x10000
ARPHRD_ETHER = 1

_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_LINK = struct.Struct("=BxHiII")  # family, hardware type, index, flags, changed
_LIFETIMES = struct.Struct("=II")  # preferred, valid
_NUMBER = struct.Struct("=I")
_PREFIX_AT, _INDEX_AT = HEADER.size + 1, HEADER.size + 4
_ATTRIBUTES_AT = HEADER.size + _ADDRESS.size
EVERY_ADDRESS, EVERY_LINK = bytes(_ADDRESS.size), bytes(_LINK.size)  # of which a list is asked for


class Prepared:
    """The messages that add (or renew) and remove one VIP, complete but for what depends on the moment."""

    def __init__(self, vip: Vip, layouts: Layouts) -> None:
        version = vip.address.version
        self._is_v6 = version == 6
        self._adding, self._removing = _of(vip, layouts.adding[version]), _of(vip, layouts.removing[version])
        self._places = places(self._adding, _ATTRIBUTES_AT)
        self._packed, self._prefix = vip.packed, vip.prefix

    def add(self, *, index: int, lifetime_s: int, own: Set[tuple[int, int, int]]) -> bytes:
        """`own`: the `subnet` of each IPv6 address that is the host's own."""
        preferred_s = lifetime_s
        if self._is_v6:
            preferred_s = 0
            is_shared = subnet(index, self._packed, self._prefix) in own
            flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE if is_shared else IFA_F_NODAD
            _NUMBER.pack_into(self._adding, self._places[IFA_FLAGS], flags)
        _LIFETIMES.pack_into(self._adding, self._places[IFA_CACHEINFO], preferred_s, lifetime_s)
        return _addressed(self._adding, index)

    def remove(self, *, index: int) -> bytes:
        return _addressed(self._removing, index)


def _of(vip: Vip, layout: bytes) -> bytearray:
    # Without a label of ours the kernel would write the interface's name there, too.
    label = (vip.label or vip.interface).encode().ljust(MAX_LABEL + 1, b"\0")
    message = bytearray(layout)
    message[_PREFIX_AT] = vip.prefix
    found = places(layout, _ATTRIBUTES_AT)
    for kind, value in {IFA_LOCAL: vip.packed, IFA_ADDRESS: vip.packed, IFA_LABEL: label}.items():
        if kind in found:
            message[found[kind] : found[kind] + len(value)] = value
    return message


def _addressed(composed: bytearray, index: int) -> bytes:
    _NUMBER.pack_into(composed, _INDEX_AT, index)
    return bytes(composed)


def subnet(index: int, packed: bytes, prefix: int) -> tuple[int, int, int]:
    return index, prefix, int.from_bytes(packed, "big") >> (8 * len(packed) - prefix)


def removing(seen: bytes) -> bytes:
    """The kernel's own words for an address, sent back with another type."""
    return message(RTM_DELADDR, seen[HEADER.size :], flags=ACK)


def promoting(index: int) -> bytes:
    """`promote_secondaries` of one interface; by netlink, because /proc/sys is read-only in many containers."""
    setting = attribute(DEVCONF_PROMOTE_SECONDARIES, struct.pack("=I", 1))
    spec = attribute(IFLA_AF_SPEC, attribute(AF_INET, attribute(IFLA_INET_CONF, setting)))
    return message(RTM_SETLINK, _LINK.pack(0, 0, index, 0, 0) + spec, flags=ACK)


def read_address(found: bytes) -> Seen:
    _family, prefix, _flags, _scope, index = _ADDRESS.unpack_from(found, HEADER.size)
    known = dict(attributes(found, _ATTRIBUTES_AT))
    return Seen(
        packed=known.get(IFA_LOCAL) or known.get(IFA_ADDRESS, b""),
        prefix=prefix,
        index=index,
        tag=known[IFA_PROTO][0] if IFA_PROTO in known else 0,
        label=read_text(known.get(IFA_LABEL, b"")),
        raw=found,
    )


def read_link(found: bytes) -> Link:
    _family, hardware, index, flags, _changed = _LINK.unpack_from(found, HEADER.size)
    known = dict(attributes(found, HEADER.size + _LINK.size))
    mac = known.get(IFLA_ADDRESS, b"")
    return Link(
        index=index,
        name=read_text(known.get(IFLA_IFNAME, b"")),
        mac=mac,
        is_up=bool(flags & IFF_UP),
        has_carrier=bool(flags & IFF_LOWER_UP),
        is_ethernet=hardware == ARPHRD_ETHER and not flags & IFF_LOOPBACK and len(mac) == 6,
    )
