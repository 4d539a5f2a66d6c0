"""The operator's own programs, told what happened: `taken`, `released`, `failed`.

They run after the fact, in order, one at a time per group, and decide nothing: a failing hook is a line in the
history. A hook that hangs is killed with everything it started. A start is delayed by a few milliseconds, because
a fork stops this process for about one, and the heartbeat that says "released" goes first.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from haagent.activation.ports import HooksSpec
from haagent.core.messages import Ballot

START_DELAY_S = 0.005
MAX_WAITING = 8  # a group that flaps faster than its hooks run: the newest events count
MAX_OUTPUT = 2000  # characters kept, of the end: that is where errors are

Note = Callable[[str, str], None]  # kind, text


class Call(msgspec.Struct, frozen=True):
    event: str
    ballot: Ballot
    why: str


class Hooks:
    def __init__(self, spec: HooksSpec, *, group: str, node: str, addresses: Sequence[str], note: Note) -> None:
        self._spec = spec
        self._group, self._node, self._addresses = group, node, tuple(addresses)
        self._note = note
        self._waiting: deque[Call] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, call: Call) -> None:
        if not self._command(call):
            return
        if len(self._waiting) == MAX_WAITING:
            skipped = self._waiting.popleft()
            self._note("hook", f"hook {skipped.event} skipped: {MAX_WAITING} newer events are waiting")
        self._waiting.append(call)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def finished(self) -> None:
        """Everything that was asked for has run or was killed at its time limit."""
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(START_DELAY_S)
            call = self._waiting.popleft()
            await self._run(call, self._command(call))

    def _command(self, call: Call) -> str:
        commands = {"taken": self._spec.taken, "released": self._spec.released, "failed": self._spec.failed}
        return commands[call.event]

    async def _run(self, call: Call, command: str) -> None:
        output = _Output(asyncio.get_running_loop())
        try:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.write_end,
                stderr=output.write_end,
                env=self._environment(call),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            output.close()
            self._note("hook", f"hook {call.event} ({command}) cannot be started: {error}")
            return
        output.started()
        try:
            status = await self._wait(process)
        finally:
            text = output.close()
        if status is None:
            said = f"killed after {self._spec.timeout_s:g} s"
        elif status == 0:
            said = "done"
        else:
            said = f"ended with status {status}" if status > 0 else f"ended by signal {-status}"
        self._note("hook", f"hook {call.event} {said}" + (f": {text}" if text else ""))

    async def _wait(self, process: asyncio.subprocess.Process) -> int | None:
        """Exit status, or None: it had to be killed."""
        try:
            async with asyncio.timeout(self._spec.timeout_s):
                return await process.wait()
        except TimeoutError:
            _kill_group(process.pid)
            await process.wait()
            return None
        except asyncio.CancelledError:
            _kill_group(process.pid)
            raise

    def _environment(self, call: Call) -> dict[str, str]:
        return {
            **os.environ,
            "HAAGENT_GROUP": self._group,
            "HAAGENT_EVENT": call.event,
            "HAAGENT_NODE": self._node,
            "HAAGENT_BALLOT": str(call.ballot),
            "HAAGENT_WHY": call.why,
            "HAAGENT_ADDRESSES": " ".join(self._addresses),
        }


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)  # start_new_session made the pid the number of its process group
    except ProcessLookupError:
        return  # it ended by itself in this moment


class _Output:
    """A pipe of our own: a program that a hook left running in the background must not keep us waiting for its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.write_end, True)  # the hook's side: shells do not expect EAGAIN
        self._kept = b""
        self._is_write_open = True
        loop.add_reader(self._read_end, self._drain)

    def started(self) -> None:
        os.close(self.write_end)
        self._is_write_open = False

    def close(self) -> str:
        self._drain()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        if self._is_write_open:
            os.close(self.write_end)
        return " ".join(self._kept.decode(errors="replace").split())[-MAX_OUTPUT:]

    def _drain(self) -> None:
        for _ in range(16):  # a hook that prints without end gets its share, not all
            try:
                chunk = os.read(self._read_end, 1 << 16)
            except BlockingIOError:
                return
            if not chunk:
                self._loop.remove_reader(self._read_end)
                return
            self._kept = (self._kept + chunk)[-4 * MAX_OUTPUT :]
