"""A host whose clock is steered further than leases are made for: its node lets go, and gives no vote."""

from __future__ import annotations

import pytest

from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, ClockSteered, Drop, Note, Woke
from haagent.core.settings import SLEW
from haagent.status.report import warnings
from tests.support.node_stage import node_of, of, sent, settled

BOUND = SLEW


def kinds(actions: list[AnyAction]) -> list[str]:
    return [note.record.kind for note in of(actions, Note)]


@pytest.mark.parametrize("slew", [0.12, -0.12])
def test_a_holder_lets_go_in_favour_of_another_says_so_and_has_no_vote(slew: float) -> None:
    world = settled()
    node, now = node_of(world, "A"), world.t
    actions = node.step(now, ClockSteered(slew))
    assert {drop.group for drop in of(actions, Drop)} == {"leader", "web"}
    assert kinds(actions)[0] == Kind.CLOCK
    assert sent(actions)[0].silent_ms > 0, "so that nobody counts on it"
    assert not node.state.may_vote(now)
    pace = "faster" if slew > 0 else "slower"
    assert f"12 % {pace} than its hardware counter" in next(warnings(node.view(now)))


@pytest.mark.parametrize("slew", [BOUND, -BOUND, 0.0])
def test_what_leases_are_made_for_changes_nothing(slew: float) -> None:
    world = settled()
    node = node_of(world, "A")
    actions = node.step(world.t, ClockSteered(slew))
    assert not of(actions, Drop)
    assert kinds(actions) == []
    assert node.state.may_vote(world.t)


def test_it_votes_again_one_lease_after_that_is_over() -> None:
    world = settled()
    node = node_of(world, "A")
    world.steer("A", 0.12)
    world.run(world.t + 3.0)
    assert world.serving("web") == ["B"]
    world.steer("A", 0.0)
    began = world.t
    world.run(began + 0.1)
    assert not node.state.may_vote(world.t)
    world.run(began + 0.1 + world.settings.lease_s)
    assert node.state.may_vote(world.t)
    assert kinds(node.step(world.t, Woke())) == []
    assert not list(warnings(node.view(world.t)))
    world.crash("B")
    world.run(world.t + 2.0)
    assert world.serving("web") == ["A"]
