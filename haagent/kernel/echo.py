"""ICMP echo: a request as bytes, and the socket that hears replies and nothing else."""

from __future__ import annotations

import socket
import struct

from haagent.kernel.rewriting import checksum

SOL_RAW = 255
ICMP_FILTER = ICMP6_FILTER = 1  # of a raw socket: a set bit keeps that type of message away
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}


def open_socket(version: int) -> socket.socket:
    """A raw one: the unprivileged kind is switched off on most hosts, for root as well."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    if version == 4:
        opened = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
        opened.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("@I", 0xFFFFFFFF & ~(1 << _REPLY[4])))
    else:
        opened = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
        away = [0xFFFFFFFF] * 8
        away[_REPLY[6] // 32] &= ~(1 << _REPLY[6] % 32)
        opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("@8I", *away))
    return opened


def request(version: int, identifier: int, sequence: int, *, payload: bytes = b"", pseudo: bytes = b"") -> bytes:
    """`pseudo`: what IPv6's checksum covers besides. Through a raw socket the kernel writes that checksum anew."""
    said = struct.pack("!BBHHH", _REQUEST[version], 0, 0, identifier, sequence) + payload
    return said[:2] + checksum(pseudo + said) + said[4:]


def message_in(version: int, received: bytes) -> bytes:
    """Of IPv4 a raw socket gives the header along."""
    return received[4 * (received[0] & 15) :] if version == 4 and received else received
