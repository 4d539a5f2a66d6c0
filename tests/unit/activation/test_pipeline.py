"""The pipeline of one group, against a kernel that can refuse and a cloud that can be slow: a drop always wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_interface
from typing import Any

import pytest

from haagent.activation.group import Group
from haagent.activation.pipeline import GroupPipeline
from haagent.activation.share import Share
from haagent.activation.steer import SteerStep
from haagent.activation.steps import AddressStep, lifetime_s
from haagent.backends.arp import Arp, ArpOptions
from haagent.config import GroupConfig, PluginConfig
from haagent.core.events import AnyEvent, Dropped, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.fencing import FenceError
from haagent.kernel.facts import Vip
from tests.support.backend_contract import context
from tests.support.fakes import Cloud, CloudBackend, FakeHost, around, no_hooks, run_virtual

ONE, TWO = Ballot(1, "A"), Ballot(2, "A")
VIP = Vip(address=ip_interface("10.20.1.100/24"), interface="eth0")
Story = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage:
    def __init__(self, now: Callable[[], float], *, is_immediate: bool) -> None:
        self.now = now
        self.host = FakeHost("eth0")
        self.cloud = Cloud()
        self.said: list[AnyEvent] = []
        self.notes: list[tuple[str, str]] = []
        self.backend: Any = Arp(context(), ArpOptions()) if is_immediate else CloudBackend(self.cloud)
        self.steer = SteerStep("arp" if is_immediate else "cloud", lambda: self.backend)
        self.group = GroupPipeline(
            "web",
            steps=(AddressStep(Share({1: VIP}), self.host, now), self.steer),
            hooks=no_hooks(),
            post=self.said.append,
            note=self.note,
            now=now,
        )

    def note(self, kind: str, text: str) -> None:
        self.notes.append((kind, text))

    def take(self, ballot: Ballot = ONE, lease_s: float = 3600) -> None:
        self.group.take(ballot, self.now() + lease_s)

    async def turns(self, count: int = 20) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, event: AnyEvent) -> None:
        async with asyncio.timeout(600):  # of virtual time
            while event not in self.said:
                await asyncio.sleep(0.01)


def arp(story: Story) -> None:
    run_virtual(lambda now: story(Stage(now, is_immediate=True)))


def cloud(story: Story) -> None:
    run_virtual(lambda now: story(Stage(now, is_immediate=False)))


def taken(ballot: Ballot = ONE) -> Taken:
    return Taken(group="web", ballot=ballot)


def dropped(ballot: Ballot = ONE) -> Dropped:
    return Dropped(group="web", ballot=ballot)


def test_take_and_drop_are_done_inside_the_call() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        assert stage.said == [taken()]
        assert stage.host.addresses() == ["10.20.1.100/24"]
        stage.group.drop(ONE, "asked")
        assert stage.said == [taken(), dropped()]
        assert stage.host.addresses() == []
        assert set(stage.group.timings["address"]) == {"take_us", "drop_us"}

    arp(story)


def test_taking_again_answers_again_and_moves_the_end_of_the_lease() -> None:
    async def story(stage: Stage) -> None:
        stage.take(lease_s=1)
        stage.take(lease_s=10)
        await asyncio.sleep(9)
        assert stage.said == [taken(), taken()]
        assert stage.host.log == ["add"]

    arp(story)


def test_a_drop_of_what_is_not_held_is_answered() -> None:
    async def story(stage: Stage) -> None:
        stage.host.put("10.20.1.100/32", tag=0)  # whoever put it there
        stage.group.drop(ONE, "asked")
        assert stage.said == [dropped()]
        assert stage.host.addresses() == []

    arp(story)


def test_a_refused_address_fails_the_take_and_leaves_nothing() -> None:
    async def story(stage: Stage) -> None:
        stage.host.links.forget(1)
        stage.take()
        assert stage.said == [TakeFailed(group="web", ballot=ONE, error="address: eth0 does not exist")]
        assert stage.group.tenure is None

    arp(story)
    cloud(story)


def test_a_refusing_cloud_rolls_the_address_back() -> None:
    async def story(stage: Stage) -> None:
        stage.cloud.refusing = "AccessDenied: add ec2:ReplaceRoute to the role"
        stage.take()
        assert stage.host.addresses() == ["10.20.1.100/24"]
        assert stage.said == []
        failed = TakeFailed(group="web", ballot=ONE, error="cloud: AccessDenied: add ec2:ReplaceRoute to the role")
        await stage.until(failed)
        assert stage.host.addresses() == []
        assert stage.cloud.log == ["take 1.A", "drop 1.A"]
        assert stage.said == [failed]

    cloud(story)


def test_a_cloud_that_does_not_answer_fails_the_take_in_time() -> None:
    async def story(stage: Stage) -> None:
        stage.cloud.gate = asyncio.Event()
        began = stage.now()
        stage.take()
        await stage.until(TakeFailed(group="web", ballot=ONE, error="cloud: no answer within 5 s"))
        assert stage.now() - began == pytest.approx(10, abs=0.1)  # five to take, five to undo it
        assert ("failed", "cloud: not undone: no answer within 5 s") in stage.notes

    cloud(story)


class Fence:
    """Takes as long as it is told to."""

    timeout_s = 35.0

    def __init__(self) -> None:
        self.is_done = asyncio.Event()
        self.refusal = ""
        self.asked: list[tuple[str, ...]] = []

    async def fence_all(self, nodes: Sequence[str]) -> None:
        self.asked.append(tuple(nodes))
        await self.is_done.wait()
        if self.refusal:
            raise FenceError(self.refusal)


WEB = GroupConfig("web", (VIP.address,), "eth0", PluginConfig("arp", ArpOptions()))


class Fenced:
    """A whole group, whose first step is a fence."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.host, self.fence = now, FakeHost("eth0"), Fence()
        self.said: list[AnyEvent] = []
        here = around(host=self.host, fences=self.fence, post=self.said.append, note=lambda *_: None, now=now)
        self.group = Group(WEB, here, touched=lambda: None)


