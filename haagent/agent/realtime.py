"""`process: {realtime: true}`: the agent runs before every ordinary process, and its memory is not paged out.

The event loop has something to be late with, and so have the threads that ask the kernel beside it: for the gate, for
the addresses, for the links. (The loop also waits for the interpreter when one of them has it.) Only these are moved
into the kernel's real-time class. What they start (hooks, fence agents, threads that write files) is ordinary again.
The kernel keeps five percent of each processor for ordinary processes, so an agent that ran wild would not lock anybody
out.

Locked is what has been touched, now and later: nothing is read in only to be locked. What the kernel does not permit
here is done without, and `status` says so.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Mapping

import msgspec

from haagent.agent import clock
from haagent.config import Config
from haagent.parts import Facts, Still
from haagent.status.jitter import Jitter, affordable_s, is_risky

PRIORITY = 2  # of 1 to 99: before the guardian, which has nothing to do while the agent lives, and behind all drivers
URGENT_THREADS = ("MainThread", "gate", "kernel", "links")
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


class Scheduling(msgspec.Struct, frozen=True):
    wanted: bool = False
    realtime: bool = False
    locked: bool = False
    why_not: str = ""


class Process(Still):
    """The agent's own process: how it is scheduled, how late it is woken, and how its host's clock is steered.

    Opened when all these threads run.
    """

    name = "process"

    def __init__(self, running: Callable[[], Config]) -> None:
        self._running = running
        self.scheduling = Scheduling()
        self.jitter = Jitter()
        self.steering = clock.Steering()

    async def open(self) -> None:
        if self._running().process.realtime:
            self.scheduling = enter()
        gc.collect()
        gc.freeze()  # what start-up made stays: the collector need not walk it again

    def status(self) -> Facts:
        worst_ms = self.jitter.worst_ms(clock.now())
        return {
            "pids": {"agent": os.getpid()},
            "jitter_ms": worst_ms,
            "clock_slew_percent": round(100 * self.steering.slew, 3),
            "scheduling": msgspec.to_builtins(self.scheduling),
            "warnings": warnings(worst_ms, self.scheduling, self._running()),
        }

    def counters(self) -> Mapping[str, int]:
        return self.steering.counters


def warnings(jitter_ms: float | None, scheduling: Scheduling, config: Config) -> list[str]:
    found = []
    if scheduling.why_not:
        found.append(f"`process: {{realtime: true}}` is not wholly in force: {scheduling.why_not}.")
    if jitter_ms is not None and is_risky(jitter_ms / 1000, config.heartbeat):
        bearable_ms = 1000 * affordable_s(config.heartbeat)
        hurry = "" if scheduling.realtime else ", set `process: {realtime: true}`"
        found.append(
            f"This agent was woken {jitter_ms:.0f} ms late at worst in the last minute, and loses what it holds when "
            f"it is {bearable_ms:.0f} ms late. Give this host more processor time{hurry}, or use a "
            "longer lease."
        )
    return found


def enter() -> Scheduling:
    """To be called when all urgent threads run."""
    late, paged = _schedule(), _lock()
    return Scheduling(wanted=True, realtime=not late, locked=not paged, why_not="; ".join(filter(None, (late, paged))))


def _schedule() -> str:
    """Why not; empty: done."""
    urgent = [thread for thread in threading.enumerate() if thread.name in URGENT_THREADS]
    try:
        for thread in urgent:
            policy, priority = os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY)
            os.sched_setscheduler(thread.native_id or 0, policy, priority)
    except PermissionError:
        return "no permission for real-time scheduling (CAP_SYS_NICE, or `LimitRTPRIO=` of the unit)"
    return ""


def _lock() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
        return ""
    error = os.strerror(ctypes.get_errno())
    return f"memory cannot be locked: {error} (CAP_IPC_LOCK, or `LimitMEMLOCK=infinity` of the unit)"
