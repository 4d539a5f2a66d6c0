"""What the outside sees of hosts in whose kernels addresses come and go (`whole`): who answers for what, how long yet.

The kernel's word counts, and nobody's belief. Only of a group that is held without any address of it (`leader`, or one
whose addresses all are with somebody else) there is nothing but the belief.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from ipaddress import ip_address, ip_interface
from typing import Any

from haagent.core import events
from haagent.core.settings import LEADER, GroupSettings, Settings
from haagent.kernel.facts import Vip
from haagent.simulate.host import Served
from tests.sim import world
from tests.sim.kernel import NEVER, Kernel
from tests.sim.process import Process
from tests.sim.world import Host

OWN = int(ip_address("10.20.1.100"))


class World(world.World):
    def __init__(self, *arguments: Any, **choices: Any) -> None:
        self.kernels: dict[str, Kernel] = {}
        super().__init__(*arguments, **choices)
        self.vips: dict[int, Vip] = {}  # all that any file has had, by the numbers that the core knows them by
        self._own: dict[str, int] = {}
        self._homes: dict[str, dict[str, tuple[int, ...]]] = {}  # of the file with which each host's agent runs
        self._shown: dict[tuple[str, int], float] = {}  # until when an address answers, by its host's kernel
        self._bare: dict[str, dict[str, float]] = {}  # and until when a group is held of which no address is served
        self._takes: dict[tuple[str, str], events.Take] = {}
        self._told: dict[tuple[str, str], events.Take] = {}
        for group in self.settings.groups[1:]:
            self._numbers(group)

    def _agent(self, host: Host) -> Process | None:
        """The newest one."""
        raise NotImplementedError

    def _numbers(self, group: GroupSettings) -> tuple[int, ...]:
        """Where no file names any address, each group has one all the same, of its own."""
        numbers = tuple(group.addresses)
        if not self._are_named:
            numbers = (self._own.setdefault(group.name, OWN + len(self._own)),)
        for number in numbers:
            self.vips.setdefault(number, Vip(ip_interface(f"{ip_address(number)}/24"), "eth0"))
        return numbers

    def kernel(self, name: str) -> Kernel:
        if name not in self.kernels:
            touched, fails = functools.partial(self._touched, name), functools.partial(self._fails, name)
            call_s = self.take_s[0] / 2, self.take_s[1] / 2
            self.kernels[name] = Kernel(self, call_s, touched=touched, fails=fails)
        return self.kernels[name]

    def _fails(self, name: str, address: bytes) -> bool:
        homes, number = self._homes[name], int.from_bytes(address)
        return any(number in homes[group] for group in homes if self.failing.get((name, group)))

    # ------------------------------------------------------------------ what is seen from outside

    def _touched(self, name: str, address: bytes) -> None:
        self._when_done(self.hosts[name], self._see, int.from_bytes(address), self.kernel(name).until(address))

    def lay_out(self, host: Host, file: Settings) -> None:
        """From now on its agent runs with this file."""
        homes = {group.name: self._numbers(group) for group in file.groups[1:]}
        if homes != self._homes.get(host.name):
            self._when_done(host, self._lay_out, homes)

    def _when_done(self, host: Host, what: Callable[..., None], *words: object) -> None:
        """What its agent does is seen when it has done it."""
        agent = self._agent(host)
        if agent is None or agent.is_over or not agent.elapsed_s:
            what(host, *words)
        else:
            self.at(self.t + agent.elapsed_s, lambda: None if agent.is_over else what(host, *words))

    def _lay_out(self, host: Host, homes: dict[str, tuple[int, ...]]) -> None:
        before, self._homes[host.name] = self._homes.get(host.name, {}), homes
        for group in {**before, **homes}:
            self._look_at(host, group)

    def _see(self, host: Host, number: int, until: float) -> None:
        self._shown[(host.name, number)] = until
        for group, numbers in self._homes.get(host.name, {}).items():
            if number in numbers:
                self._look_at(host, group)

    def _look_at(self, host: Host, group: str) -> None:
        shown = {one: self._shown.get((host.name, one), NEVER) for one in self._homes[host.name].get(group, ())}
        served = host.served.setdefault(group, Served())
        served.addresses = frozenset(number for number, until in shown.items() if until > NEVER)
        self._show(host, group, max((*shown.values(), self._bare.get(host.name, {}).get(group, NEVER))))

    def serving_address(self, address: int) -> list[str]:
        return [name for name, host in self.hosts.items() if self._has(host, address)]

    def _has(self, host: Host, address: int) -> bool:
        until = self._shown.get((host.name, address), NEVER)
        if not any(address in numbers for numbers in self._homes.get(host.name, {}).values()):
            there = self.kernel(host.name).addresses.get(address.to_bytes(4))
            if there is None or not there[0].is_ours:
                return False  # it is somebody's, and the agent's file knows nothing of it
        is_kept = any(served.is_kept and address in served.addresses for served in host.served.values())
        return until > host.kernel(self.t) or (is_kept and until > NEVER)

    def _show(self, host: Host, group: str, until: float) -> None:
        served = host.served.setdefault(group, Served())
        was_up = host.answers(group, self.t)
        served.is_up, served.until = until > host.kernel(self.t), until
        is_up = host.answers(group, self.t)
        if is_up:
            take = self._takes.get((host.name, group))
            if not was_up:
                served.is_kept = not host.is_paused and host.node is not None
                self._log(host, f"SERVES {group}" if group != LEADER else "is LEADER")
            if take is not None and self._told.get((host.name, group)) is not take:
                self._told[(host.name, group)] = take
                self._tell(host, group, take)
            else:
                self._tell(host, group, events.Renew(group, until))
        else:
            served.is_kept = False
            if was_up:
                self._log(host, f"no longer serves {group}" if group != LEADER else "is no longer leader")

    def _show_bare(self, host: Host, group: str, until: float) -> None:
        bare = self._bare.setdefault(host.name, {})
        before = bare.pop(group, NEVER)
        if until > NEVER:
            bare[group] = until
        if until != before:
            self._look_at(host, group)

    def _show_nothing_bare(self, host: Host) -> None:
        for group in [*self._bare.get(host.name, ())]:
            self._show_bare(host, group, NEVER)
