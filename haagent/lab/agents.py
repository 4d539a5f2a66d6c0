"""The agents of a lab: one real daemon per node, with directories and a log of its own.

All processes of an agent (guardian, agent, hooks, whatever it starts) are found by the node's network namespace, so a
fault that hits "the agent" hits every process of it, also those that left its process group. Visitors, commands run
by `lab exec`, are spared by freeze and kill; a crash of the host takes them too.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from haagent.control.client import Client, ControlError
from haagent.lab import namespaces, processes
from haagent.lab.errors import EarlyEnd, LabError
from haagent.lab.processes import Process, identify
from haagent.lab.site import Site
from haagent.lab.state import LabState, changing

T = TypeVar("T")
AGENT = (
    "haagent", "run", "--config", "{config}", "--node", "{node}", "--run-dir", "{run}", "--state-dir", "{state}",
)  # fmt: skip


class Tree(msgspec.Struct, frozen=True):
    """Of one node's daemon. What the lab started is the root. With a guardian, the agent is its child; without one the
    root is the agent itself. Nothing in it when nothing runs."""

    everybody: tuple[Process, ...] = ()
    root: Process | None = None
    deciding: Process | None = None

    @property
    def guardian(self) -> Process | None:
        return None if self.root == self.deciding else self.root


class Agents:
    def __init__(self, site: Site) -> None:
        self._site = site

    def log(self, name: str) -> Path:
        return self._site.directory / name / "log"

    def start(self, name: str, *, node: str = "") -> None:
        """`node`: under another node's name."""
        with changing(self._site.directory) as now:
            now.plan.node(node or name)
            host = now.hosts[name]
            if host.agent is not None and host.agent.is_alive:
                raise LabError(f"the agent of {name} runs already (pid {host.agent.pid})")
            if not now.command:
                raise LabError("this lab was made without agents")
            host.agent = self._spawn(now, name, node or name)

    def _spawn(self, now: LabState, name: str, node: str) -> Process:
        run, kept = self._site.run_directory(name), self._site.state_directory(name)
        for directory in (run, kept):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        paths = {"config": str(self._site.directory / "haagent.yaml"), "run": str(run), "state": str(kept)}
        command = [word.format(node=node, **paths) for word in now.command]
        if command[0] == "haagent":
            command[:1] = executable()
        if self._site.dies_with_us:
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        words = namespaces.inside(now.hosts[name].keeper, command, user=now.root)
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - the agent
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._site.environment(),
                start_new_session=True,
            )
        self._site.adopt(child)
        return identify(child.pid)

    def processes(self, now: LabState, name: str, *, with_visitors: bool = False) -> list[Process]:
        """Of the node's agent: everybody on the host but its keeper and, unless wanted, visitors."""
        keeper = now.hosts[name].keeper
        return [
            process
            for process in processes.in_namespace(keeper)
            if process != keeper and (with_visitors or not processes.is_visitor(process))
        ]

    def tree(self, name: str) -> Tree:
        """Read from the node's own process table, anew for each fault: after a restart, or when nobody answers, nothing
        else can be relied on."""
        now = self._site.state()
        now.plan.host(name)
        everybody = tuple(self.processes(now, name))
        root = now.hosts[name].agent
        if root is None or not root.is_alive:
            return Tree(everybody)
        children = [process for process in everybody if processes.parent_of(process.pid) == root.pid]
        deciding = next((child for child in children if processes.is_same_program(child.pid, root.pid)), root)
        return Tree(everybody, root, deciding)

    def running(self, name: str) -> Tree:
        """Raises when there is nothing of it."""
        found = self.tree(name)
        some(found.everybody, "agent", name)
        return found

    def signal(self, name: str, number: signal.Signals) -> None:
        """Given as systemd gives it: to the process that was started."""
        some(self.running(name).root, "agent", name).send(number)

    # ---- what they say ----

    def status(self, name: str) -> dict[str, Any]:
        """As the node's agent sees the cluster: the content of `haagent status --json`."""
        agent = self._site.state().hosts[name].agent
        if agent is not None and agent.is_frozen:
            raise LabError(f"the agent of {name} is frozen")
        try:
            with Client(str(self._site.run_directory(name))) as client:
                return client.ask("status")
        except ControlError as error:
            raise LabError(f"the agent of {name} does not answer: {error}") from None

    def holder(self, group: str = "web") -> str | None:
        """The one node whose agent says that it is active there. Nobody, or several: None."""
        now = self._site.state()
        active = [node.name for node in now.plan.nodes if self._is_active(node.name, group)]
        return active[0] if len(active) == 1 else None

    def _is_active(self, name: str, group: str) -> bool:
        try:
            groups = self.status(name).get("groups", [])
        except LabError:
            return False
        return any(g["name"] == group and g["holder"] == name and g["state"] == "active" for g in groups)

    def wait_ready(self, *, within_s: float = 20.0) -> None:
        """Every agent answers and every group is active on one of them; else LabError with the ends of the logs."""
        names = [node.name for node in self._site.state().plan.nodes]
        try:
            self._wait("every agent answers", lambda: all(self.status(name) for name in names), within_s)
            self._wait("every group has an active holder", lambda: self._all_held(names), within_s)
        except LabError as error:
            raise LabError("\n".join([str(error), *(self.tail(name) for name in names)])) from None

    def replicates(self, name: str) -> bool:
        """Its session store is ready, and the others have all that was changed there. A Redis knows of no others."""
        told = self.status(name)["sessions"]
        return bool(told.get("ready")) and all(peer["linked"] and peer["in_sync"] for peer in told["peers"])

    def _wait(self, what: str, condition: Callable[[], object], within_s: float) -> None:
        def checked() -> object:
            now = self._site.state()
            for name, host in now.hosts.items():
                if host.agent is not None and not host.agent.is_alive:
                    raise EarlyEnd(f"the agent of {name} ended")
            return condition()

        self._site.wait_for(checked, what=what, within_s=within_s)

    def _all_held(self, names: list[str]) -> bool:
        views = [{group["name"]: group["holder"] for group in self.status(name)["groups"]} for name in names]
        is_agreed = all(view == views[0] for view in views)
        return bool(views[0]) and is_agreed and all(self.holder(group) for group in views[0])

    def tail(self, name: str, lines: int = 12) -> str:
        try:
            text = self.log(name).read_text(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            text = []
        return "\n".join([f"--- end of the log of {name} ---", *(text or ["(empty)"])])


def some(found: T | None, what: str, name: str) -> T:
    if not found:
        raise LabError(f"no {what} runs on {name}; `haagent lab start {name}` starts it")
    return found


def executable() -> list[str]:
    """The `haagent` that belongs to this very Python, whatever PATH says."""
    beside = Path(sys.executable).parent / "haagent"
    if beside.exists():
        return [str(beside)]
    return [sys.executable, "-c", "from haagent.cli import main; main()"]
