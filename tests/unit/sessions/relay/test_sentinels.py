"""Who is asked for the master, or whether it is one, and is no such thing."""

from __future__ import annotations

import asyncio

import pytest

from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.relay.source import Source
from tests.support.door import PATIENCE_S

REPLIES = (b"$-1\r\n", b":1\r\n", b"*0\r\n", b"+OK\r\n", b"*1\r\n:1\r\n", b"HTTP/1.1 400\r\n", b"_\r\n")


@pytest.mark.parametrize("is_sentinel", [True, False])
def test_a_stranger_is_asked_again_and_again(*, is_sentinel: bool) -> None:
    """Whatever it answers."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.read(65536):
            writer.write(REPLIES[asked % len(REPLIES)])
            asked += 1

    async def story() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            sentinels = (("127.0.0.1", port),) if is_sentinel else ()
            settings = RelaySettings(host="127.0.0.1", port=port, sentinels=sentinels, master="shop")
            source = Source(settings, retire=lambda: None)
            source.open()
            async with asyncio.timeout(PATIENCE_S):
                while asked < 2 * len(REPLIES):
                    assert not any(task.done() for task in source._tasks)
                    await asyncio.sleep(0.01)
            begins = f"the sentinel 127.0.0.1:{port} does not say who it is: " if is_sentinel else ""
            assert source.why.startswith(begins)
            assert source.target is None
            await source.close()

    asyncio.run(story())
