"""Every fault that a lab knows, as a verb, and what ends it: all on this one object, `lab.faults`.

Faults of the network are a value in the lab's state (`damage`); faults of processes are signals, to processes that are
told apart for certain (`agents`).
"""

from __future__ import annotations

import shutil
import signal
from typing import Literal

from haagent.lab import processes, topology
from haagent.lab.agents import Agents, some
from haagent.lab.damage import EVERYBODY, rules
from haagent.lab.errors import LabError
from haagent.lab.plan import SWITCH
from haagent.lab.processes import Process
from haagent.lab.site import Site
from haagent.lab.state import LabState, changing

Whom = Literal["agent", "guardian", "all"]


class Faults:
    def __init__(self, site: Site, agents: Agents) -> None:
        self._site, self._agents = site, agents

    # ---- of processes ----

    def kill(self, name: str, *, whom: Whom = "agent") -> None:
        """SIGKILL for the agent, the process that decides (its guardian acts and ends), for its guardian, or for every
        process of both at one stroke. Returns when who was killed, and who follows, is gone."""
        tree = self._agents.running(name)
        targets = self._targets(name, whom)
        if whom == "all":  # stopped first, as the kernel kills a control group: neither must see the other die
            processes.freeze_all(targets)
            targets = self._targets(name, whom)  # whom one of them forked before it stopped
        processes.send_all(targets, signal.SIGKILL)
        processes.wait_gone(tree.everybody if whom == "all" else [one for one in (tree.root, tree.deciding) if one])

    def freeze(self, name: str, *, whom: Whom = "all") -> None:
        """Stopped as by a stalled hypervisor (SIGSTOP). Returns when they have stopped."""
        processes.freeze_all(self._targets(name, whom))

    def thaw(self, name: str) -> None:
        processes.send_all(self._agents.running(name).everybody, signal.SIGCONT)

    def _targets(self, name: str, whom: Whom) -> list[Process]:
        tree = self._agents.running(name)
        if whom == "all":
            return list(tree.everybody)
        return [some(tree.deciding if whom == "agent" else tree.guardian, whom, name)]

    # ---- of the network ----

    def cut(self, source: str, target: str = EVERYBODY, *, one_way: bool = False) -> None:
        """Frames no longer pass, the carrier stays. One way: frames from `source` no longer reach `target`."""
        with changing(self._site.directory) as now:
            for name in {source, target} - {EVERYBODY}:
                now.plan.host(name)
            now.damage.cut(source, target, one_way=one_way)
            self._apply(now)

    def heal(self, source: str = EVERYBODY, target: str = EVERYBODY) -> None:
        """End cuts and losses: all of a host, between two hosts, or (no name) all there are, links included."""
        with changing(self._site.directory) as now:
            for name in {source, target} - {EVERYBODY}:
                now.plan.host(name)
            if source == EVERYBODY:
                now.damage.cuts, now.damage.losses = [], {}
                crashed = {name for name, host in now.hosts.items() if host.crashed}
                for cable in list(now.damage.unplugged):
                    if cable.rpartition("-")[0] not in crashed:
                        self._plug(now, cable, to="up")
            else:
                now.damage.heal(source, target)
            self._apply(now)

    def lose(self, name: str, percent: float) -> None:
        """So many of the host's frames are lost at random, each way. 0 ends it."""
        if not 0 <= percent <= 100:
            raise LabError(f"{percent:g} is no percentage; give 0 to 100")
        with changing(self._site.directory) as now:
            now.plan.host(name)
            now.damage.losses.pop(name, None)
            if percent:
                now.damage.losses[name] = percent
            self._apply(now)

    def link(self, name: str, to: str, *, link: str = "eth0") -> None:
        """Pull (`down`) or plug (`up`) a cable: the host loses or regains its carrier."""
        with changing(self._site.directory) as now:
            if now.hosts[now.plan.host(name).name].crashed and to == "up":
                raise LabError(f"{name} has crashed; `haagent lab start {name}` boots it, cables and all")
            self._plug(now, now.plan.host(name).port(link).cable, to=to)

    # ---- of a host ----

    def crash(self, name: str) -> None:
        """The host is lost at once. Frozen, unplugged, killed, in this order: a running agent would see the first of
        two cables go and say so over the second, and a dying one may have last words; a lost host says nothing."""
        with changing(self._site.directory) as now:
            host = now.plan.node(name)
            now.hosts[name].crashed = True
            everybody = self._agents.processes(now, name, with_visitors=True)  # the host is gone
            processes.freeze_all(everybody)
            for port in host.ports:
                self._plug(now, port.cable, to="down")
            processes.send_all(everybody, signal.SIGKILL)
            processes.wait_gone(everybody)
            now.hosts[name].agent = None

    def boot(self, name: str) -> None:
        """A lost host is there again: fresh addresses, cables in, no agent yet. Others stay as they are."""
        with changing(self._site.directory) as now:
            host = now.plan.node(name)
            if now.hosts[name].crashed:
                self._site.configure(name, topology.reboot_script(host, client=now.plan.client))
                shutil.rmtree(self._site.run_directory(name), ignore_errors=True)  # /run is empty after a boot
                for port in host.ports:
                    self._plug(now, port.cable, to="up")
                now.hosts[name].crashed = False

    # ---- how ----

    def _apply(self, now: LabState) -> None:
        self._site.configure(SWITCH, f"nft -f - <<'EOF'\n{rules(now.plan, now.damage)}EOF")

    def _plug(self, now: LabState, cable: str, *, to: str) -> None:
        self._site.configure(SWITCH, f"ip link set {cable} {to}")
        now.damage.unplugged = sorted({*now.damage.unplugged, cable} - ({cable} if to == "up" else set()))
