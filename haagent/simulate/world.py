"""A cluster in virtual time: the real core, simulated everything else, and what befalls it.

One heap of things to come, one seeded generator, so the same seed gives the same run to the last digit. Each node has a
clock of its own that runs a little fast or slow. Links lose, delay, duplicate and reorder datagrams and can be cut in
one direction. Agents are frozen and thawed, killed and started; hosts are lost and come back.

A host that is lost, or an agent that is killed together with its guardian, says nothing; its gate, which the agent
owned, is shut.
"""

from __future__ import annotations

import random
from typing import Any, Self

import msgspec

from haagent.core import events
from haagent.core.settings import Settings
from haagent.simulate.etcd import Clerk
from haagent.simulate.host import Host, Served
from haagent.simulate.shell import Shell


class World(Shell):
    # ------------------------------------------------------------------ faults and operators

    def start(self, name: str) -> None:
        host = self.hosts[name]
        if host.node is not None:
            return
        host.is_paused, host.inbox = False, []
        host.final_release, host.released, host.is_known_beyond = None, {}, False
        local = host.local(self.t)
        host.node = self.node_class(
            msgspec.structs.replace(self.files.get(name, self.settings), me=host.me),
            boot=self.rng.getrandbits(48),
            now=local,
            rng=random.Random(self.rng.getrandbits(32)),  # noqa: S311 - chance that repeats
            memory=host.memory,
            wall_offset_s=-host.offset,
        )
        if self.etcd is not None:
            self.etcd.clerks.pop(name, None)  # the newest life is the last to be told of what is watched
            self.etcd.clerks[name] = Clerk(self, self.etcd, host, host.node, self._feed)
        if found := self._find_leftovers(host):
            self._step(host, *found)
        for group in sorted({*host.unfit, *host.penalties}):  # a set's own order differs from run to run
            self._step(host, self._health(host, group))
        if host.gateway is not None:
            self._step(host, events.GatewayChanged(host.gateway))
        self._step(host, events.Woke())

    def _find_leftovers(self, host: Host) -> list[events.AnyEvent]:
        """What an agent does first: addresses that an earlier life left are removed, or in maintenance reported."""
        found: list[events.AnyEvent] = []
        is_frozen = any(order.key == "maintenance" and order.on for order in host.memory.orders)
        if is_frozen:
            self._sort_leftovers(host)
        for group, served in host.served.items():
            if not served.is_up:
                continue
            if is_frozen:
                self._log(host, f"finds {group} in place")
                found.append(events.AddressFound(group))
            else:
                served.is_up = served.is_kept = False
                self._log(host, f"removes {group}, left by an earlier life")
        return found

    def _sort_leftovers(self, host: Host) -> None:
        """Each address is found with the group that has it now, and removed if none has it."""
        assert host.node is not None
        wanted = {group.name: group.addresses.keys() for group in host.node.state.settings.groups}
        for name, served in [*host.served.items()]:
            moved = served.addresses - wanted.get(name, set())
            served.addresses -= moved
            for other in (group for group in wanted if served.is_up and moved & wanted[group]):
                found = host.served.setdefault(other, Served())
                found.addresses, found.is_up = found.addresses | (moved & wanted[other]), True
                found.until = max(found.until, served.until)
            if served.is_up and (name not in wanted or (moved and not served.addresses)):
                served.is_up = served.is_kept = False
                self._log(host, f"removes {name}, which has nothing here any more")

    def crash(self, name: str) -> None:
        """The host is gone, or every process of ours on it: the gate is owned by the agent and shuts with it."""
        host = self.hosts[name]
        if host.node is None:
            return
        self._log(host, "CRASHES")
        self.lose_host(name)

    def kill_all(self, name: str) -> None:
        """Agent and guardian killed at once. Where there is no gate, the addresses stay for some seconds."""
        host = self.hosts[name]
        if host.has_gate or host.node is None:
            self.crash(name)
            return
        self._log(host, "is KILLED with its guardian")
        self._bury(host)

    def pause(self, name: str) -> None:
        host = self.hosts[name]
        if host.node is not None and not host.is_paused:
            self._log(host, "is PAUSED")
            host.is_paused = True
            for served in host.served.values():
                served.is_kept = False

    def resume(self, name: str) -> None:
        host = self.hosts[name]
        if not host.is_paused:
            return
        self._log(host, "is RESUMED")
        host.is_paused = False
        inbox, host.inbox = host.inbox, []
        # Which of the waiting things the loop sees first is not ours to say, nor how many of them at once.
        inbox.insert(self.rng.randrange(len(inbox) + 1), events.Woke())
        at_once = len(inbox) if self.turn_s is not None else 1
        for first in range(0, len(inbox), at_once):
            self._step(host, *inbox[first : first + at_once])

    def stop(self, name: str) -> None:
        self._log(self.hosts[name], "is asked to STOP")
        self._feed(self.hosts[name], events.StopRequested())

    def set_health(self, name: str, group: str, *, ok: bool) -> None:
        host = self.hosts[name]
        (host.unfit.discard if ok else host.unfit.add)(group)
        self._feed(host, self._health(host, group))

    def set_penalty(self, name: str, group: str, penalty: int) -> None:
        """The weights of its checks that fail from now on."""
        host = self.hosts[name]
        host.penalties[group] = penalty
        self._feed(host, self._health(host, group))

    def _health(self, host: Host, group: str) -> events.HealthChanged:
        ok = group not in host.unfit
        return events.HealthChanged(group, ok, "" if ok else "its check fails", host.penalties.get(group, 0))

    def steer(self, name: str, slew: float) -> None:
        """A time service makes the kernel's clock so much faster than the host's counter, or slower, at one blow.

        The agent's alarm knows how fast that clock was when it was set.
        """
        host = self.hosts[name]
        was, left_s = host.slew, host.wake_at - self.t
        host.steer(self.t, slew)
        if host.node is not None:
            self._wake(host, host.node, self.t + left_s * (1 + was) / (1 + slew))

    def set_gateway(self, name: str, *, reachable: bool | None) -> None:
        self.hosts[name].gateway = reachable
        self._feed(self.hosts[name], events.GatewayChanged(reachable))

    def ask(self, name: str, what: str, **arguments: object) -> None:
        event = events.Asked(id=next(self._asked), what=what, **arguments)  # type: ignore[arg-type]
        self._feed(self.hosts[name], event)

    def confirm_down(self, name: str, node: str) -> bool:
        """An operator on one host says that another is down for certain. False: it is heard there."""
        host = self.hosts[name]
        self._feed(host, events.Fenced(node, "the operator says so"))
        return host.node is not None and host.node.state.orders.is_down(node)

    def isolate(self, name: str) -> None:
        """Nothing passes to or from it; for clients it is not there."""
        arbiter = [self.settings.arbiter] if self.settings.arbiter else []
        self.split([name], [other for other in self.names if other != name] + arbiter)
        self.isolated.add(name)

    @classmethod
    def steady(cls, settings: Settings, **choices: Any) -> Self:
        """Clocks agree and nothing is left to chance: a datagram takes 1 ms, serving 1 ms, to stop serving 0.5 ms."""
        return cls(
            0,
            settings,
            delay_s=(0.001, 0.001),
            drift=0.0,
            late_s=(0.0, 0.0),
            take_s=(0.001, 0.001),
            drop_s=(0.0005, 0.0005),
            max_offset_s=0.0,
            **choices,
        )
