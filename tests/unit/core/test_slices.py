"""What a node makes of a peer of whom it hears some slices and not others."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from haagent.core import maintenance, votes
from haagent.core.events import AnyEvent, HeartbeatHeard
from haagent.core.group import caution, handover, ownership, voting
from haagent.core.membership import NEVER, Newest
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heard, Heartbeat, Order
from haagent.core.node_state import NodeState
from haagent.core.slices import cut
from haagent.heartbeats.part import Heartbeats
from tests.sim.invariants import Watch
from tests.sim.world import World, make_settings
from tests.support.node_stage import last_word, node_of, sent, settled


def unheard_of(world: World, name: str, group: str) -> NodeState:
    """A has not heard for long what it says of the group, and hears everything else."""
    state = node_of(world, "A").state
    peer = state.membership.peers[name]
    assert peer.is_alive(world.t)
    peer.told[group] = peer.told[group]._replace(alive_until=NEVER)
    return state


def test_a_holder_that_does_not_hear_a_vote_goes_on_without_it_and_a_candidate_does_not() -> None:
    world = settled("AB", consistent=False)
    state = unheard_of(world, "B", "web")
    assert votes.electorate(state, world.t, "web", is_held=True) == (["A"], 1)
    assert votes.electorate(state, world.t, "leader", is_held=True) == (["A", "B"], 2)
    assert votes.electorate(state, world.t, "web", is_held=False) == (["A", "B"], 2)
    assert [peer.name for peer, _ in votes.counted(state, world.t, "web")] == []
    assert [peer.name for peer, _ in votes.counted(state, world.t, "leader")] == ["B"]


def test_only_what_was_heard_lately_disclaims() -> None:
    world = settled("AB", consistent=False)
    state = node_of(world, "A").state
    group, peer = state.groups["web"], state.membership.peers["B"]
    group.caution.last_held = Ballot(99, "B")
    assert not caution.lost_holder(group, state, world.t), "it claims nothing"
    unheard_of(world, "B", "web")
    assert caution.lost_holder(group, state, world.t) == "B"
    del peer.groups["web"], peer.told["web"]
    assert not caution.lost_holder(group, state, world.t), "it does not know the group"
    peer.whole_seq = 0
    assert caution.lost_holder(group, state, world.t) == "B", "it may be in a slice that was lost"


def test_a_vote_names_the_heartbeat_in_which_the_want_was_heard() -> None:
    """And not one whose slice with the group was lost: in that one it may have been another."""
    world = settled("AB", consistent=False)
    state = node_of(world, "A").state
    group, peer = state.groups["web"], state.membership.peers["B"]
    seq, want = peer.seq, Ballot(state.round + 1, "B")
    peer.newest = Newest(seq + 2, {1})
    handover._pledge_vote(group, state, world.t, peer, want)
    assert group.handover.pledge is not None
    assert group.handover.pledge.vote == Accepted(want, peer.boot or 0, seq)
    peer.groups["web"] = msgspec.structs.replace(peer.groups["web"], want=want)
    group.voter.hear_release(GroupBeat("web", released=group.attempt.ballot), "A", state.boot)
    handover.redeem(group, state, world.t)
    assert group.voter.accepted == Accepted(want, peer.boot or 0, seq)
    group.voter.hear_release(GroupBeat("web", released=want), "B", peer.boot or 0)
    group.voter.promised = Ballot(want.round + 1, "B")
    group.handover.to, group.candidacy.courteous_until = "B", world.t + 1
    voting._favour(group, state, world.t, "B")
    assert group.voter.accepted == Accepted(group.voter.promised, peer.boot or 0, seq)


def test_what_was_not_heard_for_a_lease_keeps_nobody_from_an_address() -> None:
    world = settled("AB", consistent=False)
    state = node_of(world, "A").state
    peer = state.membership.peers["B"]
    assert {said.name for said in ownership._last_word(state, world.t, peer)} == {"web", "leader"}
    peer.told["web"] = peer.told["web"]._replace(heard_at=world.t - state.settings.lease_s)
    assert {said.name for said in ownership._last_word(state, world.t, peer)} == {"leader"}


def test_maintenance_is_known_to_whom_has_heard_all_that_says_we_serve() -> None:
    world = settled()
    world.ask("A", "maintenance", on=True)
    world.run(world.t + 0.3)
    state = node_of(world, "A").state
    assert maintenance.is_known(state, world.t)
    for peer in state.membership.peers.values():
        peer.known_seq = state.groups["web"].served_seq - 1
        assert peer.echoed_seq > peer.known_seq
    assert not maintenance.is_known(state, world.t)


def test_a_holders_slices_are_answered_with_one_heartbeat() -> None:
    world = settled("AB", consistent=False, groups={f"g{number}": ("A",) for number in range(30)} | {"web": ("A",)})
    node, state = node_of(world, "B"), node_of(world, "B").state
    now = state.last_sent + 0.08  # less than an interval
    own, beat = node_of(world, "A").state, last_word(world, "A", to="B")
    echo = {"B": Heard(state.boot, state.next_seq - 1)}
    beat = msgspec.structs.replace(beat, seq=beat.seq + 1, part=0, parts=1, heard=echo)
    slices = cut(beat)
    assert len(slices) > 2
    answers = [sent(node.step(now, HeartbeatHeard(one, "eth0"))) for one in slices]
    assert [len(each) for each in answers] == [0] * (len(slices) - 1) + [1]
    assert answers[-1][0].heard["A"] == Heard(own.boot, beat.seq)
    votes = {group.name: group.accepted for group in answers[-1][0].groups}
    assert {vote.seq for vote in votes.values() if vote is not None} == {beat.seq}
    assert all(votes.values())


@pytest.mark.parametrize("room", [1, 300])
def test_slices_are_each_a_heartbeat_and_together_all_of_it(room: int) -> None:
    world = settled(groups={"web": ("A", "B"), "db": ("B",)})
    orders = tuple(Order(key, 1, "A") for key in ("clear/web", "maintenance", "standby/A"))
    beat = msgspec.structs.replace(last_word(world, "B"), orders=orders, former=(GroupBeat("old"), GroupBeat("older")))
    slices = cut(beat, room)
    assert len(slices) > 1
    assert [one.part for one in slices] == list(range(len(slices)))
    assert tuple(group for one in slices for group in one.groups) == beat.groups
    assert {name: echo for one in slices for name, echo in one.heard.items()} == beat.heard
    assert {said for one in slices for said in one.former} == {*beat.former}
    said = [[order.key for order in one.orders] for one in slices]
    assert all("maintenance" in keys for keys in said), "what is said of a group depends on it"
    assert sorted(key for keys in said for key in keys if key != "maintenance") == ["clear/web", "standby/A"]
    same = ("boot", "seq", "lease_ms", "agreed", "policy", "silent_ms", "stopping", "gateway")
    assert all(getattr(one, name) == getattr(beat, name) for one in slices for name in same)


def test_with_many_groups_and_some_loss_nothing_moves() -> None:
    groups = {f"g{number:02}": ("A", "B") if number % 2 else ("B", "A") for number in range(60)}
    world = World(1, make_settings(nodes="ABW", witnesses="W", groups=groups), turn_s=(0.0, 0.002))
    for name in "ABW":
        world.start(name)
    world.run(4.0)
    assert all(len(world.serving(name)) == 1 for name in groups)
    watch, world.loss = Watch(world, never_two=True, ordered=True), 0.02
    world.run(14.0)
    assert not watch.drops


def test_the_sealer_learns_who_does_not_read_slices() -> None:
    part, posted = Heartbeats.__new__(Heartbeats), list[AnyEvent]()
    part.is_listening, part._older, part._post = True, set(), posted.append
    said = Heartbeat("c", "B", 1, 1, 100, 350, groups=(GroupBeat("web"),))
    for parts, older in ((0, {"B"}), (1, set()), (5, set()), (0, {"B"})):
        opened = msgspec.structs.replace(said, parts=parts)
        part._opener = SimpleNamespace(open=lambda _, opened=opened: opened)  # type: ignore[assignment]
        part._heard(b"", "eth0")
        assert part._older == older
    assert len(posted) == 4
