"""Real Redis servers for tests, on loopback, with replicas and sentinels; and a relay in front, in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import pytest

from haagent.sessions.relay.server import Options, Relay
from haagent.sessions.relay.settings import RelaySettings
from tests.support.door import PATIENCE_S, Talk, read, until
from tests.support.ports import free_port

PROGRAM = shutil.which("redis-server")


class Server:
    """One process, which keeps nothing. It can be killed and started again."""

    def __init__(self, place: str, *options: str, port: int = 0) -> None:
        if PROGRAM is None:
            pytest.fail("redis-server is not installed; `make test` installs the package of that name")
        self.port = port or free_port()
        self._place, self._options = place, options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        base = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._place]
        self._process = subprocess.Popen(
            [str(PROGRAM), *base, "--repl-diskless-sync-delay", "0", *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with Talk(self.port):
            pass

    def ask(self, *args: bytes | str) -> object:
        with Talk(self.port) as talk:
            return read(talk.ask(*args))

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def follows(self, master: Server) -> None:
        assert self.ask("REPLICAOF", "127.0.0.1", str(master.port)) == b"OK"
        until(lambda: self.ask("ROLE")[3] == b"connected")  # type: ignore[index]

    def leads(self) -> None:
        assert self.ask("REPLICAOF", "NO", "ONE") == b"OK"


class Stage:
    def __init__(self, place: str) -> None:
        self._place = place
        self._servers: list[Server] = []

    def server(self, *options: str, port: int = 0) -> Server:
        place = os.path.join(self._place, str(len(self._servers)))
        os.mkdir(place)
        self._servers.append(Server(place, *options, port=port))
        return self._servers[-1]

    def replica(self, master: Server, *options: str) -> Server:
        server = self.server(*options)
        server.follows(master)
        return server

    def sentinel(self, master: Server, *, quorum: int = 1) -> int:
        """Its port. It notices the death of a master after half a second."""
        port, file = free_port(), os.path.join(self._place, f"sentinel{len(self._servers)}.conf")
        with open(file, "w", encoding="ascii") as config:
            config.write(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {master.port} {quorum}\n"
                "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000\n"
            )
        server = Server.__new__(Server)
        server.port, server._place, server._options = port, self._place, ()
        server._process = subprocess.Popen(
            [str(PROGRAM), file, "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._servers.append(server)
        with Talk(port):
            return port

    def close(self) -> None:
        for server in self._servers:
            server.kill()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as place:
        made = Stage(place)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def relay(to: Server | RelaySettings, *, is_ready: bool = True, **options: object) -> Iterator[Relay]:
    """An open relay; `relay.port` says where."""
    settings = to if isinstance(to, RelaySettings) else RelaySettings(host="127.0.0.1", port=to.port, is_sync=False)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def made() -> Relay:
        found = Relay(Options(port=0, relay=settings, **options))  # type: ignore[arg-type]
        await found.open()
        return found

    found = asyncio.run_coroutine_threadsafe(made(), loop).result(PATIENCE_S)
    try:
        if is_ready:
            until(lambda: found.source.is_ready)
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(found.close(), loop).result(PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()
