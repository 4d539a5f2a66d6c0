"""`process: {realtime: true}`: the agent runs before every ordinary process, and its memory is not paged out.

Two threads have something to be late with, the event loop and the gate's renewal, and only these two are moved into the
kernel's real-time class. What they start (hooks, fence agents, threads that write files) is ordinary again. The kernel
keeps five percent of each processor for ordinary processes, so an agent that ran wild would not lock anybody out.

Locked is what has been touched, now and later: nothing is read in only to be locked. What the kernel does not permit
here is done without, and `status` says so.
"""

from __future__ import annotations

import os
import threading

import msgspec

PRIORITY = 2  # of 1 to 99: before the guardian, which has nothing to do while the agent lives, and behind all drivers
URGENT_THREADS = ("MainThread", "gate")
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


class Scheduling(msgspec.Struct, frozen=True):
    wanted: bool = False
    realtime: bool = False
    locked: bool = False
    why_not: str = ""


def enter(*, wanted: bool) -> Scheduling:
    """To be called when the gate's thread runs."""
    if not wanted:
        return Scheduling()
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
    import ctypes  # only who asks for it pays for it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
        return ""
    error = os.strerror(ctypes.get_errno())
    return f"memory cannot be locked: {error} (CAP_IPC_LOCK, or `LimitMEMLOCK=infinity` of the unit)"
