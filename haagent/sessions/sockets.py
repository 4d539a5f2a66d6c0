"""Sockets on which clients come in, for both kinds of store; and what goes on beside these."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Coroutine
from typing import Any

KEEPALIVE_S = 300
SPARE_FILES = 64  # descriptors that are not for clients


def possible(clients: int) -> int:
    """As many as there can be descriptors for, after asking for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + SPARE_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(clients, soft - SPARE_FILES))


def unix_listener(path: str, mode: int) -> socket.socket:
    """A socket of the wanted mode from its first moment on; one that a former life left there is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = f"{path}.{os.getpid()}"
    try:
        listener.bind(beside)
        os.chmod(beside, mode)
        os.rename(beside, path)
    except OSError:
        listener.close()
        raise
    return listener


def keep_alive(connection: socket.socket | None) -> None:
    """Who has gone without a word is noticed, and replies do not wait for company."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # it is gone already
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S // 3)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def address_of(transport: asyncio.Transport) -> str:
    match transport.get_extra_info("peername"):
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            return f"{transport.get_extra_info('sockname') or 'unix'}:0"


def going_on(work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """Until it is cancelled. If it ends before, that is a bug, and the loop's exception handler is told."""
    loop = asyncio.get_running_loop()

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            loop.call_exception_handler({"message": f"{what} has ended", "exception": task.exception(), "task": task})

    task = loop.create_task(work)
    task.add_done_callback(ended)
    return task
