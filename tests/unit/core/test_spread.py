"""Where groups go in a whole cluster: spread, never where they must not, and at a cold start to the first choice."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from haagent.core.events import Reconfigured
from haagent.core.settings import LEADER, GroupSettings, Settings
from tests.sim.world import World, make_settings, steady_world
from tests.support.node_stage import group_of, node_of

FOUR: dict[str, tuple[str, ...]] = {"a": (), "b": (), "c": (), "d": ()}
GRACE_S = make_settings().start_grace_s
SILENCE_S = 0.36


def barred(settings: Settings, **never: str) -> Settings:
    groups = [msgspec.structs.replace(one, never=tuple(never.get(one.name, ""))) for one in settings.groups]
    return msgspec.structs.replace(settings, groups=tuple(groups))


def started(settings: Settings, *, late_s: dict[str, float] | None = None, seed: int | None = None) -> World:
    world = steady_world(settings) if seed is None else World(seed, settings)
    for name in settings.voters:
        world.at((late_s or {}).get(name, 0.0), lambda name=name: world.start(name))  # type: ignore[misc]
    return world


def spread(world: World) -> list[int]:
    held: Counter[str] = Counter()
    for group in world.settings.groups:
        if group.name != LEADER:
            (holder,) = world.serving(group.name)
            held[holder] += 1
    return sorted(held.values(), reverse=True)


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("late_s", [{}, {"A": 0.7, "C": 0.3}, {"B": 0.9}])
def test_four_groups_on_three_nodes_and_on_the_two_that_are_left(late_s: dict[str, float], *, consistent: bool) -> None:
    world = started(make_settings(groups=FOUR, consistent=consistent), late_s=late_s)
    world.run(3.0)
    assert spread(world) == [2, 1, 1]
    busiest = max("ABC", key=lambda name: sum(world.serving(group) == [name] for group in FOUR))
    world.crash(busiest)
    world.run(world.t + 1.5)
    assert spread(world) == [2, 2]
    before = {group: world.serving(group) for group in FOUR}
    world.start(busiest)
    world.run(world.t + 3.0)
    assert {group: world.serving(group) for group in FOUR} == before, "nothing moves without a reason"


@pytest.mark.parametrize("leave", ["standby", "stop"])
def test_what_a_node_gives_away_at_once_is_spread(leave: str) -> None:
    world = started(make_settings(groups=FOUR))
    world.run(3.0)
    assert spread(world) == [2, 1, 1]
    if leave == "stop":
        world.stop("A")
    else:
        world.ask("B", "standby", node="A")
    world.run(world.t + 1.0)
    assert spread(world) == [2, 2]


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_after_a_cold_start_within_a_second_the_first_choice_holds(seed: int, *, consistent: bool) -> None:
    chance = random.Random(seed)
    groups = {"web": ("B", "A"), "db": ("A", "B")}
    settings = make_settings(nodes="ABW", witnesses="W", groups=groups, consistent=consistent)
    world = started(settings, late_s={name: chance.random() for name in "ABW"}, seed=seed)
    world.run(3.0)
    assert (world.serving("web"), world.serving("db")) == (["B"], ["A"])
    node = node_of(world, "B")
    assert group_of(node, node.deadline).why.endswith("nobody held it and this node is the first choice")


def test_a_first_choice_that_does_not_come_costs_the_grace_and_no_more() -> None:
    world = started(make_settings(nodes="ABW", witnesses="W"), late_s={"A": 10.0})
    world.run(SILENCE_S + GRACE_S - 0.1)
    assert not world.serving("web")
    assert "it waits for A, the first choice, to start" in group_of(node_of(world, "B"), world.t).why
    world.run(SILENCE_S + GRACE_S + 0.05)
    assert world.serving("web") == ["B"]
    why = group_of(node_of(world, "B"), world.t).why
    assert why == "this node holds it: nobody held it, and A, the first choice, is not there"
    world.run(13.0)
    assert world.serving("web") == ["B"], "who comes later does not take it"


@pytest.mark.parametrize("grace_s", [0.0, GRACE_S, 30.0])
def test_alone_after_is_not_prolonged_and_a_failover_is_not_delayed(grace_s: float) -> None:
    settings = make_settings(nodes="AB", consistent=False, alone_after_s=0.6)
    world = started(msgspec.structs.replace(settings, start_grace_s=grace_s), late_s={"A": 10.0})
    world.run(0.65)
    assert world.serving("web") == ["B"]

    settings = make_settings(nodes="ABW", witnesses="W")
    world = started(msgspec.structs.replace(settings, start_grace_s=grace_s))
    world.run(1.0)
    assert world.serving("web") == ["A"]
    world.crash("B")
    world.start("B")
    world.run(1.5)  # it has heard A hold
    world.crash("A")
    world.run(1.5 + 0.45)
    assert world.serving("web") == ["B"]


def test_a_witness_that_votes_for_a_holder_shows_that_this_is_no_cold_start() -> None:
    """B comes back in the very moment in which A is lost, and has never heard it."""
    world = started(make_settings(nodes="ABW", witnesses="W"))
    world.run(1.0)
    world.crash("B")
    world.run(1.1)
    world.start("B")
    world.crash("A")
    world.run(1.1 + 0.5)
    assert world.serving("web") == ["B"]


# ---------------------------------------------------------------------- never


def test_never_is_never() -> None:
    settings = barred(make_settings(groups={"web": (), "db": ()}), web="C", db="AB")
    world = started(settings)
    world.run(2.0)
    assert (world.serving("web"), world.serving("db")) == (["A"], ["C"])
    world.crash("A")
    world.run(4.0)
    assert world.serving("web") == ["B"]
    world.crash("C")
    world.start("A")
    world.run(8.0)
    assert world.serving("db") == []
    view = group_of(node_of(world, "A"), world.t, "db")
    assert (view.eligible, view.why_not) == (False, "`never` names A")
    assert view.why == "nobody holds it: `never` names A; `never` names B"


@pytest.mark.parametrize("force", [False, True])
def test_an_operator_cannot_move_it_there(*, force: bool) -> None:
    world = started(barred(make_settings(), web="C"))
    world.run(2.0)
    world.ask("B", "move", group="web", node="C", force=force)
    world.run(2.5)
    assert world.answers[-1][2:] == (4, "C never holds web: the configuration names it in `never`")
    assert world.serving("web") == ["A"]


def test_a_reload_that_bars_the_holder_hands_the_group_over() -> None:
    world = started(make_settings())
    world.run(2.0)
    assert world.serving("web") == ["A"]
    world.reconfigure(barred(world.settings, web="A"))
    world.run(2.5)
    assert world.serving("web") == ["B"]
    assert any("`never` names this node" in line or "B is ready" in line for line in world.transcript)


def test_settings_of_one_node_alone_bar_it_too() -> None:
    """In the middle of a roll-out: the others do not know yet."""
    world = started(make_settings())
    world.run(2.0)
    settings = barred(msgspec.structs.replace(world.settings, me="B"), web="B")
    world._feed(world.hosts["B"], Reconfigured(settings))
    world.ask("A", "move", group="web", node="B", wait_s=0.5)
    world.crash("C")
    world.run(4.0)
    assert world.serving("web") == ["A"]


def test_group_settings_have_no_bar_by_default() -> None:
    assert GroupSettings("web").never == ()
