"""What is said to neighbours, as whole Ethernet frames, written by scapy. Only the composer's process loads this.

The sender's hardware address is all zeros: it is the interface's, and written in by who sends the frame.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

from scapy.config import conf

# Nothing is sent from here, and a router's tables may be large.
conf.route_autoload = conf.route6_autoload = False

from scapy.layers.inet6 import (  # noqa: E402 - they load the tables
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import Padding  # noqa: E402

NOBODY, BROADCAST = "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
_NONCE_OPTION = 14  # RFC 3971


def arp(operation: int, sender: str, target: str, padding: str) -> bytes:
    """To everybody. 1: who has `target`? 2: `sender` has `target`."""
    ethernet = Ether(dst=BROADCAST, src=NOBODY, type=0x0806)
    said = ARP(op=operation, hwsrc=NOBODY, psrc=sender, hwdst=NOBODY, pdst=target)
    return bytes(ethernet / said / Padding(bytes.fromhex(padding)))


def advertisement(address: str, is_router: int) -> bytes:
    return bytes(
        Ether(dst=ALL_NODES_MAC, src=NOBODY, type=0x86DD)
        / IPv6(src=address, dst=ALL_NODES, hlim=255)
        / ICMPv6ND_NA(tgt=address, R=is_router, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=NOBODY)
    )


def solicitation(sender: str, target: str, nonce: str) -> bytes:
    """With the sender's hardware address, except from `::`, where it is forbidden."""
    asked = bytes.fromhex("ff0200000000000000000001ff") + IPv6Address(target).packed[-3:]
    frame = Ether(dst=(bytes.fromhex("3333") + asked[-4:]).hex(":"), src=NOBODY, type=0x86DD)
    frame /= IPv6(src=sender, dst=socket.inet_ntop(socket.AF_INET6, asked), hlim=255)
    frame /= ICMPv6ND_NS(tgt=target)
    if sender != "::":
        frame /= ICMPv6NDOptSrcLLAddr(lladdr=NOBODY)
    if nonce:
        frame /= ICMPv6NDOptUnknown(type=_NONCE_OPTION, len=1, data=bytes.fromhex(nonce))
    return bytes(frame)


COMPOSERS = (arp, advertisement, solicitation)
