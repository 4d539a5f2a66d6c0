"""Level, not edge: what is, against what should be; fights; links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from haagent.activation.backoff import RepairBackoff
from haagent.activation.health import Health
from haagent.checks import Context, LinksPort
from haagent.checks.link import Link as LinkCheck
from haagent.checks.link import LinkOptions
from haagent.config import CheckConfig
from haagent.core.events import AddressFound, Dropped, HealthChanged, TakeFailed, Taken
from haagent.core.settings import LEADER
from haagent.kernel.facts import TAG
from haagent.kernel.links import Links
from tests.support.activation_stage import ONE, Stage, run, web
from tests.support.fakes import link, run_virtual


def test_what_is_removed_while_held_is_put_back() -> None:
    stage = Stage(web("10.20.1.100/24", "fd00:20::100/64"))

    async def story() -> None:
        stage.activation.take("web", ONE, stage.time + 60)
        stage.host.held.clear()
        stage.host.put("10.20.1.100/24", index=2)  # on another interface it does not count
        stage.host.look()
        assert sorted(stage.host.addresses()) == ["10.20.1.100/24", "10.20.1.100/24", "fd00:20::100/64"]
        assert stage.activation.groups()["web"]["counters"] == {"restored": 2, "announced": 1}
        assert stage.said == [Taken(group="web", ballot=ONE)]  # no failover

    run(stage, story)
    assert stage.kinds() == ["restored"]


def test_what_is_not_held_is_removed_whoever_added_it() -> None:
    stage = Stage()

    async def story() -> None:
        stage.host.put("10.20.1.100/32", index=2)
        stage.host.put("10.20.1.10/24")
        stage.host.look()
        assert stage.host.addresses() == ["10.20.1.10/24"]

    run(stage, story)
    assert stage.notes == [("removed", "web", "10.20.1.100/32 on eth1 is not held by this node; removed")]


def test_leftovers_go_at_start_and_also_what_only_has_our_tag() -> None:
    stage = Stage()
    stage.host.put("10.20.1.100/24", tag=TAG)
    stage.host.put("10.20.1.99/24", tag=TAG)
    stage.host.put("10.20.1.10/24")

    async def story() -> None:
        assert stage.host.addresses() == ["10.20.1.10/24"]

    run(stage, story)
    assert [text for _, _, text in stage.notes] == [
        "10.20.1.100/24 on eth0 was left by an earlier life of the agent; removed",
        "10.20.1.99/24 on eth0 has our tag and is not configured any more; removed",
    ]


def test_leftovers_are_adopted_until_the_core_has_decided() -> None:
    for take in (True, False):
        stage = Stage(adopt=True)
        stage.host.put("10.20.1.100/24", tag=TAG)

        async def story(stage: Stage = stage, take: bool = take) -> None:
            assert stage.said == [AddressFound(group="web")]
            stage.activation.compare()
            assert stage.host.addresses() == ["10.20.1.100/24"]
            if take:
                stage.activation.take("web", ONE, stage.time + 60)
                assert stage.host.addresses() == ["10.20.1.100/24"]
                assert stage.said[1:] == [Taken(group="web", ballot=ONE)]
            else:
                stage.activation.drop("web", ONE, "not ours")
                assert stage.host.addresses() == []

        run(stage, story)


def test_renewing_refreshes_the_lifetime_once_per_second() -> None:
    stage = Stage()

    async def story() -> None:
        stage.activation.take("web", ONE, stage.time + 0.35)
        for _ in range(30):
            stage.time += 0.1
            stage.activation.renew("web", stage.time + 2.35)
        assert stage.host.lifetimes == [2, 4, 4, 4]

    run(stage, story)


def test_the_built_in_leader_group_has_no_addresses() -> None:
    stage = Stage()

    async def story() -> None:
        stage.activation.take(LEADER, ONE, stage.time + 60)
        stage.activation.renew(LEADER, stage.time + 60)
        stage.activation.announce(LEADER, "a rival was heard")
        stage.activation.drop(LEADER, ONE, "asked")
        assert stage.said == [Taken(group=LEADER, ballot=ONE), Dropped(group=LEADER, ballot=ONE)]

    run(stage, story)


def test_a_group_that_is_not_configured_is_answered() -> None:
    stage = Stage()

    async def story() -> None:
        stage.activation.take("gone", ONE, stage.time + 60)
        stage.activation.renew("gone", stage.time + 60)
        stage.activation.drop("gone", ONE, "asked")
        error = "gone is not configured on this node"
        assert stage.said == [TakeFailed(group="gone", ballot=ONE, error=error), Dropped(group="gone", ballot=ONE)]

    run(stage, story)


def test_closing_lets_go() -> None:
    stage = Stage()

    async def story() -> None:
        stage.activation.take("web", ONE, stage.time + 60)

    run(stage, story)
    assert stage.host.addresses() == []
    assert stage.said[-1] == Dropped(group="web", ballot=ONE)


def test_secondaries_are_promoted_where_ipv4_addresses_come_and_go() -> None:
    stage = Stage(web("10.20.1.100/24"))

    async def story() -> None:
        assert stage.host.promoted == ["eth0"]
        stage.host.links.learn(link("eth0", 9))  # made anew
        assert stage.host.promoted == ["eth0", "eth0"]

    run(stage, story)


def test_lost_carrier_is_known_at_once_and_a_return_after_a_second() -> None:
    async def story(now: Callable[[], float]) -> None:
        links, said = Links(), []
        links.learn(link("eth0", 3))
        health = Health("web", said.append, lambda *_: None)

        def make(seen: LinksPort) -> LinkCheck:
            return LinkCheck(Context(node="A", group="web", interface="eth0", links=seen), LinkOptions("eth0"))

        health.start(CheckConfig(kind="link", name="nic", options=LinkOptions("eth0")), links, make)
        await asyncio.sleep(5)
        assert said == []  # a group starts fit
        links.learn(link("eth0", 3, has_carrier=False))
        assert said == [HealthChanged(group="web", ok=False, why="eth0 has no carrier")]
        links.learn(link("eth0", 3))
        await asyncio.sleep(0.9)
        links.learn(link("eth0", 3, has_carrier=False))  # flaps: starts anew
        links.learn(link("eth0", 3))
        await asyncio.sleep(0.9)
        assert len(said) == 1
        await asyncio.sleep(0.2)
        assert said[1:] == [HealthChanged(group="web", ok=True, why="")]
        links.forget(3)
        assert said[2:] == [HealthChanged(group="web", ok=False, why="eth0 does not exist")]
        await health.close()

    run_virtual(story)


def test_configured_checks_and_the_own_interface_count_together() -> None:
    stage = Stage(web(checks=(CheckConfig(name="uplink", kind="link", options=LinkOptions("eth9")),)))

    async def story() -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        assert stage.said == [HealthChanged(group="web", ok=False, why="eth9 does not exist")]
        stage.host.links.forget(1)
        assert stage.said[-1].why == "eth9 does not exist; eth0 does not exist"  # type: ignore[union-attr]

    run(stage, story)


def test_a_rename_is_an_end_and_a_beginning() -> None:
    links, heard = Links(), []
    for name in ("eth0", "wan"):
        links.subscribe(name, lambda link, name=name: heard.append((name, link.index if link else None)))  # type: ignore[misc]
    links.learn(link("eth0", 3))
    links.learn(link("wan", 3))
    links.learn(link("eth0", 4))
    links.learn(link("eth0", 4))  # no change, no word
    links.replace([link("eth0", 5)])
    assert heard == [("eth0", 3), ("eth0", None), ("wan", 3), ("eth0", 4), ("wan", None), ("eth0", None), ("eth0", 5)]


def test_a_fight_is_slowed_down_and_told_once_a_minute() -> None:
    backoff, now, spoken, repairs = RepairBackoff(), 0.0, 0, 0
    while now < 120:
        if now >= backoff.not_before:
            backoff.incident(now)
            repairs += 1
            spoken += backoff.may_speak(now)
        now += 0.001  # the other one is always faster
    assert backoff.is_on
    assert 120 <= repairs <= 140  # one per second in the end
    assert 6 <= spoken <= 9
    backoff.incident(now + 30)  # calm in between: over
    assert not backoff.is_on
    assert backoff.not_before == now + 30
