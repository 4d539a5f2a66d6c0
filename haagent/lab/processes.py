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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

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
        stat = _stat(self.pid)
        return stat is not None and stat[1] == self.started and stat[0] not in ("Z", "X")

    @property
    def is_frozen(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and stat[1] == self.started and stat[0] == "T"

    def send(self, number: signal.Signals) -> bool:
        """False when it is gone already."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def identify(pid: int) -> Process:
    stat = _stat(pid)
    if stat is None:
        raise LabError(f"process {pid} ended as soon as it was started")
    return Process(pid=pid, started=stat[1])


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


def name_of(pid: int) -> str:
    """As `ps` shows it; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[1])


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


def send_all(processes: Iterable[Process], number: signal.Signals) -> int:
    return sum(process.send(number) for process in processes)


def freeze_all(processes: Iterable[Process], *, within_s: float = 1.0) -> int:
    """Returns when they have really stopped: a process that is just running does so a moment after the signal."""
    found = list(processes)
    frozen = send_all(found, signal.SIGSTOP)
    deadline = time.monotonic() + within_s
    while not all(one.is_frozen or not one.is_alive for one in found) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return frozen


def wait_gone(processes: Iterable[Process], *, within_s: float = 5.0) -> list[Process]:
    """Those still alive after that time."""
    deadline = time.monotonic() + within_s
    left = [process for process in processes if process.is_alive]
    while left and time.monotonic() < deadline:
        time.sleep(0.002)
        left = [process for process in left if process.is_alive]
    return left


def _everybody() -> list[Process]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(LabError):
                found.append(identify(int(entry)))
    return found


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, start time). The name in parentheses may contain spaces and parentheses: cut after the last one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
