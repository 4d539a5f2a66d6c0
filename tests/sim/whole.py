"""Worlds in which the agents' own activation runs: `--shell`.

Of each agent there are the core, its turns, and the whole of the activation: pipelines, reconcilers, the gate, and the
thread beside each of the two sockets. Below that is a kernel in memory (`kernel`), in virtual time (`process`). What
`haagent.simulate` imitates elsewhere is not used here: when a group is served is what the kernel says, and what is said
of a release is what the agent says. What comes of it outside is in `seen`.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from haagent.activation import Activation, Surroundings
from haagent.agent.turns import Turns
from haagent.backends.arp import ArpOptions
from haagent.config import GroupConfig, PluginConfig
from haagent.core import events
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, AnyEvent, Farewell
from haagent.core.messages import Heartbeat
from haagent.core.node import Node
from haagent.core.settings import Settings, time_out_s
from haagent.simulate.host import Served
from tests.sim import seen
from tests.sim.kernel import NEVER, Addresses, CloudActivation, GateOf, Kernel
from tests.sim.process import Ended, Process
from tests.sim.world import Host

AGAIN_S = 0.002  # systemd starts no second agent while the first one ends


class Agent(Process):
    """One life."""

    def __init__(self, whole: World, host: Host, node: Node, kernel: Kernel) -> None:
        super().__init__(whole, host)
        self._whole, self.node = whole, node
        self.turns = Turns(self)
        self.addresses = Addresses(kernel, self)
        self._farewells: list[Farewell] = []
        self._said: list[Heartbeat] = []
        self.waiting: dict[type, deque[AnyEvent]] = {}
        self.is_ending = False
        around = Surroundings(
            cluster=whole.settings.cluster,
            node=host.me,
            post=self.turns.post,
            note=lambda kind, group, text: self.turns.post(events.Noticed(kind, group, text)),
            now=self.now,
            host=self.addresses,
            gate=GateOf(kernel, self, note=self._remark),
            fences=None,  # type: ignore[arg-type]
            layouts=None,  # type: ignore[arg-type]
        )
        is_frozen = any(order.key == "maintenance" and order.on for order in host.memory.orders)
        made = CloudActivation if whole.has_cloud else Activation
        self.activation = made(whole.specs(node.state.settings).values(), around, adopt=is_frozen)
        self._files: deque[Settings] = deque()
        self._is_open = False
        self._reloading: asyncio.Task[None] | None = None
        self.hear(lambda: self.start(self._open()))

    def _remark(self, kind: Kind, text: str) -> None:
        self.turns.post(events.Noticed(kind, "", text))

    async def _open(self) -> None:
        await self.activation.open()
        self.turns.begin(self.node)
        self._is_open = True
        if self._files:
            self._reloading = self.start(self._reload())

    def reload(self, file: Settings) -> None:
        """Of several at once each is done, one after the other."""
        self._files.append(file)
        if self._is_open and len(self._files) == 1:
            self._reloading = self.start(self._reload())

    async def _reload(self) -> None:
        while self._files:
            file = self._files[0]
            commit = await self.activation.prepare(SimpleNamespace(groups=self._whole.specs(file)))  # type: ignore[arg-type]
            if self.is_ending:
                await commit.abandon()
                return
            ending = commit.apply()
            self._whole.lay_out(self.host, file)
            if ending is not None:
                self.start(ending)  # type: ignore[arg-type]
            self.turns.post(events.Reconfigured(file))
            self._files.popleft()

    def end(self) -> None:
        """In peace."""
        self.is_ending = True
        self.start(self._close())

    async def _close(self) -> None:
        rng = self.world.rng
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        await asyncio.sleep(rng.choice((0.0, 0.02)) * rng.random())  # other parts end first
        await self.activation.close()
        self.kill()

    def turned(self) -> None:
        self._whole.look_again(self.host)

    def take_in(self, event: AnyEvent) -> None:
        if isinstance(event, events.Reconfigured):
            self.reload(event.settings)
        else:
            self.turns.post(event)

    # whose core it is

    def noticed(self) -> Sequence[AnyEvent]:
        return self._whole._noticed(self.host)

    def perform(self, action: AnyAction) -> None:
        self._whole._perform(self.host, action)
        if self.is_over:
            raise Ended

    def say(self, beat: Heartbeat) -> None:
        self._said.append(beat)
        self._whole._say(self.host, beat)
        if self.is_over:
            raise Ended

    def stepped(self, now: float, actions: Sequence[AnyAction]) -> None:
        self._whole.steps += 1
        self._farewells += [action for action in actions if isinstance(action, Farewell)]

    def rested(self) -> None:
        said, self._said = {beat.seq for beat in self._said}, []
        farewells, self._farewells = self._farewells, []
        for farewell in farewells:
            if farewell.beat.seq in said:
                self._whole._tell(self.host, farewell.group, farewell)
        if self.host.node is self.node:
            self._whole._schedule_wake(self.host, self.node)

    def failed(self, bug: Exception) -> None:
        raise bug


class World(seen.World):
    def __init__(self, *arguments: Any, has_cloud: bool = False, **choices: Any) -> None:
        self.has_cloud = has_cloud
        self.agents: dict[str, Agent] = {}
        super().__init__(*arguments, **choices)
        self.opens_gates_for_good = True  # as in fact

    def _agent(self, host: Host) -> Agent | None:
        return self.agents.get(host.name)

    def specs(self, file: Settings) -> dict[str, GroupConfig]:
        arp, specs = PluginConfig("arp", ArpOptions()), {}
        for group in file.groups[1:]:
            addresses = tuple(self.vips[number].address for number in self._numbers(group))
            specs[group.name] = GroupConfig(group.name, addresses, "eth0", arp)
        return specs

    def _look_bare(self, host: Host, group: str) -> None:
        """`leader`, or another one of which no address is served: held as long as its pipeline wants it."""
        agent, until = self.agents[host.name], NEVER
        if (found := agent.activation._groups.get(group)) is not None and not found.share.served:
            tenure = found.pipeline.tenure
            until = NEVER if tenure is None else agent.shown() + time_out_s(tenure.until - agent.now())
        self._when_done(host, self._show_bare, group, until)

    def look_again(self, host: Host) -> None:
        """A take that fails is rolled back without a word."""
        for group in [*self._bare.get(host.name, ())]:
            self._look_bare(host, group)

    def monitor(self, name: str, address: bytes) -> None:
        """The kernel tells its listeners that somebody else has changed it."""
        agent = self.agents.get(name)
        if agent is not None:
            agent.hear(lambda: agent.addresses.touched(address))

    # ------------------------------------------------------------------ stepping

    def _feed(self, host: Host, event: AnyEvent) -> None:
        if host.node is None:
            return
        agent = self.agents[host.name]
        if isinstance(event, events.HeartbeatHeard):
            agent.hear(lambda: agent.turns.post(event))
        else:  # what comes from one place comes in its order
            waiting = agent.waiting.setdefault(type(event), deque())
            waiting.append(event)
            agent.hear(lambda: agent.take_in(waiting.popleft()))

    def _step(self, host: Host, *arrived: AnyEvent) -> None:
        for event in arrived:
            self._feed(host, event)

    # ------------------------------------------------------------------ what the core's actions say to the activation

    def _perform(self, host: Host, action: AnyAction) -> None:
        agent = self.agents[host.name]
        super()._perform(host, action)
        if agent.is_over:
            return
        match action:
            case events.Prepare(group):
                agent.activation.expect(group)
            case events.Announce(group, why):
                agent.activation.announce(group, why)

    def _take(self, host: Host, take: events.Take) -> None:
        host.served.setdefault(take.group, Served()).ballot = take.ballot
        self._takes[(host.name, take.group)] = take
        self.agents[host.name].activation.take(take.group, take.ballot, take.until, take.vanished, take.withheld)
        self._look_bare(host, take.group)

    def _withhold(self, host: Host, withheld: events.Withhold) -> None:
        self.agents[host.name].activation.withhold(withheld.group, withheld.addresses)
        self._look_bare(host, withheld.group)

    def _renew(self, host: Host, renewal: events.Renew) -> None:
        self.agents[host.name].activation.renew(renewal.group, renewal.until)
        served = host.served[renewal.group]
        served.is_kept = served.is_up
        self._look_bare(host, renewal.group)

    def _drop(self, host: Host, drop: events.Drop) -> None:
        host.served.setdefault(drop.group, Served()).ballot = None
        self.agents[host.name].activation.drop(drop.group, drop.ballot, drop.why)
        self._look_bare(host, drop.group)
        self._tell(host, drop.group, drop)

    def _say(self, host: Host, beat: Heartbeat) -> None:
        agent = self.agents[host.name]
        if agent.elapsed_s:
            say = super()._say
            self.at(self.t + agent.elapsed_s, lambda: None if agent.is_over else say(host, beat))
        else:
            super()._say(host, beat)

    def _stopped(self, host: Host, stopped: events.Stopped) -> None:
        agent = self.agents[host.name]
        if agent.is_ending:
            return
        if not stopped.why and agent.node.view(agent.now()).maintenance:
            agent.activation.leave()
        self._show_nothing_bare(host)
        self._log(host, "has stopped")
        host.node = None
        agent.end()

    # ------------------------------------------------------------------ lives

    def start(self, name: str) -> None:
        agent = self.agents.get(name)
        if agent is not None and agent.is_ending and not agent.is_over:
            self.at(self.t + AGAIN_S, functools.partial(self.start, name))
        else:
            super().start(name)

    def _find_leftovers(self, host: Host) -> list[AnyEvent]:
        """What there is, the activation finds, and says so."""
        assert host.node is not None
        for group, served in host.served.items():
            served.ballot = None
            self._takes.pop((host.name, group), None)
        self._lay_out(host, {group.name: self._numbers(group) for group in host.node.state.settings.groups[1:]})
        self.agents[host.name] = Agent(self, host, host.node, self.kernel(host.name))
        return []

    def resume(self, name: str) -> None:
        if self.hosts[name].is_paused:
            super().resume(name)
            self.agents[name].thaw()

    def steer(self, name: str, slew: float) -> None:
        """A process that is ahead of the world has been told what the kernel's clock will show."""
        agent = self.agents.get(name)
        if agent is not None and not agent.is_over and agent.busy_until > self.t:
            self.at(agent.busy_until, lambda: self.steer(name, slew))
            return
        super().steer(name, slew)
        if agent is not None:
            agent.steered()

    def lose_host(self, name: str) -> None:
        super().lose_host(name)
        self.kernel(name).clear()

    def _bury(self, host: Host) -> None:
        super()._bury(host)
        agent, kernel = self.agents.get(host.name), self.kernel(host.name)
        if agent is not None:
            agent.kill()
        if kernel.key is not None:
            kernel.key.close()
        for number, vip in self.vips.items():  # also what it has just done, and was not seen yet
            self._see(host, number, kernel.until(vip.packed))
        self._show_nothing_bare(host)

    def _remove_all(self, host: Host) -> None:
        if host.node is None:
            self.kernel(host.name).remove([vip.packed for vip in self.vips.values()])
