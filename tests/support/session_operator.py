"""A session store, and the words of the operator at its node."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from haagent.cli import main
from haagent.sessions.store.server import Server
from tests.support.door import Talk, read

FILE = """
cluster: shop
heartbeat: {interfaces: [eth0], insecure: true}
nodes: {A: {address: 10.20.1.10}, B: {address: 10.20.1.11}}
groups: {web: {addresses: [10.20.1.100/24]}}
sessions: {%s}
"""
SOON_MS = 4_000_000_000_000  # in 2096
PROGRAM = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())"]
PATIENCE_S = 60.0
BINARY = b"\x00\xff\r\n\x1b[31m"


class Stage:
    def __init__(self, place: Path, where: int | str, capsys: pytest.CaptureFixture[str], extra: str = "") -> None:
        self.where, self._capsys, self._place = where, capsys, place
        self.config = place / f"{len(list(place.iterdir()))}.yaml"
        written = f"socket: {where}" if isinstance(where, str) else f"listen: '127.0.0.1:{where}'"
        self.config.write_text(FILE % f"{written}{extra}")
        self.talk = Talk(where) if not extra else None

    def run(self, command: str, *words: str) -> tuple[int, str, str]:
        places = ("--config", str(self.config), "--run-dir", str(self._place / "run"))
        status = main(["sessions", command, *words, *(places if command != "stats" else places[2:])])
        return status, *self._capsys.readouterr()

    def json(self, command: str, *words: str) -> dict[str, object]:
        status, out, err = self.run(command, *words, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    def failure(self, command: str, *words: str) -> tuple[int, str]:
        status, out, err = self.run(command, *words)
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return status, err.removeprefix("haagent: ").rstrip("\n")

    def ask(self, *words: bytes | str) -> object:
        assert self.talk is not None
        return read(self.talk.ask(*words))

    def fill(self) -> None:
        """Everything that there can be: kinds, databases, ends, and bytes that are no text."""
        self.ask("SET", "session:one", "hello", "PXAT", str(SOON_MS))
        self.ask("SET", b"session:" + BINARY, BINARY)
        self.ask("SET", "empty", "")
        self.ask("HSET", "spring:session:sessions:1", "name", "Ada", BINARY, BINARY)
        self.ask("PEXPIREAT", "spring:session:sessions:1", str(SOON_MS + 1))
        self.ask("SELECT", "3")
        self.ask("SET", "session:three", "x" * 70_000)
        self.ask("HSET", "hash", "a", "1")
        self.ask("SELECT", "0")

    def everything(self) -> dict[tuple[int, bytes], tuple[object, object]]:
        """As another program sees it."""
        found = {}
        for db in range(16):
            self.ask("SELECT", str(db))
            for key in self.ask("KEYS", "*"):  # type: ignore[attr-defined]
                value = self.ask("GET", key) if self.ask("TYPE", key) == b"string" else self.ask("HGETALL", key)
                if isinstance(value, list):
                    value = dict(zip(value[::2], value[1::2], strict=True))
                found[db, key] = (value, self.ask("PEXPIRETIME", key))
        self.ask("SELECT", "0")
        return found


def in_loop(server: Server, work: object) -> None:
    """Done in the thread of the door."""
    done = threading.Event()

    def run() -> None:
        work()  # type: ignore[operator]
        done.set()

    server._work.get_loop().call_soon_threadsafe(run)
    assert done.wait(PATIENCE_S)
