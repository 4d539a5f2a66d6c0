"""Rule 7: who lets go in favour of a successor gives it its vote in the same heartbeat."""

from __future__ import annotations

import pytest

from haagent.core.events import HealthChanged, Prepare, Send
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.view import GroupState
from tests.sim.world import World, make_settings, steady_world
from tests.unit.overhearing import overheard, performed


def cluster(nodes: str, *, consistent: bool) -> World:
    world = steady_world(make_settings(nodes=nodes, witnesses="W" if "W" in nodes else "", consistent=consistent))
    for name in nodes:
        world.start(name)
    world.run(2.0)
    assert world.serving("web") == ["A"]
    return world


def of_web(beat: Heartbeat) -> GroupBeat:
    return next(group for group in beat.groups if group.name == "web")


@pytest.mark.parametrize(("nodes", "consistent"), [("AB", False), ("ABW", True)])
def test_the_heartbeat_that_releases_accepts_the_successor(nodes: str, *, consistent: bool) -> None:
    world = cluster(nodes, consistent=consistent)
    said = overheard(world)
    world.ask("A", "move", group="web", node="B")
    world.run(world.t + 0.05)
    assert world.serving("web") == ["B"]
    released = next(beat for beat in said if beat.node == "A" and of_web(beat).claim is None)
    want = next(of_web(beat).want for beat in said if beat.node == "B" and of_web(beat).want is not None)
    accepted = of_web(released).accepted
    assert accepted is not None
    assert accepted.ballot == want
    # The first that B says after that: it has taken.
    since = said[said.index(released) :]
    assert next(of_web(beat).held_ms for beat in since if beat.node == "B") > 0


def test_both_prepare_before_the_message_that_the_other_waits_for() -> None:
    world = cluster("ABW", consistent=True)
    done = performed(world)
    world.ask("A", "move", group="web", node="B")
    world.run(world.t + 0.05)
    for name, mark in (("A", lambda beat: of_web(beat).yield_to == "B"), ("B", lambda beat: of_web(beat).want)):
        actions = [action for who, action in done if who == name]
        sent = next(i for i, one in enumerate(actions) if isinstance(one, Send) and mark(one.beat))
        assert [i for i, one in enumerate(actions) if one == Prepare("web")] == [sent - 1]
    assert not any(who == "W" and isinstance(action, Prepare) for who, action in done)


def test_who_takes_at_once_prepares_nothing() -> None:
    world = cluster("AB", consistent=False)
    done = performed(world)
    world.kill("A")
    world.run(world.t + 1.0)
    assert world.serving("web") == ["B"]
    assert not any(isinstance(action, Prepare) for _, action in done)


def test_a_want_that_is_given_up_is_released() -> None:
    world = steady_world(make_settings(nodes="ABW", witnesses="W", consistent=True))
    for name in "ABW":
        world.start(name)
    node = world.hosts["A"].node
    assert node is not None
    election = node.elections["web"]
    world.run_to(lambda: election.state is GroupState.WANTING, within_s=2.0)
    assert election.lease is not None
    ballot: Ballot = election.lease.ballot
    actions = node.step(node.deadline, HealthChanged("web", ok=False, why="no disk"))
    (beat,) = [action.beat for action in actions if isinstance(action, Send)]
    assert (of_web(beat).want, of_web(beat).released) == (None, ballot)
