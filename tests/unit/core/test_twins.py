"""Two hosts with one name: their peers hear both, and the younger stands down before it has voted for anybody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from haagent.core.membership import Rival
from haagent.core.messages import Heard
from haagent.core.wire import Opener, Sealer
from tests.sim.invariants import Watch
from tests.sim.world import World
from tests.support.node_stage import node_of, settled
from tests.unit.core.test_membership import LIFE, NEXT_LIFE, SETTINGS, Verdict, beat, members

LEASE_S, INTERVAL_S = SETTINGS.lease_s, SETTINGS.interval_s
OLD_MS, YOUNG_MS = 60_000, 500


# --- how a peer knows


def test_a_life_that_comes_back_after_it_was_followed_lives_beside_the_other() -> None:
    membership = members(0.0, 0.1, 0.2)
    membership.hear(0.01, beat(5, echo=1, age_ms=OLD_MS), "eth0")
    assert membership.hear(0.11, beat(1, echo=2, boot=NEXT_LIFE, age_ms=YOUNG_MS), "eth0") is Verdict.NEW
    assert not membership.doubled(0.11), "it may have been started again"
    assert membership.hear(0.21, beat(6, echo=3, age_ms=OLD_MS), "eth0") is Verdict.NEW
    assert membership.doubled(0.21) == {"B": (Heard(NEXT_LIFE, 1, 1),)}
    assert membership.peers["B"].boot == LIFE
    assert membership.hear(0.22, beat(2, echo=3, boot=NEXT_LIFE, age_ms=YOUNG_MS), "eth0") is Verdict.TWIN
    assert membership.doubled(0.22) == {"B": (Heard(NEXT_LIFE, 2, 2),)}, "with what was heard last"
    assert membership.refused["doubled"] == 1


@pytest.mark.parametrize("ages", [(OLD_MS, YOUNG_MS), (YOUNG_MS, OLD_MS)])
def test_one_that_is_never_the_first_to_echo_is_noticed_as_well_and_the_elder_stays(ages: tuple[int, int]) -> None:
    membership = members(0.0, 0.1, 0.2, 0.3)
    membership.hear(0.01, beat(5, echo=1, age_ms=ages[0]), "eth0")
    membership.hear(0.11, beat(6, echo=2, age_ms=ages[0]), "eth0")
    membership.hear(0.12, beat(1, echo=2, boot=NEXT_LIFE, age_ms=ages[1]), "eth0")
    membership.hear(0.21, beat(7, echo=3, age_ms=ages[0]), "eth0")
    assert not membership.doubled(0.21)
    verdict = membership.hear(0.22, beat(2, echo=3, boot=NEXT_LIFE, age_ms=ages[1]), "eth0")
    is_first_elder = ages[0] > ages[1]
    assert verdict is (Verdict.TWIN if is_first_elder else Verdict.NEW)
    assert membership.peers["B"].boot == (LIFE if is_first_elder else NEXT_LIFE)
    assert membership.doubled(0.22) == {"B": (Heard(NEXT_LIFE, 2, 2) if is_first_elder else Heard(LIFE, 7, 7),)}


def test_late_datagrams_of_a_life_that_has_ended_do_not_make_two() -> None:
    membership = members(0.0, 0.1, 0.2)
    membership.hear(0.01, beat(5, echo=1, age_ms=OLD_MS), "eth0")
    membership.hear(0.11, beat(1, echo=2, boot=NEXT_LIFE, age_ms=1), "eth0")
    assert membership.hear(0.12, beat(6, echo=1, age_ms=OLD_MS), "eth0") is Verdict.OLD
    assert membership.hear(0.13, beat(7, echo=2, age_ms=OLD_MS), "eth0") is Verdict.OLD
    membership.hear(0.21, beat(2, echo=3, boot=NEXT_LIFE, age_ms=100), "eth0")
    assert membership.hear(0.22, beat(8, echo=2, age_ms=OLD_MS), "eth0") is Verdict.OLD, "it may have heard that before"
    assert not membership.doubled(0.22)


def test_where_it_cannot_be_told_who_is_elder_both_stand_down() -> None:
    membership = members(0.0, 0.1, 0.2)
    membership.hear(0.01, beat(5, echo=1, age_ms=1000), "eth0")
    membership.hear(0.11, beat(1, echo=2, boot=NEXT_LIFE, age_ms=1000), "eth0")
    membership.hear(0.21, beat(6, echo=3, age_ms=1200), "eth0")
    assert {life.boot for life in membership.doubled(0.21)["B"]} == {LIFE, NEXT_LIFE}


@pytest.mark.parametrize(("ages", "kept"), [((0, 0), LIFE), ((0, OLD_MS), LIFE), ((YOUNG_MS, 0), NEXT_LIFE)])
def test_an_older_release_says_no_age_and_would_not_stand_down(ages: tuple[int, int], kept: int) -> None:
    """Of two of them the one that was there first is kept."""
    membership = members()
    for number in range(1, 9):
        now = 0.1 * number
        membership.sent(number, now)
        one = beat(number, echo=number, age_ms=ages[0])
        other = beat(number, echo=number, boot=NEXT_LIFE, age_ms=ages[1])
        for said in (one, other) if number == 1 or number % 2 else (other, one):
            membership.hear(now, said, "eth0")
    assert membership.peers["B"].boot == kept


def test_the_younger_takes_the_place_of_the_elder_when_that_is_dead() -> None:
    membership = members(0.0, 0.1, 0.2)
    membership.hear(0.01, beat(5, echo=1, age_ms=OLD_MS), "eth0")
    membership.hear(0.11, beat(1, echo=2, boot=NEXT_LIFE, age_ms=YOUNG_MS), "eth0")
    membership.hear(0.21, beat(6, echo=3, age_ms=OLD_MS), "eth0")
    membership.sent(4, 1.0)
    assert membership.hear(1.01, beat(2, echo=4, boot=NEXT_LIFE, age_ms=YOUNG_MS), "eth0") is Verdict.NEW
    assert not membership.doubled(1.01)


def test_an_older_release_reads_the_heartbeat_and_is_read() -> None:
    said = msgspec.structs.replace(beat(1), age_ms=7, doubled={"A": (Heard(1, 2),)})
    (datagram,) = Sealer(keys=(), cluster="c", node="B", boot=LIFE).seal(said)
    assert Opener(keys=(), cluster="c", node="A", nodes=frozenset("ABC")).open(datagram) == said
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(said))
    without = msgspec.convert(fields[: said.__struct_fields__.index("age_ms")], type(said))
    assert (without.age_ms, without.doubled) == (0, {})


# --- what the lives do


def doubled(name: str = "A", *, after_s: float = 0.0) -> World:
    """A cluster in which there is a host T as well, started so much later, that says it is `name`."""
    world = settled()
    Watch(world, never_two=True, ordered=True)
    world.run(world.t + after_s)
    world.double(name, "T")
    world.start("T")
    return world


def stands_down(world: World, name: str) -> bool:
    return node_of(world, name).state.stands_down


def notes(world: World, name: str, kind: str) -> list[str]:
    return [line for line in world.transcript if f"{name} {kind} " in line]


@pytest.mark.parametrize("after_s", [0.005 * number for number in range(20)])
@pytest.mark.parametrize("name", ["A", "B", "W"])
def test_it_is_noticed_within_about_two_heartbeats_wherever_they_fall(name: str, after_s: float) -> None:
    world = doubled(name, after_s=after_s)
    world.run_to(lambda: stands_down(world, "T"), within_s=3.2 * INTERVAL_S)
    assert not node_of(world, "T").state.may_vote(world.hosts["T"].local(world.t))
    world.run(world.t + 5.0)
    assert world.serving("web") == ["A"]
    assert stands_down(world, "T")
    assert not notes(world, "A", "dropped")
    assert not any(stands_down(world, name) for name in "ABW")
    assert len(notes(world, "T", "twin")) == 1
    assert all(len(notes(world, peer, "twin")) == 1 for peer in {*"ABW"} - {name})


def test_everybody_says_what_to_do() -> None:
    world = doubled()
    world.run(world.t + 1.0)
    views: dict[str, Any] = {name: node_of(world, name).view(world.hosts[name].local(world.t)) for name in "ABWT"}
    assert "another host uses the name A too (B, W heard it)" in views["T"].stands_down
    assert "give its host a name of its own" in views["T"].stands_down
    assert not any(views[name].stands_down for name in "ABW")
    world.ask("T", "standby", node="B")
    assert world.answers[-1][2] == 4, "nobody would hear of it"
    assert "another host uses the name A too" in world.answers[-1][3]
    assert [views[name].doubled for name in "ABWT"] == [("A",), ("A",), ("A",), ()]


def test_it_votes_again_two_leases_after_nobody_hears_the_other_any_more() -> None:
    world = doubled()
    world.run(world.t + 1.0)
    world.crash("A")
    crashed_at = world.t
    world.run_to(lambda: not stands_down(world, "T"), within_s=4.5 * LEASE_S)
    assert world.t > crashed_at + 2.5 * LEASE_S
    assert notes(world, "T", "twin_gone")
    world.crash("B")
    world.run(world.t + 2.0)
    assert world.serving("web") == ["T"], "with the witness, as A did"


def test_a_silence_that_has_another_cause_is_not_told_as_if_it_were_for_that() -> None:
    """Somebody may count on an hour's lease that an earlier life has granted."""
    world = doubled()
    world.run(world.t + 1.0)
    node, now = node_of(world, "T"), world.hosts["T"].local
    node.state.silent_until = now(world.t) + 3600
    world.crash("A")
    world.run_to(lambda: not stands_down(world, "T"), within_s=4.5 * LEASE_S)
    assert not node.state.may_vote(now(world.t))


