"""The third party, asked over real sockets of this host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from haagent.config import ProbeConfig
from haagent.guards.probe import answers

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def _says(text: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"GET /health?deep=1 HTTP/1.0\r\nHost: 127.0.0.1:")
        writer.write(text)
        await writer.drain()
        writer.close()

    return serve


async def _never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def asked(serve: Serve | None, target: str, *, kind: str, timeout_s: float = 5.0) -> bool:
    async def run() -> bool:
        server = await asyncio.start_server(serve or _hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if serve is None:
            server.close()  # the port is known to be free
            await server.wait_closed()
        try:
            return await answers(ProbeConfig(**{kind: target.replace("PORT", str(port))}, timeout_s=timeout_s))
        finally:
            server.close()

    return asyncio.run(run())


def test_tcp_is_reached_when_the_connection_is_accepted() -> None:
    assert asked(_hang_up, "127.0.0.1:PORT", kind="tcp")
    assert not asked(None, "127.0.0.1:PORT", kind="tcp")


@pytest.mark.parametrize(
    ("answer", "is_reached"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, True),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"HTTP/1.1 200 OK", False),  # cut short
        (b"x" * 100_000, False),
        (b"", False),
    ],
)
def test_http_is_reached_when_it_answers_well(answer: bytes, *, is_reached: bool) -> None:
    assert asked(_says(answer), "http://127.0.0.1:PORT/health?deep=1", kind="http") == is_reached


@pytest.mark.parametrize("target", ["http://127.0.0.1:PORT/", "https://127.0.0.1:PORT/"])
def test_who_does_not_answer_in_time_has_not_answered(target: str) -> None:
    assert not asked(_never_answers, target, kind="http", timeout_s=0.05)
