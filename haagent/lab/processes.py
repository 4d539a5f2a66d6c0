"""Processes of a lab: told apart for certain, found again, signalled, and waited for until they are gone.

A lab is nothing but processes: its namespaces live exactly as long as somebody is in them. So taking a lab down means
to find every process. Two ways to find one, because each has a hole:
- by network namespace: finds also what has cleaned its environment, but needs a keeper still alive to compare with
  (a namespace's number may be given to a stranger once it is gone);
- by the variable HAAGENT_LAB_DIR in its environment, inherited by all children: works when the keeper is dead and the
  state file is incomplete.

A pid alone names nobody (it may have been reused): a process is its pid together with its start time, and signals go
through a pidfd opened before the start time is compared.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from haagent.lab.errors import LabError

MARK = "HAAGENT_LAB_DIR"  # which lab a process belongs to
VISITOR = "HAAGENT_LAB_VISITOR"  # set for commands run by `lab exec`: not part of the host's agent


class Process(msgspec.Struct, frozen=True):
    pid: int
    started: int  # clock ticks since boot: field 22 of /proc/PID/stat

    @property
    def is_alive(self) -> bool:
        """A zombie has no namespaces and holds nothing: it counts as gone."""
        return self._state() not in ("", "Z", "X")

    @property
    def is_frozen(self) -> bool:
        return self._state() == "T"

    def _state(self) -> str:
        """Empty: it is gone, and its pid may be another's."""
        stat = _stat(self.pid)
        return stat.state if stat is not None and stat.started == self.started else ""

    def send(self, number: signal.Signals) -> None:
        """To nobody when it is gone already."""
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.is_alive:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


class Stat(NamedTuple):
    state: str
    parent: int
    started: int


def identify(pid: int) -> Process:
    stat = _stat(pid)
    if stat is None:
        raise LabError(f"process {pid} ended as soon as it was started")
    return Process(pid=pid, started=stat.started)


def namespace_of(pid: int) -> str | None:
    """Of the network, as in `net:[4026531840]`; None when gone or not ours to see."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def in_namespace(keeper: Process) -> list[Process]:
    """Everybody in the keeper's network namespace, the keeper included; nobody when the keeper is gone."""
    if not keeper.is_alive or (namespace := namespace_of(keeper.pid)) is None:
        return []
    return [process for process in _everybody() if namespace_of(process.pid) == namespace]


def marked(directory: Path) -> list[Process]:
    """Everybody that was started for the lab in `directory`, except this very process."""
    mark = f"{MARK}={directory}"
    return [process for process in _everybody() if process.pid != os.getpid() and mark in environment_of(process.pid)]


def parent_of(pid: int) -> int | None:
    stat = _stat(pid)
    return stat.parent if stat else None


def is_same_program(one: int, other: int) -> bool:
    """A guardian forks its agent; a hook is another program."""
    try:
        return Path(f"/proc/{one}/cmdline").read_bytes() == Path(f"/proc/{other}/cmdline").read_bytes()
    except OSError:
        return False


def environment_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def is_visitor(process: Process) -> bool:
    return f"{VISITOR}=1" in environment_of(process.pid)


def send_all(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        process.send(number)


def freeze_all(processes: Sequence[Process], *, within_s: float = 1.0) -> None:
    """Returns when they have really stopped: a process that is just running does so a moment after the signal."""
    send_all(processes, signal.SIGSTOP)
    wait(lambda: all(one.is_frozen or not one.is_alive for one in processes), within_s=within_s)


def wait_gone(processes: Sequence[Process], *, within_s: float = 5.0) -> list[Process]:
    """Those still alive after that time."""
    wait(lambda: not any(one.is_alive for one in processes), within_s=within_s)
    return [one for one in processes if one.is_alive]


def wait(condition: Callable[[], bool], *, within_s: float) -> bool:
    """False: it did not come true in that time."""
    deadline = time.monotonic() + within_s
    while not (is_so := condition()) and time.monotonic() < deadline:
        time.sleep(0.001)
    return is_so


def _everybody() -> list[Process]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(LabError):
                found.append(identify(int(entry)))
    return found


def _stat(pid: int) -> Stat | None:
    """The name in parentheses may contain spaces and parentheses: cut after the last one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[19]))
