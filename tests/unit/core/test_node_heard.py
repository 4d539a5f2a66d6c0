"""What a node hears: recordings, what is not for it, and whatever an authentic peer may say."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.core.events import Announce, AnyEvent, Drop, Dropped, HeartbeatHeard, Note, Send, Take, Taken, Woke
from haagent.core.limits import MAX_ROUND, MAX_WAIT_MS, MAX_WALL
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heard, Heartbeat, Order, Outline, Record, is_well_formed
from haagent.core.node import Node
from haagent.core.settings import Memory
from tests.sim.world import make_settings
from tests.support.node_stage import ANOTHER, beat_of_b, build, node_of, sent, settled
from tests.support.recorder import overheard


def test_heartbeats_of_earlier_lives_move_nothing() -> None:
    """Everything A and B said is recorded. A restarts; the recording is played to B and to the new A."""
    world = settled()
    said = overheard(world)
    world.run(2.0)
    world.ask("A", "move", group="web", node="B")
    world.run(3.0)
    world.ask("A", "move", group="web", node="A")
    world.run(4.0)
    recording = list(said)
    for name in "ABW":
        world.crash(name)
    world.run(5.0)
    for name in "ABW":
        world.start(name)
    world.run(6.0)
    before = {name: [(group.holder, group.state) for group in node_of(world, name).view(6.0).groups] for name in "ABW"}
    for beat in [*recording, *reversed(recording)]:
        for name in "ABW":
            for action in node_of(world, name).step(6.0, HeartbeatHeard(beat, "eth0")):
                assert not isinstance(action, Take | Drop | Note | Announce), action
    after = {name: [(group.holder, group.state) for group in node_of(world, name).view(6.0).groups] for name in "ABW"}
    assert after == before


def test_a_flood_of_recordings_is_not_answered_one_by_one() -> None:
    world = settled("AB", consistent=False)
    world.crash("B")
    world.run(2.0)
    node, answers = node_of(world, "A"), 0
    for number in range(2_000):
        beat = Heartbeat("sim", "B", boot=5, seq=number + 1, interval_ms=100, lease_ms=350)
        answers += len(sent(node.step(2.0 + number / 2_000, HeartbeatHeard(beat, "eth0"))))
    assert answers <= 110, "ten in an interval, at most"


@pytest.mark.parametrize("wrong", [{"cluster": "other"}, {"node": "Z"}, {"node": "A"}])
def test_a_heartbeat_that_is_not_for_us_is_as_if_it_had_not_been(wrong: dict[str, str]) -> None:
    world = settled()
    node = node_of(world, "A")
    said = build(beat_of_b(groups=(GroupBeat("web", claim=ANOTHER, held_ms=5),), **wrong), world)
    view = node.view(world.t)
    assert node.step(world.t, said) == []
    assert node.view(world.t) == view


# ---------------------------------------------------------------------- hostile, but authentic

names = st.sampled_from(["A", "B", "W", "Z", "", "~", "é" * 64])
groups = st.sampled_from(["web", "leader", "mail", ""])
# Not up to the very bound: see `Ballot`, the next one must still fit.
rounds = st.integers(0, MAX_ROUND - 10_000) | st.integers(0, 5)
ballots = st.none() | st.builds(Ballot, rounds, names)
integers = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 5)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 100)
instants = st.floats(0, MAX_WALL)
heards = st.builds(Heard, integers, integers)
group_beats = st.builds(
    GroupBeat,
    name=groups,
    promised=ballots,
    accepted=st.none() | st.builds(Accepted, st.builds(Ballot, rounds, names), integers, integers),
    want=ballots,
    claim=ballots,
    released=ballots,
    tenure=ballots,
    active=st.booleans(),
    eligible=st.booleans(),
    why_not=st.text(max_size=10),
    failures=integers,
    held_ms=integers,
    yield_to=names,
    gap_ms=numbers,
    down_ms=numbers,
    cause=st.text(max_size=10),
)
orders = st.builds(
    Order,
    key=st.sampled_from(["standby/A", "standby/W", "maintenance", "clear/web", "move/web", "move/Z", "x", "standby/"]),
    version=st.integers(1, MAX_ROUND - 10_000) | st.integers(1, 5),
    writer=names,
    on=st.booleans(),
    target=names,
    ballot=ballots,
    forced=st.booleans(),
    ttl_ms=st.integers(min_value=0, max_value=MAX_WAIT_MS),
)
records = st.builds(Record, integers, instants, st.text(max_size=5), groups, st.text(max_size=5))
digests = st.integers(0, 2**32 - 1)
hostile = st.builds(
    Heartbeat,
    cluster=st.just("sim"),
    node=st.sampled_from(["B", "W"]),
    boot=st.sampled_from([1, 2]),
    seq=st.integers(1, 30),
    interval_ms=st.just(100),
    lease_ms=st.sampled_from([100, 350, 3_600_000]),
    standby=st.booleans(),
    heard=st.dictionaries(names, heards, max_size=3),
    groups=st.lists(group_beats, max_size=3).map(tuple),
    orders=st.lists(orders, max_size=3).map(tuple),
    version=names,
    gateway=st.sampled_from([None, True, False]),
    stopping=st.booleans(),
    records=st.lists(records, max_size=3).map(tuple),
    recorded=st.dictionaries(names, heards, max_size=3),
    config_hash=names,
    silent_ms=integers,
    outline=st.none() | st.builds(Outline, digests, st.dictionaries(names, st.builds(Outline, digests), max_size=3)),
)


@pytest.mark.parametrize("consistent", [True, False])
@given(beats=st.lists(st.tuples(hostile, st.booleans(), st.sampled_from([0.0, 0.01, 0.2, 0.4])), max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_an_authentic_peer_says_the_node_lives(
    beats: list[tuple[Heartbeat, bool, float]], *, consistent: bool
) -> None:
    """It may say anything that has the right types and sizes: nothing raises, and we keep to the same bounds."""
    node = Node(
        make_settings(nodes="ABW", witnesses="W", consistent=consistent, alone_after_s=0.1),
        boot=7,
        now=0.0,
        rng=random.Random(0),
        memory=Memory(),
    )
    now = 0.0
    pending: list[AnyEvent] = [Woke()]
    for beat, is_confirmed, pause_s in beats:
        assert is_well_formed(beat)
        now += pause_s
        echo = {"A": Heard(7, node.state.next_seq - 1)} if is_confirmed else {}  # what makes its words count
        pending.append(HeartbeatHeard(msgspec.structs.replace(beat, heard=beat.heard | echo), "eth0"))
        while pending:
            for action in node.step(now, pending.pop(0)):
                match action:
                    case Send(ours):
                        assert is_well_formed(ours)
                        msgspec.msgpack.encode(ours)
                    case Take(group, ballot, _):
                        pending.append(Taken(group, ballot))
                    case Drop(group, ballot, _):
                        pending.append(Dropped(group, ballot))
        node.view(now)