def fenced(story: Callable[[Fenced], Coroutine[Any, Any, None]]) -> None:
    async def play(now: Callable[[], float]) -> None:
        stage = Fenced(now)
        await stage.group.open()
        await story(stage)
        await stage.group.close()

    run_virtual(play)


def test_nothing_of_it_is_here_before_who_vanished_is_down() -> None:
    """Thirty seconds of renewals and comparisons put no address back that has not been taken yet."""

    async def story(stage: Fenced) -> None:
        stage.group.take(ONE, stage.now() + 0.35, ("A",))
        for _ in range(300):
            await asyncio.sleep(0.1)
            stage.group.renew(stage.now() + 0.35)
            stage.group.compare(stage.host.seen())
            assert stage.host.addresses() == []
        stage.host.put("10.20.1.100/24")
        stage.group.compare(stage.host.seen())
        assert stage.host.addresses() == [], "whoever put it there: the other may still serve"
        assert (stage.said, stage.fence.asked, stage.group.pipeline.is_open) == ([], [("A",)], False)
        stage.fence.is_done.set()
        await asyncio.sleep(0.1)
        assert (stage.said, stage.host.addresses()) == ([taken()], ["10.20.1.100/24"])
        assert stage.group.pipeline.is_open
        stage.group.renew(stage.now() + 3600)

    fenced(story)


def test_who_has_not_vanished_is_not_fenced() -> None:
    async def story(stage: Fenced) -> None:
        stage.group.take(ONE, stage.now() + 3600)
        assert (stage.said, stage.fence.asked) == ([taken()], [])

    fenced(story)


def test_a_fence_that_refuses_fails_the_take() -> None:
    async def story(stage: Fenced) -> None:
        stage.fence.refusal = "A vanished and could not be fenced: fence_x: no"
        stage.group.take(ONE, stage.now() + 3600, ("A",))
        stage.fence.is_done.set()
        await asyncio.sleep(0.1)
        assert stage.said == [TakeFailed(group="web", ballot=ONE, error=f"fence: {stage.fence.refusal}")]
        assert "add" not in stage.host.log

    fenced(story)


def test_a_take_that_is_called_off_ends_with_its_fence_still_running() -> None:
    async def story(stage: Fenced) -> None:
        stage.group.take(ONE, stage.now() + 3600, ("A",))
        await asyncio.sleep(0.1)
        stage.group.pipeline.drop(ONE, "asked")
        stage.fence.is_done.set()
        await asyncio.sleep(0.1)
        assert (stage.said, stage.host.addresses()) == ([dropped()], [])

    fenced(story)


