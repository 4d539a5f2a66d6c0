"""One run of a scenario: the timeline of what was decided and why, and what it meant for clients.

The timeline is the event history of all nodes in the order of time, with the scenario's own statements among it, and
with what no agent can tell: that a gate has shut. The account of each group is kept by what the hosts' kernels answer.
"""

from __future__ import annotations

import functools

import msgspec

from haagent.core.messages import Record
from haagent.core.settings import LEADER, Settings
from haagent.simulate.attendance import Overlap, Span, Spans, gaps, overlaps, without
from haagent.simulate.deeds import perform
from haagent.simulate.host import Host
from haagent.simulate.scenario import Deed, Scenario
from haagent.simulate.world import World

START_APART_S = 0.030  # nobody starts two hosts in the same microsecond, nor at a whole second


class Line(msgspec.Struct, frozen=True):
    time_s: float
    node: str  # empty: the scenario's own word
    group: str
    kind: str  # as in the event history; `fault`: of the scenario; `gate`, `address`, `refused`: seen from outside
    text: str


class Account(msgspec.Struct, frozen=True):
    """Of one group over the whole run."""

    group: str
    holders: tuple[str, ...]  # at the end
    since_s: float | None  # of the last one
    first_s: float | None  # when it was served for the first time; None: never
    outages: tuple[Span, ...]  # after that
    two_at_once: tuple[Overlap, ...]

    @property
    def without_s(self) -> float:
        return sum(end - start for start, end in self.outages)

    @property
    def longest(self) -> Span | None:
        return max(self.outages, key=lambda span: span[1] - span[0], default=None)


class Simulation(msgspec.Struct, frozen=True):
    until_s: float
    lines: tuple[Line, ...]
    accounts: tuple[Account, ...]
    steps: int


def simulate(settings: Settings, scenario: Scenario, *, seed: int | None = None, has_gate: bool = True) -> Simulation:
    """Without a seed nothing is left to chance; with one, clocks drift and datagrams take as long as they like."""
    world_of = World.steady if seed is None else functools.partial(World, seed)
    world = world_of(settings, has_gate=has_gate, has_neighbours=True, has_etcd=bool(settings.arbiter))
    world.opens_gates_for_good = True
    stage = _Stage(world)
    for deed in scenario.deeds:
        world.at(deed.at_s, functools.partial(stage.perform, deed))
    present = [name for name in world.hosts if name not in scenario.absent]
    for number, name in enumerate(present):
        late_s = (number + 1) * START_APART_S if seed is None else world.rng.uniform(0, settings.interval_s)
        world.at(late_s, functools.partial(stage.start, name))
    for host in world.hosts.values():
        host.gateway = True if settings.gateway_guard else None
    world.run(scenario.until_s)
    return stage.result()


class _Stage:
    """Watches a world while a scenario is played on it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lines: list[Line] = []
        self._groups = [group.name for group in world.settings.groups if group.name != LEADER]
        pairs = [(group, name) for group in self._groups for name in world.hosts]
        self._answering = {pair: Spans() for pair in pairs}
        self._isolated = {name: Spans() for name in world.hosts}
        self._touched: set[str] = set()  # by a statement about its life before it was started
        self._told = 0
        world.readers.append(self._read)
        world.looks.append(self._look)

    # ------------------------------------------------------------------ playing

    def start(self, name: str) -> None:
        if name not in self._touched:
            self._world.start(name)

    def perform(self, deed: Deed) -> None:
        self._mark(deed.text)
        self._touched.update(deed.nodes if deed.verb in ("start", "stop", "kill", "crash") else ())
        perform(self._world, deed, self._mark)

    def _mark(self, text: str) -> None:
        self._lines.append(Line(self._world.t, "", "", "fault", text))

    # ------------------------------------------------------------------ watching

    def _read(self, host: Host, record: Record) -> None:
        if record.group != LEADER:
            self._lines.append(Line(self._world.t, host.name, record.group, record.kind, record.text))

    def _look(self) -> None:
        world = self._world
        for (group, name), spans in self._answering.items():
            host = world.hosts[name]
            if (ended := spans.see(world.t, host.answers_until(group))) is not None:
                self._lines.append(_shut(host, group, ended))
        for name, spans in self._isolated.items():
            spans.see(world.t, float("inf") if name in world.isolated else float("-inf"))
        for t, name, status, text in world.answers[self._told :]:
            if status:
                self._lines.append(Line(t, name, "", "refused", text))
        self._told = len(world.answers)

    # ------------------------------------------------------------------ telling

    def result(self) -> Simulation:
        world = self._world
        self._look()
        for spans in (*self._answering.values(), *self._isolated.values()):
            spans.finish(world.t)
        return Simulation(
            until_s=world.t,
            lines=tuple(sorted(self._lines, key=lambda line: line.time_s)),
            accounts=tuple(self._account(group) for group in self._groups),
            steps=world.steps,
        )

    def _account(self, group: str) -> Account:
        world = self._world
        answering = {name: self._answering[(group, name)].closed for name in world.hosts}
        reached = [span for name in world.hosts for span in without(answering[name], self._isolated[name].closed)]
        holders = tuple(world.serving(group))
        return Account(
            group=group,
            holders=holders,
            since_s=max((answering[name][-1][0] for name in holders if answering[name]), default=None),
            first_s=min((start for start, _ in reached), default=None),
            outages=tuple(gaps(reached, until=world.t)) if reached else (),
            two_at_once=tuple(overlaps(answering)),
        )


def _shut(host: Host, group: str, ended: float) -> Line:
    if host.has_gate:
        return Line(ended, host.name, group, "gate", "the lease has ended: the gate blocks all traffic")
    return Line(ended, host.name, group, "address", "nobody has renewed the address: the kernel has removed it")
