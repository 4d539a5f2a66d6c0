"""Rule 7: who lets go in favour of a successor gives it its vote in the same heartbeat."""

from __future__ import annotations

import pytest

from haagent.core.events import HealthChanged, Send
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.view import GroupState
from tests.sim.world import Host, World, make_settings, steady_world


def cluster(nodes: str, *, consistent: bool) -> World:
    world = steady_world(make_settings(nodes=nodes, witnesses="W" if "W" in nodes else "", consistent=consistent))
    for name in nodes:
        world.start(name)
    world.run(2.0)
    assert world.serving("web") == ["A"]
    return world


def overheard(world: World) -> list[Heartbeat]:
    """What everybody says from now on."""
    said: list[Heartbeat] = []
    broadcast = world._broadcast

    def overhear(host: Host, beat: Heartbeat) -> None:
        said.append(beat)
        broadcast(host, beat)

    world._broadcast = overhear  # type: ignore[method-assign]
    return said


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
