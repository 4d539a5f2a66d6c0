"""A node of a simulated cluster to put events into, in whatever state it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from haagent.core.events import AnyAction, AnyEvent, Dropped, HeartbeatHeard, Send, TakeFailed, Taken, Woke
from haagent.core.group.transitions import GroupState
from haagent.core.messages import Ballot, Heard, Heartbeat
from haagent.core.node import Node
from haagent.core.view import GroupView
from tests.sim.world import World, make_settings, steady_world

T = TypeVar("T")
S = GroupState
TENURE = Ballot(-1, "stands for the ballot of the present tenure")
ANOTHER = Ballot(99, "B")


def node_of(world: World, name: str) -> Node:
    node = world.hosts[name].node
    assert node is not None
    return node


def web(world: World, name: str = "A") -> GroupView:
    return group_of(node_of(world, name), world.t)


def group_of(node: Node, now: float, name: str = "web") -> GroupView:
    return next(group for group in node.view(now).groups if group.name == name)


def started(nodes: str = "ABW", **options: object) -> World:
    world = steady_world(make_settings(nodes=nodes, witnesses="W" if "W" in nodes else "", **options))  # type: ignore[arg-type]
    for name in nodes:
        world.start(name)
    return world


def settled(nodes: str = "ABW", **options: object) -> World:
    world = started(nodes, **options)
    world.run(1.0)
    assert web(world).holder == "A"
    return world


def in_state(state: GroupState) -> World:
    """A cluster in which node A has just come into this state."""
    world = started()
    if state is not S.IDLE:
        if state in (S.YIELDING, S.DROPPING):
            world.run(1.0)
            world.ask("A", "move", group="web", node="B")
        world.run_to(lambda: web(world).state is state, within_s=2.0)
    assert web(world).state is state
    return world


def sent(actions: list[AnyAction]) -> list[Heartbeat]:
    return [action.beat for action in actions if isinstance(action, Send)]


def last_word(world: World, sender: str, *, to: str = "A") -> Heartbeat:
    """All that the sender has said of itself and the groups, as the other has it."""
    peer = node_of(world, to).state.membership.peers[sender]
    assert peer.beat is not None
    return msgspec.structs.replace(peer.beat, groups=tuple(peer.groups.values()))


def of(actions: list[AnyAction], kind: type[T]) -> list[T]:
    return [action for action in actions if isinstance(action, kind)]


def beat_of_b(**more: object) -> Callable[[World], AnyEvent]:
    """B's last word, said again with a change."""

    def build(world: World) -> AnyEvent:
        said = msgspec.structs.replace(
            Heartbeat("sim", "B", node_of(world, "B").state.boot, 10_000, 100, 350),
            heard={"A": Heard(node_of(world, "A").state.boot, node_of(world, "A").state.next_seq - 1)},
        )
        return HeartbeatHeard(msgspec.structs.replace(said, **more), "eth0")

    return build


def build(event: AnyEvent | Callable[[World], AnyEvent], world: World) -> AnyEvent:
    made = event(world) if callable(event) else event
    if isinstance(made, Taken | TakeFailed | Dropped) and made.ballot == TENURE:
        beats = sent(node_of(world, "A").step(world.t, Woke()))
        held = [group.tenure or group.claim for beat in beats for group in beat.groups if group.name == "web"]
        now_held = web(world).ballot
        return msgspec.structs.replace(made, ballot=(held and held[0]) or now_held or ANOTHER)
    return made
