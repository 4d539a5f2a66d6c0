"""Running somebody else's program: a hook, a fence agent. It may hang, print without end, or leave children behind.

It gets a session of its own, so that its whole process group can be killed when its time is over; what it prints is
read and only the end of it is kept; a child that it leaves running in the background keeps nobody waiting. What it is
told comes on its standard input: arguments and environment can be read by every user of the host.

Its start may hang as well: where a disk does not answer, `exec` does not return. So it is started, and waited for, in
a thread of its own, and by `fork`: after a `vfork` the whole interpreter would stand still until `exec` is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from io import FileIO
from typing import BinaryIO

import msgspec

from haagent.guardian.process import as_ordinary
from haagent.kernel.aside import aside

MAX_INPUT = 32 * 1024  # bytes; half of what a pipe takes without anybody reading
MAX_OUTPUT = 8000  # bytes kept, of the end: that is where errors are
KILLED_S = 1.0  # until a program that was killed is given up: the kernel cannot end one that waits for a disk

subprocess._USE_VFORK = False  # type: ignore[misc]  # a documented switch, read at each start


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
        program = _Program(words, env=env, stdin=stdin, output=output.write_end)
        status = await program.ended(timeout_s)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no thread to be had
        raise CannotStart(getattr(error, "strerror", None) or str(error)) from error
    finally:
        text = output.close()
    return Ended(status, text)


class _Program(subprocess.Popen[bytes]):
    """Its number is known, so that it can be killed, as soon as it was forked."""

    pid: int = 0

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], stdin: bytes, output: FileIO) -> None:
        self.returncode: int | None = None
        self._is_unwanted = False
        with ExitStack() as ours:
            end, source = ours.enter_context(output), ours.enter_context(_readable(stdin))
            self._ended = aside(partial(self._live, words, dict(env), source, end))
            ours.pop_all()

    def _live(self, words: Sequence[str], env: dict[str, str], source: BinaryIO, end: FileIO) -> int:
        with end, source:
            super().__init__(words, stdin=source, stdout=end, stderr=end, env=env, start_new_session=True)
        if self._is_unwanted:
            self._kill_group()
        as_ordinary(self.pid)
        return self.wait()

    async def ended(self, timeout_s: float) -> int | None:
        """None: it had to be killed."""
        try:
            await asyncio.wait({self._ended}, timeout=timeout_s)
        except asyncio.CancelledError:
            self._kill_group()
            raise
        if self._ended.done():
            return self._ended.result()
        self._kill_group()
        await asyncio.wait({self._ended}, timeout=KILLED_S)
        return None

    def _kill_group(self) -> None:
        self._is_unwanted = True
        if self.pid and self.returncode is None:
            with suppress(ProcessLookupError):  # it ended by itself in this moment
                os.killpg(self.pid, signal.SIGKILL)  # start_new_session made the pid the number of its process group


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
