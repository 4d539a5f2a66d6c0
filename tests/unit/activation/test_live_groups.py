"""Groups that a reload changes while they are held: what stays, what goes, and what waits for the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address

import msgspec
import pytest

from haagent.core.events import AddressFound, Dropped, Lingering, Taken
from haagent.core.messages import Ballot
from haagent.kernel.facts import TAG, Vip
from tests.support.activation_stage import ONE, Stage, run, web
from tests.support.fakes import run_virtual


def test_a_reload_keeps_what_is_held_and_removes_what_is_gone() -> None:
    same = web("10.20.1.110/24", name="same")
    stage = Stage(web("10.20.1.100/24", "10.20.1.101/24"), web("10.20.1.120/24", name="ends"), same)

    async def story() -> None:
        for name in ("web", "ends", "same"):
            stage.activation.take(name, ONE, stage.time + 60)
        before = len(stage.said)
        await stage.reload(web("10.20.1.101/24", "10.20.1.102/24"), same)
        assert stage.host.addresses() == ["10.20.1.101/24", "10.20.1.110/24"]
        assert sorted(stage.said[before:], key=str) == [
            Dropped(group="ends", ballot=ONE),
            Taken(group="web", ballot=ONE),
        ]

    run(stage, story)


def test_what_a_held_group_gains_is_served_when_the_core_says_so() -> None:
    """Another node may have it still, in another group."""
    spec = web("10.20.1.100/24", "10.20.1.101/24", "10.20.1.102/24")
    second, third = (number for number, address in spec.numbered().items() if str(address) != "10.20.1.100/24")
    stage = Stage(web("10.20.1.100/24"))

    async def story() -> None:
        stage.activation.take("web", ONE, stage.time + 60)
        await stage.reload(spec)
        assert stage.host.addresses() == ["10.20.1.100/24"]
        before = len(stage.said)
        stage.activation.withhold("web", (second, third))
        assert stage.host.addresses() == ["10.20.1.100/24"]
        stage.activation.withhold("web", (third,))
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.101/24"]
        stage.host.put("10.20.1.102/24")
        stage.host.look()
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.101/24"], "not by anybody else either"
        assert stage.activation.withholds("web", spec.addresses[2].ip.packed)
        await stage.reload(msgspec.structs.replace(spec, prefer=("A",)))
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.101/24"]
        stage.activation.withhold("web", ())
        assert len(stage.host.addresses()) == 3
        assert stage.said[before:] == [Taken(group="web", ballot=ONE)], "of the reload alone"
        stage.activation.drop("web", ONE, "")
        assert stage.host.addresses() == []
        await stage.reload(web("10.20.1.100/24"))
        await stage.reload(spec)
        stage.activation.expect("web")
        stage.activation.take("web", Ballot(2, "A"), stage.time + 60, (), (second,))
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.102/24"]

    run(stage, story)


def test_an_address_that_a_reload_moves_between_two_held_groups_waits_for_the_core() -> None:
    stage = Stage(web("10.20.1.100/24", "10.20.1.101/24"), web("10.20.1.120/24", name="db"))

    async def story() -> None:
        for name in ("web", "db"):
            stage.activation.take(name, ONE, stage.time + 60)
        await stage.reload(web("10.20.1.100/24"), web("10.20.1.120/24", "10.20.1.101/24", name="db"))
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.120/24"]
        stage.activation.withhold("db", ())
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.101/24", "10.20.1.120/24"]

    run(stage, story)


def test_the_core_hears_before_the_new_settings_what_the_kernel_does_not_let_go_of() -> None:
    stage = Stage(web("10.20.1.100/24", "10.20.1.101/24"))

    async def story() -> None:
        stage.activation.take("web", ONE, stage.time + 60)
        stage.host.refusing["remove"] = "cannot remove it now"
        await stage.reload(web("10.20.1.100/24"))
        lingering = Lingering(group="web", addresses=(int(IPv4Address("10.20.1.101")),))
        assert [one for one in stage.said if isinstance(one, Lingering)] == [lingering]
        stage.host.refusing.clear()
        await stage.reload(web("10.20.1.100/24", "10.20.1.102/24"))
        await stage.reload(web("10.20.1.100/24"))
        assert stage.said.count(lingering) == 1
        assert not any(isinstance(one, Lingering) for one in stage.said if one != lingering)

    run(stage, story)


@pytest.mark.parametrize("change", ["to another group", "from a group that ends", "away and back"])
def test_a_removal_that_is_tried_again_takes_nothing_from_who_has_it_now(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, one, db = web("10.20.1.100/24", "10.20.1.101/24"), web("10.20.1.100/24"), web("10.20.1.101/24", name="db")
    before, after = {
        "to another group": ((both,), (one, db)),
        "from a group that ends": ((web("10.20.1.101/24", name="ends"),), (db,)),
        "away and back": ((both,), (one,)),
    }[change]
    stage = Stage(*before)

    async def story(now: Callable[[], float]) -> None:
        await stage.activation.open()
        for group in before:
            stage.activation.take(group.name, ONE, stage.time + 60)
        stage.host.refusing = dict.fromkeys(("remove", "strike"), "cannot remove it now")
        await stage.reload(*after)
        taker = "db"
        if change == "away and back":
            await stage.reload(*before)
            taker = "web"
            stage.activation.drop(taker, ONE, "")
        stage.activation.take(taker, Ballot(2, "A"), stage.time + 60)
        assert Taken(group=taker, ballot=Ballot(2, "A")) in stage.said
        stage.host.refusing.clear()
        removed: list[Vip] = []
        monkeypatch.setattr(stage.host, "remove", removed.extend)
        await asyncio.sleep(5)
        monkeypatch.undo()
        assert "10.20.1.101" not in {str(vip.address.ip) for vip in removed}
        assert change != "from a group that ends" or Dropped(group="ends", ballot=ONE) in stage.said
        stage.activation.drop(taker, Ballot(2, "A"), "")
        assert "10.20.1.101/24" not in stage.host.addresses()
        await stage.activation.close()

    run_virtual(story)


def test_what_a_reload_takes_from_a_group_goes_also_while_the_group_waits_to_be_adopted() -> None:
    """Nobody else would ever remove it, and no gate holds it back."""
    stage = Stage(web("10.20.1.100/24", "10.20.1.101/24"), adopt=True)
    stage.host.put("10.20.1.100/24", tag=TAG)
    stage.host.put("10.20.1.101/24", tag=TAG)

    async def story() -> None:
        await stage.reload(web("10.20.1.101/24"))
        assert stage.host.addresses() == ["10.20.1.101/24"]
        stage.activation.take("web", ONE, stage.time + 60)
        assert stage.host.addresses() == ["10.20.1.101/24"]
        assert stage.said == [AddressFound(group="web"), Taken(group="web", ballot=ONE)]

    run(stage, story)


def test_closing_lets_go_also_when_a_reload_could_not_remove_another_group() -> None:
    stage = Stage(web(), web("10.20.1.120/24", name="ends"))

    async def story() -> None:
        for name in ("web", "ends"):
            stage.activation.take(name, ONE, stage.time + 60)
        stage.host.refusing["remove"] = "cannot remove it now"
        await stage.reload(web())
        assert stage.host.addresses() == ["10.20.1.100/24", "10.20.1.120/24"]
        del stage.host.refusing["remove"]

    run(stage, story)
    assert "10.20.1.100/24" not in stage.host.addresses()
    assert stage.said[-1] == Dropped(group="web", ballot=ONE)
