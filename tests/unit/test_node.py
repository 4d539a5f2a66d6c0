"""The one door: every event in every state, and what no event may cause."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.core.events import (
    URGENCY,
    AddressFound,
    Announce,
    AnyAction,
    AnyEvent,
    Asked,
    ClockSet,
    Drop,
    Dropped,
    GatewayChanged,
    HealthChanged,
    HeartbeatHeard,
    Note,
    Noticed,
    Reconfigured,
    Remember,
    Send,
    StopRequested,
    Take,
    TakeFailed,
    Taken,
    Woke,
)
from haagent.core.limits import MAX_ROUND, MAX_WAIT_MS
from haagent.core.messages import (
    Accepted,
    Ballot,
    GroupBeat,
    Heard,
    Heartbeat,
    Order,
    Record,
    is_well_formed,
)
from haagent.core.node import Node
from haagent.core.settings import Memory, Settings
from haagent.core.view import GroupState, GroupView
from tests.sim.world import World, make_settings, steady_world

T = TypeVar("T")
S = GroupState
# From where to where one event may lead. IDLE leads to TAKING at once where this node alone is the majority.
ARCS = {
    S.IDLE: {S.WANTING, S.CLAIMING},
    S.WANTING: {S.IDLE, S.CLAIMING},
    S.CLAIMING: {S.IDLE, S.TAKING},
    S.TAKING: {S.ACTIVE, S.YIELDING, S.DROPPING, S.IDLE},
    S.ACTIVE: {S.YIELDING, S.DROPPING, S.IDLE},
    S.YIELDING: {S.ACTIVE, S.DROPPING, S.IDLE},
    S.DROPPING: {S.IDLE, S.WANTING},
}
HELD = (S.TAKING, S.ACTIVE, S.YIELDING, S.DROPPING)


def node_of(world: World, name: str) -> Node:
    node = world.hosts[name].node
    assert node is not None
    return node


def web(world: World, name: str = "A") -> GroupView:
    return group_of(node_of(world, name), world.t)


def group_of(node: Node, now: float, name: str = "web") -> GroupView:
    return next(group for group in node.view(now).groups if group.name == name)


def started(nodes: str = "ABW", **options: object) -> World:
    world = steady_world(make_settings(nodes=nodes, witnesses="W" if "W" in nodes else "", **options))  # type: ignore[arg-type]
    for name in nodes:
        world.start(name)
    return world


def settled(nodes: str = "ABW", **options: object) -> World:
    world = started(nodes, **options)
    world.run(1.0)
    assert web(world).holder == "A"
    return world


def in_state(state: GroupState) -> World:
    """A cluster in which node A has just come into this state."""
    world = started()
    if state is not S.IDLE:
        if state in (S.YIELDING, S.DROPPING):
            world.run(1.0)
            world.ask("A", "move", group="web", node="B")
        world.run_to(lambda: web(world).state is state, within_s=2.0)
    assert web(world).state is state
    return world


def sent(actions: list[AnyAction]) -> list[Heartbeat]:
    return [action.beat for action in actions if isinstance(action, Send)]


def of(actions: list[AnyAction], kind: type[T]) -> list[T]:
    return [action for action in actions if isinstance(action, kind)]


# ---------------------------------------------------------------------- the cross product

TENURE = Ballot(-1, "stands for the ballot of the present tenure")
ANOTHER = Ballot(99, "B")


def beat_of_b(**more: object) -> Callable[[World], AnyEvent]:
    """B's last word, said again with a change."""

    def build(world: World) -> AnyEvent:
        said = msgspec.structs.replace(
            Heartbeat("sim", "B", node_of(world, "B").scene.boot, 10_000, 100, 350),
            heard={"A": Heard(node_of(world, "A").scene.boot, node_of(world, "A").scene.next_seq - 1)},
        )
        return HeartbeatHeard(msgspec.structs.replace(said, **more), "eth0")

    return build


def other_settings(world: World) -> Settings:
    other = make_settings(nodes="ABW", witnesses="W", groups={"mail": ("A",)})
    return msgspec.structs.replace(other, me="A")


