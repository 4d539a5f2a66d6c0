"""What stands before an echo request in a whole frame: we name the MAC, and no neighbour table is asked."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from haagent.kernel.rewriting import checksum

PAYLOAD = b"haagent!"
_LENGTH = 8 + len(PAYLOAD)  # of the request
_ICMP, _ICMPV6 = 1, 58


def headers(*, address: str, source: str, mac: str, source_mac: str) -> tuple[bytes, bytes]:
    """Of Ethernet and IP; and the pseudo-header of IPv6, which the checksum of the request covers."""
    macs = bytes.fromhex((mac + source_mac).replace(":", ""))
    ends = ip_address(source).packed + ip_address(address).packed
    if ip_address(address).version == 6:
        ip = struct.pack("!IHBB", 6 << 28, _LENGTH, _ICMPV6, 64) + ends
        return macs + b"\x86\xdd" + ip, ends + struct.pack("!II", _LENGTH, _ICMPV6)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + _LENGTH, 0, 0x4000, 64, _ICMP, 0) + ends
    return macs + b"\x08\x00" + ip[:10] + checksum(ip) + ip[12:], b""
