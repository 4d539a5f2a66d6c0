"""Addresses that move between groups at the worst moment: what `core.group.ownership` promises, and that it is needed.

Each story ends with two that answer for one address when the rule that it is about is taken out.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from haagent.core.events import Lingering
from tests.sim import mutants
from tests.sim.invariants import Violation, Watch
from tests.sim.schedules import first_that_shows
from tests.sim.story import with_groups
from tests.sim.world import World, make_settings, steady_world


def cluster(groups: str, *, nodes: str = "ABW") -> World:
    world = steady_world(make_settings(nodes=nodes, witnesses="W" if "W" in nodes else ""))
    world.settings = with_groups(world, groups, config_hash=groups)
    for name in nodes:
        world.start(name)
    Watch(world, never_two=True, ordered=True)
    world.run(2.0)
    return world


def reload(world: World, name: str, groups: str) -> None:
    world.edit(name, with_groups(world, groups, config_hash=groups))


def at_the_same_moment() -> World:
    """A new address, which two files give to two groups."""
    world = cluster("web:A@1;db:B@2")
    reload(world, "A", "web:A@1,3;db:B@2")
    reload(world, "B", "web:A@1;db:B@2,3")
    world.run(world.t + 3.0)
    return world


def voter_between() -> World:
    """B, which has `web`, and A do not hear each other. W, which hears both, has the new file, and then A."""
    world = cluster("web:B@1;db:A@2")
    assert world.serving("web") == ["B"]
    world.split("A", "B")
    world.run(world.t + 1.0)
    assert (world.serving("web"), world.serving("db")) == (["B"], ["A"])
    reload(world, "W", "db:A@1,2")
    reload(world, "A", "db:A@1,2")
    world.run(world.t + 3.0)
    return world


def between_two_of_one_node() -> World:
    """A moves an address from one of its groups to another, together with one that B has. C wants the first as well."""
    world = cluster("web:A@1;db:A@2;x:B@3;y:C@4", nodes="ABC")
    assert (world.serving("web"), world.serving("db"), world.serving("y")) == (["A"], ["A"], ["C"])
    reload(world, "A", "web:A;db:A@2,1,3;x:B;y:C@4")
    world.run(world.t + 0.02)
    reload(world, "C", "web:A;db:A@2;x:B@3;y:C@4,1")
    world.run(world.t + 3.0)
    return world


def left_in_place() -> World:
    """A is stopped in maintenance and leaves an address; B, which holds the other group, gains it by another file."""
    world = cluster("web:A@1;db:B@2")
    world.opens_gates_for_good = True  # as in fact
    world.ask("A", "maintenance", on=True)
    world.run(world.t + 1.0)
    world.stop("A")
    world.run(world.t + 1.0)
    assert world.serving_address(1) == ["A"]
    for name in "BW":
        reload(world, name, "web:A;db:B@2,1")
    world.run(world.t + 3.0)
    return world


STORIES = (at_the_same_moment, voter_between, between_two_of_one_node, left_in_place)


@pytest.mark.parametrize("story", STORIES)
def test_two_never_serve_one_address(story: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> None:
    story()
    mutants.name_what_others_have(monkeypatch)
    story()


def test_one_of_two_has_it_in_the_end() -> None:
    assert len(at_the_same_moment().serving_address(3)) == 1
    assert voter_between().serving_address(1) == ["A"]


# --- without its rules


@pytest.mark.parametrize(
    ("story", "without"),
    [
        (at_the_same_moment, mutants.bind_twice),
        (at_the_same_moment, mutants.serve_what_is_named),
        (voter_between, mutants.forget_what_is_removed),
        (between_two_of_one_node, mutants.take_what_is_moved_for_proved),
        (left_in_place, mutants.take_what_is_left),
    ],
)
def test_each_rule_is_needed(
    story: Callable[[], World],
    without: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutants.name_what_others_have(monkeypatch)
    without(monkeypatch)
    with pytest.raises(Violation, match="both answer for address"):
        story()


def test_what_lingers_on_the_host_is_named_for_one_lease() -> None:
    world = cluster("web:A@1,2;db:B@3")
    node = world.hosts["A"].node
    assert node is not None
    world._feed(world.hosts["A"], Lingering("web", (2,)))
    reload(world, "A", "web:A@1;db:B@3")
    reload(world, "B", "web:A@1;db:B@2,3")
    world.run(world.t + 0.3)
    assert node.state.groups["web"].share.named.keys() == {1, 2}
    assert world.serving_address(2) == []
    world.run(world.t + 0.3)
    assert node.state.groups["web"].share.named.keys() == {1}
    assert world.serving_address(2) == ["B"]


def test_who_asks_nobody_loses_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The votes that are refused for one address are refused for its whole group."""
    world = cluster("web:B@1;db:A@2")
    watch = Watch(world, never_two=True, ordered=True)
    reload(world, "A", "web:B;db:A@1,2")
    world.run(world.t + 2.0)
    assert not watch.drops
    mutants.name_what_others_have(monkeypatch)
    reload(world, "A", "web:B@1;db:A@2")
    reload(world, "A", "web:B;db:A@1,2")
    world.run(world.t + 2.0)
    assert "db" in [group for _, host, group, _ in watch.drops if host == "A"]


def caught() -> bool:
    return first_that_shows("both answer for address", range(1_000), has_moves=True) is not None


def test_seeds_find_a_voter_that_binds_itself_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.name_what_others_have(monkeypatch)
    mutants.bind_twice(monkeypatch)
    assert caught()


def test_seeds_find_a_group_that_is_served_with_all_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.serve_all(monkeypatch)
    assert caught()
