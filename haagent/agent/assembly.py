"""Which parts the agent has, in which order, and what the core's actions say to them.

A new subsystem is one line of the tuple below. They are opened in this order and closed in the reverse, so a part may
lean on those before it.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from haagent import guards
from haagent.activation import Activation, Surroundings
from haagent.agent import clock, state_file
from haagent.agent.realtime import Process
from haagent.agent.recorder import Recorder
from haagent.agent.reload import refuse_another_policy
from haagent.agent.strays import Strays
from haagent.agent.systemd import Notifier
from haagent.config import Config
from haagent.control.facade import Facade
from haagent.control.server import ControlServer
from haagent.coordination.source import arbiter_of
from haagent.core import events
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, AnyEvent
from haagent.core.node import Node
from haagent.fencing import Fences
from haagent.gate import Gate, NoGate
from haagent.guardian.channel import GuardianChannel
from haagent.heartbeats.part import Heartbeats
from haagent.kernel.host import Host
from haagent.kernel.layouts import Layouts
from haagent.parts import Parts
from haagent.sessions.part import Sessions
from haagent.status.report import Cluster
from haagent.web import AgentCheck, Web


class Shell(Protocol):
    """What parts ask of the daemon."""

    def post(self, event: AnyEvent) -> None:
        """It is taken in by the core after this turn of the loop."""

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Cancelled at the end. If it raises, that is a bug, and ends the agent."""

    def is_stepped(self, period_s: float) -> bool:
        """A loop that turns is not yet an agent that works: that is one whose core is stepped."""

    async def reload(self) -> str: ...
    def guardian_died(self) -> None: ...
    def end(self, status: int) -> None: ...


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is started with."""

    config: Config
    keys: tuple[bytes, ...]
    run_dir: str
    state_dir: str
    guardian: GuardianChannel
    layouts: Layouts


class Assembly:
    def __init__(self, start: Start, shell: Shell, strays: Strays) -> None:
        def note(kind: Kind, group: str, text: str) -> None:
            """What a part did by itself (restored an address, removed a foreign one) is history of the cluster too."""
            shell.post(events.Noticed(kind, group, text))

        def remark(kind: Kind, text: str) -> None:
            note(kind, "", text)

        config, guardian, layouts = start.config, start.guardian, start.layouts
        groups = tuple(config.groups.values())
        boot = secrets.randbits(48) | 1
        remembered = state_file.load(start.state_dir)
        refuse_another_policy(config, remembered, memory_file=os.path.join(start.state_dir, state_file.NAME))
        self.node = node = Node(
            config.settings(),
            boot=boot,
            now=clock.now(),
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - spreads retries, keeps no secret
            memory=remembered,
            wall_offset_s=clock.wall_offset_s(),
        )
        self.cluster = Cluster(config, lambda: node.view(clock.now()))
        self.recorder = Recorder(node)
        self._shell, self._guardian = shell, guardian
        guardian.name_us(node=config.me, lease_s=config.heartbeat.lease_s, abandoned=shell.guardian_died)
        self.notifier = Notifier(sentence=self.cluster.sentence, is_alive=shell.is_stepped, background=shell.background)
        self._state_file = state_file.StateFile(start.state_dir)
        self.heartbeats = Heartbeats(
            config,
            start.keys,
            boot=boot,
            guardian=guardian,
            post=shell.post,
            view=self.cluster.view,
            refused=lambda: node.state.membership.refused,
            background=shell.background,
        )
        self._fences = Fences(config.nodes, me=config.me, post=shell.post, note=remark)
        self._activation = Activation(
            groups,
            Surroundings(
                cluster=config.cluster,
                node=config.me,
                post=shell.post,
                note=note,
                now=clock.now,
                host=Host(layouts),
                gate=NoGate(remark) if config.gate == "off" else Gate(note=remark, now=clock.now),
                fences=self._fences,
                layouts=layouts,
            ),
            adopt=any(order.key == "maintenance" and order.on for order in remembered.orders),
            may_have=guardian.name_addresses,
        )
        self.guards = guards.Guards(
            groups,
            config.guards,
            guards.Surroundings(
                lease_s=config.heartbeat.lease_s,
                links=self._activation.links,
                layouts=layouts,
                is_held=self._activation.holds,
                is_withheld=self._activation.withholds,
                defend=self._activation.defend,
                post=shell.post,
                note=note,
                now=clock.now,
            ),
            counts=config.guards_count,
        )
        self._arbiter = arbiter_of(config, boot=boot, post=shell.post, now=clock.now, background=shell.background)
        self.process = Process(lambda: self.cluster.config)
        self.facade = facade = Facade(
            self.cluster, node, trace=self.recorder.trace, fences=self._fences, post=shell.post, reload=shell.reload
        )
        self.sessions = sessions = Sessions(config, note=remark, background=shell.background)
        self.parts = facade.parts = Parts(
            self.cluster,
            self.recorder,
            self.heartbeats,
            self._state_file,
            self._activation,
            self.guards,
            self._fences,
            self._arbiter,
            guardian,
            self.process,
            strays,
            ControlServer(facade, run_dir=start.run_dir),
            self.notifier,
            sessions,
            Web(config, facade, is_stepped=shell.is_stepped, why_unready=sessions.why_unready),
            AgentCheck(config, facade, is_stepped=shell.is_stepped, why_unready=sessions.why_unready),
        )

    def perform(self, action: AnyAction) -> None:
        match action:
            case events.Send(beat):
                self.heartbeats.say(beat)
            case events.Renew(group, until):
                self._activation.renew(group, until)
            case events.Take(group, ballot, until, vanished, withheld):
                self._activation.take(group, ballot, until, vanished, withheld)
                self.guards.ask_once(group)  # whoever else has it answers all the same; no client has to wait
            case events.Withhold(group, addresses):
                self._activation.withhold(group, addresses)
            case events.Drop(group, ballot, why):
                self._activation.drop(group, ballot, why)
            case events.Prepare(group):
                self._activation.expect(group)
            case events.Claim():
                self._arbiter.claim(action)
            case events.Relinquish():
                self._arbiter.relinquish(action)
            case events.Watch(group, on):
                self.guards.watch(group, on=on)
            case events.Announce(group, why):
                self._activation.announce(group, why)
            case events.Remember(kept):
                self._state_file.keep(kept)
            case events.Note():
                self.notifier.say_soon()
                self.sessions.alive(self.node.state.was_alive)  # who comes and goes is history too
            case events.Answer():
                self.facade.answered(action)
            case events.Stopped(why):
                if not why and self.node.view(clock.now()).maintenance:
                    self._activation.leave()
                self._guardian.void()
                self._shell.end(1 if why or self._guardian.is_abandoned else 0)
