"""Rule 7: who lets go in favour of a successor gives it its vote in the same heartbeat."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core.events import Drop, Dropped, Farewell, HealthChanged, Prepare, Send, Take
from haagent.core.group.transitions import GroupState
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat
from haagent.core.node import Node
from haagent.core.settings import LEADER
from tests.sim.world import World, make_settings, steady_world
from tests.support.recorder import overheard, performed


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


@pytest.mark.parametrize("consistent", [False, True])
def test_the_farewell_says_what_the_core_says_when_it_hears_of_the_drop(*, consistent: bool) -> None:
    world = cluster("AB", consistent=consistent)
    world.drop_s = (0.0001, 0.0001)
    said, done = overheard(world), performed(world)
    world.ask("A", "move", group="web", node="B")
    world.run(world.t + 0.05)
    (left,) = [action.beat for _, action in done if isinstance(action, Farewell)]
    farewell, after = [beat for beat in said if beat.node == "A" and of_web(beat).claim is None][:2]
    assert (farewell.seq, after.seq) == (left.seq, left.seq + 1)
    assert of_web(farewell).down_ms > 0, "it was sent some time after the group was let go"
    assert timeless(farewell) == timeless(after)


def timeless(beat: Heartbeat) -> GroupBeat:
    return msgspec.structs.replace(of_web(beat), down_ms=0.0)


def yielding(world: World) -> tuple[Node, Farewell]:
    """A has decided to let go in B's favour, and its shell has not done it yet."""
    done = performed(world)
    world.ask("A", "move", group="web", node="B")
    world.run_to(lambda: any(isinstance(action, Farewell) for _, action in done), within_s=1.0)
    node = world.hosts["A"].node
    assert node is not None
    return node, next(action for _, action in done if isinstance(action, Farewell))


def test_a_vote_that_a_farewell_gives_is_given_though_the_successor_is_gone_by_then() -> None:
    world = cluster("ABW", consistent=True)
    node, words = yielding(world)
    pledged_at = world.hosts["A"].local(world.t)
    lose(node, "B")
    actions = node.step(pledged_at + 0.1, Dropped("web", words.ballot))
    (beat,) = [action.beat for action in actions if isinstance(action, Send)]
    assert of_web(beat).accepted == of_web(words.beat).accepted is not None
    # B counts from when it sent its want: that was earlier.
    assert node.state.groups["web"].voter.bound_until == pytest.approx(pledged_at + node.state.settings.lease_s)


def lose(node: Node, name: str) -> None:
    node.state.membership.peers[name].alive_until = float("-inf")


def test_a_vote_that_a_farewell_gives_is_for_what_the_successor_has_said_last() -> None:
    """However long it took to let go, what the successor counts from is not old."""
    world = cluster("ABW", consistent=True)
    node, words = yielding(world)
    told = node.state.membership.peers["B"].told
    told["web"] = told["web"]._replace(seq=told["web"].seq + 4)
    late = world.hosts["A"].local(world.t) + 0.1
    node.step(late, Dropped("web", words.ballot))
    voter, vote = node.state.groups["web"].voter, of_web(words.beat).accepted
    assert vote is not None
    assert voter.accepted == Accepted(vote.ballot, vote.boot, vote.seq + 4)
    assert voter.bound_until == pytest.approx(late + node.state.settings.lease_s)


@pytest.mark.parametrize("drop_s", [0.1, 0.3, 0.4, 0.9])
@pytest.mark.parametrize(("nodes", "consistent"), [("AB", False), ("ABC", True)])
def test_a_move_succeeds_however_long_it_takes_to_let_go(nodes: str, drop_s: float, *, consistent: bool) -> None:
    world = cluster(nodes, consistent=consistent)
    world.drop_s = (drop_s, drop_s)
    done = performed(world)
    world.ask("A", "move", group="web", node="B")
    world.run(world.t + 2.5)
    assert world.serving("web") == ["B"]
    assert [who for who, action in done if isinstance(action, Take)] == ["B"]


def test_a_want_that_was_given_up_is_not_voted_for() -> None:
    world = cluster("ABW", consistent=True)
    node, words = yielding(world)
    vote = of_web(words.beat).accepted
    assert vote is not None
    node.state.groups["web"].voter.hear_release(GroupBeat("web", released=vote.ballot), "B", vote.boot)
    node.step(world.hosts["A"].local(world.t), Dropped("web", words.ballot))
    assert node.state.groups["web"].voter.accepted is None


def test_of_several_groups_at_once_the_first_has_a_farewell_and_none_is_claimed_again() -> None:
    world = steady_world(make_settings(nodes="AB", groups={"web": ("A", "B"), "db": ("A", "B")}))
    for name in "AB":
        world.start(name)
    world.run(2.0)
    said, done = overheard(world), performed(world)
    world.ask("A", "standby", node="A")
    world.run(world.t + 0.5)
    assert (world.serving("web"), world.serving("db")) == (["B"], ["B"])
    drops = [action.group for _, action in done if isinstance(action, Drop)]
    assert [action.group for _, action in done if isinstance(action, Farewell)] == drops[:1]
    released: set[str] = set()
    for beat in [beat for beat in said if beat.node == "A"]:
        assert not released & {group.name for group in beat.groups if group.claim is not None}
        released |= {group.name for group in beat.groups if group.claim is None}
    assert released == {"web", "db", LEADER}


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
    group = node.state.groups["web"]
    world.run_to(lambda: group.state is GroupState.WANTING, within_s=2.0)
    ballot: Ballot = group.attempt.ballot
    actions = node.step(node.deadline, HealthChanged("web", ok=False, why="no disk"))
    (beat,) = [action.beat for action in actions if isinstance(action, Send)]
    assert (of_web(beat).want, of_web(beat).released) == (None, ballot)
