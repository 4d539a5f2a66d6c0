"""A witness that says what it likes, as long as its seal is right: it is one vote that may be missing, and no more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random

import msgspec
import pytest

from haagent.core import agreement, events, limits
from haagent.core.group import counting
from haagent.core.group.state import Group
from haagent.core.group.transitions import TRYING
from haagent.core.membership import Membership
from haagent.core.messages import Agreed, Ballot, Heard, Heartbeat, is_well_formed
from haagent.core.node_state import NodeState
from tests.sim.invariants import Watch, check_settled
from tests.sim.world import Host, World, make_settings
from tests.support.hostile import distort, invent
from tests.support.node_stage import node_of

LEASE_S = 0.35


class Besieged(World):
    """From `turn` to `relent` W's heartbeats are distorted, and there are many more of them."""

    every_s = 0.1
    dice: Random | None = None
    seq = 0
    _last: Heartbeat | None = None
    how = staticmethod(distort)

    def turn(self, seed: int) -> None:
        self.dice = Random(seed)
        self._rage()

    def relent(self) -> None:
        """Its host is its owner's again."""
        self.dice = None
        self.crash("W")
        self.start("W")

    def _rage(self) -> None:
        if self.dice is not None:
            if self._last is not None:
                self._broadcast(self.hosts["W"], self._last)
            self.at(self.t + self.every_s, self._rage)

    def _broadcast(self, host: Host, beat: Heartbeat) -> None:
        assert is_well_formed(beat), (host.name, beat)
        if host.name != "W" or self.dice is None:
            super()._broadcast(host, beat)
            return
        self._last = beat
        for name in "AB":  # not the same to both, and sometimes a burst to one
            for _ in range(self.dice.choice((1,) * 15 + (20,))):
                self.seq = max(self.seq, beat.seq) + 1
                if host.node is not None:
                    host.node.state.next_seq = self.seq + 1  # it has said it: else the echo would end it (`identity`)
                event = events.HeartbeatHeard(self.how(self.dice, beat, seq=self.seq), "eth0")
                self.at(
                    self.t + self.rng.uniform(*self.delay_s), functools.partial(self._feed, self.hosts[name], event)
                )


def besieged(seed: int) -> tuple[Besieged, list[float]]:
    world = Besieged.steady(make_settings(nodes="ABW", witnesses="W"))
    for name in "ABW":
        world.start(name)
    Watch(world, never_two=True, ordered=True)
    world.run(62.0)  # in its first minute a voter may have forgotten a lease of a minute, and keeps silent if told so
    assert world.serving("web") == ["A"]
    outages: list[float] = []
    last = world.t

    def look() -> None:
        nonlocal last
        if world.serving("web"):
            if world.t - last > LEASE_S:
                outages.append(world.t - last)
            last = world.t

    world.looks.append(look)
    world.turn(seed)
    return world, outages


def anything(rng: Random, beat: Heartbeat, *, seq: int) -> Heartbeat:
    made = invent(rng, beat, seq=seq)
    return made if is_well_formed(made) else distort(rng, beat, seq=seq)


@pytest.mark.parametrize(("seed", "how"), [(0, distort), (1, distort), (2, anything)])
def test_it_takes_no_service_away_and_is_forgotten_when_it_is_over(seed: int, how: Callable[..., Heartbeat]) -> None:
    world, outages = besieged(seed)
    world.how = how  # type: ignore[method-assign]
    world.run(world.t + 15)
    assert not outages
    world.relent()
    world.run(world.t + 5.0)
    check_settled(world)
    for name in "AB":
        node, now = world.hosts[name].node, world.hosts[name].local(world.t)
        assert node is not None
        view = node.view(now)
        assert view.quorate
        assert not view.at_odds
        assert view.voters == ("A", "B", "W")
        assert {*node.state.membership.alive_names(now)} == {*"ABW"}
    world.run(world.t + 61.0)  # it is believed that it may have heard a lease of a minute, and forgotten that
    world.isolate("A")  # and now its vote is needed
    world.run(world.t + 2.0)
    assert world.serving("web") == ["B"]
    assert not outages or max(outages) < 2 * LEASE_S


def test_an_order_still_counts_after_it() -> None:
    world, _ = besieged(9)
    world.run(world.t + 5)
    world.relent()
    world.run(world.t + 2.0)
    world.ask("B", "standby", node="A")
    world.run(world.t + 3.0)
    assert world.serving("web") == ["B"]


