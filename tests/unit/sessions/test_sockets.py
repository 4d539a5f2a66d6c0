"""What goes on beside the clients: that it ends by a bug is told when it happens, and not when the store ends."""

from __future__ import annotations

import asyncio

from haagent.sessions.sockets import going_on


def test_a_bug_is_told_at_once_and_an_end_is_none() -> None:
    told: list[tuple[str, type]] = []

    async def breaks() -> None:
        raise ZeroDivisionError

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append((context["message"], type(context["exception"])))
        )
        ended = going_on(asyncio.sleep(1000), "the first")
        broken, over = going_on(breaks(), "the second"), going_on(asyncio.sleep(0), "the third")
        await asyncio.wait({broken, over})
        await asyncio.sleep(0)  # their callbacks are called
        assert told == [("the second has ended", ZeroDivisionError), ("the third has ended", type(None))]
        ended.cancel()
        await asyncio.wait({ended})

    asyncio.run(story())
    assert len(told) == 2
