"""The actor between the core and etcd, with an etcd in memory: what it tells the core, and that it does not wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from haagent.coordination.arbiter import Arbiter
from haagent.coordination.gateway import EtcdError
from haagent.coordination.messages import Header, KeyEvent, KeyValue, Outcome, Reply, WatchResult
from haagent.coordination.register import Write
from haagent.coordination.stored import Stored
from haagent.core.events import AnyEvent, ArbiterChanged, Claim, Denied, Granted, Relinquish
from haagent.core.messages import Ballot
from tests.sim.arbitrated import Etcd
from tests.unit.coordination.test_coordination_config import config

LEASE_S = 0.4
MINE, THEIRS = 7, 8
PREFIX = "/haagent/shop/"
Script = Callable[["Play"], Awaitable[None]]


class MemoryGateway:
    """`Gateway` without a network."""

    endpoint = "http://memory:2379"

    def __init__(self) -> None:
        self.etcd = Etcd()
        self.cluster_id = 1
        self.counters: Counter[str] = Counter()
        self.is_silent = self.is_refusing = self.is_closed = False
        self.swallows = ""  # a group whose writes get no answer, while everything else does
        self.swallowed = 0
        self.asked = 0
        self.counters: Counter[str] = Counter()
        self.watchers: list[asyncio.Queue[WatchResult]] = []

    @property
    def header(self) -> Header:
        return Header(self.cluster_id, self.etcd.revision, 2)

    async def read(self, prefix: bytes, *, within_s: float) -> Reply:
        await self._arrive(within_s)
        keys = self.etcd.keys.items()
        found = tuple(KeyValue(prefix + group.encode(), revision, value) for group, (revision, value) in keys)
        return Reply(self.header, kvs=found)

    async def write(self, writes: Sequence[tuple[bytes, Write]], *, within_s: float) -> tuple[Header, list[Outcome]]:
        await self._arrive(within_s)
        names = [key.decode().removeprefix(PREFIX) for key, _ in writes]
        if self.swallows in names:
            self.swallowed += 1
            await self._say_nothing(within_s)
        return self.header, self.put([(name, write) for name, (_, write) in zip(names, writes, strict=True)])

    def put(self, writes: list[tuple[str, Write]]) -> list[Any]:
        outcomes = self.etcd.do(writes)
        for (name, _), outcome in zip(writes, outcomes, strict=True):
            if outcome.is_done:
                revision, value = self.etcd.keys[name]
                event = KeyEvent("PUT", KeyValue(PREFIX.encode() + name.encode(), revision, value))
                for queue in self.watchers:
                    queue.put_nowait(WatchResult(self.header, events=(event,)))
        return outcomes

    async def watch(self, prefix: bytes) -> AsyncIterator[WatchResult]:
        queue: asyncio.Queue[WatchResult] = asyncio.Queue()
        self.watchers.append(queue)
        yield WatchResult(self.header, created=True)
        while True:
            yield await queue.get()

    async def _arrive(self, within_s: float) -> None:
        self.asked += 1
        if self.is_refusing:
            raise EtcdError("memory:2379: connection refused")
        if self.is_silent:
            await self._say_nothing(within_s)
        await asyncio.sleep(0)

    async def _say_nothing(self, within_s: float) -> None:
        await asyncio.sleep(within_s)
        raise EtcdError(f"memory:2379: no answer within {1000 * within_s:.0f} ms")

    async def close(self) -> None:
        self.is_closed = True


class Play:
    """One arbiter at work."""

    def __init__(self) -> None:
        self.gateway = MemoryGateway()
        self.told: list[AnyEvent] = []
        self.arbiter = Arbiter(
            config(heartbeat=", lease: 400ms"),
            self.gateway,  # type: ignore[arg-type]
            boot=MINE,
            post=self.told.append,
            now=time.monotonic,
            background=lambda work: work.close(),
        )

    def put(self, round_: int, node: str = "B", boot: int = THEIRS, **changes: Any) -> None:
        """Somebody else writes."""
        revision, _ = self.gateway.etcd.keys.get("web", (0, b""))
        self.gateway.put([("web", Write(revision, Stored(round_, node, boot, lease_ms=400, **changes)))])

    def claim(self, round_: int) -> None:
        self.arbiter.claim(Claim("web", Ballot(round_, "A"), time.monotonic()))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def hear(self, kind: type[Any]) -> Any:
        """The next event of that kind."""
        await self.until(lambda: any(isinstance(event, kind) for event in self.told))
        found = next(event for event in self.told if isinstance(event, kind))
        del self.told[: self.told.index(found) + 1]
        return found

    def facts(self) -> dict[str, Any]:
        return self.arbiter.status()["coordination"]

    def stored(self) -> Stored | None:
        _, value = self.gateway.etcd.keys.get("web", (0, b""))
        from haagent.coordination.stored import decode

        return decode(value) if value else None


def play(script: Script, before: Callable[[Play], None] = lambda _: None) -> None:
    async def run() -> None:
        one = Play()
        before(one)
        tasks = [asyncio.create_task(one.arbiter.keep_asking()), asyncio.create_task(one.arbiter.keep_watching())]
        try:
            await script(one)
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await one.arbiter.close()
        assert one.gateway.is_closed

    asyncio.run(run())


def free(one: Play) -> None:
    one.put(3, released=True)


def test_a_claim_is_granted_renewed_and_released() -> None:
    async def script(one: Play) -> None:
        assert await one.hear(ArbiterChanged) == ArbiterChanged(reachable=True)
        one.claim(5)
        first = await one.hear(Granted)
        second = await one.hear(Granted)
        assert first.ballot == second.ballot == Ballot(5, "A")
        assert first.asked_at < second.asked_at < first.asked_at + LEASE_S
        one.arbiter.relinquish(Relinquish("web", Ballot(5, "A")))
        await one.until(lambda: one.stored() == Stored(5, "A", MINE, one.stored().beat, 400, released=True))
        assert one.facts()["groups"]["web"] == {"ballot": "5.A", "released": True}

    play(script, free)


def test_a_claim_waits_for_the_release_and_then_is_granted_at_once() -> None:
    async def script(one: Play) -> None:
        await one.until(lambda: one.facts()["groups"])
        one.claim(5)
        one.put(4, released=True)
        released_at = time.monotonic()
        granted = await one.hear(Granted)
        assert granted.asked_at - released_at < LEASE_S / 2

    play(script, lambda one: one.put(4))


def test_a_claim_is_denied_when_the_holder_renews() -> None:
    async def script(one: Play) -> None:
        await one.until(lambda: one.facts()["groups"])
        one.claim(5)
        one.put(4, beat=2)
        assert await one.hear(Denied) == Denied("web", Ballot(5, "A"), Ballot(4, "B"), is_bound=True)

    play(script, lambda one: one.put(4))


def test_silence_is_told_once_and_so_is_its_end() -> None:
    async def script(one: Play) -> None:
        await one.hear(ArbiterChanged)
        one.gateway.is_silent = True
        lost = await one.hear(ArbiterChanged)
        assert (lost.reachable, "etcd cannot be reached" in lost.why) == (False, True)
        assert one.facts()["reachable"] is False
        asked = one.gateway.asked
        await one.until(lambda: one.gateway.asked > asked + 1)
        assert one.told == []
        one.gateway.is_silent = False
        assert await one.hear(ArbiterChanged) == ArbiterChanged(reachable=True)
        assert one.facts()["fault"] == ""

    play(script)


def test_an_etcd_that_was_never_there_is_told_with_the_reason() -> None:
    async def script(one: Play) -> None:
        lost = await one.hear(ArbiterChanged)
        assert lost == ArbiterChanged(False, "etcd cannot be reached (memory:2379: connection refused)")
        asked = one.gateway.asked
        one.gateway.is_refusing = False
        await one.hear(ArbiterChanged)
        assert one.gateway.asked - asked < 10

    play(script, lambda one: setattr(one.gateway, "is_refusing", True))


def test_refusals_are_not_asked_for_in_a_frenzy() -> None:
    async def script(one: Play) -> None:
        await one.hear(ArbiterChanged)
        start, asked = time.monotonic(), one.gateway.asked
        one.claim(5)
        await one.until(lambda: time.monotonic() - start > 0.2)
        assert one.gateway.asked - asked < 60

    play(script, lambda one: setattr(one.gateway, "is_refusing", True))


def test_a_hanging_question_of_one_group_delays_no_other() -> None:
    async def script(one: Play) -> None:
        await one.hear(ArbiterChanged)
        await one.until(lambda: one.facts()["groups"])
        one.gateway.swallows = "web"
        one.claim(5)
        await one.until(lambda: one.gateway.swallowed)
        one.gateway.etcd.keys["leader"] = (one.gateway.etcd.revision + 1, Stored(3, "B", THEIRS, 1, 400, True).encode())
        one.gateway.etcd.revision += 1
        one.arbiter.claim(Claim("leader", Ballot(6, "A"), time.monotonic()))
        assert (await one.hear(Granted)).group == "leader"

    play(script, free)


def test_an_etcd_that_has_lost_its_data_is_begun_with_anew() -> None:
    async def script(one: Play) -> None:
        await one.until(lambda: one.facts()["groups"])
        one.gateway.etcd.wipe()
        one.put(1, released=True)
        wiped_at = time.monotonic()
        one.claim(9)
        granted = await one.hear(Granted)
        assert granted.asked_at >= wiped_at + LEASE_S / 2  # it was noticed later than it happened

    play(script, lambda one: [one.put(round_, beat=round_) for round_ in range(2, 9)])  # type: ignore[func-returns-value]


def test_a_group_that_a_reload_removed_is_claimed_until_the_core_lets_go_and_released_then() -> None:
    async def script(one: Play) -> None:
        one.claim(5)
        await one.hear(Granted)
        without_web = msgspec.structs.replace(config(), groups={})
        await one.arbiter.reconfigure(without_web, one.gateway)  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        stored = one.stored()
        assert stored is not None
        assert not stored.released, "traffic may still arrive"
        one.arbiter.relinquish(Relinquish("web", Ballot(5, "A")))
        await one.until(lambda: (now := one.stored()) is not None and now.released)

    play(script, free)


def test_the_end_of_the_agent_writes_the_releases_that_are_due_and_no_others() -> None:
    async def run() -> None:
        one = Play()
        free(one)
        asking = asyncio.create_task(one.arbiter.keep_asking())
        one.claim(5)
        await one.hear(Granted)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        one.arbiter.relinquish(Relinquish("web", Ballot(5, "A")))
        await one.arbiter.close()
        stored = one.stored()
        assert stored is not None
        assert stored.released

    asyncio.run(run())


@pytest.mark.parametrize("is_there", [True, False])
def test_the_end_does_not_wait_for_an_etcd_that_is_gone(*, is_there: bool) -> None:
    async def run() -> None:
        one = Play()
        free(one)
        asking = asyncio.create_task(one.arbiter.keep_asking())
        one.claim(5)
        await one.hear(Granted)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        one.gateway.is_silent = not is_there
        if not is_there:
            one.arbiter.relinquish(Relinquish("web", Ballot(5, "A")))
        async with asyncio.timeout(5):
            await one.arbiter.close()
        stored = one.stored()
        assert stored is not None
        assert not stored.released  # what is held is left to its lease

    asyncio.run(run())
