"""Particular stories of one node."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest

from haagent.core.event_kinds import Kind
from haagent.core.events import (
    Announce,
    AnyAction,
    AnyEvent,
    Asked,
    ClockSet,
    Drop,
    HealthChanged,
    HeartbeatHeard,
    Noticed,
    Reconfigured,
    Remember,
    Send,
    Take,
    TakeFailed,
    Woke,
)
from haagent.core.messages import Ballot, GroupBeat, Heartbeat, Order, is_well_formed
from haagent.core.node import Node
from tests.sim.world import make_settings
from tests.support.node_stage import ANOTHER, S, beat_of_b, build, group_of, node_of, of, sent, settled, started, web


def test_the_same_calls_give_the_same_answers() -> None:
    def story() -> list[list[AnyAction]]:
        node = Node(make_settings(nodes="A", groups={"web": ()}), boot=1, now=0.0, rng=random.Random(3))
        steps = [node.step(0.0, Woke())]
        for _ in range(40):
            steps.append(node.step(node.deadline, Woke()))
        return steps

    assert story() == story()


def test_a_node_that_is_the_whole_cluster_takes_after_its_silence() -> None:
    world = started("A", groups={"web": ()})
    world.run(0.3)
    assert web(world).why == "nobody holds it: it has just started and waits for votes of its earlier life to run out"
    world.run(0.5)
    assert world.serving("web") == ["A"]


def test_what_must_outlive_a_restart_is_remembered_when_it_changes() -> None:
    world = settled()
    node = node_of(world, "A")
    memory = of(node.step(world.t, Asked(1, "standby", node="B")), Remember)
    assert len(memory) == 1
    assert [order.key for order in memory[0].memory.orders] == ["standby/B"]
    assert memory[0].memory.round > 0
    assert of(node.step(world.t, Woke()), Remember) == []


def test_the_history_is_told_by_the_clock_on_the_wall() -> None:
    node = Node(make_settings(nodes="A"), boot=1, now=5.0, rng=random.Random(0), wall_offset_s=1_000.0)
    node.step(5.0, Noticed(Kind.RESTORED, "web", "first"))
    node.step(5.0, ClockSet(2_000.0))
    node.step(6.0, Noticed(Kind.RESTORED, "web", "second"))
    told = [(record.wall, record.text) for _, record in node.view(6.0).history if record.kind == "restored"]
    assert told == [(1_005.0, "first"), (2_006.0, "second")]


def test_ballots_do_not_go_back_when_all_nodes_restart() -> None:
    world = settled()
    first = web(world).ballot
    for name in "ABW":
        world.crash(name)
    for name in "ABW":
        world.start(name)
    world.run(3.0)
    second = web(world).ballot
    assert first is not None
    assert second is not None
    assert second > first


def test_a_check_s_word_however_long_leaves_the_node_heard() -> None:
    """Peers drop a heartbeat whose reason is longer than the bound: this node would be dead to them."""
    node = node_of(settled(), "A")
    beats = sent(node.step(1.0, HealthChanged("web", ok=False, why="curl: " + 500 * "x")))
    assert beats
    assert all(is_well_formed(beat) for beat in beats)


def test_an_order_to_move_to_a_node_that_we_do_not_know_is_not_followed() -> None:
    """The other nodes have read a newer configuration, this one has not yet."""
    world = settled()
    node, ballot = node_of(world, "A"), web(world).ballot
    order = Order("move/web", 1, "B", target="D", ballot=ballot, ttl_ms=10_000)
    node.step(world.t, build(beat_of_b(orders=(order,)), world))
    assert web(world).state is S.ACTIVE


def test_a_week_of_failed_activations_is_borne() -> None:
    """`failure_expiry` may be a week; a retry each minute makes thousands of failures."""
    settings_ = msgspec.structs.replace(make_settings(nodes="A", groups={"web": ()}), failure_expiry_s=168 * 3600.0)
    node = Node(settings_, boot=1, now=0.0, rng=random.Random(0))
    now, failed, pauses_s = 0.0, 0, itertools.cycle((*(7 * (0.08,)), 61.0))
    event: AnyEvent = Woke()
    while failed < 1_100:
        takes = [take for take in of(node.step(now, event), Take) if take.group == "web"]
        if takes:
            event, failed = TakeFailed("web", takes[0].ballot, "no such device"), failed + 1
        else:
            # Straight to the next attempt; a pause that long makes the node listen for one lease first.
            event, now = Woke(), now + next(pauses_s)
    node.step(now, event)
    assert group_of(node, now).failures == {"A": 1_100}


def test_a_group_taken_out_and_put_back_does_not_free_its_voters() -> None:
    """Two reloads within one lease: the voter is still bound by what it accepted."""
    world = settled("ABC")
    node, same = node_of(world, "C"), msgspec.structs.replace(world.settings, me="C")
    node.step(world.t, Reconfigured(msgspec.structs.replace(same, groups=same.groups[:1])))
    node.step(world.t, Reconfigured(same))
    want = Ballot(50, "B")
    said = Heartbeat("sim", "B", node_of(world, "B").state.boot, 10_000, 100, 350)
    said = msgspec.structs.replace(said, groups=(GroupBeat("web", promised=want, want=want),))
    promised = [
        group.promised
        for beat in sent(node.step(world.t, HeartbeatHeard(said, "eth0")))
        for group in beat.groups
        if group.name == "web"
    ]
    assert want not in promised


def test_in_maintenance_a_stop_leaves_everything_in_place_also_when_nobody_else_is_there() -> None:
    world = settled("AB", consistent=False)
    world.ask("A", "maintenance")
    world.run(world.t + 0.05)
    world.stop("B")
    world.run(world.t + 2.0)
    world.stop("A")
    assert world.hosts["A"].node is None
    assert world.serving("web") == ["A"]


def test_in_maintenance_that_nobody_has_heard_of_a_stop_waits_a_lease_and_lets_go() -> None:
    world = settled("AB", consistent=False)
    world.stop("B")
    world.run(world.t + 2.0)
    world.ask("A", "maintenance")
    world.stop("A")
    world.run(world.t + 0.3)
    assert world.serving("web") == ["A"]
    world.run(world.t + 0.1)
    assert world.hosts["A"].node is None
    assert world.serving("web") == []
    assert "too few are known to have the maintenance: not B" in "\n".join(world.transcript)


def test_in_maintenance_a_peer_that_is_down_for_certain_need_not_hear_of_it() -> None:
    world = settled("AB", consistent=False)
    world.crash("B")
    world.run(world.t + 2.0)
    assert world.confirm_down("A", "B")
    world.ask("A", "maintenance")
    world.stop("A")
    assert world.serving("web") == ["A"]


def test_in_maintenance_standby_waits_until_it_is_over() -> None:
    world = settled()
    world.ask("A", "maintenance")
    world.run(1.1)
    world.ask("A", "standby", node="A")
    world.run(4.0)
    assert world.serving("web") == ["A"]
    world.ask("A", "maintenance", on=False)
    world.run(5.0)
    assert world.serving("web") == ["B"]


def test_a_newer_order_survives_the_end_of_an_older_one() -> None:
    """B does not get ready in time. Meanwhile the operator has asked for C, and was told that it will be done."""
    world = settled("ABC")
    world.cut("A", "B")
    world.ask("A", "move", group="web", node="B", wait_s=0.2)
    world.run(world.t + 0.1)
    world.ask("A", "move", group="web", node="C", wait_s=10.0)
    world.run(world.t + 3.0)
    assert world.serving("web") == ["C"]


def test_an_old_word_of_a_former_holder_does_not_unseat_the_present_one() -> None:
    """A datagram of B's tenure was under way for longer than the lease. Since then A has taken the group."""
    world = started("ABW", consistent=False, groups={"web": ("B", "A")})
    world.run(10.0)
    assert world.serving("web") == ["B"]
    late: list[Heartbeat] = []
    genuine = world._broadcast
    world._broadcast = lambda host, beat: late.append(beat) if host.name == "B" else genuine(host, beat)  # type: ignore[assignment,return-value]
    world.run(10.1)  # said, and not arrived yet
    world._broadcast = genuine  # type: ignore[method-assign]
    world.crash("B")
    world.run(12.0)
    assert world.serving("web") == ["A"]
    actions = node_of(world, "A").step(12.0, HeartbeatHeard(late[-1], "eth0"))
    assert of(actions, Drop) == []


def test_in_consistent_a_holder_never_gives_way_to_a_claim() -> None:
    """Its own lease is proved by a majority, so the other's has run out, whatever the other believes."""
    world = settled()
    rival = GroupBeat("web", promised=ANOTHER, claim=ANOTHER, tenure=ANOTHER, held_ms=9_999_999, active=True)
    actions = node_of(world, "A").step(world.t, build(beat_of_b(groups=(rival,)), world))
    assert of(actions, Drop) == []
    assert of(actions, Announce), "but the neighbours may have believed it"


@pytest.mark.parametrize("lease_s", [0.0125, 0.0245, 0.35, 1 / 3])
def test_a_lease_is_announced_no_shorter_than_it_is_counted(lease_s: float) -> None:
    """The voters go by what the heartbeat says, in whole milliseconds, the holder by its own settings."""
    exact = msgspec.structs.replace(make_settings(), lease_s=lease_s)
    node = Node(exact, boot=1, now=0.0, rng=random.Random(1))
    beats = [action.beat for action in node.step(0.0, Woke()) if isinstance(action, Send)]
    assert lease_s <= beats[0].lease_ms / 1000 < lease_s + 0.001