def stays_down_as_b_is_not_heard(world: World, *, served_by: str) -> None:
    world.run(world.t + 10.0)
    assert world.serving("web") == [served_by]
    assert stands_down(world, "T")
    view = node_of(world, "T").view(world.hosts["T"].local(world.t))
    assert "B cannot say that it is over: restart this agent if it is" in view.stands_down


def test_whoever_has_told_it_and_is_not_heard_may_hear_both_still() -> None:
    """{A, B} and {T, W} are a majority each, if T votes."""
    world = doubled()
    world.run(world.t + 1.0)
    world.split("AB", "TW")
    stays_down_as_b_is_not_heard(world, served_by="A")
    world.heal()
    world.crash("A")
    world.run_to(lambda: not stands_down(world, "T"), within_s=5 * LEASE_S)


def test_whoever_cannot_tell_it_may_hear_the_other_all_the_same() -> None:
    """{A, T} and {B, W} are a majority each, if T votes: A, which alone has told it, hears W no more."""
    world = settled()
    Watch(world, never_two=True, ordered=True)
    world.double("W", "T")
    world.split("B", "T")
    world.start("T")
    world.run_to(lambda: stands_down(world, "T"), within_s=3.2 * INTERVAL_S)
    world.split("AT", "BW")
    stays_down_as_b_is_not_heard(world, served_by="B")
    world.heal()
    world.crash("W")
    world.run_to(lambda: not stands_down(world, "T"), within_s=5 * LEASE_S)


