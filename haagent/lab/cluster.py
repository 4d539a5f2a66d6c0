"""A lab: hosts, switch and client as namespaces, a real agent on every node, and the faults a person can think of.

    with Lab.create(nodes=2) as lab:
        lab.wait_ready()
        with lab.probe() as probe:
            lab.faults.crash("A")
            probe.wait_answer(by="B")
        print(probe.outage("10.20.1.100").worst_ms)

`create` builds it, `open` finds one that another command built; every method works on either. What is known is in the
state file, re-read under a lock for each change, so several commands may work on one lab. A lab created with
`dies_with_us` (tests, demo) ends with the process that made it, whatever that dies of.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from haagent.lab import configuration, namespaces, processes, state, topology
from haagent.lab.agents import AGENT, Agents
from haagent.lab.configuration import Wishes
from haagent.lab.errors import LabError
from haagent.lab.faults import Faults
from haagent.lab.measurement import Measurement
from haagent.lab.plan import CLIENT, SWITCH, draw
from haagent.lab.processes import Process
from haagent.lab.site import Site
from haagent.lab.state import HostState, LabState, changing

Tell = Callable[[str], None]


class Lab(Site):
    def __init__(self, directory: Path, *, dies_with_us: bool = False) -> None:
        super().__init__(directory, dies_with_us=dies_with_us)
        self.agents = Agents(self)
        self.faults = Faults(self, self.agents)

    # ---- making and ending ----

    @classmethod
    def create(
        cls,
        *,
        name: str = "lab",
        nodes: int = 2,
        has_witness: bool = False,
        spares: int = 0,
        links: int = 1,
        wishes: Wishes = Wishes(),  # noqa: B008 - frozen
        command: Sequence[str] | None = AGENT,
        dies_with_us: bool = False,
        tell: Tell = lambda _: None,
    ) -> Lab:
        """Build the hosts and start the agents (`command`; None: no agents). Nothing is left if it fails."""
        namespaces.require_tools()
        has_ipv6 = Path("/proc/sys/net/ipv6").exists()
        plan = draw(nodes=nodes, has_witness=has_witness, spares=spares, links=links, has_ipv6=has_ipv6)
        directory = state.directory_of(name)
        needs_user = not namespaces.can_be_root()
        state.make_directory(directory)
        lab = cls(directory, dies_with_us=dies_with_us)
        try:
            state.save(directory, LabState(name=name, plan=plan, command=tuple(command or ())))
            configuration.write(directory, plan, wishes)
            lab._build(needs_user=needs_user)
            tell(f"hosts {', '.join(node.name for node in plan.nodes)} and a client are on one switch")
            if command:
                for node in plan.nodes:
                    lab.agents.start(node.name)
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def open(cls, name: str = "lab") -> Lab:
        lab = cls(state.directory_of(name))
        lab.state()
        return lab

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self) -> bool:
        """End every process and remove the directory; the kernel then removes the rest. False: nothing was there."""
        was_there = self.directory.is_dir()
        with _undisturbed():
            return self._end() or was_there

    def _end(self) -> bool:
        was_there = False
        for _ in range(20):  # somebody may have forked between our look and our signal
            found = self._everybody()
            if not found:
                break
            was_there = True
            processes.send_all(found, signal.SIGKILL)
            if left := processes.wait_gone(found):
                raise LabError(f"processes {[process.pid for process in left]} do not end; they hang in the kernel")
        self.reap()
        _remove(self.directory)
        return was_there

    def _everybody(self) -> list[Process]:
        found = set(processes.marked(self.directory))
        try:
            known = self.state()
        except LabError:  # incomplete: the marks in the environments must do
            return [process for process in found if process.is_alive]
        for host in known.hosts.values():
            found.update(processes.in_namespace(host.keeper))
        return [process for process in found if process.is_alive and process.pid != os.getpid()]

    def _build(self, *, needs_user: bool) -> None:
        with changing(self.directory) as now:
            for name in (SWITCH, *(host.name for host in now.plan.hosts)):
                keeper, child = namespaces.keep(
                    name,
                    user=now.root,
                    makes_user=needs_user and now.root is None,
                    dies_with_us=self.dies_with_us,
                    environment=self.environment(),
                )
                self.adopt(child)
                now.hosts[name] = HostState(keeper=keeper)
                if needs_user and now.root is None:
                    now.root = keeper  # the switch is first: its keeper owns the user namespace
                state.save(self.directory, now)
            pids = {name: host.keeper.pid for name, host in now.hosts.items()}
            self.configure(SWITCH, topology.switch_script(now.plan, pids))
            for host in now.plan.hosts:
                self.configure(host.name, topology.host_script(host, client=now.plan.client))

    # ---- using ----

    def probe(self, *, interval_s: float = 0.001, asks_directly: bool = True) -> Measurement:
        """A measurement from the client host; use it as a context."""
        start = partial(self.start_on, CLIENT)
        return Measurement(self.state().plan, start, interval_s=interval_s, asks_directly=asks_directly)

    def start(self, name: str) -> None:
        """Start the agent again; a lost host boots first."""
        self.faults.boot(name)
        self.agents.start(name)

    def wait_ready(self, *, within_s: float = 20.0) -> None:
        self.agents.wait_ready(within_s=within_s)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not stop the cleaning up that the first one asked for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _remove(directory: Path) -> None:
    """The lab's directory, and the room of all labs when this was the last."""
    if directory.is_dir():
        shutil.rmtree(directory)
    try:
        directory.parent.rmdir()
    except OSError:
        return  # other labs live there, or it is not there at all