def test_a_planned_move_and_a_take_succeed_in_spite_of_it() -> None:
    world, outages = besieged(5)
    world.run(world.t + 4)
    world.ask("A", "move", group="web", node="B")
    world.run(world.t + 5)
    assert world.serving("web") == ["B"]
    world.crash("B")
    world.start("B")
    world.run(world.t + 5)
    assert world.serving("web")
    assert max(outages, default=0.0) < 3.0


def outbid(rng: Random, beat: Heartbeat, *, seq: int) -> Heartbeat:
    promised = [group.promised.round if group.promised is not None else 0 for group in beat.groups]
    above = [Ballot(round_ + limits.LEAP // 2, "~") for round_ in promised]
    groups = (msgspec.structs.replace(group, promised=it) for group, it in zip(beat.groups, above, strict=True))
    return msgspec.structs.replace(beat, seq=seq, groups=tuple(groups))


def outbidding() -> None:
    world, outages = besieged(5)
    world.how = outbid  # type: ignore[method-assign]
    world.run(world.t + 1)
    world.ask("A", "move", group="web", node="B")
    world.run(world.t + 5)
    assert world.serving("web") == ["B"]
    assert not outages
    gap_s = node_of(world, "B").state.groups["web"].service.gap_s
    assert gap_s is not None
    assert gap_s < 0.03  # at once, and not in spite of stepping back


def test_who_has_promised_more_than_anybody_wants_holds_nobody_up() -> None:
    outbidding()


def boasting(rounds: int, versions: int) -> None:
    """What one's own file wishes it is believed. It speaks while its agent is away, and tells each something else."""
    world, outages = besieged(3)
    at_first = node_of(world, "A").state.agreed

    def boast(rng: Random, beat: Heartbeat, *, seq: int) -> Heartbeat:
        said = (node_of(world, name).state.agreed for name in "AB")
        highest, version = max((agreed.term, agreed.version) for agreed in said)
        agreed = Agreed(Ballot(highest.round + rounds, "W"), version + versions, at_first.voters)
        return msgspec.structs.replace(beat, seq=seq, agreed=agreed)

    world.how, world.every_s = boast, 0.005  # type: ignore[method-assign]
    world.run(world.t + 0.2)  # it has spoken
    world.crash("W")
    world.run(world.t + 10)
    assert (node_of(world, "A").state.agreed == at_first) == (limits.LEAP in (rounds, versions))
    world.relent()
    world.run(world.t + 2.0)
    assert len({node_of(world, name).state.agreed for name in "ABW"}) == 1
    assert not outages
    check_settled(world)


@pytest.mark.parametrize("by", [limits.LEAP, limits.STEP])
def test_who_votes_is_agreed_at_once_when_it_is_over(by: int) -> None:
    boasting(by, 0)
    boasting(0, by)


# --- without its rules


def easily_impressed(group: Group, state: NodeState, now: float, genuine=counting.is_behind) -> bool:  # type: ignore[no-untyped-def]
    return counting.is_outbid(group, state, now) if group.state in TRYING else genuine(group, state, now)


def forgotten() -> None:
    test_it_takes_no_service_away_and_is_forgotten_when_it_is_over(0, distort)


def at_any_time(state: NodeState, now: float, theirs: Agreed) -> bool:
    return {*theirs.voters} == {*state.settings.voters}


def any_echo(self: Membership, beat: Heartbeat) -> Heard:
    echo = beat.heard.get(self.settings.me)
    return echo if echo is not None and echo.boot == self.boot else Heard(self.boot, 0)


@pytest.mark.parametrize(
    ("story", "where", "rule", "without"),
    [
        (outbidding, counting, "is_behind", easily_impressed),
        (forgotten, Membership, "_echo", any_echo),
        (functools.partial(boasting, limits.STEP, 0), agreement, "_is_time_for_another", at_any_time),
        (functools.partial(boasting, 0, limits.LEAP), agreement, "STEP", limits.LEAP),
        (functools.partial(boasting, 0, limits.STEP), NodeState, "see_version", lambda self, version: None),
    ],
)
def test_each_rule_is_needed(
    story: Callable[[], None], where: object, rule: str, without: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, rule, without)
    with pytest.raises(AssertionError):
        story()