def test_take_failed_waits_until_the_cloud_has_been_undone() -> None:
    async def story(stage: Stage) -> None:
        stage.cloud.refusing = "no"
        stage.take()
        while "drop 1.A" not in stage.cloud.log:
            stage.cloud.gate = asyncio.Event() if stage.group.tenure is None else None
            await asyncio.sleep(0)
        stage.cloud.gate = stage.cloud.gate or asyncio.Event()
        assert stage.said == []
        assert stage.host.addresses() == []
        stage.cloud.gate.set()
        await stage.until(TakeFailed(group="web", ballot=ONE, error="cloud: no"))

    cloud(story)


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("ignores_cancellation", [False, True])
def test_a_drop_wins_at_every_moment_of_a_take(turns: int, ignores_cancellation: bool) -> None:
    async def story(stage: Stage) -> None:
        stage.cloud.ignores_cancellation = ignores_cancellation
        stage.take()
        await stage.turns(turns)
        stage.group.drop(ONE, "the lease is lost")
        assert stage.host.addresses() == []  # at once, whatever the cloud does
        assert stage.said[-1] == dropped()
        await asyncio.sleep(60)
        assert stage.host.addresses() == []
        assert stage.cloud.holder == ""
        assert stage.said[-1] == dropped()
        assert len(stage.said) <= 2

    cloud(story)


@pytest.mark.parametrize("turns", range(12))
def test_a_new_take_after_a_drop_ends_held_and_never_overlaps(turns: int) -> None:
    async def story(stage: Stage) -> None:
        stage.take(ONE)
        await stage.turns(turns)
        stage.group.drop(ONE, "asked")
        await stage.turns(turns // 3)
        stage.take(TWO)
        await stage.until(taken(TWO))
        assert stage.cloud.holder == "me"
        assert stage.host.addresses() == ["10.20.1.100/24"]
        assert stage.cloud.log[-2:] == ["take 2.A", "taken"]
        assert stage.said[-1] == taken(TWO)

    cloud(story)


def test_a_drop_during_a_rollback_is_the_answer() -> None:
    async def story(stage: Stage) -> None:
        stage.cloud.refusing = "no"
        stage.take()
        while stage.group.tenure is not None:
            await asyncio.sleep(0)
        stage.group.drop(ONE, "asked")
        await asyncio.sleep(60)
        assert stage.said == [dropped()]

    cloud(story)


def test_dropped_is_not_said_while_the_kernel_refuses() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        stage.host.refusing["remove"] = "netlink: No buffer space available"
        stage.group.drop(ONE, "asked")
        await asyncio.sleep(5)
        assert stage.said == [taken()]
        assert [note for note in stage.notes if note[0] == "stuck"] == [
            ("stuck", "address: netlink: No buffer space available; trying again until it works")
        ]
        stage.host.refusing.clear()
        await stage.until(dropped())
        assert stage.host.addresses() == []

    arp(story)


def test_a_lease_that_nobody_renews_ends_by_itself() -> None:
    async def story(stage: Stage) -> None:
        stage.take(lease_s=0.35)
        await asyncio.sleep(0.2)
        stage.group.renew(stage.now() + 0.35)
        await asyncio.sleep(0.3)
        assert stage.said == [taken()]
        await asyncio.sleep(0.1)
        assert stage.said == [taken(), dropped()]
        assert stage.host.addresses() == []
        assert stage.notes[-1][0] == "lapsed"
        stage.group.renew(stage.now() + 1)  # a core that woke up late is told again, and gets nothing back
        assert stage.said == [taken(), dropped(), dropped()]
        assert stage.host.addresses() == []

    arp(story)


def test_a_broken_backend_fails_its_group_and_is_shown() -> None:
    async def story(stage: Stage) -> None:
        async def take(_ballot: Ballot) -> None:
            raise KeyError("RouteTables")

        stage.backend.take = take
        stage.take()
        error = "cloud: the backend broke in take: KeyError: 'RouteTables'"
        await stage.until(TakeFailed(group="web", ballot=ONE, error=error))

    cloud(story)


def test_a_cloud_that_was_changed_behind_our_back_is_repaired() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        await stage.until(taken())
        stage.cloud.holder = "somebody else"
        await asyncio.sleep(20)
        stage.group.verify()
        await stage.turns()
        assert stage.cloud.holder == "me"
        assert stage.notes == [("drift", "cloud: clients were steered elsewhere; steered here again")]

    cloud(story)


def test_lifetimes_are_whole_seconds_longer_than_the_lease() -> None:
    assert [lifetime_s(left) for left in (-1, 0.05, 0.35, 1.0, 1.01, 3)] == [2, 2, 2, 2, 3, 4]
