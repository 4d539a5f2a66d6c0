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
from haagent.config.kinds import host_and_port
from haagent.kernel import echo

MAX_LINE = 1024


async def answers(wanted: ProbeConfig) -> bool:
    kinds: dict[str, Callable[[str], Awaitable[bool]]] = {"tcp": _tcp, "http": _http, "icmp": _icmp}
    try:
        async with asyncio.timeout(wanted.timeout_s):
            return await kinds[wanted.kind](wanted.target)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False


async def _tcp(target: str) -> bool:
    _, writer = await asyncio.open_connection(*host_and_port(target))
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
    plain, _, scope = target.partition("%")
    version = ip_address(plain).version
    number = os.urandom(4)  # identifier and sequence: whose reply it is
    with echo.open_socket(version) as opened:
        opened.connect((plain, 0) if version == 4 else (plain, 0, 0, socket.if_nametoindex(scope) if scope else 0))
        opened.send(echo.request(version, *struct.unpack("!HH", number)))
        while True:
            said = await asyncio.get_running_loop().sock_recv(opened, 256)
            if echo.message_in(version, said)[4:8] == number:
                return True
