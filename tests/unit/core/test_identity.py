"""A life that was put back to an earlier state ends, and says nothing more."""

from __future__ import annotations

from haagent.core.events import AnyAction, Drop, Dropped, HeartbeatHeard, Stopped, Take, Woke
from haagent.core.messages import Heard, Heartbeat
from haagent.core.node import Node
from tests.support.node_stage import node_of, of, sent, settled


def echo(node: Node, by: str, *, ahead: int = 0, life: int = 0) -> HeartbeatHeard:
    """Of the next heartbeat of A, or of one so far ahead of it; of another life of A."""
    heard = {"A": Heard(life or node.state.boot, node.state.next_seq + ahead)}
    return HeartbeatHeard(Heartbeat("sim", by, 12345, 10_000, 100, 350, heard=heard), "eth0")


def only(actions: list[AnyAction]) -> tuple[list[Drop], list[Stopped], list[Heartbeat]]:
    assert not of(actions, Take)
    return of(actions, Drop), of(actions, Stopped), sent(actions)


def test_a_holder_that_was_put_back_lets_go_says_nothing_and_ends() -> None:
    """Whoever says so: even in a life that it does not know."""
    world = settled()
    node, now = node_of(world, "A"), world.t
    drops, stopped, said = only(node.step(now, echo(node, "B")))
    assert ({drop.group for drop in drops}, stopped, said) == ({"leader", "web"}, [], [])
    for late in (0.2, 0.4):
        assert only(node.step(now + late, Woke())) == ([], [], []), "what it held is not gone yet"
    drops, stopped, said = only(node.step(now + 0.5, *(Dropped(drop.group, drop.ballot) for drop in drops)))
    assert (drops, said) == ([], [])
    assert "put back to an earlier state" in stopped[0].why
    assert node.step(now + 0.6, Woke()) == []


def test_what_it_has_sent_may_be_echoed() -> None:
    world = settled()
    node = node_of(world, "A")
    actions = node.step(world.t, echo(node, "B", ahead=-1))
    assert only(actions)[:2] == ([], [])


def test_a_witness_alone_is_not_believed_while_others_are_there() -> None:
    world = settled()
    node = node_of(world, "A")
    assert not of(node.step(world.t, echo(node, "W")), Drop)
    world.crash("B")
    world.run(world.t + 4.0)
    assert not of(node.step(world.t, echo(node, "W")), Drop), "it may only have been restarted"
    world.run(world.t + 2.0)
    assert of(node.step(world.t, echo(node, "W")), Drop), "there is nobody else who could know better"


def test_an_echo_of_another_life_is_none_of_ours() -> None:
    world = settled()
    node = node_of(world, "A")
    assert only(node.step(world.t, echo(node, "B", ahead=2**40, life=node.state.boot + 1)))[:2] == ([], [])
