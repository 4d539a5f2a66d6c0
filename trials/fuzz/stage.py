"""A store under attack, B, and an honest peer of it, C, each in a process of its own, as an agent starts them.

A third node, A, is in their configuration: whoever attacks over the link comes as A, and has its key.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import hiredis
import msgspec

from haagent.core.store.events import ReplicaSettings
from haagent.core.store.settings import StoreSettings
from haagent.peerlink.identity import derive
from haagent.peerlink.settings import LinkSettings
from haagent.sessions.messages import MOST, Facts, News, Serving, pair
from haagent.sessions.settings import PeerSettings, Settings

ROOT = Path(__file__).parents[2]
NUMBERS = {"A": 1, "B": 2, "C": 3}
HOSTS = {name: f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}.{number}" for name, number in NUMBERS.items()}
STRANGER = HOSTS["A"].rpartition(".")[0] + ".99"
CLUSTER, KEY = "shop", b"k" * 32
OURS = derive((KEY,), cluster=CLUSTER)
PATIENCE_S = 30.0
ANSWER_S = 1.0  # that a PING may take
MEMORY = 32 * 1024 * 1024  # that the sessions of a store may take
_decoder = msgspec.msgpack.Decoder(News)


class Failed(Exception):
    """What must hold did not. The text says what."""


class Client:
    """Of a door: for who is honest."""

    def __init__(self, port: int, *, patience_s: float = PATIENCE_S) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
        self._parser = hiredis.Reader()

    def ask(self, *words: str | bytes) -> Any:
        """An error is returned, not raised."""
        self._socket.sendall(hiredis.pack_command(words))
        while (answer := self._parser.gets()) is False:
            data = self._socket.recv(65536)
            if not data:
                raise Failed("the store has closed the connection of an honest client")
            self._parser.feed(data)
        return answer

    def close(self) -> None:
        self._socket.close()


class Store:
    """A process. What it tells its agent is read when somebody wants to know."""

    def __init__(self, name: str, link_port: int) -> None:
        self.name, self.port, self.facts = name, free_port("127.0.0.1"), Facts(False, 0, 0, 0, {}, {})
        self._channel, its = pair()
        self._channel.send(msgspec.msgpack.encode(_settings(name, self.port, link_port)))
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 `end` closes it
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "haagent.sessions.child"],
                stdin=its.fileno(),
                stderr=self._complaints,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self) -> Facts:
        """Its latest facts."""
        while True:
            try:
                message = self._channel.recv(MOST)
            except (BlockingIOError, ConnectionResetError):
                return self.facts
            if not message:
                return self.facts
            if isinstance(news := _decoder.decode(message), Serving):
                self.facts = news.facts

    def check_alive(self) -> None:
        """And it has met no bug: of these it complains."""
        if (status := self._process.poll()) is not None:
            raise Failed(f"store {self.name} has ended with status {status}: {self.complaints()}")
        if text := self.complaints():
            raise Failed(f"store {self.name} complains: {text}")

    def complaints(self) -> str:
        size = os.fstat(self._complaints.fileno()).st_size
        return os.pread(self._complaints.fileno(), 4000, max(0, size - 4000)).decode(errors="replace")

    def check_answers(self) -> float:
        """How long a PING takes, over a connection of its own."""
        self.check_alive()
        began = time.monotonic()
        try:
            client = Client(self.port, patience_s=PATIENCE_S)
            answer = client.ask("PING")
            client.close()
        except (OSError, Failed) as error:
            self.check_alive()
            raise Failed(f"store {self.name} does not answer: {error!r}") from error
        took_s = time.monotonic() - began
        if answer != "PONG" and answer != b"PONG":
            raise Failed(f"store {self.name} answers PING with {answer!r}")
        if took_s > ANSWER_S:
            raise Failed(f"store {self.name} took {took_s:.1f} s to answer a PING")
        return took_s

    def memory(self) -> tuple[int, int]:
        """In bytes: what it takes, and the most that it took."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        now, most = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return now, most

    def end(self) -> None:
        self._channel.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._complaints.close()


class Stage:
    def __init__(self) -> None:
        self.link_port = free_port(HOSTS["B"])
        self.stores: list[Store] = []

    def __enter__(self) -> Stage:
        try:
            for name in "BC":
                self.stores.append(Store(name, self.link_port))
            until("both stores are ready", lambda: all(self._is_whole(store) for store in self.stores))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for store in self.stores:
            store.end()

    @property
    def attacked(self) -> Store:
        return self.stores[0]

    @property
    def honest(self) -> Store:
        return self.stores[1]

    def _is_whole(self, store: Store) -> bool:
        store.check_alive()
        (other,) = {"B", "C"} - {store.name}
        facts = store.hear()
        return facts.is_ready and facts.peers[other].in_sync


def until(what: str, condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited in vain: {what}")
        time.sleep(0.01)


def free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def _settings(name: str, port: int, link_port: int) -> Settings:
    others = {other: number for other, number in NUMBERS.items() if other != name}
    return Settings(
        host="127.0.0.1",
        port=port,
        path="",
        mode=0o600,
        password="",
        peers=PeerSettings(
            store=StoreSettings(max_memory=MEMORY, eviction="allkeys-lru"),
            link=LinkSettings(
                cluster=CLUSTER,
                me=name,
                life=secrets.randbits(63),
                release="1",
                addresses=(HOSTS[name],),
                peers={other: (HOSTS[other],) for other in others},
                port=link_port,
                identity=OURS,
            ),
            replica=ReplicaSettings(
                me=name,
                number=NUMBERS[name],
                peers=others,
                is_sync=True,
                sync_timeout_s=0.5,
                join_timeout_s=0.5,
            ),
        ),
    )
