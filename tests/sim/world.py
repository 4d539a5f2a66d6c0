"""A cluster in virtual time: the real core, simulated everything else.

One heap of things to come, one seeded generator, so the same seed gives the same run to the last digit. Each node has a
clock of its own that runs a little fast or slow. Links lose, delay, duplicate and reorder datagrams and can be cut in
one direction. Nodes are paused and resumed, crash and come back, are stopped and started.

What the outside would see is modelled apart from what a node believes: an address answers from the moment an activation
has finished until it was dropped or its gate timed out (the kernel's set element, which knows nothing of a pause).
`invariants.py` watches that.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import msgspec

from haagent.core.events import (
    AddressFound,
    Announce,
    Answer,
    AnyAction,
    AnyEvent,
    Asked,
    Drop,
    Dropped,
    GatewayChanged,
    HealthChanged,
    HeartbeatHeard,
    Note,
    Reconfigured,
    Remember,
    Renew,
    Send,
    Stopped,
    StopRequested,
    Take,
    TakeFailed,
    Taken,
    Woke,
)
from haagent.core.messages import Ballot, Heartbeat
from haagent.core.node import Node
from haagent.core.settings import LEADER, GroupSettings, Memory, NodeSettings, Settings


class Served:
    """One group at one host, as the kernel has it."""

    def __init__(self) -> None:
        self.ballot: Ballot | None = None  # wanted
        self.is_up = False  # the address is in place
        self.until = 0.0  # gate, on the host's own clock
        self.job = 0  # number of the newest take or drop: an older one's end is not reported


class Host:
    """One simulated host: its clock, its kernel, and an agent that may be absent, paused or running."""

    def __init__(self, world: World, name: str, *, rate: float, offset: float) -> None:
        self.world = world
        self.name = name
        self.rate = rate
        self.offset = offset
        self.node: Node | None = None
        self.memory = Memory()
        self.is_paused = False
        self.inbox: list[AnyEvent] = []  # what waits in socket buffers while the agent is paused
        self.served: dict[str, Served] = {}
        self.wake_at = 0.0
        self.unfit: set[str] = set()

    def local(self, t: float) -> float:
        return self.offset + self.rate * t

    def true(self, local: float) -> float:
        return (local - self.offset) / self.rate

    def answers(self, group: str, t: float) -> bool:
        served = self.served.get(group)
        return served is not None and served.is_up and self.local(t) < served.until


class World:
    def __init__(
        self,
        seed: int,
        settings: Settings,
        *,
        delay_s: tuple[float, float] = (0.0002, 0.002),
        drift: float = 0.004,
        late_s: tuple[float, float] = (0.00002, 0.0005),
        take_s: tuple[float, float] = (0.0001, 0.002),
        drop_s: tuple[float, float] = (0.0001, 0.001),
        max_offset_s: float = 1000.0,
        node_class: type[Node] = Node,
    ) -> None:
        self.rng = random.Random(seed)
        self.settings = settings
        self.node_class = node_class
        self.t = 0.0
        self.delay_s = delay_s  # of a datagram
        self.late_s = late_s  # how late timers fire, as timers do
        self.take_s = take_s  # the kernel's work to serve, and to stop serving
        self.drop_s = drop_s
        self.loss = 0.0
        self.duplication = 0.0
        self.failing: dict[tuple[str, str], bool] = {}  # (host, group): its activation fails
        self.cuts: set[tuple[str, str]] = set()
        self.watch: list[Callable[[Host, str, AnyAction], None]] = []  # told of every change of the outside
        self.transcript: list[str] = []
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = itertools.count()
        self._asked = itertools.count(1)
        self.answers: list[tuple[float, str, int, str]] = []
        self.traced: set[str] = set()  # hosts whose every action is told, in the order in which it is performed
        self.hosts = {
            node.name: Host(
                self,
                node.name,
                rate=1 + self.rng.uniform(-drift, drift),
                offset=self.rng.uniform(0, max_offset_s),
            )
            for node in settings.nodes
        }

    # ------------------------------------------------------------------ time

    def at(self, t: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(t, self.t), next(self._ties), what))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.t, _, what = heapq.heappop(self._heap)
            what()
        self.t = until

    def run_to(self, is_reached: Callable[[], bool], *, within_s: float) -> None:
        """Up to the first moment at which it is so."""
        until = self.t + within_s
        while not is_reached():
            assert self._heap
            assert self._heap[0][0] <= until, f"not reached within {within_s} s"
            self.t, _, what = heapq.heappop(self._heap)
            what()

    # ------------------------------------------------------------------ faults and operators

    def start(self, name: str) -> None:
        host = self.hosts[name]
        if host.node is not None:
            return
        host.is_paused, host.inbox = False, []
        local = host.local(self.t)
        host.node = self.node_class(
            msgspec.structs.replace(self.settings, me=name),
            boot=self.rng.getrandbits(48),
            now=local,
            rng=random.Random(self.rng.getrandbits(32)),
            memory=host.memory,
            wall_offset_s=-host.offset,
        )
        for group in sorted(host.unfit):  # a set's own order differs from run to run
            self._step(host, HealthChanged(group, ok=False, why="its check fails"))
        self._find_leftovers(host)
        self._step(host, Woke())

    def _find_leftovers(self, host: Host) -> None:
        """What an agent does first: addresses that an earlier life left are removed, or in maintenance reported."""
        is_frozen = any(order.key == "maintenance" and order.on for order in host.memory.orders)
        for group, served in host.served.items():
            if not served.is_up:
                continue
            if is_frozen:
                self._log(host, f"finds {group} in place")
                self._step(host, AddressFound(group))
            else:
                served.is_up = False
                self._log(host, f"removes {group}, left by an earlier life")

    def crash(self, name: str) -> None:
        """Process gone, nothing cleaned up. The gate is owned by the process: it shuts with it."""
        host = self.hosts[name]
        if host.node is None:
            return
        self._log(host, "CRASHES")
        host.node, host.is_paused, host.inbox = None, False, []
        for served in host.served.values():
            served.is_up, served.ballot = False, None
            served.job += 1

    def pause(self, name: str) -> None:
        host = self.hosts[name]
        if host.node is not None and not host.is_paused:
            self._log(host, "is PAUSED")
            host.is_paused = True

    def resume(self, name: str) -> None:
        host = self.hosts[name]
        if not host.is_paused:
            return
        self._log(host, "is RESUMED")
        host.is_paused = False
        inbox, host.inbox = host.inbox, []
        # Which of the waiting things the loop sees first is not ours to say.
        inbox.insert(self.rng.randrange(len(inbox) + 1), Woke())
        for event in inbox:
            self._step(host, event)

    def stop(self, name: str) -> None:
        self._log(self.hosts[name], "is asked to STOP")
        self._feed(self.hosts[name], StopRequested())

    def cut(self, source: str, target: str) -> None:
        self.cuts.add((source, target))

    def split(self, *sides: str) -> None:
        """`split("A", "BC")`: nothing passes between the sides."""
        for one, other in itertools.permutations(sides, 2):
            self.cuts |= set(itertools.product(one, other))

    def heal(self) -> None:
        self.cuts.clear()

    def set_health(self, name: str, group: str, *, ok: bool) -> None:
        host = self.hosts[name]
        (host.unfit.discard if ok else host.unfit.add)(group)
        self._feed(host, HealthChanged(group, ok=ok, why="" if ok else "its check fails"))

    def set_gateway(self, name: str, *, reachable: bool | None) -> None:
        self._feed(self.hosts[name], GatewayChanged(reachable))

    def reconfigure(self, settings: Settings) -> None:
        """The same new configuration for every node, also for those that start later."""
        self.settings = settings
        for host in self.hosts.values():
            self._feed(host, Reconfigured(msgspec.structs.replace(settings, me=host.name)))

    def ask(self, name: str, what: str, **arguments: object) -> None:
        event = Asked(id=next(self._asked), what=what, **arguments)  # type: ignore[arg-type]
        self._feed(self.hosts[name], event)

    # ------------------------------------------------------------------ stepping

    def _feed(self, host: Host, event: AnyEvent) -> None:
        if host.node is None:
            return
        if host.is_paused:
            host.inbox.append(event)
        else:
            self._step(host, event)

    def _step(self, host: Host, event: AnyEvent) -> None:
        node = host.node
        if node is None or host.is_paused:
            return
        self.steps += 1
        for action in node.step(host.local(self.t), event):
            if host.name in self.traced:
                self._trace(host, action)
            self._perform(host, action)
        if host.node is node:
            self._schedule_wake(host, node)

    def _schedule_wake(self, host: Host, node: Node) -> None:
        host.wake_at = wake_at = host.true(node.deadline) + self.rng.uniform(*self.late_s)

        def wake() -> None:
            if host.node is node and host.wake_at == wake_at:
                self._step(host, Woke())

        self.at(wake_at, wake)

    # ------------------------------------------------------------------ the shell of a simulated host

    def _perform(self, host: Host, action: AnyAction) -> None:
        match action:
            case Send(beat):
                self._broadcast(host, beat)
            case Take():
                self._take(host, action)
            case Renew(group, until):
                served = host.served[group]
                served.until = max(served.until, until)
                self._tell(host, group, action)
            case Drop():
                self._drop(host, action)
            case Remember(round_, lease_s, orders):
                host.memory = Memory(round_, lease_s, orders)
            case Note(record):
                self._log(host, f"{record.kind} {record.group} {record.text}".replace("  ", " "))
            case Announce(group, why):
                self._log(host, f"announces {group} again: {why}")
            case Stopped():
                left = [name for name, served in host.served.items() if served.is_up]
                self._log(host, f"has stopped and leaves {' and '.join(left)} in place" if left else "has stopped")
                host.node = None
            case Answer(_, status, text):
                self.answers.append((self.t, host.name, status, text))
                self._log(host, f"answers: {text}" if status == 0 else f"refuses: {text}")

    def _broadcast(self, host: Host, beat: Heartbeat) -> None:
        for other in self.hosts.values():
            if other is host or (host.name, other.name) in self.cuts or self.rng.random() < self.loss:
                continue
            copies = 2 if self.rng.random() < self.duplication else 1
            for _ in range(copies):
                self._deliver(other, beat)

    def _deliver(self, other: Host, beat: Heartbeat) -> None:
        event = HeartbeatHeard(beat, "eth0")
        self.at(self.t + self.rng.uniform(*self.delay_s), lambda: self._feed(other, event))

    def _take(self, host: Host, take: Take) -> None:
        served = host.served.setdefault(take.group, Served())
        served.ballot, served.until = take.ballot, take.until
        served.job += 1
        job, node = served.job, host.node
        fails = self.failing.get((host.name, take.group), False)

        def done() -> None:
            if served.job != job or host.node is not node:
                return
            if fails:
                served.ballot = None
                self._feed(host, TakeFailed(take.group, take.ballot, "the interface is gone"))
                return
            served.is_up = True
            self._log(host, f"SERVES {take.group}" if take.group != LEADER else "is LEADER")
            self._tell(host, take.group, take)
            self._feed(host, Taken(take.group, take.ballot))

        # The kernel's work goes on whether or not the agent is paused right after asking for it.
        self.at(self.t + self.rng.uniform(*self.take_s), done)

    def _drop(self, host: Host, drop: Drop) -> None:
        served = host.served.setdefault(drop.group, Served())
        served.ballot = None
        served.job += 1
        job, node = served.job, host.node

        def done() -> None:
            if served.job != job or host.node is not node:
                return
            if served.is_up:
                self._log(host, f"no longer serves {drop.group}" if drop.group != LEADER else "is no longer leader")
            served.is_up = False
            self._tell(host, drop.group, drop)
            self._feed(host, Dropped(drop.group, drop.ballot))

        self.at(self.t + self.rng.uniform(*self.drop_s), done)

    # ------------------------------------------------------------------ looking

    def _tell(self, host: Host, group: str, action: AnyAction) -> None:
        for watcher in self.watch:
            watcher(host, group, action)

    def _trace(self, host: Host, action: AnyAction) -> None:
        match action:
            case Send(beat):
                claims = [group.name for group in beat.groups if group.claim is not None]
                released = [group.name for group in beat.groups if group.claim is None and group.down_ms >= 0]
                says = [f"claims {name}" for name in claims] + [f"has let go of {name}" for name in released]
                self._log(host, f"> send: {', '.join(says) or 'claims nothing'}")
            case Take() | Drop() | Renew():
                self._log(host, f"> {type(action).__name__.lower()} {action.group}")

    def _log(self, host: Host, text: str) -> None:
        self.transcript.append(f"{self.t:8.3f} {host.name} {text}")

    def say(self, text: str) -> None:
        self.transcript.append(f"{self.t:8.3f} -- {text}")

    def serving(self, group: str) -> list[str]:
        return [name for name, host in self.hosts.items() if host.answers(group, self.t)]


def make_settings(
    *,
    nodes: str = "ABC",
    witnesses: str = "",
    groups: dict[str, tuple[str, ...]] | None = None,
    consistent: bool = True,
    interval_s: float = 0.1,
    failback_after_s: float | None = None,
    alone_after_s: float = 5.0,
) -> Settings:
    chosen = {"web": ("A", "B")} if groups is None else groups
    return Settings(
        cluster="sim",
        me=nodes[0],
        nodes=tuple(NodeSettings(name, name in witnesses) for name in nodes),
        groups=(
            GroupSettings(LEADER),
            *(GroupSettings(name, prefer, failback_after_s) for name, prefer in chosen.items()),
        ),
        interval_s=interval_s,
        lease_s=3.5 * interval_s,
        consistent=consistent,
        alone_after_s=alone_after_s,
        version="sim",
    )


def steady_world(settings: Settings, *, node_class: type[Node] = Node) -> World:
    """Clocks agree and nothing is left to chance: a datagram takes 1 ms, serving 1 ms, to stop serving 0.5 ms."""
    return World(
        0,
        settings,
        delay_s=(0.001, 0.001),
        drift=0.0,
        late_s=(0.0, 0.0),
        take_s=(0.001, 0.001),
        drop_s=(0.0005, 0.0005),
        max_offset_s=0.0,
        node_class=node_class,
    )
