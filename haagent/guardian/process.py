"""Who is who among the processes: names for `ps`, who is served first, who is spared, and what is said.

The guardian is in the real-time class: it sleeps until the agent dies and then has less than a millisecond of work, of
which no client should wait for another process's turn. The agent is merely preferred; real time is for who asks for it.
When memory runs out both are spared, the guardian more: if the agent is killed all the same, the guardian acts.
What the kernel does not permit here (a container without these capabilities) is done without.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from socket import socket

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # by the guardian, to the agent
GUARDIAN, AGENT = "haagent-guard", "haagent-agent"  # the kernel keeps 15 characters
GUARDIAN_OOM, AGENT_OOM = -1000, -900  # of -1000 (never killed) to 1000
GUARDIAN_PRIORITY = 1  # the lowest of the real-time class
AGENT_NICE = -10  # of -20 (preferred) to 19
HIGH_DESCRIPTOR = 1000  # beyond all others that an agent opens, within the usual limit of 1024
ERROR, WARNING, NOTICE = "error", "warning", "info"
_PRIORITIES = {ERROR: 3, WARNING: 4, NOTICE: 6}  # syslog's, in the form that systemd reads at the start of a line

_ordinary: tuple[int, int] | None = None  # OOM score and nice value of others; None: never became an agent


def become_guardian() -> None:
    _become(GUARDIAN, GUARDIAN_OOM)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(GUARDIAN_PRIORITY))


def become_agent(guardian: int) -> None:
    global _ordinary  # noqa: PLW0603 - one per process, like what it remembers
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        # What it was started with, unless that was a preference already (OOMScoreAdjust=, Nice= of the unit).
        _ordinary = (max(0, int(file.read())), max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    _become(AGENT, AGENT_OOM)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, AGENT_NICE)
    # systemd watches the main process, which is the guardian; it is the agent that has to prove that it works.
    if os.environ.get("WATCHDOG_PID") == str(guardian):
        os.environ["WATCHDOG_PID"] = str(os.getpid())


def _become(name: str, oom: int) -> None:
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name)
    with contextlib.suppress(PermissionError):
        _set_oom("self", oom)


def as_ordinary(pid: int) -> None:
    """A program that the agent has started (a hook) is neither spared nor preferred."""
    if _ordinary is not None:
        with contextlib.suppress(PermissionError, FileNotFoundError, ProcessLookupError):  # it may have ended already
            _set_oom(str(pid), _ordinary[0])
            os.setpriority(os.PRIO_PROCESS, pid, _ordinary[1])


def _set_oom(pid: str, score: int) -> None:
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def last_closed_first(channel: socket) -> socket:
    """The same channel under a high number: a dying process's descriptors are closed from the highest down."""
    try:
        moved = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    except OSError:  # a lower limit of open files: the death is noticed all the same, a little later
        return channel
    channel.close()
    return socket(fileno=moved)


def say(level: str, text: str, *, node: str, as_json: bool) -> None:
    """One line on stderr, in the form of the agent's own log. A reader that is stuck loses it: we do not wait."""
    said = line(level, text, node, as_json=as_json).encode(errors="replace")[:4000] + b"\n"
    writable = select.poll()
    writable.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):  # nobody reads any more: there is nobody to tell
        if any(what & select.POLLOUT for _, what in writable.poll(0)):
            os.write(2, said)


def line(level: str, text: str, node: str, *, as_json: bool) -> str:
    if is_journal():
        return f"<{_PRIORITIES[level]}>{text}"
    now = time.time()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if as_json:
        return f'{{"time":"{at}","level":"{level}","node":"{node}","event":"guardian","text":{quoted}}}'
    return f"time={at} level={level} node={node} event=guardian text={quoted}"


def is_journal() -> bool:
    """Is stderr the stream that systemd connected to the journal? (systemd.exec(5), JOURNAL_STREAM)"""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
