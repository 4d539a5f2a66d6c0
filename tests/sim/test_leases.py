"""A voter that has lost its memory while a lease is shortened: the others know what it may have granted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from haagent.core import heartbeat, votes
from haagent.core.group.lease import Lease
from haagent.core.messages import Heartbeat
from haagent.core.node_state import NodeState
from haagent.core.settings import Memory
from tests.sim.invariants import Violation, Watch
from tests.sim.world import World, make_settings

SHORT = make_settings(nodes="ABW", witnesses="W")
LONG = msgspec.structs.replace(SHORT, lease_s=10.0)


def restart(world: World, name: str) -> None:
    world.crash(name)
    world.start(name)


def shortened() -> World:
    """A holds on a lease of 10 s, which W alone renews, and B and W have a file that says 350 ms."""
    world = World.steady(SHORT)
    world.files["A"] = LONG
    for name in "ABW":
        world.start(name)
    world.run(15.0)
    assert world.serving("web") == ["A"]
    return world


def test_a_voter_that_forgot_a_long_lease_is_told_of_it_by_the_others() -> None:
    world = shortened()
    Watch(world, never_two=True, ordered=True)
    world.cut("A", "B")
    world.cut("B", "A")
    world.run(30.0)
    world.split("A", "BW")
    world.crash("W")
    world.hosts["W"].memory = Memory()
    world.start("W")
    world.run(39.0)
    assert world.serving("web") == ["A"]
    world.run(42.0)
    assert world.serving("web") == ["B"]


def holder_is_shortened() -> World:
    """A holds on a lease of 2 s. While it runs its file says 350 ms, as those of the others; then A is cut off."""
    world = World.steady(SHORT)
    world.files["A"] = msgspec.structs.replace(SHORT, lease_s=2.0)
    for name in "ABW":
        world.start(name)
    world.run(5.0)
    assert world.serving("web") == ["A"]
    Watch(world, never_two=True, ordered=True)
    world.edit("A", SHORT)
    world.run(6.0)
    world.split("A", "BW")
    world.run(9.0)
    return world


def test_a_holder_whose_lease_is_shortened_counts_on_no_more_than_it_asks_for() -> None:
    assert holder_is_shortened().serving("web") == ["B"]


def test_that_it_is_shortened_at_once_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "shorten", lambda *_: None)
    with pytest.raises(Violation, match="both answer"):
        holder_is_shortened()


def with_votes_of_any_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """B, which has heard W's earlier life a moment ago, would count no vote of the later one either (`twins`)."""
    monkeypatch.setattr(votes, "_is_outlived", lambda *_: False)


def test_that_silence_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_votes_of_any_life(monkeypatch)
    monkeypatch.setattr(NodeState, "keep_silent", lambda *_: None)
    with pytest.raises(Violation, match="both answer"):
        test_a_voter_that_forgot_a_long_lease_is_told_of_it_by_the_others()


def test_what_is_told_at_second_hand_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_votes_of_any_life(monkeypatch)
    genuine = heartbeat.heartbeat

    def at_first_hand(*said: Any, **more: Any) -> Heartbeat:
        return msgspec.structs.replace(genuine(*said, **more), told_lease_ms=0)

    monkeypatch.setattr(heartbeat, "heartbeat", at_first_hand)
    with pytest.raises(Violation, match="both answer"):
        test_a_voter_that_forgot_a_long_lease_is_told_of_it_by_the_others()


def test_a_long_lease_that_nobody_has_any_more_silences_nobody() -> None:
    world = shortened()
    world.files.clear()
    restart(world, "A")
    world.run(15.0 + 21.0)  # what the others say of it they say for as long, and what they were told for as long again
    assert world.hosts["A"].memory.lease_s == SHORT.lease_s
    restart(world, "W")
    node = world.hosts["W"].node
    assert node is not None
    world.run(world.t + 0.5)
    assert node.state.may_vote(world.hosts["W"].local(world.t))
    assert world.hosts["W"].memory.lease_s == SHORT.lease_s
