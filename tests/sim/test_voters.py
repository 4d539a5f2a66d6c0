"""Voters that come and go at the worst moment: what `core.agreement` promises, and that its rules are needed.

Each story ends with two that hold when the rule that it is about is taken out; seeds would find that seldom.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from haagent.core import agreement
from haagent.core.messages import Agreed
from tests.sim import mutants
from tests.sim.faults import HOSTS, with_voters
from tests.sim.invariants import Violation, Watch
from tests.sim.world import World, make_settings, steady_world


def cluster(*, first: str = "A", lease_s: float = 0.35) -> World:
    """A, B and C vote; D and E run with files that name all five."""
    settings = make_settings(nodes=HOSTS, groups={"web": (first, "A", "B")})
    world = steady_world(msgspec.structs.replace(settings, lease_s=lease_s))
    world.files = {name: with_voters(world, "ABC" if name in "ABC" else HOSTS) for name in HOSTS}
    for name in HOSTS:
        world.start(name)
    Watch(world, never_two=True, ordered=True)
    world.run(2 + 4 * lease_s)
    return world


def agreed(world: World, name: str) -> Agreed:
    node = world.hosts[name].node
    assert node is not None
    return node.state.agreed


def reload(world: World, name: str, voters: str) -> None:
    """Whatever a reload would say to it: the core's rules are tested."""
    refusal, agreement.steps = agreement.steps, lambda present, wish: ""
    try:
        world.edit(name, with_voters(world, voters))
    finally:
        agreement.steps = refusal


def one_after_the_other(world: World, name: str, *sets: str, within_s: float) -> None:
    """The file names one voter more each time, as soon as what was wished before is agreed, or in vain."""
    for voters in sets:
        reload(world, name, voters)
        until = world.t + within_s / len(sets)
        while agreed(world, name).voters != tuple(voters) and world.t < until:
            world.run(world.t + 0.0001)


def alone_with_the_new_ones() -> None:
    """The leader is cut from the other old voters, and goes on with D and E, which nobody else knows of."""
    world = cluster()
    assert world.serving("leader") == ["A"]
    reload(world, "A", "ABCD")  # it hears D
    world.split("ADE", "BC")
    one_after_the_other(world, "A", "ABCD", "ABCDE", within_s=0.2)
    world.run(world.t + 5.0)


def two_at_once() -> None:
    """Two more in one edit of A's file; B and C do not hear of it."""
    world = cluster()
    reload(world, "A", HOSTS)
    state = world.hosts["A"].node.state  # type: ignore[union-attr]
    world.run(world.t + 0.01)  # the set of before has a stamp of its own, if any is to follow
    due = agreement.settled_at(state, world.hosts["A"].local(world.t))
    world.run(world.hosts["A"].true(due) - 0.0005 if due > world.t else world.t)
    world.split("ADE", "BC")
    world.run(world.t + 5.0)


def within_one_lease() -> None:
    """C holds `web` by the votes of B and its own; A, which does not hear C, leads and brings D and E, all at once."""
    world = cluster(first="C", lease_s=2.0)
    assert (world.serving("leader"), world.serving("web")) == (["A"], ["C"])
    world.split("A", "C")
    world.run(world.t + 4.0)
    world.split("C", "ABDE")
    one_after_the_other(world, "A", "ABCD", "ABCDE", within_s=1.0)
    world.run(world.t + 5.0)


def files_that_two_believe() -> None:
    """B, started with D in place of C, and D believe their files; A and C have those of before."""
    world = steady_world(make_settings(nodes="ABCD"))
    world.files = {name: with_voters(world, "ABD" if name == "D" else "ABC") for name in "ABCD"}
    for name in "ABC":
        world.start(name)
    Watch(world, never_two=True, ordered=True)
    world.run(2.0)
    world.crash("B")
    world.edit("B", with_voters(world, "ABD"))
    world.start("B")
    world.start("D")
    world.split("AC", "BD")
    world.run(world.t + 5.0)


STORIES = (alone_with_the_new_ones, two_at_once, within_one_lease, files_that_two_believe)


@pytest.mark.parametrize("story", STORIES)
def test_two_never_hold(story: Callable[[], None]) -> None:
    story()


# --- without its rules


@pytest.mark.parametrize(
    ("story", "without_a_rule"),
    [
        (alone_with_the_new_ones, mutants.change_at_once),
        (two_at_once, mutants.change_many),
        (within_one_lease, mutants.change_within_a_lease),
        (files_that_two_believe, mutants.vote_as_the_file_says),
    ],
)
def test_each_rule_is_needed(
    story: Callable[[], None],
    without_a_rule: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_a_rule(monkeypatch)
    with pytest.raises(Violation, match="both answer"):
        story()
