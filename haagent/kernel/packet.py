"""Packet sockets are closed by a thread: the kernel waits until no processor reads the old list of listeners any more.

That takes 5 to 20 ms for each. On the loop it would be time in which no heartbeat is read: a reload closes several.
"""

from __future__ import annotations

import asyncio
import socket


def close_aside(opened: socket.socket) -> None:
    """The loop must not watch it any more."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        opened.close()
    else:
        loop.run_in_executor(None, opened.close)
