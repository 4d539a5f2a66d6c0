"""What several rooms do with a socket: give it room, and close it without waiting."""

from __future__ import annotations

import asyncio
import socket

_BEYOND_LIMIT = {socket.SO_SNDBUF: 32, socket.SO_RCVBUF: 33}  # SO_SNDBUFFORCE, SO_RCVBUFFORCE


def widen(opened: socket.socket, queue: int, size: int) -> None:
    """`queue`: `SO_SNDBUF` or `SO_RCVBUF`. Where we may, the system's limit is no limit for it."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _BEYOND_LIMIT[queue], size)
    except PermissionError:  # root of a user namespace only
        opened.setsockopt(socket.SOL_SOCKET, queue, size)  # up to net.core.{r,w}mem_max


def close_aside(opened: socket.socket) -> None:
    """Close a packet socket, which the loop must not watch any more, in a thread.

    The kernel waits until no processor reads the old list of listeners any more: 5 to 20 ms for each. On the loop it
    would be time in which no heartbeat is read, and a reload closes several.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        opened.close()
    else:
        loop.run_in_executor(None, opened.close)
