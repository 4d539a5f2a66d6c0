"""The end of maintenance while what a holder has left in place still answers."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core import reserved
from haagent.core.messages import GroupBeat
from tests.sim.faults import with_voters
from tests.sim.invariants import Watch
from tests.sim.world import World
from tests.support.node_stage import node_of, settled, web


def in_maintenance(nodes: str = "ABW", **options: object) -> World:
    """A serves, and what it leaves answers for good."""
    world = settled(nodes, **options)
    world.opens_gates_for_good = True
    Watch(world, never_two=True, ordered=False)
    world.ask("A", "maintenance")
    world.run(world.t + 0.2)
    return world


def stopped_unheard(nodes: str = "ABW", **options: object) -> World:
    """A stops in maintenance at the moment at which B ends it."""
    world = in_maintenance(nodes, **options)
    world.ask("B", "maintenance", on=False)
    world.stop("A")
    world.run(world.t + 2.0)
    assert not node_of(world, "B").state.orders.in_maintenance
    return world


BOTH = pytest.mark.parametrize(("nodes", "consistent"), [("ABW", True), ("AB", False)])


@BOTH
def test_what_a_holder_left_that_had_not_heard_of_the_end_is_taken_by_nobody(nodes: str, consistent: bool) -> None:
    world = stopped_unheard(nodes, consistent=consistent)
    assert world.serving("web") == ["A"]
    why = web(world, "B").why
    assert why.startswith("nobody holds it: A had it in maintenance, and may have left it in place: start the agent")
    world.stop("B")
    world.run(world.t + 1.0)
    world.start("B")
    world.run(world.t + 8.0)
    assert world.serving("web") == ["A"], "a restart must not make B forget it"


@BOTH
def test_its_next_life_removes_it_and_then_it_is_served_again(nodes: str, consistent: bool) -> None:
    world = stopped_unheard(nodes, consistent=consistent)
    world.start("A")
    world.run(world.t + 2.0)
    assert len(world.serving("web")) == 1
    world.crash(web(world, "B").holder)
    world.run(world.t + 2.0)
    assert len(world.serving("web")) == 1, "nothing is kept for A any more"


@BOTH
def test_an_operator_says_that_its_host_is_down(nodes: str, consistent: bool) -> None:
    world = stopped_unheard(nodes, consistent=consistent)
    world.lose_host("A")
    assert world.confirm_down("B", "A")
    world.run(world.t + 2.0)
    assert world.serving("web") == ["B"]


def test_or_ends_maintenance_again_with_force() -> None:
    world = stopped_unheard()
    world.lose_host("A")
    world.ask("B", "maintenance", on=False)
    world.run(world.t + 2.0)
    assert world.serving("web") == []
    world.ask("B", "maintenance", on=False, force=True)
    world.run(world.t + 2.0)
    assert world.serving("web") == ["B"]


def test_a_holder_that_has_heard_of_the_end_is_replaced_as_ever() -> None:
    world = in_maintenance()
    world.ask("B", "maintenance", on=False)
    world.run(world.t + 0.1)
    world.crash("A")
    world.run(world.t + 1.0)
    assert world.serving("web") == ["B"]


@pytest.mark.parametrize("consistent", [True, False])
def test_files_that_do_not_name_it_any_more_end_nothing(*, consistent: bool) -> None:
    world = stopped_unheard("ABC", consistent=consistent)
    for name in "BC":
        world.edit(name, with_voters(world, "BC"))
    world.run(world.t + 5.0)
    assert node_of(world, "B").state.voters == ("B", "C")
    assert world.serving("web") == ["A"]
    assert "`haagent maintenance off --force`" in web(world, "B").why
    world.lose_host("A")
    world.ask("B", "maintenance", on=False, force=True)
    world.run(world.t + 1.0)
    assert len(world.serving("web")) == 1


@BOTH
def test_another_host_of_its_name_does_not_speak_for_what_it_has_left(nodes: str, consistent: bool) -> None:
    world = stopped_unheard(nodes, consistent=consistent)
    world.double("A", "T")
    world.start("T")
    world.run(world.t + 3.0)
    assert "A" in node_of(world, "B").state.membership.alive_names(world.t)
    assert world.serving("web") == ["A"]
    why = web(world, "B").why
    assert "another A had it in maintenance, and may have left it in place" in why
    assert "`haagent maintenance off --force`" in why
    world.ask("B", "maintenance", on=False)
    world.run(world.t + 1.0)
    assert world.serving("web") == ["A"], "it takes the operator's word for it"
    world.lose_host("A")
    world.ask("B", "maintenance", on=False, force=True)
    world.run(world.t + 2.0)
    assert len(world.serving("web")) == 1


def test_a_host_is_known_by_its_memory() -> None:
    world = settled()
    first = node_of(world, "A").state.host
    assert first == node_of(world, "A").state.boot
    world.crash("A")
    world.start("A")
    assert node_of(world, "A").state.boot != first
    assert node_of(world, "A").state.host == first


def test_an_earlier_release_does_not_say_where_it_is() -> None:
    world = in_maintenance()
    state = node_of(world, "B").state
    assert reserved.is_there(state, state.left["web"])
    peer = state.membership.peers["A"]
    assert peer.beat is not None
    peer.beat = msgspec.structs.replace(peer.beat, host=0)
    assert reserved.is_there(state, state.left["web"])
    peer.beat = msgspec.structs.replace(peer.beat, host=1)
    assert not reserved.is_there(state, state.left["web"])


def test_an_agent_that_was_killed_has_left_nothing() -> None:
    world = in_maintenance()
    world.kill("A")
    world.run(world.t + 0.5)
    world.ask("B", "maintenance", on=False, force=True)
    world.run(world.t + 1.0)
    assert world.serving("web") == ["B"]


def test_an_agent_that_is_stopped_while_it_removes_what_it_found_has_left_nothing() -> None:
    world = stopped_unheard()
    world.start("A")
    world.run_to(lambda: node_of(world, "A").state.groups["web"].is_disowned, within_s=1.0)
    world.stop("A")
    world.run(world.t + 2.0)
    assert world.hosts["A"].node is None
    assert world.serving("web") == ["B"]


def test_what_an_earlier_release_says_leaves_nothing() -> None:
    words = msgspec.to_builtins(GroupBeat("web", left=True))
    assert msgspec.convert(words, GroupBeat).left
    assert not msgspec.convert(words[: GroupBeat.__struct_fields__.index("left")], GroupBeat).left
