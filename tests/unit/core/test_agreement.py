"""Who votes: what is believed of whom, when the next set is made, and what a person is told of it."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core import agreement, votes
from haagent.core.group import candidacy
from haagent.core.messages import Agreed, Ballot, GroupBeat, is_well_formed
from haagent.core.settings import Memory, NodeSettings
from tests.sim.world import World, make_settings
from tests.support.node_stage import beat_of_b, node_of, sent, settled, started

AT_FIRST = Agreed(Ballot(0, ""), 0, ("A", "B", "W"))
LATER = Agreed(Ballot(7, "B"), 1, ("A", "B", "W", "X"))


def agreed_by(world: World, name: str = "A") -> Agreed:
    return node_of(world, name).state.agreed


def hear_b(world: World, **more: object) -> None:
    node_of(world, "A").step(world.t, beat_of_b(**more)(world))


def with_file(world: World, nodes: str) -> None:
    world.edit("A", msgspec.structs.replace(world.settings, nodes=tuple(NodeSettings(name) for name in nodes)))


def test_at_first_the_file_says_who_votes_and_every_heartbeat_carries_it() -> None:
    world = settled()
    assert agreed_by(world) == AT_FIRST
    world.run(world.t + 0.2)
    beat = sent(node_of(world, "A").step(node_of(world, "A").deadline))[0]
    assert beat.agreed == AT_FIRST
    assert beat.policy == "consistent"


def test_a_higher_stamp_is_taken_over_from_a_node_and_a_lower_one_is_not() -> None:
    world = settled()
    hear_b(world, agreed=LATER)
    assert agreed_by(world) == LATER
    hear_b(world, seq=10_001, agreed=AT_FIRST)
    hear_b(world, seq=10_002, agreed=Agreed(Ballot(7, "A"), 9, ("A",)))
    assert agreed_by(world) == LATER


def test_a_witness_alone_is_not_believed() -> None:
    world = started("AB")
    world.edit("A", msgspec.structs.replace(world.settings, nodes=(NodeSettings("A"), NodeSettings("B", witness=True))))
    world.run(1.0)
    hear_b(world, agreed=Agreed(Ballot(7, "B"), 1, ("A", "B", "C")))
    assert agreed_by(world).version == 0
    hear_b(world, seq=10_001, agreed=Agreed(Ballot(7, "B"), 1, ("B",)))  # it is the majority of that, and not of ours
    assert agreed_by(world).version == 0


def test_a_witness_alone_is_believed_in_what_ones_own_file_wishes() -> None:
    """Who had made it was lost at that moment, and with it what it would have kept: else nobody ever went on."""
    world = started("AB")
    world.edit("A", msgspec.structs.replace(world.settings, nodes=(NodeSettings("A"), NodeSettings("B", witness=True))))
    world.run(1.0)
    hear_b(world, agreed=Agreed(Ballot(7, "A"), 1, ("B", "A")))
    assert agreed_by(world) == Agreed(Ballot(7, "A"), 1, ("B", "A"))


def test_a_leader_of_an_earlier_term_does_not_go_back() -> None:
    world = settled()
    hear_b(world, agreed=LATER)
    node_of(world, "B").state.next_seq = 10_001  # it was B that said so: else the echo would end its life (`identity`)
    world.run(world.t + 3.0)
    terms = [agreed_by(world, name).term for name in "ABW"]
    assert min(terms) >= LATER.term


def test_a_leader_of_an_earlier_term_waits_for_nothing() -> None:
    """Else it would be woken again and again, for as long as it leads."""
    world = settled()
    hear_b(world, agreed=LATER)
    state = node_of(world, "A").state
    for peer in state.membership.peers.values():
        assert peer.beat is not None
        peer.beat = msgspec.structs.replace(peer.beat, agreed=LATER)
    assert agreement.settled_at(state, world.t) < float("inf")
    assert agreement.next_wish(state, world.t) is not None
    assert agreement.due(state, world.t, state.groups["leader"]) == float("inf")


def test_it_outlives_the_agent() -> None:
    world = settled()
    hear_b(world, agreed=LATER)
    world.crash("A")
    world.hosts["A"].memory = Memory(agreed=LATER)
    world.start("A")
    assert agreed_by(world) == LATER


def test_votes_of_a_node_that_counts_others_are_neither_given_nor_counted() -> None:
    world = settled()
    want = Ballot(50, "B")
    hear_b(
        world, agreed=Agreed(Ballot(-1, ""), 0, ("B", "X")), groups=(GroupBeat("leader", want), GroupBeat("web", want))
    )
    state = node_of(world, "A").state
    assert state.unfitness("B", world.t) == "B does not agree with A on whose votes count"
    assert state.voters_heard(world.t) == ["A", "W"]
    assert [peer.name for peer, _ in state.beats(world.t, "web")] == ["B", "W"]
    assert [peer.name for peer, _ in votes.counted(state, world.t, "web")] == ["W"]
    assert node_of(world, "A").view(world.t).at_odds == ("B",)


@pytest.mark.parametrize("policy", ["available", "consistent etcd"])
def test_votes_count_only_under_one_policy(policy: str) -> None:
    world = settled()
    hear_b(world, policy=policy, agreed=AT_FIRST)
    assert not node_of(world, "A").state.is_at_one(node_of(world, "A").state.membership.peers["B"].beat)


def test_a_release_that_knows_no_agreement_votes_as_before() -> None:
    world = settled()
    hear_b(world)
    assert node_of(world, "A").state.voters_heard(world.t) == ["A", "B", "W"]


def test_no_set_is_made_while_such_a_release_is_heard() -> None:
    world = settled()
    hear_b(world)
    with_file(world, "AB")
    world.hosts["B"].is_paused = True
    assert agreement.next_wish(node_of(world, "A").state, world.t) is None


def test_whoever_comes_new_is_waited_for_until_it_is_heard() -> None:
    world = settled("AB", consistent=True)
    with_file(world, "ABC")
    world.run(world.t + 2.0)
    assert agreed_by(world).voters == ("A", "B")


def test_the_wish_is_told_with_what_it_waits_for() -> None:
    world = settled("AB")
    with_file(world, "ABC")
    text = agreement.explain(node_of(world, "A").state)
    assert text.startswith("the file of A names A, B, C, and the nodes agreed on A, B; C becomes a voter as soon as")
    assert node_of(world, "A").view(world.t).voters_differ == text
    assert agreement.explain(node_of(world, "B").state) == ""


def test_more_than_one_step_is_refused_with_the_steps() -> None:
    assert agreement.steps("ABW", "ABX").startswith("add X, then remove W; each time reload every node")
    assert agreement.steps("ABC", "ABCDE").startswith("add D, then add E;")
    assert not agreement.steps("ABC", "AB")
    assert not agreement.steps("ABC", "CBA")


def test_in_available_and_with_an_arbiter_nothing_is_agreed() -> None:
    settings = make_settings(consistent=False)
    assert not settings.has_agreed_voters
    assert not msgspec.structs.replace(make_settings(), arbiter="etcd").has_agreed_voters


def test_a_node_without_a_vote_takes_nothing_and_says_so() -> None:
    world = settled()
    world.hosts["A"].memory = Memory(agreed=Agreed(Ballot(0, ""), 0, ("B", "W")))
    world.crash("A")
    world.start("A")
    world.run(world.t + 1.0)
    state = node_of(world, "A").state
    why = candidacy.obstacle(state.groups["web"], state, world.t)
    assert why == "A is not among the voters that the nodes agreed on: B, W"


@pytest.mark.parametrize(
    "agreed",
    [
        Agreed(Ballot(1, "A"), 0, ()),
        Agreed(Ballot(1, "A"), 0, ("B", "A")),
        Agreed(Ballot(1, "A"), 0, ("A", "A")),
        Agreed(Ballot(1, "A"), -1, ("A",)),
        Agreed(Ballot(2**60, "A"), 0, ("A",)),
        Agreed(Ballot(1, "A"), 0, ("A" * 65,)),
    ],
)
def test_what_makes_no_sense_is_not_well_formed(agreed: Agreed) -> None:
    world = settled()
    beat = sent(node_of(world, "A").step(node_of(world, "A").deadline))[0]
    assert is_well_formed(beat)
    assert not is_well_formed(msgspec.structs.replace(beat, agreed=agreed))
