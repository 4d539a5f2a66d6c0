"""A lab: hosts, switch and client as namespaces, a real agent on every node, and the faults a person can think of.

    with Lab.create(nodes=2) as lab:
        lab.wait_ready()
        with lab.probe() as probe:
            lab.crash("A")
            probe.wait_answer(by="B")
        print(probe.outage("10.20.1.100").worst_ms)

`create` builds it, `open` finds one that another command built; every method works on either. What is known is in the
state file, re-read under a lock for each change, so several commands may work on one lab. A lab created with
`dies_with_us` (tests, demo) ends with the process that made it, whatever that dies of.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from haagent.lab import configuration, namespaces, processes, state, topology
from haagent.lab.agents import AGENT, Agents, EarlyEnd
from haagent.lab.configuration import Wishes
from haagent.lab.errors import LabError
from haagent.lab.faults import EVERYBODY, TABLE, rules
from haagent.lab.measurement import Measurement
from haagent.lab.plan import CLIENT, SWITCH, draw
from haagent.lab.processes import MARK, VISITOR, Process
from haagent.lab.state import HostState, LabState, changing

Tell = Callable[[str], None]


def _quiet(_: str) -> None:
    pass


class Lab:
    def __init__(self, directory: Path, *, dies_with_us: bool = False) -> None:
        self.directory = directory
        self.dies_with_us = dies_with_us
        self._children: list[subprocess.Popen[bytes]] = []  # ours to reap
        self.agents = Agents(self)

    # ---- making and ending ----

    @classmethod
    def create(
        cls,
        *,
        name: str = "lab",
        nodes: int = 2,
        has_witness: bool = False,
        links: int = 1,
        wishes: Wishes = Wishes(),  # noqa: B008 - frozen
        command: Sequence[str] | None = AGENT,
        dies_with_us: bool = False,
        own_processors: bool = False,
        tell: Tell = _quiet,
    ) -> Lab:
        """Build the hosts and start the agents (`command`; None: no agents). Nothing is left if it fails."""
        namespaces.require_tools()
        plan = draw(nodes=nodes, has_witness=has_witness, links=links, has_ipv6=Path("/proc/sys/net/ipv6").exists())
        directory = state.directory_of(name)
        needs_user = not namespaces.can_be_root()
        state.make_directory(directory)
        lab = cls(directory, dies_with_us=dies_with_us)
        try:
            made = LabState(name=name, plan=plan, command=tuple(command or ()), own_processors=own_processors)
            state.save(directory, made)
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        self._reap()
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

    def _reap(self) -> None:
        for child in self._children:
            child.wait(timeout=10)
        self._children.clear()

    def _build(self, *, needs_user: bool) -> None:
        with changing(self.directory) as now:
            names = [SWITCH, *(host.name for host in now.plan.hosts)]
            for name in names:
                keeper = self._keep(name, user=now.root, makes_user=needs_user and now.root is None)
                now.hosts[name] = HostState(keeper=keeper)
                if needs_user and now.root is None:
                    now.root = keeper  # the switch is first: its keeper owns the user namespace
                state.save(self.directory, now)
            pids = {name: host.keeper.pid for name, host in now.hosts.items()}
            self._configure(now, SWITCH, topology.switch_script(now.plan, pids))
            for host in now.plan.hosts:
                self._configure(now, host.name, topology.host_script(host, client=now.plan.client))

    def _keep(self, name: str, *, user: Process | None, makes_user: bool) -> Process:
        keeper, child = namespaces.keep(
            name,
            user=user,
            makes_user=makes_user,
            dies_with_us=self.dies_with_us,
            environment=self.environment(),
        )
        self.adopt(child)
        return keeper

    def adopt(self, child: subprocess.Popen[bytes]) -> None:
        self._children.append(child)

    # ---- looking and doing ----

    def state(self) -> LabState:
        return state.load(self.directory)

    def command_line(self, name: str, command: Sequence[str], *, known: LabState | None = None) -> list[str]:
        """What to execute here so that `command` runs on that host."""
        known = known or self.state()
        if name != SWITCH:
            known.plan.host(name)
        return namespaces.inside(known.hosts[name].keeper, command, user=known.root, cwd=Path.cwd())

    def environment_on(self, name: str) -> dict[str, str]:
        """For visitors: `haagent status` on a node talks to the agent of that node."""
        mine = {
            "HAAGENT_RUN_DIR": str(self.agents.run_directory(name)),
            "HAAGENT_STATE_DIR": str(self.agents.state_directory(name)),
            "HAAGENT_CONFIG": str(self.directory / "haagent.yaml"),
            VISITOR: "1",
        }
        return self.environment() | mine

    def run(
        self, name: str, command: Sequence[str], *, checks: bool = True, within_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host and return its output; with `checks` a failure raises with what it said."""
        words = self.command_line(name, command)
        done = subprocess.run(  # noqa: S603 - running commands is what this is for
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
            env=self.environment_on(name),
            stdin=subprocess.DEVNULL,
        )
        if checks and done.returncode:
            raise LabError(f"on {name}, `{' '.join(command)}`: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def start_on(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process on a host, with pipes, in a session of its own; ends with the lab at the latest."""
        child = subprocess.Popen(  # noqa: S603 - running commands is what this is for
            self.command_line(name, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment_on(name),
            start_new_session=True,
        )
        self.adopt(child)
        return child

    def probe(self, *, interval_s: float = 0.001, asks_directly: bool = True) -> Measurement:
        """A measurement from the client host; use it as a context."""
        plan = self.state().plan
        return Measurement(
            plan,
            lambda words: self.start_on(CLIENT, words),
            interval_s=interval_s,
            asks_directly=asks_directly,
        )

    def wait_for(self, condition: Callable[[], Any], *, what: str, within_s: float = 10.0) -> None:
        """Until the condition holds. A LabError inside it means: not yet."""
        deadline, reason = time.monotonic() + within_s, ""
        while True:
            try:
                if condition():
                    return
            except EarlyEnd:
                raise
            except LabError as error:
                reason = f" ({error})"
            if time.monotonic() > deadline:
                raise LabError(f"waited {within_s:g} s in vain for this: {what}{reason}")
            time.sleep(0.01)

    def wait_ready(self, *, within_s: float = 20.0) -> None:
        self.agents.wait_ready(within_s=within_s)

    # ---- faults in the network ----

    def cut(self, source: str, target: str = EVERYBODY, *, one_way: bool = False) -> None:
        """Frames no longer pass, the carrier stays. One way: frames from `source` no longer reach `target`."""
        with changing(self.directory) as now:
            for name in {source, target} - {EVERYBODY}:
                now.plan.host(name)
            now.faults.cut(source, target, one_way=one_way)
            self._apply(now)

    def heal(self, source: str = EVERYBODY, target: str = EVERYBODY) -> None:
        """End cuts and losses: all of a host, between two hosts, or (no name) all there are, links included."""
        with changing(self.directory) as now:
            for name in {source, target} - {EVERYBODY}:
                now.plan.host(name)
            if source == EVERYBODY:
                now.faults.cuts, now.faults.losses = [], {}
                crashed = {name for name, host in now.hosts.items() if host.crashed}
                for cable in list(now.faults.unplugged):
                    if cable.rpartition("-")[0] not in crashed:
                        self._plug(now, cable, to="up")
            else:
                now.faults.heal(source, target)
            self._apply(now)

    def lose(self, name: str, percent: float) -> None:
        """So many of the host's frames are lost at random, each way. 0 ends it."""
        if not 0 <= percent <= 100:
            raise LabError(f"{percent:g} is no percentage; give 0 to 100")
        with changing(self.directory) as now:
            now.plan.host(name)
            now.faults.losses.pop(name, None)
            if percent:
                now.faults.losses[name] = percent
            self._apply(now)

    def link(self, name: str, to: str, *, link: str = "eth0") -> None:
        """Pull (`down`) or plug (`up`) a cable: the host loses or regains its carrier."""
        with changing(self.directory) as now:
            if now.hosts[now.plan.host(name).name].crashed and to == "up":
                raise LabError(f"{name} has crashed; `haagent lab start {name}` boots it, cables and all")
            self._plug(now, now.plan.host(name).port(link).cable, to=to)

    # ---- faults of a host ----

    def crash(self, name: str) -> None:
        """The host is lost at once. Frozen, unplugged, killed, in this order: a running agent would see the first of
        two cables go and say so over the second, and a dying one may have last words; a lost host says nothing."""
        with changing(self.directory) as now:
            host = now.plan.node(name)
            now.hosts[name].crashed = True
            self.agents.freeze_everything(now, name)
            for port in host.ports:
                self._plug(now, port.cable, to="down")
            self.agents.kill_everything(now, name)

    def start(self, name: str) -> None:
        """Start the agent again; a crashed host boots first: fresh addresses, cables in."""
        with changing(self.directory) as now:
            host = now.plan.node(name)
            if now.hosts[name].crashed:
                self._configure(now, name, topology.reboot_script(host, client=now.plan.client))
                self.agents.forget_run_directory(name)
                for port in host.ports:
                    self._plug(now, port.cable, to="up")
                now.hosts[name].crashed = False
        self.agents.start(name)

    # ---- how ----

    def _apply(self, now: LabState) -> None:
        self._configure(now, SWITCH, f"nft -f - <<'EOF'\n{rules(now.plan, now.faults)}EOF")

    def _plug(self, now: LabState, cable: str, *, to: str) -> None:
        self._configure(now, SWITCH, f"ip link set {cable} {to}")
        now.faults.unplugged = sorted({*now.faults.unplugged, cable} - ({cable} if to == "up" else set()))

    def _configure(self, now: LabState, name: str, script: str) -> None:
        words = namespaces.inside(now.hosts[name].keeper, ["sh", "-e", "-c", script], user=now.root)
        done = subprocess.run(  # noqa: S603 - our own script
            words, capture_output=True, text=True, check=False, env=self.environment(), stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise LabError(f"{name} could not be set up: {done.stderr.strip() or done.returncode} ({TABLE})")

    def environment(self) -> dict[str, str]:
        """Every process of the lab carries the lab's mark: that is how `down` finds all of them."""
        return {**os.environ, MARK: str(self.directory), "PATH": namespaces.search_path()}


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
        for path in sorted(directory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        directory.rmdir()
    try:
        directory.parent.rmdir()
    except OSError:
        return  # other labs live there, or it is not there at all
