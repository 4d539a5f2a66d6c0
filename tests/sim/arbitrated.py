"""The simulated cluster with an etcd: the real `Register` of every node, and a model of everything between it and etcd.

The model keeps what etcd promises (one transaction after the other, revisions that grow) and nothing else: requests and
answers are late, lost, or come twice; the same question may be asked again while the first is still under way; a frozen
etcd does later what was asked of it long before; the watch is late or dead; a node may be cut off from etcd alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from haagent.coordination.register import Outcome, Register, Write
from haagent.core.events import AnyAction, ArbiterChanged, Claim, Relinquish
from tests.sim.world import Host, World

Answer = Callable[[int, dict[str, tuple[int, bytes]], list[Outcome]], None]


class Etcd:
    """What it promises, and whether it is there."""

    def __init__(self) -> None:
        self.revision = 1
        self.keys: dict[str, tuple[int, bytes]] = {}
        self.is_down = False
        self.is_frozen = False
        self.waiting: list[Callable[[], None]] = []  # while it is frozen

    def wipe(self) -> None:
        """Its disk was lost, and it begins anew."""
        self.revision, self.keys = 1, {}

    def restore(self, then: tuple[int, dict[str, tuple[int, bytes]]], *, bumps: bool) -> None:
        """From a backup, under its old name; with `bumps` its revisions go on above all that there were."""
        revision, keys = then
        self.revision, self.keys = self.revision + 1_000 if bumps else revision, dict(keys)
        self.waiting.clear()

    def do(self, writes: list[tuple[str, Write]]) -> list[Outcome]:
        outcomes, revision = [], self.revision + 1
        for group, write in writes:
            at, value = self.keys.get(group, (0, b""))
            if at == write.revision or (write.instead and value == write.instead):
                self.keys[group] = (revision, write.value.encode())
                outcomes.append(Outcome(is_done=True))
            else:
                outcomes.append(Outcome(is_done=False, revision=at, value=value))
        if any(outcome.is_done for outcome in outcomes):
            self.revision = revision
        return outcomes


class Asker:
    """One life of one node: what `arbiter` does, in virtual time."""

    def __init__(self, world: ArbitratedWorld, host: Host) -> None:
        self.world, self.host, self.life = world, host, host.node
        assert host.node is not None
        settings = host.node.state.settings
        self.lease_s = settings.lease_s
        self.registers = {
            group.name: Register(group.name, node=host.name, boot=host.node.state.boot, lease_s=self.lease_s)
            for group in settings.groups
        }
        self.question = 0  # under way; its answer, or its end, makes room for the next
        self.asked = 0
        self.look_at = float("-inf")
        self.newest = 0  # state of the store that we have heard of
        self.heard_at = self.now
        self.is_reachable: bool | None = None
        self.wakes = 0

    @property
    def now(self) -> float:
        return self.host.local(self.world.t)

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        """In this life, and not while the process is frozen."""
        self.world.at(self.world.t + delay_s, functools.partial(self.world.when_running, self, what))

    def step(self) -> None:
        now = self.now
        if self.question:
            return
        for register in self.registers.values():
            if (denied := register.denial(now)) is not None:
                self.world.tell(self.host, denied)
        if self.host.node is not self.life:
            return
        due = [register.write(now) for register in self.registers.values()]
        batch = [(name, write) for name, write in zip(self.registers, due, strict=True) if write is not None]
        if batch or now >= self.look_at:
            self.ask(batch)
            return
        self.wakes += 1
        due_at = min(self.look_at, *(register.due(now) for register in self.registers.values()))
        self.later(max(1e-6, self.host.true(due_at) - self.world.t), functools.partial(self.woke, self.wakes))

    def woke(self, number: int) -> None:
        if number == self.wakes:
            self.step()

    def ask(self, batch: list[tuple[str, Write]]) -> None:
        self.asked += 1
        self.question = self.asked
        sent_at = self.now
        hear = functools.partial(self.answered, self.question, batch, (sent_at, self.newest))
        for turn in range(3):  # asked again after a while: of the next endpoint, as it were
            self.later(turn * self.lease_s / 6, functools.partial(self.send, self.question, batch, hear))
        self.later(self.lease_s / 2, functools.partial(self.gave_up, self.question))

    def send(self, question: int, batch: list[tuple[str, Write]], hear: Answer) -> None:
        if self.question == question:
            self.world.request(self, batch, hear)

    def gave_up(self, question: int) -> None:
        if self.question == question:
            self.question = 0
            self.later(self.lease_s / 20, self.step)

    def answered(
        self,
        question: int,
        batch: list[tuple[str, Write]],
        asked: tuple[float, int],
        revision: int,
        keys: dict[str, tuple[int, bytes]],
        outcomes: list[Outcome],
    ) -> None:
        if self.question != question:
            return
        self.question = 0
        now, (sent_at, least) = self.now, asked
        self.heard(sent_at)
        if revision < least:
            self.start_over()
            return
        self.newest = max(self.newest, revision)
        granted = []
        for (group, write), outcome in zip(batch, outcomes, strict=True):
            granted.append(self.registers[group].settle(now, write, outcome, sent_at=sent_at, as_of=revision))
        if not batch:
            self.look_at = sent_at + self.lease_s / 4
            for group, register in self.registers.items():
                at, value = keys.get(group, (0, b""))
                register.learn(now, revision=at, value=value, as_of=revision, asked_at=sent_at)
        self.look_for_past()
        for grant in granted:
            if grant is not None and self.host.node is self.life:
                self.world.tell(self.host, grant)
        if self.host.node is self.life:
            self.step()

    def look_for_past(self) -> None:
        if any(register.is_past for register in self.registers.values()):
            for register in self.registers.values():
                register.is_past = False
                register.distrust(self.now)

    def start_over(self) -> None:
        self.newest, self.look_at = 0, float("-inf")
        for register in self.registers.values():
            register.forget(self.now)
        self.step()

    def heard(self, sent_at: float) -> None:
        self.heard_at = sent_at
        if not self.is_reachable and self.now - sent_at <= self.lease_s / 4:
            self.is_reachable = True
            self.world.tell(self.host, ArbiterChanged(reachable=True))
        self.later(max(0.0, sent_at + self.lease_s / 2 - self.now), functools.partial(self.silent, sent_at))

    def silent(self, heard_at: float) -> None:
        if self.heard_at == heard_at and self.is_reachable is not False:
            self.is_reachable = False
            self.world.tell(self.host, ArbiterChanged(reachable=False, why="etcd does not answer"))

    def watched(self, group: str, revision: int, value: bytes) -> None:
        self.registers[group].learn(self.now, revision=revision, value=value, as_of=revision)
        self.look_for_past()
        self.step()


class ArbitratedWorld(World):
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.etcd = None  # the one of `haagent simulate` is too well-behaved
        self.store = Etcd()
        self.etcd_delay_s = (0.0002, 0.003)
        self.etcd_loss = 0.0
        self.cut_from_etcd: set[tuple[str, str]] = set()  # (host, `ask` or `answer` or `watch`)
        self.askers: dict[str, Asker] = {}
        self.deferred: dict[str, list[tuple[Asker, Callable[[], None]]]] = {name: [] for name in self.hosts}

    def start(self, name: str) -> None:
        if self.hosts[name].node is None:
            self.deferred[name].clear()
            super().start(name)
            self.asker(self.hosts[name])

    def asker(self, host: Host) -> Asker | None:
        if host.node is None:
            return None
        known = self.askers.get(host.name)
        if known is None or known.life is not host.node:
            known = self.askers[host.name] = Asker(self, host)
            known.later(0.0, known.step)
            known.later(known.lease_s / 2, functools.partial(known.silent, known.heard_at))
        return known

    def _perform(self, host: Host, action: AnyAction) -> None:
        asker = self.asker(host)
        match action:
            case Claim(group) if asker is not None:
                asker.registers[group].want(action)
                if asker.registers[group].is_behind:
                    asker.look_at = float("-inf")
                asker.later(0.0, asker.step)
            case Relinquish(group) if asker is not None:
                asker.registers[group].release()
                asker.later(0.0, asker.step)
            case _:
                super()._perform(host, action)

    def tell(self, host: Host, event: object) -> None:
        self._feed(host, event)  # type: ignore[arg-type]

    def when_running(self, asker: Asker, what: Callable[[], None]) -> None:
        host = asker.host
        if host.node is not asker.life:
            return
        if host.is_paused:
            self.deferred[host.name].append((asker, what))
        else:
            what()

    def resume(self, name: str) -> None:
        host = self.hosts[name]
        waiting, self.deferred[name] = self.deferred[name], []
        answers_first = self.rng.random() < 0.5
        if not answers_first:
            super().resume(name)
        for asker, what in waiting:
            if host.node is asker.life and host.node is not None:
                what()
        if answers_first:
            super().resume(name)

    # ------------------------------------------------------------------ between the nodes and etcd

    def request(self, asker: Asker, batch: list[tuple[str, Write]], hear: Answer) -> None:
        for _ in range(2 if self.rng.random() < 0.1 else 1):
            if not self._is_lost(asker.host.name, "ask"):
                late_s = self.rng.uniform(*self.etcd_delay_s)
                self.at(self.t + late_s, functools.partial(self._arrive, asker, batch, hear))

    def _arrive(self, asker: Asker, batch: list[tuple[str, Write]], hear: Answer) -> None:
        if self.store.is_down:
            return
        if self.store.is_frozen:
            self.store.waiting.append(functools.partial(self._arrive, asker, batch, hear))
            return
        outcomes = self.store.do(batch)
        revision, keys = self.store.revision, dict(self.store.keys)
        for (group, _), outcome in zip(batch, outcomes, strict=True):
            if outcome.is_done:
                self._notify(group, *keys[group])
        if not self._is_lost(asker.host.name, "answer"):
            asker.later(self.rng.uniform(*self.etcd_delay_s), lambda: hear(revision, keys, outcomes))

    def _notify(self, group: str, revision: int, value: bytes) -> None:
        for asker in self.askers.values():
            if not self._is_lost(asker.host.name, "watch"):
                asker.later(
                    self.rng.uniform(*self.etcd_delay_s), functools.partial(asker.watched, group, revision, value)
                )

    def _is_lost(self, name: str, way: str) -> bool:
        return (name, way) in self.cut_from_etcd or self.rng.random() < self.etcd_loss

    def thaw_etcd(self) -> None:
        self.store.is_frozen = False
        waiting, self.store.waiting = self.store.waiting, []
        self.rng.shuffle(waiting)
        for what in waiting:
            what()

    def restore_etcd(self, then: tuple[int, dict[str, tuple[int, bytes]]], *, bumps: bool, after_s: float) -> None:
        """It ends, and comes back in an earlier state."""
        self.say("etcd is restored from a backup")
        self.store.is_down = True

        def begin_anew() -> None:
            self.store.restore(then, bumps=bumps)
            self.store.is_down = self.store.is_frozen = False

        self.at(self.t + after_s, begin_anew)

    def heal_etcd(self) -> None:
        self.cut_from_etcd.clear()
        self.etcd_loss, self.etcd_delay_s, self.store.is_down = 0.0, (0.0002, 0.003), False
        self.thaw_etcd()
