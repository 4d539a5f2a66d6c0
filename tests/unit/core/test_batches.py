"""Several events in one step: none is lost, their order breaks no promise, and mere copies stay cheap."""

from __future__ import annotations

import copy
import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.core.event_kinds import Kind
from haagent.core.events import AnyEvent, HeartbeatHeard, Noticed, Taken, Woke
from haagent.core.messages import GroupBeat
from haagent.core.view import GroupState
from haagent.trace import entry as entries
from haagent.trace import replay
from tests.sim.world import make_settings, steady_world
from tests.support.node_stage import beat_of_b, build, group_of, node_of, sent, settled, web
from tests.support.recording import agent, recorded_world
from tests.unit.core.test_node import EVENTS, STATES, check_step

GROUPS = {f"g{number}": ("A", "B") for number in range(20)}


def test_groups_that_are_taken_at_once_cost_one_step_and_one_heartbeat() -> None:
    world = steady_world(make_settings(nodes="AB", groups=GROUPS, consistent=False))
    for name in "AB":
        world.start(name)
    node = node_of(world, "A")
    # The votes come in slices, at the same moment.
    world.run_to(lambda: all(group_of(node, world.t, name).state is GroupState.TAKING for name in GROUPS), within_s=2.0)
    ballots = {group.name: group.ballot for group in node.view(world.t).groups if group.name in GROUPS}
    assert all(ballots.values())
    actions = node.step(world.t, *(Taken(name, ballot) for name, ballot in ballots.items() if ballot is not None))
    assert all(group_of(node, world.t, name).state is GroupState.ACTIVE for name in GROUPS)
    (beat,) = sent(actions)
    assert {group.name for group in beat.groups if group.active} == set(GROUPS)


@given(
    state=st.sampled_from(GroupState),
    batch=st.lists(st.sampled_from(sorted(EVENTS)), min_size=2, max_size=5),
    cuts=st.sets(st.integers(1, 4)),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_batch_keeps_the_promises_in_one_step_or_in_several(
    state: GroupState, batch: list[str], cuts: set[int]
) -> None:
    world = copy.deepcopy(STATES[state])
    node, now = node_of(world, "A"), world.t
    events: list[AnyEvent] = [build(EVENTS[what], world) for what in batch]
    edges = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    for first, end in itertools.pairwise(edges):
        group = node.state.groups.get("web")
        voter = group.voter if group is not None else None
        held_by, promised = (voter.holder(now), voter.promised) if voter is not None else ("", None)
        actions = node.step(now, *events[first:end])
        check_step(node, state, now, actions, is_same_group=False)
        if group is None or group is not node.state.groups.get("web"):
            continue
        assert voter is not None
        assert promised is None or (voter.promised is not None and voter.promised >= promised)
        assert held_by in ("", voter.holder(now)) or held_by in voter.released, "a vote is not given twice"
    for _ in range(10):
        now = min(node.deadline, now + 1.0)
        check_step(node, state, now, node.step(now, Woke()), is_same_group=False)


def test_a_batch_of_copies_is_not_looked_at() -> None:
    world = settled()
    node, now = node_of(world, "A"), world.t
    copies = [peer.beat for peer in node.state.membership.peers.values() if peer.beat is not None]
    heard = [HeartbeatHeard(beat, "eth0") for beat in copies for _ in range(50)]
    assert node.step(now, *heard) == []
    assert node.is_unmoved


@pytest.mark.parametrize("is_first", [False, True])
def test_what_comes_among_copies_is_looked_at_and_only_that_is_kept(*, is_first: bool) -> None:
    world = settled()
    node, now = node_of(world, "A"), world.t
    beat = next(peer.beat for peer in node.state.membership.peers.values() if peer.beat is not None)
    copies = [HeartbeatHeard(beat, "eth0")] * 50
    news = build(beat_of_b(groups=(GroupBeat("web"),)), world)
    node.step(now, *([news, *copies] if is_first else [*copies, news]))
    assert not node.is_unmoved
    assert node.heeded == [news]
    assert web(world).holder == "A"


def test_a_trace_repeats_steps_of_several_events_and_of_none() -> None:
    world = recorded_world()
    life = agent(world)
    now = life.steps[-1][0]
    copies = [event for _, events, _ in life.steps[-9:] for event in events if isinstance(event, HeartbeatHeard)]
    life.step(now, Noticed(Kind.RESTORED, "web", "one"), *copies, Noticed(Kind.RESTORED, "web", "two"))
    assert [len(step.events) for step in life.trace().entries()][-1] == 2
    life.step(max(now, life.node.deadline), *copies)
    assert [step.events for step in life.trace().entries()][-1] == ()
    again = replay(life.trace())
    assert again.difference is None
    assert [line.text for line in again.timeline[-2:]] == ["one", "two"]


def test_a_step_of_one_event_is_written_as_it_was_when_all_were() -> None:
    """So older traces are read, and older releases read most of ours."""
    written = entries.encode(entries.entry(1.0, [Woke()], []))
    assert msgspec.msgpack.decode(written) == [1.0, {"type": "Woke"}, []]
    assert entries.decode(written).events == (Woke(),)
