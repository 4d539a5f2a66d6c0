"""The third party: somebody whom a node that is not cut off can reach, asked in the way that was configured.

`tcp`: a connection is accepted. `http`: an answer with a status below 500. `icmp`: an echo reply. A refused connection
is no answer, since a firewall on the way can refuse as well.

Plain sockets of the loop and no client library: a question must cost little, and be given up at the moment that was
said. Names are not looked up (the configuration wants addresses): the name service may be what has been lost.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from haagent.config import ProbeConfig
from haagent.kernel.rewriting import checksum

ICMP_FILTER = 1  # of a raw ICMP socket, level SOL_RAW: a set bit keeps that type away
ICMP6_FILTER = 1  # of a raw ICMPv6 socket, level IPPROTO_ICMPV6
SOL_RAW = 255
ECHO_REPLY, ECHO, ECHO_REPLY_V6, ECHO_V6 = 0, 8, 129, 128
MAX_LINE = 1024


async def answers(wanted: ProbeConfig) -> bool:
    kinds: dict[str, Callable[[str], Awaitable[bool]]] = {"tcp": _tcp, "http": _http, "icmp": _icmp}
    try:
        async with asyncio.timeout(wanted.timeout_s):
            return await kinds[wanted.kind](wanted.target)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False


async def _tcp(target: str) -> bool:
    host, _, port = target.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    return True


async def _http(target: str) -> bool:
    url = urlsplit(target)
    is_tls = url.scheme == "https"
    context = None
    if is_tls:
        import ssl  # half a megabyte, and only who configured it needs it

        context = ssl.create_default_context()
    port = url.port or (443 if is_tls else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=context, limit=MAX_LINE)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {url.netloc}\r\nUser-Agent: haagent\r\n\r\n".encode())
        await writer.drain()
        line = await reader.readuntil(b"\n")
    finally:
        writer.transport.abort()  # the rest of the answer is of no interest
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})\b", line)
    return found is not None and int(found[1]) < 500


async def _icmp(target: str) -> bool:
    """A raw socket: the unprivileged kind is switched off on most hosts, for root as well."""
    plain, _, scope = target.partition("%")
    address = ip_address(plain)
    is_v4 = address.version == 4
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if is_v4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    number = os.urandom(4)  # identifier and sequence: whose reply it is
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol) as opened:
        if is_v4:
            opened.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("@I", 0xFFFFFFFF & ~(1 << ECHO_REPLY)))
            opened.connect((plain, 0))
        else:
            blocked = bytearray(b"\xff" * 32)
            blocked[ECHO_REPLY_V6 // 8] &= ~(1 << ECHO_REPLY_V6 % 8)
            opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, bytes(blocked))
            opened.connect((plain, 0, 0, socket.if_nametoindex(scope) if scope else 0))
        sums = checksum(bytes((ECHO, 0)) + number) if is_v4 else bytes(2)  # IPv6's is the kernel's to write
        opened.send(bytes((ECHO if is_v4 else ECHO_V6, 0)) + sums + number)
        while True:
            said = await loop.sock_recv(opened, 256)
            body = said[4 * (said[0] & 15) :] if is_v4 and said else said  # IPv4 gives its header along
            if body[4:8] == number:
                return True
