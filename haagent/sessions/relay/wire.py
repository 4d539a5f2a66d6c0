"""Our own questions to a Redis or a Sentinel, one after the other, over a connection of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import hiredis
import msgspec

from haagent.sessions.relay.items import packed

CONNECT_S = 1.0
MOST = 4 * 1024 * 1024  # bytes of one answer; that to COMMAND has some 200,000

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.Protocol)


class Refused(Exception):
    """It answered with an error. The text is the server's."""


class Address(msgspec.Struct, frozen=True):
    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")

    async def connect(self, protocol: Callable[[], AnyProtocol]) -> tuple[asyncio.Transport, AnyProtocol]:
        loop = asyncio.get_running_loop()
        if self.path:
            return await loop.create_unix_connection(protocol, self.path)
        secure = _secure() if self.tls else None
        return await loop.create_connection(protocol, self.host, self.port, ssl=secure)


@functools.cache
def _secure() -> ssl.SSLContext:
    """Certificates are checked against those that this host trusts, which takes a while to read."""
    return ssl.create_default_context()


class Wire:
    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.Transport) -> None:
        self._reader, self._transport = reader, transport
        self._replies = hiredis.Reader()

    def say(self, *args: bytes) -> None:
        self._transport.write(packed(*args))

    async def ask(self, *args: bytes) -> Any:
        """Raises `Refused`, OSError."""
        self.say(*args)
        return await self.hear()

    async def hear(self) -> Any:
        read = 0
        try:
            while (answer := self._replies.gets()) is False:
                data = await self._reader.read(65536)
                read += len(data)
                if not data or read > MOST:
                    raise ConnectionResetError("it hung up" if not data else "its answer has no end")
                self._replies.feed(data)
        except hiredis.HiredisError as error:
            raise ConnectionResetError(str(error)) from error
        if isinstance(answer, hiredis.ReplyError):
            raise Refused(str(answer))
        return answer


@contextlib.asynccontextmanager
async def wire_to(address: Address, *, user: str, password: str) -> AsyncIterator[Wire]:
    """Logged in."""
    reader = asyncio.StreamReader()
    async with asyncio.timeout(CONNECT_S):
        transport, _ = await address.connect(lambda: asyncio.StreamReaderProtocol(reader))
    try:
        wire = Wire(reader, transport)
        if password:
            async with asyncio.timeout(CONNECT_S):
                await wire.ask(b"AUTH", *([user.encode()] if user else []), password.encode())
        yield wire
    finally:
        transport.abort()