def test_the_clone_of_a_witness_makes_no_second_majority() -> None:
    world = doubled("W")
    world.run(world.t + 1.0)
    world.split("AT", "BW")
    world.run(world.t + 3.0)
    assert world.serving("web") == ["B"]


def test_two_that_are_started_together_both_stand_down_and_the_others_serve() -> None:
    world = settled()
    Watch(world, never_two=True, ordered=True)
    world.double("A", "T")
    world.crash("A")
    world.start("A")
    world.start("T")
    world.run(world.t + 3.0)
    assert stands_down(world, "A")
    assert stands_down(world, "T")
    assert world.serving("web") == ["B"]
    world.crash("T")
    world.run_to(lambda: not stands_down(world, "A"), within_s=5 * LEASE_S)


def test_a_holder_that_is_told_lets_go() -> None:
    world = settled()
    life = node_of(world, "A").state.boot
    node_of(world, "B").state.membership.peers["A"].rivals[life] = Rival(Heard(life, 1), 0, until=float("inf"))
    world.run(world.t + 1.0)
    assert world.serving("web") == ["B"]
    assert stands_down(world, "A")


def test_a_witness_alone_is_not_believed_while_others_are_there() -> None:
    world = settled()
    world.double("A", "T")
    world.split("B", "T")
    world.start("T")
    world.run(world.t + 2.0)
    assert node_of(world, "T").state.doubled_by == ["W"]
    assert not stands_down(world, "T"), "T hears nobody else, and may just have been started"
    world.run(world.t + 4.0)
    assert stands_down(world, "T"), "there is nobody else who could know better"
    assert world.serving("web") == ["A"]


def test_in_available_nobody_waits_for_it() -> None:
    world = settled("AB", consistent=False)
    world.double("A", "T")
    world.start("T")
    world.run(world.t + 2.0)
    assert world.serving("web") == ["A"]
    assert stands_down(world, "T")
    world.stop("A")
    world.run(world.t + 1.0)
    assert world.serving("web") == ["B"]
