"""Running somebody else's program: a hook, a fence agent. It may hang, print without end, or leave children behind.

It gets a session of its own, so that its whole process group can be killed when its time is over; what it prints is
read and only the end of it is kept; a child that it leaves running in the background keeps nobody waiting. What it is
told comes on its standard input: arguments and environment can be read by every user of the host.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from io import FileIO
from typing import BinaryIO

import msgspec

from haagent.guardian.process import as_ordinary

MAX_INPUT = 32 * 1024  # bytes; half of what a pipe takes without anybody reading
MAX_OUTPUT = 8000  # bytes kept, of the end: that is where errors are


class CannotStart(Exception):
    """The program is not there, may not be run, or the host has no room for it."""


class Ended(msgspec.Struct, frozen=True):
    status: int | None  # None: it had to be killed; negative: the signal that ended it
    output: str  # the end of it, both streams

    def verdict(self, timeout_s: float) -> str:
        """In words: `done`, or how else it ended."""
        if self.status is None:
            return f"killed after {timeout_s:g} s"
        if self.status == 0:
            return "done"
        return f"ended with status {self.status}" if self.status > 0 else f"ended by signal {-self.status}"


async def run(words: Sequence[str], *, env: Mapping[str, str], timeout_s: float, stdin: bytes = b"") -> Ended:
    """Cancelled, it kills the program. Raises `CannotStart`."""
    output = _Output(asyncio.get_running_loop())
    try:
        try:
            with output.write_end as end, _readable(stdin) as source:
                process = await asyncio.create_subprocess_exec(
                    *words, stdin=source, stdout=end, stderr=end, env=dict(env), start_new_session=True
                )
        except (OSError, ValueError) as error:
            raise CannotStart(getattr(error, "strerror", None) or str(error)) from error
        as_ordinary(process.pid)
        status = await _wait(process, timeout_s)
    finally:
        text = output.close()
    return Ended(status, text)


async def _wait(process: asyncio.subprocess.Process, timeout_s: float) -> int | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        _kill_group(process.pid)
        await process.wait()
        return None
    except asyncio.CancelledError:
        _kill_group(process.pid)
        raise


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)  # start_new_session made the pid the number of its process group
    except ProcessLookupError:
        return  # it ended by itself in this moment


def _readable(data: bytes) -> BinaryIO:
    """A pipe that holds all of it already: whether and when the program reads is its own affair."""
    if not data:
        return open(os.devnull, "rb")
    if len(data) > MAX_INPUT:
        raise ValueError(f"it is to be told more than {MAX_INPUT} bytes")
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    os.write(write_end, data)
    os.close(write_end)
    return open(read_end, "rb")


class _Output:
    """A pipe of our own: a program that was left running in the background must not keep us waiting for its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_end, True)  # the program's side: shells do not expect EAGAIN
        self.write_end = FileIO(write_end, "wb")
        self._kept = b""
        loop.add_reader(self._read_end, self._drain)

    def close(self) -> str:
        self._drain()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        return self._kept.decode(errors="replace")

    def _drain(self) -> None:
        for _ in range(16):  # a program that prints without end gets its share, not all
            try:
                chunk = os.read(self._read_end, 1 << 16)
            except BlockingIOError:
                return
            if not chunk:
                self._loop.remove_reader(self._read_end)
                return
            self._kept = (self._kept + chunk)[-MAX_OUTPUT:]
