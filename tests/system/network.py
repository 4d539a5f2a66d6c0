"""Where the hosts stand: one switch with a mount namespace of its own, and a client host on that switch.

Everything a test run makes is inside these namespaces: overlays on a tmpfs, the control-group mount, bridge and cables.
When the last process in them is gone, so are they. The switch is a process namespace as well, in which all containers
are: its first process dies with pytest (the kernel's parent-death signal), whatever pytest dies of, and the kernel then
kills all others. What can outlive a SIGKILL is an empty control group; the next run removes it.

The containers get a version-2 control-group tree of their own, also on a machine whose own is still version 1.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from haagent.lab import namespaces, processes, topology
from haagent.lab.measurement import Measurement
from haagent.lab.plan import CLIENT, SWITCH, Plan
from haagent.lab.processes import Process

AREA = "/mnt"  # inside the switch's mount namespace: a tmpfs with the hosts' file systems
GROUPS = "/sys/fs/cgroup"
PREFIX = "haagent-test-"

# The first process of the switch; the container manager looks for a /run/systemd that is a file system.
_SWITCH = f"""
set -e
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup {GROUPS}
mount -t tmpfs area {AREA}
mkdir -p /run/systemd
mount -t tmpfs systemd /run/systemd
ip link set lo up
echo ready
exec >&- 2>&- sleep infinity
"""
_KEEP_SWITCH = (
    "setpriv", "--pdeathsig", "KILL", "--",
    "unshare", "--net", "--mount", "--uts", "--pid", "--kill-child=KILL", "--mount-proc", "--propagation", "slave",
    "--", "sh", "-c", _SWITCH,
)  # fmt: skip


class Stage:
    """Use as a context. `plan` says who will be on the switch; hosts are plugged in by whoever boots them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.group = f"{PREFIX}{os.getpid()}"
        self._keepers: dict[str, Process] = {}
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Stage:
        try:
            self._keepers[SWITCH] = self._keep_switch()
            self._keepers[CLIENT], child = namespaces.keep(
                CLIENT, user=None, makes_user=False, dies_with_us=True, environment=dict(os.environ)
            )
            self._children.append(child)
            client_alone = Plan(hosts=(self.plan.client,), links=self.plan.links, vips=self.plan.vips)
            pids = {CLIENT: self._keepers[CLIENT].pid}
            self.run(SWITCH, ["sh", "-c", topology.switch_script(client_alone, pids)])
            self.run(CLIENT, ["sh", "-c", topology.host_script(self.plan.client, client=self.plan.client)])
            self._sweep()
            (self.path(GROUPS) / self.group).mkdir()
        except BaseException:
            self.close()
            raise
        return self

    def _keep_switch(self) -> Process:
        child = subprocess.Popen(
            _KEEP_SWITCH,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._children.append(child)
        assert child.stdout is not None
        assert child.stderr is not None
        with child.stdout, child.stderr:
            if child.stdout.readline() != b"ready\n":
                raise RuntimeError(f"no switch: {child.stderr.read().decode(errors='replace')}")
        below = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        return processes.identify(int(below[0]))

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everybody; with them the kernel removes links, mounts and namespaces."""
        if SWITCH in self._keepers and self._keepers[SWITCH].is_alive:
            self.kill_group(self.group)
        for keeper in self._keepers.values():
            found = processes.in_namespace(keeper)
            processes.send_all(found, signal.SIGKILL)
            processes.wait_gone(found)
        for child in self._children:
            child.wait(timeout=10)
        self._keepers.clear()
        self._children.clear()

    # ---- looking and doing ----

    def path(self, inside: str) -> Path:
        """A path in the switch's mount namespace, as this process reaches it."""
        return Path(f"/proc/{self._keepers[SWITCH].pid}/root{inside}")

    def command_line(self, where: str, command: Sequence[str]) -> list[str]:
        return namespaces.inside(self._keepers[where], command, user=None)

    def enter_network(self, where: str) -> list[str]:
        """The words before a command that is to keep this machine's files, and use that host's network."""
        return ["nsenter", "-t", str(self._keepers[where].pid), "-n", "--"]

    def run(self, where: str, command: Sequence[str]) -> str:
        return _run(self.command_line(where, command))

    def run_on_switch(self, script: str) -> str:
        """As a process of the switch's own, for which its /proc (and so the list of its mounts) is right."""
        return _run(self._resident(["sh", "-c", script]))

    def _resident(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self._keepers[SWITCH].pid), "-n", "-m", "-u", "-p", "--", *command]

    def start(self, command: Sequence[str], *, output: int) -> subprocess.Popen[bytes]:
        """On the switch, and in its process namespace: when the switch ends, so does everything that this makes."""
        return subprocess.Popen(
            self._resident(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for pytest, which ends them in its own order
        )

    def probe(self, *, interval_s: float = 0.001) -> Measurement:
        """Asks for the floating addresses, by default every millisecond, from the client."""
        return Measurement(self.plan, self._start_probe, interval_s=interval_s)

    def _start_probe(self, words: list[str]) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [*self.enter_network(CLIENT), "setpriv", "--pdeathsig", "KILL", "--", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._children.append(child)
        return child

    # ---- control groups ----

    def kill_group(self, name: str) -> None:
        """Every process in it, at one stroke; then the group itself."""
        top = self.path(GROUPS) / name
        if not top.is_dir():
            return
        (top / "cgroup.kill").write_text("1")
        processes.wait_gone([processes.identify(pid) for pid in _members(top) if _is_there(pid)])
        for directory, _, _ in os.walk(top, topdown=False):
            with suppress(FileNotFoundError):
                os.rmdir(directory)

    def _sweep(self) -> None:
        """What a run that was killed left."""
        for left in self.path(GROUPS).glob(f"{PREFIX}*"):
            owner = re.sub(r"\D", "", left.name)
            if not _is_there(int(owner or 0)):
                self.kill_group(left.name)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}`: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _members(top: Path) -> list[int]:
    return [int(word) for file in top.rglob("cgroup.procs") for word in file.read_text().split()]


def _is_there(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()
