"""Closing a packet socket makes the kernel wait: not on the loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import cast

from haagent.kernel.sockets import close_aside


class Slow:
    """A socket whose `close` ends when it is allowed to."""

    def __init__(self) -> None:
        self.may_end, self.closed_by = threading.Event(), 0

    def close(self) -> None:
        assert self.may_end.wait(10)
        self.closed_by = threading.get_ident()


def test_the_loop_goes_on_while_it_is_closed() -> None:
    slow = Slow()

    async def close() -> None:
        close_aside(cast(socket.socket, slow))
        assert not slow.closed_by, "it did not wait"
        slow.may_end.set()

    asyncio.run(close())  # ends when the threads have
    assert slow.closed_by not in (0, threading.get_ident())


def test_without_a_loop_it_is_closed_at_once() -> None:
    slow = Slow()
    slow.may_end.set()
    close_aside(cast(socket.socket, slow))
    assert slow.closed_by == threading.get_ident()
