"""Checks with a weight: what a node's heartbeat says of them, when a group moves for them, and when it does not."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core.events import Asked, HealthChanged, Reconfigured
from haagent.core.group.handover import LIGHTER_S
from haagent.core.messages import GroupBeat, Heartbeat, is_well_formed
from haagent.core.node import Node
from tests.sim.world import World, make_settings
from tests.support.node_stage import node_of, sent, settled, web


def weigh(world: World, **penalties: int) -> None:
    for name, penalty in penalties.items():
        world.set_penalty(name, "web", penalty)


def holders(world: World, for_s: float) -> str:
    """Who serves, one after the other, from now on."""
    seen = "".join(world.serving("web"))
    end = world.t + for_s
    while world.t < end:
        world.run(world.t + 0.02)
        now = "".join(world.serving("web"))
        seen += now if now and not seen.endswith(now) else ""
    return seen


def said_of_web(node: Node, now: float, penalty: int) -> list[GroupBeat]:
    beats = sent(node.step(now, HealthChanged("web", ok=True, penalty=penalty)))
    return [group for beat in beats for group in beat.groups if group.name == "web"]


def test_a_penalty_is_said_at_once_and_of_its_group_alone() -> None:
    world = settled(groups={"web": ("A",), "db": ("B",)})
    beats = sent(node_of(world, "A").step(world.t, HealthChanged("web", ok=True, penalty=20)))
    assert [{group.name: group.penalty for group in beat.groups} for beat in beats] == [
        {"leader": 0, "web": 20, "db": 0}
    ]


def test_the_same_penalty_again_is_no_news() -> None:
    world = settled()
    (word,) = said_of_web(node_of(world, "A"), world.t, 20)
    assert (word.penalty, word.eligible, word.why_not) == (20, True, "")
    assert said_of_web(node_of(world, "A"), world.t + 0.001, 20) == []


def test_who_does_not_know_penalties_has_none() -> None:
    """An earlier release says nothing of it, a later one something that we do not know."""
    words = msgspec.to_builtins(GroupBeat("web", penalty=7))
    assert msgspec.convert(words, GroupBeat).penalty == 7
    assert msgspec.convert(words[: GroupBeat.__struct_fields__.index("penalty")], GroupBeat).penalty == 0
    assert msgspec.convert([*words, "later"], GroupBeat).penalty == 7


def test_who_does_not_name_addresses_has_none() -> None:
    words = msgspec.to_builtins(GroupBeat("web", addresses=(1, 2)))
    assert msgspec.convert(words, GroupBeat).addresses == (1, 2)
    assert msgspec.convert(words[: GroupBeat.__struct_fields__.index("addresses")], GroupBeat).addresses == ()


def test_a_penalty_below_none_is_no_penalty() -> None:
    beat = Heartbeat("c", "A", boot=1, seq=1, interval_ms=100, lease_ms=350)
    for penalty, is_sound in ((0, True), (100_000, True), (-1, False)):
        assert is_well_formed(msgspec.structs.replace(beat, groups=(GroupBeat("web", penalty=penalty),))) is is_sound


def test_the_view_of_every_node_has_the_penalties_of_all() -> None:
    world = settled()
    weigh(world, A=20, B=5)
    world.run(world.t + 0.05)
    assert [web(world, name).penalties for name in "ABW"] == [{"A": 20, "B": 5}] * 3
    weigh(world, A=0)
    world.run(world.t + 0.05)
    assert web(world, "B").penalties == {"B": 5}


@pytest.mark.parametrize("failback_after_s", [None, 0.5])
def test_the_group_leaves_the_holder_and_returns_only_by_failback(failback_after_s: float | None) -> None:
    world = settled(failback_after_s=failback_after_s)
    weigh(world, A=20)
    assert holders(world, LIGHTER_S + 3) == "AB"
    weigh(world, A=0)
    assert holders(world, 5.0) == ("B" if failback_after_s is None else "BA")


def test_the_reason_is_told() -> None:
    world = settled()
    weigh(world, A=20, B=5)
    world.run(world.t + LIGHTER_S + 0.5)
    texts = [record.text for node, record in node_of(world, "B").view(world.t).history if node == "A"]
    assert "handing over to B: failing checks weigh 20 here and 5 there" in texts


@pytest.mark.parametrize(("on_a", "on_b"), [(0, 0), (20, 20), (5, 20)])
def test_nothing_moves_to_where_they_weigh_as_much_or_more(on_a: int, on_b: int) -> None:
    world = settled(failback_after_s=0.5)
    weigh(world, A=on_a, B=on_b)
    assert holders(world, 8.0) == "A"


def test_a_fault_that_shows_on_both_moves_nothing_though_one_sees_it_first() -> None:
    world = settled()
    weigh(world, A=20)
    world.run(world.t + LIGHTER_S - 0.2)
    weigh(world, B=20)
    assert holders(world, 5.0) == "A"
    weigh(world, B=0)
    world.run(world.t + LIGHTER_S - 0.2)
    weigh(world, A=0)
    assert holders(world, 5.0) == "A"


def test_who_has_just_failed_to_take_is_left_alone() -> None:
    world = settled()
    world.failing[("B", "web")] = True
    weigh(world, A=20)
    assert holders(world, 20.0) == "A"
    assert len([line for line in world.transcript if "activation failed" in line]) == 1


def test_nothing_moves_in_maintenance() -> None:
    world = settled()
    world.ask("A", "maintenance", on=True)
    weigh(world, A=20)
    assert holders(world, 5.0) == "A"
    world.ask("A", "maintenance", on=False)
    assert holders(world, LIGHTER_S + 1.0) == "AB"


def test_a_group_is_not_moved_to_where_it_would_not_stay_unless_an_operator_insists() -> None:
    world = settled()
    weigh(world, B=20)
    world.run(world.t + 0.1)
    world.ask("A", "move", group="web", node="B")
    assert "the failing checks of B weigh 20, and those of A 0; `--force` moves it all the same" in world.transcript[-1]
    world.ask("A", "move", group="web", node="B", force=True)
    assert holders(world, LIGHTER_S + 8.0) == "AB"


def test_each_tenure_counts_the_time_until_failback_anew() -> None:
    """It counted from the last failback: an operator's move was undone as soon as it was done."""
    world = settled(failback_after_s=3.0)
    for _ in range(2):
        world.ask("A", "move", group="web", node="B")
        assert holders(world, 2.8) == "AB"
        assert holders(world, 1.0) == "BA"
        world.run(world.t + 5.0)


def test_a_penalty_outlives_a_reload() -> None:
    world = settled()
    weigh(world, A=20)
    node = node_of(world, "A")
    node.step(world.t, Reconfigured(msgspec.structs.replace(make_settings(nodes="ABW", witnesses="W"), me="A")))
    assert web(world).penalties == {"A": 20}
    assert node.step(world.t, Asked(1, "clear", group="web")), "it forgets failures"
    assert web(world).penalties == {"A": 20}
