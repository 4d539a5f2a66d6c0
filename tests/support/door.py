"""A session store's door for tests, on loopback, in a thread of its own; and a real Redis beside it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import hiredis
import pytest

from haagent.sessions.store.server import Options, Server
from haagent.sessions.store.state import MEBIBYTE, Limits

PATIENCE_S = 60.0
SMALL = Limits(
    clients=20,
    query_bytes=MEBIBYTE,
    all_query_bytes=4 * MEBIBYTE,
    output_bytes=4 * MEBIBYTE,
    all_output_bytes=16 * MEBIBYTE,
    output_s=1.0,
)


@contextlib.contextmanager
def door(**options: object) -> Iterator[Server]:
    """An open door; `server.door.port` says where."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Server(Options(port=0, **options))  # type: ignore[arg-type]

    def run(work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE_S)  # type: ignore[arg-type]

    run(server.open())
    try:
        yield server
    finally:
        run(server.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """A real one, empty, that keeps nothing: the path of its socket."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is not installed; `make test` installs the package of that name")
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/redis.socket"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", place]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                connect(path).close()
                yield path
            finally:
                process.terminate()


def connect(where: int | str) -> socket.socket:
    """To a port of this host, or a path; as soon as somebody listens there."""
    until = time.monotonic() + PATIENCE_S
    while True:
        client = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        client.settimeout(PATIENCE_S)
        try:
            client.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        except OSError:
            client.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return client


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_closed(client: socket.socket) -> bool:
    """By the other side, sooner or later. Whatever comes first is read."""
    with contextlib.suppress(ConnectionError):
        while client.recv(65536):
            pass
    return True


class Memory:
    """How much more this process takes than now, at most, in bytes."""

    def __init__(self) -> None:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the kernel's word for: from now on
        self._before = self._most()

    def grown(self) -> int:
        return self._most() - self._before

    @staticmethod
    def _most() -> int:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def packed(*args: bytes | str) -> bytes:
    texts = [arg.encode() if isinstance(arg, str) else arg for arg in args]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


class Talk:
    """A client that sees what travels: one whole reply at a time, as bytes and as hiredis reads it."""

    def __init__(self, where: int | str, *, resp: int = 2) -> None:
        self.socket = connect(where)
        self._left = b""
        if resp == 3:
            self.ask("HELLO", "3")

    def ask(self, *args: bytes | str) -> bytes:
        self.socket.sendall(packed(*args))
        return self.reply()

    def reply(self) -> bytes:
        reader, fed = hiredis.Reader(), 0
        while True:
            for at in range(fed, len(self._left)):  # byte by byte: what follows is not for this reply
                reader.feed(self._left[at : at + 1])
                if self._left[at : at + 1] == b"\n" and reader.gets() is not False:
                    raw, self._left = self._left[: at + 1], self._left[at + 1 :]
                    return raw
            fed = len(self._left)
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("closed")
            self._left += more

    def rest(self) -> bytes:
        """All that comes until the other side closes."""
        while more := self.socket.recv(65536):
            self._left += more
        return self._left

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(raw: bytes) -> object:
    reader = hiredis.Reader(notEnoughData=None)
    reader.feed(raw)
    return reader.gets()
