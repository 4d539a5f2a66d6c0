"""A composed frame with other bytes in some places, and the checksum that belongs to them.

ARP has no checksum. That of ICMPv6 covers the IPv6 addresses and the message; it is brought up to date by the
difference (RFC 1624, equation 3), so nothing has to be known here of what the rest of the frame means.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

# Where in a frame what stands.
DESTINATION, SENDER, TYPE = 0, 6, 12  # of Ethernet
ARP_SENDER_MAC, ARP_SENDER, ARP_TARGET_MAC, ARP_TARGET = 22, 28, 32, 38
IPV6_SENDER, IPV6_DESTINATION = 22, 38
CHECKSUM, ND_TARGET, ND_OPTION = 56, 62, 80  # of neighbour discovery; what its first option says
_IPV6 = b"\x86\xdd"
_ONES = 0xFFFF


def rewritten(frame: bytes, changes: Mapping[int, bytes]) -> bytes:
    """`changes`: where, and what is there then; even places and lengths."""
    changed = bytearray(frame)
    total = ~int.from_bytes(frame[CHECKSUM : CHECKSUM + 2], "big") & _ONES
    for at, new in changes.items():
        end = at + len(new)
        if at >= IPV6_SENDER:
            total += _sum(new) + (len(new) // 2) * _ONES - _sum(frame[at:end])  # ~x is 0xffff - x
        changed[at:end] = new
    if frame[TYPE : TYPE + 2] == _IPV6:
        changed[CHECKSUM : CHECKSUM + 2] = _folded(total)
    return bytes(changed)


def checksum(data: bytes) -> bytes:
    """Of the Internet protocols (RFC 1071), over an even number of bytes."""
    return _folded(_sum(data))


def _folded(total: int) -> bytes:
    while total > _ONES:
        total = (total & _ONES) + (total >> 16)
    return (~total & _ONES).to_bytes(2, "big")


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f">{len(data) // 2}H", data))
