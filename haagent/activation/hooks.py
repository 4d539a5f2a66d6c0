"""The operator's own programs, told what happened: `taken`, `released`, `failed`.

They run after the fact, in order, one at a time per group, and decide nothing: a failing hook is a line in the
history. A hook that hangs is killed with everything it started. A start is delayed by a few milliseconds, because
a fork stops this process for about one, and the heartbeat that says "released" goes first.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections import deque
from collections.abc import Collection, Sequence

import msgspec

from haagent.config import HooksConfig
from haagent.core.event_kinds import Kind, Remark
from haagent.core.messages import Ballot
from haagent.plugins.contained import one_line
from haagent.processes import programs

START_DELAY_S = 0.005
MAX_WAITING = 8  # a group that flaps faster than its hooks run: the newest events count
MAX_OUTPUT = 2000  # characters kept, of the end: that is where errors are


class _Call(msgspec.Struct, frozen=True):
    event: str
    command: str
    timeout_s: float
    environment: dict[str, str]


class Hooks:
    def __init__(self, spec: HooksConfig, *, group: str, node: str, addresses: Sequence[str], note: Remark) -> None:
        self._spec, self._note = spec, note
        self._ours = {"HAAGENT_GROUP": group, "HAAGENT_NODE": node, "HAAGENT_ADDRESSES": " ".join(addresses)}
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    def become(self, fresh: Hooks) -> None:
        """Another configuration is in force; what waits was called under this one."""
        self._spec, self._ours = fresh._spec, fresh._ours

    def add(self, event: str, ballot: Ballot, why: str) -> None:
        """`event` is the option's name: `taken`, `released`, `failed`."""
        command: str = getattr(self._spec, event)
        if not command:
            return
        if len(self._waiting) == MAX_WAITING:
            skipped = self._waiting.popleft()
            self._note(Kind.HOOK_FAIL, f"hook {skipped.event} skipped: {MAX_WAITING} newer events are waiting")
        told = {"HAAGENT_EVENT": event, "HAAGENT_BALLOT": str(ballot), "HAAGENT_WHY": why}
        self._waiting.append(_Call(event, command, self._spec.timeout_s, {**os.environ, **self._ours, **told}))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def finished(self, first: Collection[asyncio.Task[None]] = ()) -> None:
        """Everything that was asked for has run or was killed at its time limit, after those."""
        if first:
            await asyncio.wait(first)
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(START_DELAY_S)
            await self._run(self._waiting.popleft())

    async def _run(self, call: _Call) -> None:
        try:
            ended = await programs.run(shlex.split(call.command), env=call.environment, timeout_s=call.timeout_s)
        except (programs.CannotStart, OSError, ValueError) as error:  # a quote that does not end; no pipe to be had
            self._note(Kind.HOOK_FAIL, f"hook {call.event} ({call.command}) cannot be started: {error}")
            return
        text = one_line(ended.output)[-MAX_OUTPUT:]
        kind = Kind.HOOK if ended.status == 0 else Kind.HOOK_FAIL
        self._note(kind, f"hook {call.event} {ended.verdict(call.timeout_s)}" + (f": {text}" if text else ""))
