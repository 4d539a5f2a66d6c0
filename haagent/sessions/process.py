"""The store's process, from the agent's side: started, heard, ended.

Its start may hang (a disk that does not answer), so it is started and waited for beside the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from haagent.guardian.process import as_ordinary
from haagent.kernel.aside import aside
from haagent.sessions.messages import MOST, Found, Lost, News, pair

if TYPE_CHECKING:
    from haagent.sessions.settings import Changed, Settings

END_S = 2.0  # until one that does not end by itself is killed
KILLED_S = 1.0
_HOME = str(Path(__file__).parents[2])
_decoder = msgspec.msgpack.Decoder(News)


class StoreProcess:
    def __init__(self, settings: Settings, *, hear: Callable[[News], None]) -> None:
        """`hear` is called in the loop."""
        self.pid = 0
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._channel, its = pair()
        self._loop.add_reader(self._channel, self._drain)
        self._channel.send(msgspec.msgpack.encode(settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._is_unwanted = False

        def live() -> int:
            with its:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "haagent.sessions.child"],
                    stdin=its.fileno(),
                    start_new_session=True,
                    env=_environment(),
                )
            self.pid = self._process.pid
            if self._is_unwanted:
                self._process.kill()
            as_ordinary(self.pid)
            return self._process.wait()

        self._ended = aside(live)

    def tell(self, news: Changed | Found | Lost) -> None:
        """One that is just ending does not hear it; who follows is told all anew."""
        with contextlib.suppress(OSError):
            self._channel.send(msgspec.msgpack.encode(news))

    async def ended(self) -> str:
        """How it ended. Raises OSError when it could not be started."""
        try:
            status = await asyncio.shield(self._ended)
        finally:
            if self._ended.done():
                self._hang_up()
        return f"it ended with status {status}" if status >= 0 else f"it was ended by signal {-status}"

    async def end(self) -> None:
        """By itself, or else killed. One that was not even started yet is not waited for."""
        self._hang_up()
        self._is_unwanted = True
        if self.pid:
            await asyncio.wait({self._ended}, timeout=END_S)
            if not self._ended.done() and self._process is not None:
                self._process.kill()
                await asyncio.wait({self._ended}, timeout=KILLED_S)

    def _hang_up(self) -> None:
        if self._channel.fileno() >= 0:
            self._drain()
            self._loop.remove_reader(self._channel)
            self._channel.close()

    def _drain(self) -> None:
        while True:
            try:
                message = self._channel.recv(MOST)
            except (BlockingIOError, ConnectionResetError):
                return
            if not message:
                self._loop.remove_reader(self._channel)
                return
            self._hear(_decoder.decode(message))


def _environment() -> dict[str, str]:
    """Modules come from where ours do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys([_HOME, *filter(None, sys.path)]))}
