"""What goes on beside the clients: that it ends by a bug is told when it happens, and not when the store ends."""

from __future__ import annotations

import asyncio

import pytest

from haagent.sessions.sockets import going_on


def test_a_bug_is_logged_at_once_and_an_end_is_none(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError

    async def story() -> None:
        ended = going_on(asyncio.sleep(1000), "the first")
        broken = going_on(breaks(), "the second")
        await asyncio.wait({broken})
        await asyncio.sleep(0)  # its callbacks are called
        assert [record.getMessage() for record in caplog.records] == ["a bug: the second has ended"]
        assert caplog.records[0].exc_info is not None
        ended.cancel()
        await asyncio.wait({ended})

    asyncio.run(story())
    assert len(caplog.records) == 1
