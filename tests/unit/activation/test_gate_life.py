"""The gate over the life of an activation: there before anything else, and what it leaves behind at each end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from haagent.activation import Activation
from haagent.backends.arp import ArpOptions
from haagent.config import GroupConfig, PluginConfig
from haagent.core.events import AddressFound, AnyEvent, TakeFailed
from tests.support.fakes import FakeHost, around, run_virtual
from tests.unit.activation.test_gate_step import ONE, OTHER, VIP, FakeGate


class Life:
    """An activation with one group, from start to end."""

    def __init__(
        self, now: Callable[[], float], *, adopt: bool = False, is_left: bool = False, has_two: bool = False
    ) -> None:
        self.host = FakeHost("eth0")
        if is_left:
            self.host.put(str(VIP.address))
        self.gate = FakeGate(self.host.log)
        self.said: list[AnyEvent] = []
        groups = {"web": VIP, "db": OTHER} if has_two else {"web": VIP}
        arp = PluginConfig("arp", ArpOptions())
        self.activation = Activation(
            [GroupConfig(name, (vip.address,), "eth0", arp) for name, vip in groups.items()],
            around(host=self.host, gate=self.gate, post=self.said.append, note=lambda *_: None, now=now),
            adopt=adopt,
        )
        self.now = now


def live(story: Callable[[Life], Coroutine[Any, Any, None]], **wishes: bool) -> None:
    async def main(now: Callable[[], float]) -> None:
        life = Life(now, **wishes)
        await life.activation.open()
        try:
            await story(life)
        finally:
            await life.activation.close()

    run_virtual(main)


def test_the_gate_is_there_before_anything_an_earlier_life_left_is_looked_at() -> None:
    async def story(life: Life) -> None:
        assert life.host.log[0] == "gate starts"
        assert VIP.packed in life.gate.gated
        assert "strike" in life.host.log
        assert life.activation.groups()["web"]["gate"] == {"state": "shut", "why": ""}

    live(story, is_left=True)


def test_what_maintenance_left_stays_open_until_it_is_taken_or_dropped() -> None:
    async def story(life: Life) -> None:
        assert AddressFound(group="web") in life.said
        assert VIP.packed not in life.gate.gated
        assert life.activation.groups()["web"]["gate"]["state"] == "open"
        life.activation.drop("web", ONE, "somebody else holds it")
        assert VIP.packed in life.gate.gated
        await asyncio.sleep(0.02)
        assert not life.host.held

    live(story, adopt=True, is_left=True)


def test_what_maintenance_left_is_silent_before_a_failure_to_take_it_is_told() -> None:
    async def story(life: Life) -> None:
        life.host.refusing["add"] = "the interface is gone"
        life.activation.take("web", ONE, life.now() + 60)
        assert life.said[-1] == TakeFailed(group="web", ballot=ONE, error="address: the interface is gone")
        assert VIP.packed in life.gate.gated
        await asyncio.sleep(0.02)
        assert not life.host.held

    live(story, adopt=True, is_left=True)


def test_what_the_gate_and_the_groups_have_counted_is_told() -> None:
    async def story(life: Life) -> None:
        life.gate.counters.update(slammed=1, lapsed=2)
        life.activation.take("web", ONE, life.now() + 1)
        await asyncio.sleep(1.1)  # the core has hung
        counted = life.activation.counters()
        assert {name: counted[name] for name in ("gate_slammed", "gate_lapsed", "lapsed")} == {
            "gate_slammed": 1,
            "gate_lapsed": 2,
            "lapsed": 1,
        }

    live(story)


def test_leaving_removes_the_gate_and_no_address() -> None:
    lives: list[Life] = []

    async def story(life: Life) -> None:
        lives.append(life)
        life.activation.take("web", ONE, life.now() + 600)
        life.activation.leave()
        assert life.host.log[-1] == "removed"
        assert life.host.held

    live(story)
    assert lives[0].host.held, "and the end of the process changes nothing about it"


def test_leaving_takes_along_what_the_gate_hides() -> None:
    async def story(life: Life) -> None:
        life.activation.take("web", ONE, life.now() + 600)
        life.activation.drop("web", ONE, "too few nodes know of the maintenance")
        assert life.host.held, "a moment longer, behind the gate"
        life.activation.leave()
        assert life.host.log[-2:] == ["remove", "removed"]
        assert not life.host.held

    live(story)


def test_leaving_keeps_the_gate_for_what_is_there_and_not_ours_to_leave() -> None:
    async def story(life: Life) -> None:
        life.activation.take("web", ONE, life.now() + 600)
        life.host.refusing["remove"] = "the kernel refuses"
        life.host.put(str(OTHER.address))  # by somebody else, a moment ago
        life.activation.leave()
        assert life.host.log[-1] == "kept"
        assert life.gate.gated == {OTHER.packed}

    live(story, has_two=True)


def test_leaving_opens_nothing_that_was_found_behind_a_shut_gate() -> None:
    """It is somebody's, or of an earlier life that did not end in peace."""

    async def story(life: Life) -> None:
        life.gate.gated = {VIP.packed}
        life.activation.leave()
        assert life.host.log[-1] == "kept"
        assert life.gate.gated == {VIP.packed}

    live(story, adopt=True, is_left=True)


def test_leaving_leaves_open_what_was_found_open() -> None:
    async def story(life: Life) -> None:
        life.activation.leave()
        assert life.host.log[-1] == "removed"

    live(story, adopt=True, is_left=True)


def test_an_end_before_the_core_has_decided_leaves_what_was_left() -> None:
    lives: list[Life] = []

    async def story(life: Life) -> None:
        lives.append(life)

    live(story, adopt=True, is_left=True)
    assert lives[0].host.held


def test_an_end_keeps_the_permanent_table_when_an_address_is_left() -> None:
    lives: list[Life] = []

    async def story(life: Life) -> None:
        lives.append(life)
        life.activation.take("web", ONE, life.now() + 600)
        life.host.refusing["remove"] = "the kernel refuses"

    live(story)
    assert lives[0].host.log[-1] == "kept"


def test_an_orderly_end_removes_all_tables() -> None:
    lives: list[Life] = []

    async def story(life: Life) -> None:
        lives.append(life)
        life.activation.take("web", ONE, life.now() + 600)

    live(story)
    assert lives[0].host.log[-1] == "removed"


def test_nothing_is_announced_when_the_lease_is_over() -> None:
    async def story(life: Life) -> None:
        assert not life.activation._groups["web"].pipeline.has_lease
        life.activation.take("web", ONE, life.now() + 0.5)
        assert life.activation._groups["web"].pipeline.has_lease
        await asyncio.sleep(0.5)
        assert not life.activation._groups["web"].pipeline.has_lease

    live(story)
