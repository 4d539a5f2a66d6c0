"""A reload while groups move: whatever the core says next reaches the pipeline that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_interface
from typing import Any

import msgspec
import pytest

from haagent.activation import Activation
from haagent.backends.arp import ArpOptions
from haagent.config import Config, GroupConfig, HooksConfig, PluginConfig, parse
from haagent.core.events import AddressFound, AnyEvent, Dropped, HealthChanged, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.kernel.facts import TAG
from tests.support.fakes import FakeHost, around, link, run_virtual
from tests.support.small_agent import FILE

ONE, TWO = Ballot(1, "A"), Ballot(2, "A")
RUNNING = parse(FILE.encode(), "f.yaml", node="A")
SLOW = HooksConfig(taken="sleep 4", released="sleep 4", failed="", timeout_s=10)
Story = Callable[["Stage"], Coroutine[Any, Any, None]]


def group(name: str, *addresses: str, hooks: HooksConfig = SLOW) -> GroupConfig:
    return GroupConfig(
        name=name,
        addresses=tuple(ip_interface(address) for address in addresses),
        interface="eth0",
        backend=PluginConfig("arp", ArpOptions()),
        hooks=hooks,
    )


WEB, DB = group("web", "10.20.1.100/24"), group("db", "10.20.1.110/24", "10.20.1.111/24")


def config(*groups: GroupConfig) -> Config:
    return msgspec.structs.replace(RUNNING, groups={one.name: one for one in groups})


class Fence:
    timeout_s = 35.0

    def __init__(self) -> None:
        self.is_done = asyncio.Event()
        self.asked = 0

    async def fence_all(self, nodes: Sequence[str]) -> None:
        self.asked += 1
        await self.is_done.wait()


class Stage:
    def __init__(self, now: Callable[[], float], *groups: GroupConfig, adopt: bool = False) -> None:
        self.said: list[AnyEvent] = []
        self.notes: list[tuple[str, str, str]] = []
        self.host = FakeHost("eth0")
        self.fence = Fence()
        self.now = now
        self.may_have: list[set[str]] = []
        self.endings: list[asyncio.Task[None]] = []
        self.activation = Activation(
            groups,
            around(
                host=self.host,
                fences=self.fence,
                post=self.said.append,
                note=lambda *note: self.notes.append(note),
                now=now,
            ),
            adopt=adopt,
            may_have=lambda packed: self.may_have.append({".".join(map(str, one)) for one in packed}),
        )

    def take(self, group: str, ballot: Ballot = ONE, lease_s: float = 3600, vanished: tuple[str, ...] = ()) -> None:
        self.activation.take(group, ballot, self.now() + lease_s, vanished)

    async def reload(self, *groups: GroupConfig) -> None:
        """What is slow goes on beside. The core finds that no other node has what a group has gained."""
        ending = (await self.activation.prepare(config(*groups))).apply()
        for one in groups:
            self.activation.withhold(one.name, ())
        if ending is not None:
            self.endings.append(asyncio.create_task(ending))


def play(
    story: Story, *groups: GroupConfig, adopt: bool = False, before: Callable[[Stage], None] | None = None
) -> None:
    async def told(now: Callable[[], float]) -> None:
        stage = Stage(now, *(groups or (WEB, DB)), adopt=adopt)
        if before is not None:
            before(stage)
        await stage.activation.open()
        try:
            await story(stage)
        finally:
            await asyncio.gather(*stage.endings)
            await stage.activation.close()
        assert stage.host.addresses() == []

    run_virtual(told)


CHANGED = HooksConfig(taken="", released="sleep 3", failed="", timeout_s=10)
WEB2 = group("web", "10.20.1.100/24", "10.20.1.102/24", hooks=CHANGED)
DB2 = group("db", "10.20.1.111/24", hooks=CHANGED)


def test_a_drop_right_after_the_turn_reaches_what_serves() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web")
        stage.take("db")
        await stage.reload(WEB2, DB2)
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.102/24", "10.20.1.111/24"]
        for name in ("web", "db"):
            assert stage.activation.holds(name)
            stage.activation.drop(name, ONE, "moved")
            assert stage.said[-1] == Dropped(name, ONE)
        assert stage.host.addresses() == []

    play(story)


def test_a_renewal_right_after_the_turn_reaches_what_serves() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web", lease_s=0.35)
        await stage.reload(WEB2, DB)
        for _ in range(10):
            stage.activation.renew("web", stage.now() + 0.35)
            await asyncio.sleep(0.1)
        assert Dropped("web", ONE) not in stage.said
        assert "lapsed" not in [kind for kind, _, _ in stage.notes]
        stage.activation.renew("web", stage.now() + 3600)

    play(story)


def test_a_group_that_is_gone_is_let_go_in_that_turn_and_says_so_once_it_is_true() -> None:
    async def story(stage: Stage) -> None:
        stage.take("db")
        stage.host.refusing["remove"] = "netlink: No buffer space available"
        before = len(stage.said)
        await stage.reload(WEB)
        stage.activation.drop("db", ONE, "the group was removed from the configuration")
        await asyncio.sleep(0.5)
        assert stage.host.addresses() == ["10.20.1.110/24", "10.20.1.111/24"]
        assert Dropped("db", ONE) not in stage.said[before:], "its addresses are still there"
        assert stage.may_have[-1] >= {"10.20.1.110", "10.20.1.111"}, "and somebody may have to clean up after us"
        stage.host.refusing.clear()
        await asyncio.sleep(5)
        assert stage.said[before:] == [Dropped("db", ONE)]
        assert stage.may_have[-1] == {"10.20.1.100"}
        stage.activation.drop("db", ONE, "who still asks is answered")
        assert stage.said[-1] == Dropped("db", ONE)

    play(story)


def test_a_group_that_comes_back_while_it_still_ends() -> None:
    async def story(stage: Stage) -> None:
        stage.take("db")
        stage.host.refusing["remove"] = "no"
        await stage.reload(WEB)
        stage.host.refusing["strike"] = "no"
        await stage.reload(WEB, DB)
        await asyncio.sleep(0.2)
        stage.take("db", TWO)  # with a lease of its own: what was owed of the first life is settled by that
        stage.host.refusing.clear()
        await asyncio.sleep(5)
        assert stage.host.addresses() == ["10.20.1.110/24", "10.20.1.111/24"]
        assert stage.activation.holds("db")
        assert stage.said[-1] == Taken("db", TWO)
        assert [one for one in stage.notes if one[0] in ("removed", "restored")] == []

    play(story)


def test_an_address_that_a_held_group_loses_is_gone_before_dropped_is_said() -> None:
    async def story(stage: Stage) -> None:
        stage.take("db")
        stage.host.refusing["remove"] = "no"
        await stage.reload(WEB, DB2)
        assert stage.said[-1] == Taken("db", ONE), "it goes on being served"
        stage.activation.drop("db", ONE, "moved")
        await asyncio.sleep(1)
        assert Dropped("db", ONE) not in stage.said
        stage.host.refusing.clear()
        await asyncio.sleep(5)
        assert stage.said[-1] == Dropped("db", ONE)
        assert stage.host.addresses() == []

    play(story)


def test_what_is_owed_of_a_drop_survives_the_change_of_its_group() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web")
        stage.host.refusing["remove"] = "no"
        stage.activation.drop("web", ONE, "moved")
        await stage.reload(WEB2, DB)
        await asyncio.sleep(1)
        assert stage.said == [Taken("web", ONE)]
        stage.host.refusing.clear()
        await asyncio.sleep(5)
        assert stage.said == [Taken("web", ONE), Dropped("web", ONE)]

    play(story)


@pytest.mark.parametrize("turns", range(4))
def test_a_take_that_waits_for_a_fence_goes_on_with_the_new_addresses(turns: int) -> None:
    async def story(stage: Stage) -> None:
        stage.take("web", vanished=("B",))
        for _ in range(turns):
            await asyncio.sleep(0)
        await stage.reload(WEB2, DB)
        await asyncio.sleep(1)
        assert (stage.said, stage.host.addresses()) == ([], []), "nothing before it is down"
        stage.fence.is_done.set()
        await asyncio.sleep(0.1)
        assert stage.said == [Taken("web", ONE)]
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.102/24"]

    play(story)


def test_a_drop_wins_over_a_take_that_the_reload_has_begun_anew() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web", vanished=("B",))
        await stage.reload(WEB2, DB)
        stage.activation.drop("web", ONE, "the lease is lost")
        stage.fence.is_done.set()
        await asyncio.sleep(5)
        assert (stage.said, stage.host.addresses()) == ([Dropped("web", ONE)], [])

    play(story)


def test_an_address_that_moves_between_groups_of_this_node_stays() -> None:
    """The one lets go of it, in the same turn, before the other takes it."""

    async def story(stage: Stage) -> None:
        stage.take("web")
        stage.take("db")
        await stage.reload(group("web", "10.20.1.100/24", "10.20.1.110/24"), group("db", "10.20.1.111/24"))
        await asyncio.sleep(5)
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.110/24", "10.20.1.111/24"]
        assert [one for one in stage.notes if one[0] in ("removed", "restored", "failed")] == []

    play(story)


def test_a_group_under_another_name_keeps_nothing_of_the_old_one() -> None:
    async def story(stage: Stage) -> None:
        stage.take("db")
        await stage.reload(WEB, group("store", "10.20.1.110/24", "10.20.1.111/24"))
        stage.take("store", TWO)
        await asyncio.sleep(5)
        assert stage.host.addresses() == ["10.20.1.110/24", "10.20.1.111/24"]
        assert [one for one in stage.notes if one[0] in ("removed", "restored", "failed")] == []

    play(story)


def test_what_is_to_be_adopted_is_still_to_be_adopted_after_a_reload() -> None:
    async def story(stage: Stage) -> None:
        assert stage.said == [AddressFound("web")]
        await stage.reload(WEB2, DB)
        await asyncio.sleep(5)
        assert stage.host.addresses() == ["10.20.1.100/24"], "the core has not decided yet"
        stage.activation.drop("web", ONE, "another has it")
        assert stage.host.addresses() == []

    play(story, adopt=True, before=lambda stage: stage.host.put("10.20.1.100/24", tag=TAG))


def test_a_node_that_was_unfit_is_fit_again_after_a_reload() -> None:
    async def story(stage: Stage) -> None:
        stage.host.links.learn(link("eth0", 1, has_carrier=False))
        await asyncio.sleep(5)
        stage.host.links.learn(link("eth0", 1))
        await stage.reload(WEB2, DB2)
        await asyncio.sleep(5)
        said = {one.group: one.ok for one in stage.said if isinstance(one, HealthChanged)}
        assert said == {"web": True, "db": True}

    play(story)


def test_a_reload_that_is_abandoned_leaves_nothing_and_takes_nothing() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web")
        before = (list(stage.said), stage.host.addresses())
        commit = await stage.activation.prepare(config(WEB2, group("more", "10.20.1.120/24")))
        assert "10.20.1.120" in stage.may_have[-1]
        await commit.abandon()
        await asyncio.sleep(5)
        assert (stage.said, stage.host.addresses()) == before
        assert stage.may_have[-1] == {"10.20.1.100", "10.20.1.110", "10.20.1.111"}
        assert stage.host.links._subscribers["eth0"].__len__() == 2 * 2  # the link itself and its check, of each
        stage.activation.drop("web", ONE, "moved")

    play(story)


def test_reloads_faster_than_hooks_end_one_after_the_other() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web")
        began = stage.now()
        for number in range(20):
            await stage.reload(group("web", f"10.20.1.{150 + number}/24"), DB)
            assert stage.host.addresses() == [f"10.20.1.{150 + number}/24"]
            stage.activation.renew("web", stage.now() + 3600)
        assert stage.now() == began, "nobody waits"
        stage.activation.drop("web", ONE, "moved")
        assert stage.said[-1] == Dropped("web", ONE)

    play(story)


def test_a_failure_in_the_turn_itself_is_told_as_any_other() -> None:
    async def story(stage: Stage) -> None:
        stage.take("web")
        stage.host.refusing["add"] = "netlink: No buffer space available"
        await stage.reload(WEB2, DB)
        stage.host.refusing.clear()
        await asyncio.sleep(1)
        assert isinstance(stage.said[-1], TakeFailed)
        assert stage.host.addresses() == []

    play(story)
