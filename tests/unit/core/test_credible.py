"""What one heartbeat of a member may do to a node, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core import limits
from haagent.core.events import HeartbeatHeard, Woke
from haagent.core.messages import Agreed, Ballot, GroupBeat, Heard, Heartbeat, Order, is_well_formed
from haagent.core.settings import Memory
from tests.sim.world import World
from tests.support.hostile import distort, invent
from tests.support.node_stage import last_word, node_of, sent, settled

TOP = limits.MAX_ROUND


def hear(world: World, sender: str, *, seq: int = 10_000, **more: object) -> None:
    """The sender's next heartbeat, with a change."""
    beat = last_word(world, sender)
    said = msgspec.structs.replace(beat, seq=seq, **more)
    assert is_well_formed(said)
    node_of(world, "A").step(world.t, HeartbeatHeard(said, "eth0"))


def round_of(world: World) -> int:
    return node_of(world, "A").state.round


@pytest.mark.parametrize("field", ["promised", "want", "claim", "released"])
@pytest.mark.parametrize("sender", ["B", "W"])
def test_one_heartbeat_moves_the_round_by_no_more_than_a_leap(sender: str, field: str) -> None:
    world = settled()
    before = round_of(world)
    hear(world, sender, groups=(GroupBeat("web", **{field: Ballot(TOP, sender)}),))
    assert round_of(world) <= before + limits.LEAP + limits.STEP
    voter = node_of(world, "A").state.groups["web"].voter
    assert voter.highest_round <= before + limits.LEAP
    assert node_of(world, "A").state.membership.refused["incredible"] == 1


def test_a_node_far_behind_catches_up() -> None:
    world = settled()
    for seq in range(10_000, 10_010):
        hear(world, "B", seq=seq, groups=(GroupBeat("web", promised=Ballot(8 * limits.LEAP, "B")),))
    assert round_of(world) >= 8 * limits.LEAP


def test_a_witness_names_no_successor_and_claims_nothing() -> None:
    world = settled()
    claim = GroupBeat(
        "web", want=Ballot(50, "W"), claim=Ballot(50, "W"), held_ms=9, yield_to="A", released=Ballot(9, "W")
    )
    hear(world, "W", groups=(claim,))
    state = node_of(world, "A").state
    assert state.membership.peers["W"].groups["web"] == GroupBeat("web")
    assert not state.groups["web"].candidacy.claims
    assert "W" not in state.groups["web"].voter.released


def test_what_was_never_sent_is_not_echoed() -> None:
    """It would shut out every later life of that peer."""
    world = settled()
    state = node_of(world, "A").state
    hear(world, "W", heard={"A": Heard(state.boot, 2**40)})
    assert state.membership.peers["W"].echoed_seq < state.next_seq


def test_a_lease_of_an_hour_gets_no_vote_and_no_silence() -> None:
    world = settled()
    top = limits.MAX_LEASE_MS
    before = node_of(world, "A").state.longest_lease_s(world.t), node_of(world, "A").state.silent_until
    hear(
        world,
        "B",
        lease_ms=top,
        heard_lease_ms=top,
        told_lease_ms=top,
        groups=(GroupBeat("leader", want=Ballot(90, "B")),),
    )
    state = node_of(world, "A").state
    assert (state.longest_lease_s(world.t), state.silent_until) == before
    assert state.membership.refused["lease"] == 1
    assert state.membership.peers["B"].groups["leader"].want is None


def test_there_is_always_a_version_above_an_order() -> None:
    world = settled()
    hear(world, "W", orders=(Order("standby/B", TOP, "W", on=False),))
    for seq in range(10_001, 10_004):
        hear(world, "W", seq=seq, orders=(Order("standby/B", 2**46 + limits.LEAP, "W", on=False),))
    orders = node_of(world, "A").state.orders
    orders.give(world.t, "standby/B", wall=1e12)
    assert orders.is_standby("B")
    (given_,) = (order for order in orders.to_send(world.t) if order.key == "standby/B")
    assert given_.version == 2**46 + limits.LEAP + 1


@pytest.mark.parametrize(
    "agreed",
    [Agreed(Ballot(TOP, "B"), 1, ("A", "B", "W")), Agreed(Ballot(0, "~"), TOP, ("A", "B", "W"))],
)
def test_a_stamp_that_nobody_could_follow_is_not_taken_over(agreed: Agreed) -> None:
    world = settled()
    before = node_of(world, "A").state.agreed
    hear(world, "B", agreed=agreed)
    assert node_of(world, "A").state.agreed == before


def test_what_was_remembered_of_such_a_heartbeat_is_forgotten() -> None:
    world = settled()
    world.crash("A")
    poison = Agreed(Ballot(TOP, "B"), 3, ("A", "B", "W"))
    world.hosts["A"].memory = Memory(round=TOP, orders=(Order("maintenance", TOP, "W", on=False),), agreed=poison)
    world.start("A")
    world.run(world.t + 3.0)
    beat = sent(node_of(world, "A").step(world.hosts["A"].local(world.t) + 0.2, Woke()))[0]
    assert is_well_formed(beat)
    assert round_of(world) < limits.LEAP
    assert not beat.orders


@given(seed=st.integers(0, 2**32), sender=st.sampled_from("BW"), how=st.sampled_from((distort, invent)))
@settings(max_examples=60, deadline=None)
def test_whatever_is_heard_what_is_said_is_within_the_bounds(
    seed: int, sender: str, how: Callable[..., Heartbeat]
) -> None:
    world, dice = settled(), Random(seed)
    node = node_of(world, "A")
    beat = last_word(world, sender)
    for turn in range(12):
        now = world.hosts["A"].local(world.t) + 0.02 * turn
        heard = how(dice, beat, seq=10_000 + turn)
        if not is_well_formed(heard):
            continue
        said = sent(node.step(now, HeartbeatHeard(heard, "eth0")))
        assert all(is_well_formed(one) for one in said)
        assert all(msgspec.msgpack.encode(one) for one in said)
        text = msgspec.json.encode(node.view(now)).decode()
        assert text.isprintable()
        assert not any(escape in text for escape in (r"\u00", r"\n", r"\r"))
        shown = msgspec.json.decode(text)
        assert all(0 <= wall <= limits.MAX_WALL for _, (_, wall, *_) in shown["history"])
    if (memory := node.state.remembered) is not None:
        assert memory.round <= limits.MAX_BELIEVED
    node.state.orders.give(world.t, "maintenance", on=False)
    assert all(order.version <= TOP for order in node.state.orders.to_send(world.t))
