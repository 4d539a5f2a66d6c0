"""An etcd in virtual time, for a configuration that takes its leases from one.

What each node may write, and when, is decided by the very code that does it in production (`coordination.register`);
here is the store with its revisions and transactions, and the way there and back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from haagent.coordination.register import Outcome, Owners, Register, Write, owners, proofs
from haagent.core.events import ArbiterChanged, Claim, Recorded, Relinquish
from haagent.core.node import Node
from haagent.simulate.host import Host
from haagent.simulate.network import Network

NAME = "etcd"
LOOK, SILENT = 0.25, 0.5  # leases between two reads, and without an answer until it counts as lost
PATIENCE_S = 0.01  # a frozen agent's answers wait; how soon they are looked at again


class Etcd:
    """The store: for each key the revision of its last change, and its value."""

    def __init__(self) -> None:
        self.revision = 0
        self.keys: dict[str, tuple[int, bytes]] = {}
        self.clerks: dict[str, Clerk] = {}  # by host

    def read(self, group: str) -> tuple[int, bytes]:
        return self.keys.get(group, (0, b""))

    def write(self, group: str, wanted: Write) -> Outcome:
        revision, value = self.read(group)
        if revision != wanted.revision and not (wanted.instead and value == wanted.instead):
            return Outcome(False, revision, value)
        self.revision += 1
        self.keys[group] = (self.revision, wanted.value.encode())
        return Outcome(is_done=True)


class Clerk:
    """Of one life of one agent: writes what its registers want, and tells the core what came of it."""

    def __init__(self, network: Network, etcd: Etcd, host: Host, node: Node, feed: Callable[..., None]) -> None:
        self._network, self._etcd, self._host, self._node, self._feed = network, etcd, host, node, feed
        settings = node.state.settings
        self._lease_s = settings.lease_s
        self.registers: dict[str, Register] = {}
        for group in settings.groups:
            self._register(group.name)
        self._told: Owners | None = None
        self._under_way: dict[str, object] = {}
        self._answered_at = float("-inf")  # when what was answered last had been sent, on the host's clock
        self._is_reachable: bool | None = None
        self._later(0.0, self._look)
        self._later(self._lease_s, self._judge_silence)

    # ------------------------------------------------------------------ the core's words

    def _register(self, group: str) -> Register:
        if group not in self.registers:
            node, boot = self._host.name, self._node.state.boot
            self.registers[group] = Register(group, node=node, boot=boot, lease_s=self._lease_s)
        return self.registers[group]

    def claim(self, claim: Claim) -> None:
        self._register(claim.group).want(claim)
        self._later(0.0, functools.partial(self._act, claim.group))

    def relinquish(self, freed: Relinquish) -> None:
        if freed.group in self.registers:
            self.registers[freed.group].release()
            self._later(0.0, functools.partial(self._act, freed.group))

    # ------------------------------------------------------------------ time, and the way

    def _later(self, after_s: float, what: Callable[[], None]) -> None:
        self._network.at(self._network.t + after_s, functools.partial(self._do, what))

    def _do(self, what: Callable[[], None]) -> None:
        if self._host.node is not self._node:
            return
        if self._host.is_paused:
            self._later(PATIENCE_S, what)
        else:
            what()

    def _now(self) -> float:
        return self._host.local(self._network.t)

    def _ask(self, at_etcd: Callable[[], Callable[[], None]]) -> None:
        """There and back, if nothing is cut; what `at_etcd` returns is done with the answer."""
        network, delay_s = self._network, self._network.rng.uniform(*self._network.usual_delay_s)
        sent_at = self._now()

        def arrive() -> None:
            answer = at_etcd()
            if (NAME, self._host.name) not in network.cuts:
                self._later(delay_s, lambda: self._hear(sent_at, answer))

        if (self._host.name, NAME) not in network.cuts:
            network.at(network.t + delay_s, arrive)

    def _hear(self, sent_at: float, answer: Callable[[], None]) -> None:
        self._answered_at = max(self._answered_at, sent_at)
        answer()
        self._judge(is_reachable=True)
        for group in [*self.registers]:
            self._act(group)

    def _judge_silence(self) -> None:
        if self._now() >= self._answered_at + SILENT * self._lease_s:
            self._judge(is_reachable=False)
        self._later(LOOK / 4 * self._lease_s, self._judge_silence)

    def _judge(self, *, is_reachable: bool) -> None:
        if self._is_reachable is not is_reachable:
            self._is_reachable, self._told = is_reachable, None
            self._feed(self._host, ArbiterChanged(is_reachable, "" if is_reachable else f"{NAME} does not answer"))

    # ------------------------------------------------------------------ reading and writing

    def _look(self) -> None:
        self._look_once()
        self._later(LOOK * self._lease_s, self._look)

    def _look_once(self) -> None:
        self._ask(functools.partial(self._seen_all, self._now()))

    def _seen_all(self, asked_at: float) -> Callable[[], None]:
        keys, as_of = dict(self._etcd.keys), self._etcd.revision

        def answer() -> None:
            now = self._now()
            for group in dict.fromkeys((*self.registers, *keys)):
                revision, value = keys.get(group, (0, b""))
                self._register(group).learn(now, revision=revision, value=value, as_of=as_of, asked_at=asked_at)
            self._tell_owners(now, as_of)

        return answer

    def _tell_owners(self, now: float, as_of: int) -> None:
        registers = self.registers.values()
        found = owners(registers, now)
        if found != self._told:
            self._told = found
            self._feed(self._host, Recorded(found))
        for granted in proofs(registers, now, found, as_of):
            self._feed(self._host, granted)

    def _seen(self, group: str) -> Callable[[], None]:
        (revision, value), as_of = self._etcd.read(group), self._etcd.revision
        return lambda: self._register(group).learn(self._now(), revision=revision, value=value, as_of=as_of)

    def _tell_all(self, group: str) -> None:
        """The watch."""
        for clerk in self._etcd.clerks.values():
            answer = clerk._seen(group)
            if (NAME, clerk._host.name) not in self._network.cuts:
                clerk._later(self._network.usual_delay_s[0], functools.partial(clerk._learn, group, answer))

    def _learn(self, group: str, answer: Callable[[], None]) -> None:
        answer()
        self._act(group)

    def _act(self, group: str) -> None:
        register, now = self.registers[group], self._now()
        if (denied := register.denial(now)) is not None:
            self._feed(self._host, denied)
        write = register.write(now)
        if write is None:
            due = register.due(now)
            if now < due < float("inf"):
                self._later(due - now, functools.partial(self._act, group))
        elif group not in self._under_way:
            token = self._under_way[group] = object()
            self._ask(functools.partial(self._write, group, write, now))
            self._later(SILENT * self._lease_s, functools.partial(self._give_up, group, token))

    def _give_up(self, group: str, token: object) -> None:
        if self._under_way.get(group) is token:
            del self._under_way[group]
            self._act(group)

    def _write(self, group: str, write: Write, sent_at: float) -> Callable[[], None]:
        outcome, as_of = self._etcd.write(group, write), self._etcd.revision
        if outcome.is_done:
            self._tell_all(group)

        def answer() -> None:
            self._under_way.pop(group, None)
            granted = self.registers[group].settle(self._now(), write, outcome, sent_at=sent_at, as_of=as_of)
            if granted is not None:
                self._feed(self._host, granted)
            if self.registers[group].is_unproved:
                self._look_once()

        return answer
