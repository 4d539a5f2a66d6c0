"""What runs on the simulated hosts: the agents, the shells around them, their guardians and kernels.

The agent is the real core; here is what performs its actions and tells it what came of them. An agent that is killed
has a guardian, which removes the addresses and then sends the agent's last words. Where the configuration asks for it,
the neighbours are asked who answers for an address, and a node that vanished is fenced.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Collection, Sequence

from haagent.core import events, slices
from haagent.core.events import AnyAction, AnyEvent
from haagent.core.final_release import last_words
from haagent.core.heartbeat import let_go_for
from haagent.core.messages import Heartbeat, Record
from haagent.core.node import Node
from haagent.core.settings import LEADER, SLEW, Settings
from haagent.simulate.etcd import Etcd
from haagent.simulate.host import Host, Inquiry, Served
from haagent.simulate.network import Network, Range

LAST_WORDS_S = (0.0, 0.002, 0.012, 0.052)  # when a guardian speaks, from the removal on: one of them may be lost
LOOK_S, SILENT_LOOKS = 0.01, 3  # how often neighbours are asked, and how often in a row nobody must have answered
FENCE_S = 1.0  # of a fence agent, which switches the host off


class Shell(Network):
    def __init__(
        self,
        seed: int,
        settings: Settings,
        *,
        delay_s: Range = (0.0002, 0.002),
        drift: float = 0.004,
        late_s: Range = (0.00002, 0.0005),
        take_s: Range = (0.0001, 0.002),
        drop_s: Range = (0.0001, 0.001),
        max_offset_s: float = 1000.0,
        turn_s: Range | None = None,
        has_gate: bool = True,
        has_neighbours: bool = False,
        has_etcd: bool = False,
        room: int = slices.ROOM,
        node_class: type[Node] = Node,
    ) -> None:
        super().__init__(random.Random(seed), settings.voters, delay_s=delay_s)  # noqa: S311 - chance that repeats
        self.settings = settings
        self.files: dict[str, Settings] = {}  # of the hosts that have another one
        self.node_class = node_class
        self.late_s = late_s  # how late timers fire, as timers do
        self.take_s = take_s  # the kernel's work to serve, and to stop serving
        self.drop_s = drop_s
        self.room = room  # bytes of a datagram: a longer heartbeat is sent in slices
        self.turn_s = turn_s  # how long an agent is busy with something else, while events wait; None: never
        self.has_neighbours = has_neighbours  # who asks them is answered; else the test does that
        # In maintenance an agent that stops leaves its gate open. Somebody must not then insist that its host is down.
        self.opens_gates_for_good = False
        self.failing: dict[tuple[str, str], bool] = {}  # (host, group): its activation fails
        self.etcd = Etcd() if has_etcd else None  # it gives the leases; else the test does that
        self.watch: list[Callable[[Host, str, AnyAction], None]] = []  # told of every change of the outside
        self.readers: list[Callable[[Host, Record], None]] = []  # told of every line of history
        self.transcript: list[str] = []
        self.steps = 0
        self._asked = itertools.count(1)
        self.answers: list[tuple[float, str, int, str]] = []
        self.hosts: dict[str, Host] = {}
        for name in self.names:
            rate, offset = 1 + self.rng.uniform(-drift, drift), self.rng.uniform(0, max_offset_s)
            self.hosts[name] = Host(name, rate=rate, offset=offset, has_gate=has_gate)

    # ------------------------------------------------------------------ stepping

    def _feed(self, host: Host, event: AnyEvent) -> None:
        if host.node is None:
            return
        if host.is_paused:
            host.inbox.append(event)
        elif self.turn_s is None:
            self._step(host, event)
        else:
            host.inbox.append(event)
            if len(host.inbox) == 1:
                self.at(self.t + self.rng.uniform(*self.turn_s), functools.partial(self._turn, host, host.node))

    def _turn(self, host: Host, node: Node) -> None:
        if host.node is node and host.inbox:
            self._step(host)

    def _step(self, host: Host, *arrived: AnyEvent) -> None:
        """One step for what waits and what comes now."""
        node = host.node
        if node is None or host.is_paused:
            return
        self.steps += 1
        host.farewell = None  # something else is decided now
        arrived = (*arrived, *self._noticed(host))
        waiting, host.inbox = self._in_some_order(host.inbox), []
        for event in (*waiting, *arrived):
            if isinstance(event, events.Reconfigured):
                self._refit(host, event.settings)
        for action in node.step(host.local(self.t), *waiting, *arrived):
            self._perform(host, action)
            if host.node is not node:
                return  # it has stopped
        for served in host.served.values():
            if served.ballot is not None:
                host.tell_gate(served, self.t)  # by an agent that runs, again and again: what is left is less
        self._schedule_wake(host, node)

    def _in_some_order(self, events_: list[AnyEvent]) -> list[AnyEvent]:
        """Which of them the loop saw first is not ours to say, but for what one and the same part of the agent says."""
        mixed = list(events_)
        self.rng.shuffle(mixed)
        for kind in {type(event) for event in events_} - {events.HeartbeatHeard, events.Asked}:
            said = iter([event for event in events_ if isinstance(event, kind)])
            mixed = [next(said) if isinstance(event, kind) else event for event in mixed]
        return mixed

    def _noticed(self, host: Host) -> tuple[AnyEvent, ...]:
        """What an agent looks for with every step."""
        was_beyond, host.is_known_beyond = host.is_known_beyond, abs(host.slew) > SLEW
        return () if host.is_known_beyond is was_beyond else (events.ClockSteered(host.slew),)

    def _schedule_wake(self, host: Host, node: Node) -> None:
        wake_at = host.true(node.deadline) + self.rng.uniform(*self.late_s)
        while host.local(wake_at) < node.deadline:  # rounded down: it would be woken before it is due, again and again
            wake_at = math.nextafter(wake_at, float("inf"))
        self._wake(host, node, wake_at)

    def _wake(self, host: Host, node: Node, wake_at: float) -> None:
        host.wake_at = wake_at

        def wake() -> None:
            if host.node is node and host.wake_at == wake_at:
                self._step(host, events.Woke())

        self.at(wake_at, wake)

    # ------------------------------------------------------------------ the shell of a simulated host

    def _perform(self, host: Host, action: AnyAction) -> None:
        match action:
            case events.Send(beat):
                self._say(host, beat)
            case events.Take():
                self._take(host, action)
            case events.Withhold():
                self._withhold(host, action)
            case events.Renew():
                self._renew(host, action)
            case events.Drop():
                self._drop(host, action)
            case events.Farewell():
                host.farewell = action
            case events.Remember(memory):
                host.memory = memory
            case events.Note(record):
                self._log(host, f"{record.kind} {record.group} {record.text}".replace("  ", " "))
                for reader in self.readers:
                    reader(host, record)
            case events.Watch(group, on):
                self._watch(host, group, on=on)
            case events.Claim() if self.etcd is not None:
                self.etcd.clerks[host.name].claim(action)
            case events.Relinquish() if self.etcd is not None:
                self.etcd.clerks[host.name].relinquish(action)
            case events.Announce(group, why):
                self._log(host, f"announces {group} again: {why}")
            case events.Stopped():
                self._stopped(host, action)
            case events.Answer(_, status, text):
                self.answers.append((self.t, host.name, status, text))
                self._log(host, f"answers: {text}" if status == 0 else f"refuses: {text}")

    def _withhold(self, host: Host, withheld: events.Withhold) -> None:
        host.served[withheld.group].addresses = _served(host, withheld.group, withheld.addresses)
        self._tell(host, withheld.group, withheld)

    def _renew(self, host: Host, renewal: events.Renew) -> None:
        served = host.served[renewal.group]
        served.lease_until = max(served.lease_until, renewal.until)
        host.tell_gate(served, self.t)
        served.is_kept = served.is_up
        self._tell(host, renewal.group, renewal)

    def _stopped(self, host: Host, _: events.Stopped) -> None:
        host.served.pop(LEADER, None)  # it has no address: nothing of it is left
        left = [name for name, served in host.served.items() if served.is_up]
        self._log(host, f"has stopped and leaves {' and '.join(left)} in place" if left else "has stopped")
        host.node = None
        if self.opens_gates_for_good:
            for name in left:
                host.served[name].until = float("inf")

    def _say(self, host: Host, beat: Heartbeat) -> None:
        host.store_final_release_of_claims(beat)
        self._broadcast(host, beat)
        host.store_final_release(beat)

    def _broadcast(self, host: Host, beat: Heartbeat) -> None:
        for slice_ in slices.cut(beat, self.room):
            event = events.HeartbeatHeard(slice_, "eth0")
            for name, delay_s in self.arrivals(host.name):
                self.at(self.t + delay_s, functools.partial(self._feed, self.hosts[name], event))

    def _take(self, host: Host, take: events.Take) -> None:
        served = host.served.setdefault(take.group, Served())
        served.ballot, served.lease_until = take.ballot, take.until
        served.addresses = _served(host, take.group, take.withheld)
        host.tell_gate(served, self.t)
        fails = self.failing.get((host.name, take.group), False)

        def done() -> None:
            if fails:  # and is rolled back, with what an earlier life had left
                served.ballot, served.is_up, served.is_kept = None, False, False
                self._feed(host, events.TakeFailed(take.group, take.ballot, "the interface is gone"))
                return
            served.is_up = True
            served.is_kept = not host.is_paused
            self._log(host, f"SERVES {take.group}" if take.group != LEADER else "is LEADER")
            self._tell(host, take.group, take)
            self._feed(host, events.Taken(take.group, take.ballot))

        self._work(host, served, self.rng.uniform(*self.take_s) + self._fence(host, take), done)

    def _work(self, host: Host, served: Served, took_s: float, done: Callable[[], None]) -> None:
        """The kernel's work, which a paused agent does not stop. Of a former life, or of a former job, it is void."""
        served.job += 1
        job, node = served.job, host.node

        def end() -> None:
            if served.job == job and host.node is node:
                done()

        self.at(self.t + took_s, end)

    def _fence(self, host: Host, take: events.Take) -> float:
        """How long the activation waits for it."""
        for name in take.vanished:
            self.at(self.t + FENCE_S, functools.partial(self._fenced, host, name))
        return FENCE_S if take.vanished else 0.0

    def _fenced(self, host: Host, name: str) -> None:
        self._log(host, f"has {name} switched off by its fence")
        self.lose_host(name)
        self._feed(host, events.Fenced(name, "its fence has switched it off"))

    def _refit(self, host: Host, settings: Settings) -> None:
        """What a reload takes away is gone before the core hears of it; what it gives, the core decides on."""
        wanted = {group.name: group.addresses for group in settings.groups}
        for name, served in host.served.items():
            served.addresses &= wanted.get(name, {}).keys()
            if name not in wanted:
                if served.is_up:
                    self._log(host, f"no longer serves {name}")
                served.is_up = served.is_kept = False

    def _drop(self, host: Host, drop: events.Drop) -> None:
        served = host.served.setdefault(drop.group, Served())
        served.ballot = None

        def done() -> None:
            if served.is_up:
                self._log(host, f"no longer serves {drop.group}" if drop.group != LEADER else "is no longer leader")
            served.is_up = served.is_kept = False
            self._tell(host, drop.group, drop)
            words, dropped = host.farewell_to(drop.group), events.Dropped(drop.group, drop.ballot)
            if words is None:
                self._feed(host, dropped)
                return
            self._say(host, let_go_for(words.beat, drop.group, took_s))
            self._step(host, dropped)
            self._tell(host, drop.group, words)

        took_s = self.rng.uniform(*self.drop_s)
        self._work(host, served, took_s, done)

    # ------------------------------------------------------------------ neighbours

    def _watch(self, host: Host, group: str, *, on: bool) -> None:
        if not on:
            host.watched.pop(group, None)
        elif self.has_neighbours and group not in host.watched:
            host.watched[group] = Inquiry()
            self._look(host, group, host.watched[group])

    def _look(self, host: Host, group: str, inquiry: Inquiry) -> None:
        """One answer is proof that somebody has it; that nobody has takes three rounds of silence."""
        if host.watched.get(group) is not inquiry:
            return
        self.at(self.t + LOOK_S, functools.partial(self._look, host, group, inquiry))
        answering = [name for name in self.serving(group) if name != host.name and self.reach(host.name, name)]
        inquiry.silent = 0 if answering else inquiry.silent + 1
        if answering:
            word = f"{answering[0]} still answers for {group}"
        elif inquiry.silent > SILENT_LOOKS:
            word = ""
        else:
            return
        if word != inquiry.word:
            inquiry.word = word
            self._feed(host, events.Guarded(group, word))

    # ------------------------------------------------------------------ the end of an agent

    def lose_host(self, name: str) -> None:
        """Nothing of it is there any more."""
        host = self.hosts[name]
        self._bury(host)
        for served in host.served.values():
            served.is_up = served.is_kept = False

    def kill(self, name: str, *, words_s: Sequence[float] = LAST_WORDS_S) -> None:
        """The agent alone is killed. Its guardian removes the addresses, and then says its last words so many times."""
        host = self.hosts[name]
        if host.node is None:
            return
        self._log(host, "is KILLED")
        if host.is_paused:
            words_s = ()  # what froze the agent has frozen the guardian
        words = last_words(host.final_release) if host.final_release is not None else None
        self._bury(host)

        def act() -> None:
            self._remove_all(host)
            if words is not None:
                for late_s in words_s:
                    self.at(self.t + late_s, functools.partial(self._broadcast, host, words))

        self.at(self.t + self.rng.uniform(*self.drop_s), act)

    def _bury(self, host: Host) -> None:
        host.node, host.is_paused, host.inbox = None, False, []
        host.watched.clear()
        for served in host.served.values():
            served.ballot, served.is_kept = None, False
            served.job += 1

    def _remove_all(self, host: Host) -> None:
        if host.node is not None:
            return  # a new life has removed what it found, and may have taken something since
        for group, served in host.served.items():
            if served.is_up:
                served.is_up = served.is_kept = False
                self._log(host, f"no longer serves {group}: its guardian has removed it")

    # ------------------------------------------------------------------ telling

    def _tell(self, host: Host, group: str, action: AnyAction) -> None:
        for watcher in self.watch:
            watcher(host, group, action)

    def _log(self, host: Host, text: str) -> None:
        self.transcript.append(f"{self.t:8.3f} {host.name} {text}")

    def serving(self, group: str) -> list[str]:
        return [name for name, host in self.hosts.items() if host.answers(group, self.t)]


def _served(host: Host, group: str, withheld: Collection[int]) -> frozenset[int]:
    assert host.node is not None
    wanted = host.node.state.groups[group].settings.addresses
    return frozenset(address for address in wanted if address not in withheld)
