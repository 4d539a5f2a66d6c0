"""The actor between the core and etcd: writes, reads, a watch beside them, and a timer that notices silence.

Levels, not edges: each group's `Register` holds what the core wants and what etcd said last; the loop writes whatever
follows from the two, and what failed follows again. It never waits for etcd in the core's place: a claim is a note in a
register, and the answer is an event.

Etcd counts as reachable while it answered a question that was sent less than half a lease ago. In `available` that
leaves the other half for the nodes' votes to take over the leases that are held.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from haagent.config import Config
from haagent.coordination.gateway import EtcdError, Gateway, open_gateway
from haagent.coordination.messages import MAX_GROUPS_AT_ONCE, Header
from haagent.coordination.register import Owners, Register, Write, owners, proofs
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyEvent, ArbiterChanged, Claim, Noticed, Recorded, Relinquish
from haagent.core.settings import LEADER
from haagent.kernel.timer import Timer
from haagent.parts import Commit, Facts, Still
from haagent.status.jitter import Jitter

SILENT = 0.5  # leases without an answer: unreachable
BACK = 0.25  # leases that an answer may take for etcd to count as reachable again
LOOK = 0.25  # leases between two reads: the watch tells more, but does not tell when it has died
SLOW = 0.25  # leases that an answer may take: a renewal that fails can then be tried twice more
TOGETHER = 1 / 24  # leases by which a renewal is brought forward to travel with another
MAX_QUESTIONS = 4  # writes under way at once, each of other groups
PAUSE_S = (0.01, 0.25)  # after a failure that took no time: at least, at most
FAREWELL_S = 1.0  # how long the end of the agent waits for its releases at the most


class Arbiter(Still):
    name = "coordination"

    def __init__(
        self,
        config: Config,
        gateway: Gateway,
        *,
        boot: int,
        post: Callable[[AnyEvent], None],
        now: Callable[[], float],
        background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        assert config.coordination.etcd is not None
        self.gateway = gateway
        self._prefix = f"{config.coordination.etcd.prefix}{config.cluster}/".encode()
        self._lease_s = config.heartbeat.lease_s
        self._register = functools.partial(Register, node=config.me, boot=boot, lease_s=self._lease_s)
        self._post, self._now, self._background = post, now, background
        self._registers: dict[str, Register] = {}
        self._gone: set[str] = set()  # groups of an earlier configuration: released when they are, and claimed no more
        self._wake = asyncio.Event()
        self._others: dict[str, Register] = {}  # of groups that this configuration does not name
        self._told: Owners | None = None  # to the core: which addresses others have
        self._asking: list[set[str]] = []  # the groups of each write that is under way
        self._look = asyncio.Event()  # read now
        self._look_at = 0.0  # and then at the latest
        self._noted_at = float("-inf")
        self._store = Header()  # the newest state of etcd that we know of
        self._watching: asyncio.Task[None] | None = None
        self._silence = Timer(self._silent)
        self._heard_at = float("-inf")
        self.is_reachable: bool | None = None  # None: too early to tell
        self.fault = ""
        self._round_trip_s: float | None = None  # of the last answer
        self._delays = Jitter()  # the worst of a minute is the figure that is wanted here too
        self._watched = ""  # the endpoint that is
        self._serve(config)

    def _serve(self, config: Config) -> None:
        before, groups = self._registers, (*config.groups, LEADER)  # what clients wait for comes first
        self._registers = {group: before.get(group) or self._register(group) for group in groups}
        bound = {group: register for group, register in before.items() if register.is_bound}
        self._gone = bound.keys() - self._registers.keys()
        self._registers = bound | self._registers

    # ------------------------------------------------------------------ the core's words

    def claim(self, claim: Claim) -> None:
        if (register := self._registers.get(claim.group)) is not None:
            register.want(claim)
            if register.is_behind:
                self._look.set()
            if register.due(now := self._now()) <= now:
                self._wake.set()

    def relinquish(self, freed: Relinquish) -> None:
        if (register := self._registers.get(freed.group)) is not None:
            register.release()
            self._wake.set()

    # ------------------------------------------------------------------ a part of the agent

    async def open(self) -> None:
        self._background(self.keep_asking())
        self._background(self.keep_watching())

    async def prepare(self, config: Config) -> Commit:
        gateway = await asyncio.to_thread(open_gateway, config)
        return Commit(lambda: self.reconfigure(config, gateway), gateway.close)

    def reconfigure(self, config: Config, gateway: Gateway) -> Coroutine[Any, Any, None]:
        """Ask another from now on. What is returned ends the connections to the one before."""
        self._serve(config)
        old, self.gateway = self.gateway, gateway
        gateway.counters = old.counters
        self._rewatch()
        self._look.set()
        return old.close()

    # ------------------------------------------------------------------ asking

    async def keep_asking(self) -> None:
        self._await_answer(self._now())
        async with asyncio.TaskGroup() as questions:
            questions.create_task(self._keep_looking())
            while True:
                now = self._now()
                self._wake.clear()
                self._tell_denials(now)
                if len(self._asking) < MAX_QUESTIONS and (batch := self._due(now)):
                    self._asking.append({register.group for register, _ in batch})
                    questions.create_task(self._settle(batch))
                else:
                    await _wait(self._wake, self._next_due(now) - now)

    def _idle(self) -> list[Register]:
        """Those of which no question is under way. What a claim waits for is its own group and nothing else."""
        busy = set().union(*self._asking)
        return [
            register
            for group, register in self._registers.items()
            if group not in busy and (group not in self._gone or register.must_release)
        ]

    def _due(self, now: float) -> list[tuple[Register, Write]]:
        idle = self._idle()
        if all(register.due(now) > now for register in idle):
            return []
        ahead_s = TOGETHER * self._lease_s
        found = [(register, register.write(now, ahead_s=ahead_s)) for register in idle]
        return [(register, write) for register, write in found if write is not None][:MAX_GROUPS_AT_ONCE]

    def _next_due(self, now: float) -> float:
        if len(self._asking) >= MAX_QUESTIONS:
            return float("inf")  # until one of them is answered
        return min((register.due(now) for register in self._idle()), default=float("inf"))

    async def _settle(self, batch: list[tuple[Register, Write]]) -> None:
        try:
            await self._write(batch)
        finally:
            self._asking.remove({register.group for register, _ in batch})
            self._wake.set()

    def _tell_denials(self, now: float) -> None:
        for register in self._registers.values():
            if (denied := register.denial(now)) is not None:
                self._post(denied)

    async def _keep_looking(self) -> None:
        while True:
            await self._read()
            await _wait(self._look, self._look_at - self._now())
            self._look.clear()

    async def _write(self, batch: list[tuple[Register, Write]]) -> None:
        writes = [(self._key(register.group), write) for register, write in batch]
        sent_at, store = self._now(), self._store
        try:
            header, outcomes = await self.gateway.write(writes, within_s=SILENT * self._lease_s)
        except EtcdError as error:
            await self._failed(error, sent_at)
            return
        now = self._now()
        if not self._answered(now, header, sent_at=sent_at, store=store):
            return
        for (register, write), outcome in zip(batch, outcomes, strict=True):
            granted = register.settle(now, write, outcome, sent_at=sent_at, as_of=header.revision)
            if granted is not None:
                self._post(granted)
            if register.is_unproved:
                self._look.set()
        self._look_for_past(now)

    async def _read(self) -> None:
        sent_at, store = self._now(), self._store
        try:
            reply = await self.gateway.read(self._prefix, within_s=SILENT * self._lease_s)
        except EtcdError as error:
            await self._failed(error, sent_at)
            return
        now = self._now()
        self._look_at = sent_at + LOOK * self._lease_s
        if not self._answered(now, reply.header, sent_at=sent_at, store=store):
            return
        found = {each.key: each for each in reply.kvs}
        others = (key.removeprefix(self._prefix).decode("utf-8", "replace") for key in found)
        self._others = {
            group: self._others.get(group) or self._register(group) for group in others if group not in self._registers
        }
        for group, register in (self._registers | self._others).items():
            each = found.get(self._key(group))
            revision, value = (each.mod_revision, each.value) if each is not None else (0, b"")
            register.learn(now, revision=revision, value=value, as_of=reply.header.revision, asked_at=sent_at)
        self._look_for_past(now)
        self._tell_owners(now, reply.header.revision)
        self._wake.set()

    def _tell_owners(self, now: float, as_of: int) -> None:
        found = owners((self._registers | self._others).values(), now)
        if found != self._told:
            self._told = found
            self._post(Recorded(found))
        for granted in proofs(self._registers.values(), now, found, as_of):
            self._post(granted)

    def _key(self, group: str) -> bytes:
        return self._prefix + group.encode()

    # ------------------------------------------------------------------ is it there

    def _answered(self, now: float, header: Header, *, sent_at: float, store: Header) -> bool:
        """False: etcd is not the one that it was, and nothing that it says fits to what we know."""
        self._round_trip_s = now - sent_at
        self._delays.observe(now, sent_at)
        self._await_answer(sent_at)
        if self._watched != self.gateway.endpoint:
            self._rewatch()  # another one answers now
        if not self.is_reachable and now - sent_at <= BACK * self._lease_s:
            self.is_reachable, self.fault = True, ""
            self._post(ArbiterChanged(reachable=True))
            self._rewatch()
        is_another = header.is_older_than(store) or header.cluster_id != store.cluster_id
        if store.revision and is_another:
            self._start_over(now)
            return False
        if header.revision >= self._store.revision:
            self._store = header
        return True

    def _start_over(self, now: float) -> None:
        self._store = Header()
        self._look.set()
        for register in self._registers.values():
            register.forget(now)
        self._distrust(now)
        self._rewatch()

    def _look_for_past(self, now: float) -> None:
        """One key that has gone back tells of all."""
        if not any(register.is_past for register in self._registers.values()):
            return
        for register in self._registers.values():
            register.is_past = False
            register.distrust(now)
        self._distrust(now)

    def _distrust(self, now: float) -> None:
        if now >= self._noted_at + self._lease_s:
            why = "it was restored from a backup, has lost data, or somebody else wrote there"
            then = "for one lease this node claims nothing but what it holds"
            self._post(Noticed(Kind.FORGOT, "", f"etcd is in an earlier state: {why}; {then}"))
        self._noted_at = now

    async def _failed(self, error: Exception, sent_at: float) -> None:
        self.fault = str(error)
        least_s, most_s = PAUSE_S
        pause_s = min(most_s, max(least_s, self._lease_s / 20))
        if self._now() - sent_at < pause_s:
            await asyncio.sleep(pause_s)

    def _await_answer(self, sent_at: float) -> None:
        """The timer of silence starts anew from when the newest of the answered questions was sent."""
        self._heard_at = max(self._heard_at, sent_at)
        left_s = self._heard_at + SILENT * self._lease_s - self._now()
        self._silence.set(max(0.0, left_s))

    def _silent(self) -> None:
        if self.is_reachable is not False:
            self.is_reachable, self._told = False, None
            limit_ms = 1000 * SILENT * self._lease_s
            why = self.fault or f"it takes longer than {limit_ms:.0f} ms to answer"
            self._post(ArbiterChanged(reachable=False, why=f"etcd cannot be reached ({why})"))

    # ------------------------------------------------------------------ watching

    async def keep_watching(self) -> None:
        """The watch may be late or die unnoticed: it makes things faster, and nothing depends on it."""
        while True:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
            try:
                await asyncio.wait({self._watching})
            finally:
                self._watching.cancel()
            if not self._watching.cancelled() and (error := self._watching.exception()) is not None:
                if not isinstance(error, EtcdError):
                    raise error
                await asyncio.sleep(PAUSE_S[1])

    async def _watch(self) -> None:
        self._watched = self.gateway.endpoint
        async for result in self.gateway.watch(self._prefix):
            if result.created:
                self._look.set()  # at what happened before it began
            now = self._now()
            for event in result.events:
                register = self._registers.get(event.kv.key.removeprefix(self._prefix).decode("utf-8", "replace"))
                if register is not None:
                    revision = 0 if event.type == "DELETE" else event.kv.mod_revision
                    register.learn(now, revision=revision, value=event.kv.value, as_of=event.kv.mod_revision)
            self._look_for_past(now)
            self._wake.set()

    def _rewatch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    # ------------------------------------------------------------------ the end, and what people see

    async def close(self) -> None:
        """Release what the core has let go; what it has not is left to its lease. The tasks have ended before."""
        self._post = lambda _: None  # the core has ended
        self._silence.cancel()
        try:
            async with asyncio.timeout(min(FAREWELL_S, self._lease_s)):
                while batch := [(r, w) for r in self._registers.values() if r.must_release and (w := r.write(0.0))]:
                    await self._write(batch[:MAX_GROUPS_AT_ONCE])
        except TimeoutError:
            self.fault = "it did not answer before the agent ended"
        await self.gateway.close()

    def status(self) -> Facts:
        facts = {
            "kind": "etcd",
            "reachable": bool(self.is_reachable),
            "fault": "" if self.is_reachable else self.fault,
            "endpoint": self.gateway.endpoint,
            "round_trip_ms": None if self._round_trip_s is None else round(1000 * self._round_trip_s, 3),
            "worst_round_trip_ms": self._delays.worst_ms(self._now()),
            "groups": {
                group: {"ballot": str(register.stored.ballot), "released": register.stored.released}
                for group, register in self._registers.items()
                if register.stored is not None
            },
        }
        return {"coordination": facts, "warnings": slowness(facts, self._lease_s)}

    def counters(self) -> Mapping[str, int]:
        return self.gateway.counters


def slowness(facts: Facts, lease_s: float) -> list[str]:
    worst_ms, lease_ms = facts["worst_round_trip_ms"] or 0.0, 1000 * lease_s
    if facts["fault"] or worst_ms <= SLOW * lease_ms:
        return []
    return [
        f"{facts['kind']} took {worst_ms:.0f} ms to answer at worst in the last minute: a lease of {lease_ms:.0f} ms "
        f"needs it within {SLOW * lease_ms:.0f} ms. Make it faster, or the lease longer."
    ]


async def _wait(event: asyncio.Event, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(None if at_most_s == float("inf") else max(0.0, at_most_s)):
            await event.wait()
    except TimeoutError:
        return
