"""What a node keeps over a restart: `STATE_DIR/memory.json`.

Small, human-readable, written by a thread so that a stuck disk never delays a heartbeat; of several versions waiting to
be written only the newest is. Losing the file costs the operator's orders (standby, maintenance), never safety.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

import msgspec

from haagent.config.files import write_whole
from haagent.control.directories import is_trusted
from haagent.core.settings import Memory
from haagent.parts import Still

NAME = "memory.json"
MAX_BYTES = 256 * 1024
PAUSE_S = 0.05  # every move changes the memory several times: the last is worth writing

logger = logging.getLogger(__name__)


def load(state_dir: str) -> Memory:
    path = os.path.join(state_dir, NAME)
    try:
        with open(path, "rb") as file:
            if not is_trusted(owner := os.fstat(file.fileno()).st_uid):
                raise PermissionError(f"it belongs to user {owner}")
            return msgspec.json.decode(file.read(MAX_BYTES), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("%s cannot be read (%s): starting without the operator's earlier orders", path, error)
        return Memory()


def save(state_dir: str, memory: Memory) -> None:
    os.makedirs(state_dir, mode=0o750, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(memory), indent=1).decode()
    write_whole(os.path.join(state_dir, NAME), f"{text}\n", mode=0o600, replace=True)


class StateFile(Still):
    """Writes the newest memory, one write at a time, beside the loop, and not in the middle of what it remembers."""

    name = "memory"

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._waiting: Memory | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closing = asyncio.Event()

    def keep(self, memory: Memory) -> None:
        self._waiting = memory
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._waiting is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S):
                    await self._is_closing.wait()
            memory, self._waiting = self._waiting, None
            try:
                await asyncio.to_thread(save, self._state_dir, memory)
            except OSError as error:
                logger.warning("%s cannot be written (%s): orders would not survive a restart", self._state_dir, error)
        self._task = None

    async def close(self) -> None:
        self._is_closing.set()
        if self._task is not None:
            await self._task
