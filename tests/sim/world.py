"""The worlds of tests: `haagent.simulate` with settings made from a few letters, and what only tests do and look at."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from haagent import simulate
from haagent.core import agreement, events
from haagent.core.events import AnyAction
from haagent.core.messages import Heartbeat
from haagent.core.node import Node
from haagent.core.settings import LEADER, GroupSettings, NodeSettings, Settings
from haagent.simulate.host import Host, Served

__all__ = ["Host", "PlannedKill", "Served", "World", "make_settings", "numbered", "steady_world"]


class PlannedKill(msgspec.Struct):
    """The agent will be killed in the middle of a step."""

    after: int  # so many more actions
    words_s: tuple[float, ...]  # when its guardian will speak, from then on


class Snapshot(msgspec.Struct):
    """Of a host that runs, with all that is in its memory."""

    host: Host  # in it everything is a copy
    local: float  # its clock, which is put back too


class World(simulate.World):
    def __init__(self, *arguments: Any, are_named: bool = False, **choices: Any) -> None:
        """`are_named`: some file will name addresses, if the first does not."""
        super().__init__(*arguments, **choices)
        self._are_named = are_named or any(group.addresses for group in self.settings.groups)
        self.traced: set[str] = set()  # hosts whose every action is told, in the order in which it is performed
        self._kills: dict[Node | None, PlannedKill] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._retired: set[str] = set()
        # Two hosts may come to have one name. In a cluster of two nodes and a witness nobody else could tell them.
        self.may_be_doubled = False

    # ------------------------------------------------------------------ doing

    def cut(self, source: str, target: str) -> None:
        self.cuts.add((source, target))

    def hush(self, source: str, target: str) -> None:
        """Cut for heartbeats alone, as when a firewall was changed."""
        self.cut(source, target)
        self.quiet.add((source, target))

    def heal(self) -> None:
        self.cuts.clear()
        self.quiet.clear()

    def double(self, name: str, label: str) -> None:
        """One more host, `label`, whose agent says that it is `name`."""
        one = self.hosts[name]
        self.hosts[label] = Host(label, rate=one.rate, offset=one.offset, has_gate=one.has_gate, me=name)
        self.names = (*self.names, label)

    def retire(self, label: str) -> None:
        """It is switched off, and never starts again."""
        self._retired.add(label)
        if label in self.hosts:
            self.lose_host(label)

    def start(self, name: str) -> None:
        if name not in self._retired:
            super().start(name)

    def plan_kill(self, name: str, kill: PlannedKill) -> None:
        """Its agent will be killed in the middle of a step."""
        if (node := self.hosts[name].node) is not None:
            self._kills.setdefault(node, kill)

    def snapshot(self, name: str) -> None:
        """It must not be in the middle of anything: what it waits for is not part of it."""
        self.say(f"snapshot of {name}")
        host = self.hosts[name]
        self._snapshots[name] = Snapshot(copy.deepcopy(host), host.local(self.t))

    def put_back(self, name: str) -> None:
        """To its snapshot."""
        self.say(f"{name} is put back to its snapshot")
        then, host = copy.deepcopy(self._snapshots[name]), self.hosts[name]
        self._bury(host)
        host.__dict__.update(then.host.__dict__)
        host.set_back(host.local(self.t) - then.local)
        assert host.node is not None
        self._schedule_wake(host, host.node)

    def reconfigure(self, settings: Settings) -> None:
        """The same new configuration for every node, also for those that start later."""
        self.settings = settings
        self.files.clear()
        for host in self.hosts.values():
            self._feed(host, events.Reconfigured(self.file(host.name)))

    def file(self, name: str) -> Settings:
        return msgspec.structs.replace(self.files.get(name, self.settings), me=self.hosts[name].me)

    def edit(self, name: str, settings: Settings) -> None:
        """One host's file. An agent that runs there reloads it, or refuses; one that starts later reads it."""
        self.files[name], host = settings, self.hosts[name]
        if host.node is None:
            return
        if steps := agreement.steps(host.node.state.voters, settings.voters):
            self.say(f"{name} refuses the new file: one voter at a time may come or go: {steps}")
        else:
            self._feed(host, events.Reconfigured(self.file(name)))

    def run_to(self, is_reached: Callable[[], bool], *, within_s: float) -> None:
        """Up to the first moment at which it is so."""
        until = self.t + within_s
        while not is_reached():
            assert self._heap
            assert self._heap[0][0] <= until, f"not reached within {within_s} s"
            self.t, _, what = heapq.heappop(self._heap)
            what()

    # ------------------------------------------------------------------ looking and telling

    @property
    def only_a_witness_hears_both(self) -> bool:
        return self.may_be_doubled and len(self.settings.voters) == 3 and bool(self.settings.witnesses)

    def kept_by(self, group: str) -> list[str]:
        """Who answers, and who would if its gate did not shut in time although its agent runs.

        A gate is there for agents that are dead or frozen. One that runs must have let go by itself before. What an
        earlier life has left may be in another group now: then it is the addresses that count.
        """
        return [
            name
            for name, host in self.hosts.items()
            if group in host.served
            and (host.answers(group, self.t) or host.served[group].is_kept)
            and not (self._are_named and host.served[group].ballot is None)
        ]

    def serving_address(self, address: int) -> list[str]:
        return [name for name, host in self.hosts.items() if host.serves(address, self.t)]

    def say(self, text: str) -> None:
        self.transcript.append(f"{self.t:8.3f} -- {text}")

    def _perform(self, host: Host, action: AnyAction) -> None:
        if (kill := self._kills.get(host.node)) is not None:
            if kill.after == 0:
                self.kill(host.name, words_s=kill.words_s)
                return
            kill.after -= 1
        if host.name in self.traced:
            self._trace(host, action)
        super()._perform(host, action)

    def _say(self, host: Host, beat: Heartbeat) -> None:
        kill = self._kills.get(host.node)
        if kill is None or kill.after:
            super()._say(host, beat)
        else:  # it dies before it can write down what is no claim
            host.store_final_release_of_claims(beat)
            self._broadcast(host, beat)

    def _trace(self, host: Host, action: AnyAction) -> None:
        match action:
            case events.Send(beat):
                claims = [group.name for group in beat.groups if group.claim is not None]
                released = [group.name for group in beat.groups if group.claim is None and group.down_ms >= 0]
                says = [f"claims {name}" for name in claims] + [f"has released {name}" for name in released]
                self._log(host, f"> send: {', '.join(says) or 'claims nothing'}")
            case events.Take() | events.Drop() | events.Farewell() | events.Renew():
                self._log(host, f"> {type(action).__name__.lower()} {action.group}")


steady_world = World.steady


def numbered(numbers: Iterable[int]) -> dict[int, str]:
    return {number: f"10.0.0.{number}" for number in numbers}


def make_settings(
    *,
    nodes: str = "ABC",
    witnesses: str = "",
    groups: dict[str, tuple[str, ...]] | None = None,
    consistent: bool = True,
    interval_s: float = 0.1,
    failback_after_s: float | None = None,
    alone_after_s: float = 5.0,
    arp_guard: bool = False,
    addresses: dict[str, tuple[int, ...]] | None = None,
) -> Settings:
    chosen = {"web": ("A", "B")} if groups is None else groups
    return Settings(
        cluster="sim",
        me=nodes[0],
        nodes=tuple(NodeSettings(name, name in witnesses) for name in nodes),
        groups=(
            GroupSettings(LEADER),
            *(
                GroupSettings(name, prefer, failback_after_s, addresses=numbered((addresses or {}).get(name, ())))
                for name, prefer in chosen.items()
            ),
        ),
        interval_s=interval_s,
        lease_s=3.5 * interval_s,
        consistent=consistent,
        alone_after_s=alone_after_s,
        start_grace_s=1.0,
        failure_expiry_s=600.0,
        version="sim",
        arp_guard=arp_guard,
    )