EVENTS: dict[str, AnyEvent | Callable[[World], AnyEvent]] = {
    "woke": Woke(),
    "unfit": HealthChanged("web", ok=False, why="its check fails"),
    "unfit, unexplained": HealthChanged("web", ok=False),
    "fit": HealthChanged("web", ok=True),
    "health of nothing": HealthChanged("mail", ok=False),
    "gateway lost": GatewayChanged(reachable=False),
    "taken": Taken("web", TENURE),
    "taken, another": Taken("web", ANOTHER),
    "taken, of nothing": Taken("mail", ANOTHER),
    "take failed": TakeFailed("web", TENURE, "no such device"),
    "take failed, another": TakeFailed("web", ANOTHER, "no such device"),
    "take failed, of nothing": TakeFailed("mail", ANOTHER, "no such device"),
    "dropped": Dropped("web", TENURE),
    "dropped, another": Dropped("web", ANOTHER),
    "dropped, of nothing": Dropped("mail", ANOTHER),
    "address found": AddressFound("web"),
    "address of nothing": AddressFound("mail"),
    "move to B": Asked(1, "move", group="web", node="B"),
    "move to A": Asked(1, "move", group="web", node="A", force=True),
    "move to W": Asked(1, "move", group="web", node="W"),
    "move nothing": Asked(1, "move", group="mail", node="B"),
    "move nowhere": Asked(1, "move", group="web", node="Z"),
    "move, unsaid": Asked(1, "move"),
    "standby A": Asked(1, "standby", node="A"),
    "standby, unsaid": Asked(1, "standby"),
    "back from standby": Asked(1, "standby", node="A", on=False),
    "maintenance": Asked(1, "maintenance"),
    "maintenance off": Asked(1, "maintenance", on=False),
    "clear": Asked(1, "clear", group="web"),
    "clear all": Asked(1, "clear"),
    "dance": Asked(1, "dance"),
    "reconfigured, group gone": lambda world: Reconfigured(other_settings(world)),
    "reconfigured, same": lambda world: Reconfigured(msgspec.structs.replace(world.settings, me="A")),
    "clock set": ClockSet(1.8e9),
    "noticed": Noticed("restored", "web", "an address was gone"),
    "stop": StopRequested(),
    "heard: nothing of web": beat_of_b(),
    "heard: free": beat_of_b(groups=(GroupBeat("web"),)),
    "heard: wants": beat_of_b(groups=(GroupBeat("web", promised=ANOTHER, want=ANOTHER),)),
    "heard: claims": beat_of_b(groups=(GroupBeat("web", promised=ANOTHER, claim=ANOTHER),)),
    "heard: holds": beat_of_b(groups=(GroupBeat("web", promised=ANOTHER, claim=ANOTHER, held_ms=9_999_999),)),
    "heard: yields to us": beat_of_b(groups=(GroupBeat("web", claim=ANOTHER, held_ms=5, yield_to="A", active=True),)),
    "heard: released": beat_of_b(groups=(GroupBeat("web", released=ANOTHER, down_ms=3.0, yield_to="A"),)),
    "heard: promised another": beat_of_b(groups=(GroupBeat("web", promised=Ballot(77, "W")),)),
    "heard: stops": beat_of_b(stopping=True),
    "heard: a new life": beat_of_b(boot=424242, seq=1),
    "heard: silent voter": beat_of_b(silent_ms=300),
    "heard: foreign": beat_of_b(cluster="other"),
    "heard: of nobody": beat_of_b(node="Z"),
    "heard: ourselves": beat_of_b(node="A"),
    "heard: strange orders": beat_of_b(orders=(Order("standby/Z", 5, "Z"), Order("reboot", 5, "B"), Order("", 5, ""))),
    "heard: maintenance": beat_of_b(orders=(Order("maintenance", 5, "B"),)),
}


def build(event: AnyEvent | Callable[[World], AnyEvent], world: World) -> AnyEvent:
    made = event(world) if callable(event) else event
    if isinstance(made, Taken | TakeFailed | Dropped) and made.ballot == TENURE:
        beats = sent(node_of(world, "A").step(world.t, Woke()))
        held = [group.tenure or group.claim for beat in beats for group in beat.groups if group.name == "web"]
        now_held = web(world).ballot
        return msgspec.structs.replace(made, ballot=(held and held[0]) or now_held or ANOTHER)
    return made


