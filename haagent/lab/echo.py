"""ICMP echo requests as bytes: for a raw socket (the kernel finds the way) and as whole frames (we name the MAC).

Built once; per tick only the sequence number changes, and with it the checksum, which one's-complement arithmetic
gives from a sum computed beforehand.
"""

from __future__ import annotations

import ipaddress
import struct

REQUEST4, REPLY4 = 8, 0
REQUEST6, REPLY6 = 128, 129
_PAYLOAD = b"haagent!"


def is_ipv6(address: str) -> bool:
    return ":" in address


class Echo:
    """Requests to one address with one identifier. `frame` is the Ethernet and IP header to put before, if any."""

    def __init__(self, *, address: str, identifier: int, source: str = "") -> None:
        self._type = REQUEST6 if is_ipv6(address) else REQUEST4
        self._identifier = identifier
        body = struct.pack("!BBHHH", self._type, 0, 0, identifier, 0) + _PAYLOAD
        self._sum = _sum(body)
        if is_ipv6(address) and source:
            ends = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(address).packed
            self._sum += _sum(ends + struct.pack("!II", len(body), 58))  # the pseudo-header

    def message(self, sequence: int) -> bytes:
        """For ICMPv6 through a raw socket the kernel replaces the checksum by the right one."""
        checksum = _checksum(self._sum + sequence)
        header = struct.pack("!BBHHH", self._type, 0, checksum, self._identifier, sequence)
        return header + _PAYLOAD


def frame_header(*, address: str, source: str, mac: str, source_mac: str) -> bytes:
    """Ethernet and IP header of a frame that carries one echo request to `address` at exactly this MAC."""
    length = 8 + len(_PAYLOAD)
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(address).packed
    macs = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex(source_mac.replace(":", ""))
    if is_ipv6(address):
        return macs + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, length, 58, 64) + ends
    bare = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, 1, 0) + ends
    return macs + b"\x08\x00" + bare[:10] + struct.pack("!H", _checksum(_sum(bare))) + bare[12:]


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _checksum(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