def check_step(node: Node, before: GroupState, now: float, actions: list[AnyAction], *, is_same_group: bool) -> None:
    order = [type(action) for action in actions]
    assert order == sorted(order, key=URGENCY.index), "letting go first, words last"
    for beat in sent(actions):
        assert is_well_formed(beat)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(beat), type=Heartbeat) == beat
        for group in beat.groups:
            assert not (group.want and group.claim)
            assert group.claim is None or group.promised is None or group.promised >= group.claim
            assert group.held_ms == 0 or group.claim is not None
            assert not group.active or group.held_ms > 0
            assert group.released is None or group.claim is None or group.claim > group.released
    assert node.deadline >= now
    group = next((group for group in node.view(now).groups if group.name == "web"), None)
    if group is None or not is_same_group:
        return
    assert group.state is before or group.state in ARCS[before], f"{before} -> {group.state}"
    drops = [drop for drop in of(actions, Drop) if drop.group == "web"]
    if group.state is S.DROPPING and before is not S.DROPPING:
        assert drops
    if before is S.CLAIMING and group.state is S.TAKING:
        assert [take for take in of(actions, Take) if take.group == "web" and take.until > now]
    if group.state in (S.ACTIVE, S.YIELDING):
        assert group.lease_s is not None
        assert group.lease_s > 0


@pytest.mark.parametrize("state", list(GroupState))
@pytest.mark.parametrize("what", list(EVENTS))
def test_every_event_in_every_state(state: GroupState, what: str) -> None:
    world = copy.deepcopy(
        STATES[state]
    )  # its nodes, that is: what is under way on its links still goes to the original
    event = build(EVENTS[what], world)
    node, now, before = node_of(world, "A"), world.t, web(world).state
    actions = node.step(now, event)
    check_step(node, before, now, actions, is_same_group=what != "reconfigured, group gone")
    for _ in range(30):  # and whatever follows when time passes
        now = min(node.deadline, now + 1.0)
        states = {group.name: group.state for group in node.view(now).groups}
        actions = node.step(now, Woke())
        if "web" in states:
            check_step(node, states["web"], now, actions, is_same_group=True)


STATES = {state: in_state(state) for state in GroupState}


@pytest.mark.parametrize("state", list(GroupState))
def test_after_it_has_stopped_a_node_does_nothing_any_more(state: GroupState) -> None:
    world = in_state(state)
    node = node_of(world, "A")
    world.stop("A")
    world.run(world.t + 3.0)
    assert world.hosts["A"].node is None
    assert node.step(world.t, Woke()) == []
    assert node.step(world.t, Asked(1, "clear")) == []


# ---------------------------------------------------------------------- recordings


def test_heartbeats_of_earlier_lives_move_nothing() -> None:
    """Everything A and B said is recorded. A restarts; the recording is played to B and to the new A."""
    world = settled()
    recording: list[Heartbeat] = []
    genuine = world._broadcast
    world._broadcast = lambda host, beat: (recording.append(beat), genuine(host, beat))[1]  # type: ignore[assignment,func-returns-value]
    world.run(2.0)
    world.ask("A", "move", group="web", node="B")
    world.run(3.0)
    world.ask("A", "move", group="web", node="A")
    world.run(4.0)
    world._broadcast = genuine  # type: ignore[method-assign]
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
numbers = st.floats() | st.floats(0, 100)
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
records = st.builds(Record, integers, numbers, st.text(max_size=5), groups, st.text(max_size=5))
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
        echo = {"A": Heard(7, node.scene.next_seq - 1)} if is_confirmed else {}  # what makes its words count
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


# ---------------------------------------------------------------------- particular stories


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
    node.step(5.0, Noticed("restored", "web", "first"))
    node.step(5.0, ClockSet(2_000.0))
    node.step(6.0, Noticed("restored", "web", "second"))
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
    said = Heartbeat("sim", "B", node_of(world, "B").scene.boot, 10_000, 100, 350)
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
    world.stop("B")
    world.run(2.0)
    actions = node_of(world, "A").step(world.t, StopRequested())
    assert of(actions, Drop) == []


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
