"""Traces: what was decided is decided again, from any point on, and a file that is not right says so."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, Drop, HeartbeatHeard, Noticed, Send, Woke
from haagent.core.node_state import NodeState
from haagent.trace import Trace, TraceError, encode, read, replay, take
from haagent.trace import entry as entries
from haagent.trace.file import MAGIC, Header
from haagent.trace.ring import SEGMENTS
from haagent.trace.snapshot import capture, restore
from tests.sim.invariants import Violation
from tests.sim.schedules import run_seed
from tests.sim.world import make_settings, steady_world
from tests.support.recording import Recorded, agent, recorded_world, recording, rewritten

# ---------------------------------------------------------------------- the promise


@given(
    seed=st.integers(0, 10**9),
    has_guardians=st.booleans(),
    limit_bytes=st.sampled_from((2_000, 16_000, 1_000_000)),
    step_limit=st.none() | st.integers(0, 300),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_part_of_any_run_is_decided_again(
    seed: int, has_guardians: bool, limit_bytes: int, step_limit: int | None
) -> None:
    """Random schedules with all their faults; the rings are small, so that they begin in the middle of lives."""
    with recording(limit_bytes=limit_bytes, step_limit=step_limit) as made:
        try:
            run_seed(seed, has_guardians=has_guardians, node_class=Recorded)  # type: ignore[arg-type]
        except Violation:
            pass  # another test's matter; what was decided was decided
        lives = list(made)
    for life in random.Random(seed).sample(lives, min(4, len(lives))):
        again = replay(life.trace())
        assert again.difference is None, again.difference
        assert again.steps == sum(segment.count for segment in life.ring.segments)
        kept = life.steps[len(life.steps) - again.steps :]
        assert again.decisions == sum(len(actions) for _, _, actions in kept)


def test_a_node_made_of_a_snapshot_goes_on_as_the_other_does() -> None:
    world = recorded_world(3.0)
    life = agent(world)
    double = restore(capture(life.node))
    before = len(life.steps)
    world.ask("B", "standby", node="B")
    world.run(6.0)
    for now, events, actions in life.steps[before:]:
        assert stripped(double.step(now, *events)) == stripped(actions)
    assert capture(double) == capture(life.node)


def stripped(actions: list[AnyAction]) -> tuple[object, ...]:
    return entries.entry(0.0, [Woke()], actions).decisions


def test_looking_at_a_node_changes_nothing() -> None:
    """Whoever asks for the status must not be part of what is decided."""
    world = steady_world(make_settings(nodes="AB", consistent=False))
    for name in "AB":
        world.start(name)
    for _ in range(100):
        world.run(world.t + 0.05)
        for host in world.hosts.values():
            assert host.node is not None
            before = capture(host.node)
            host.node.view(world.t)
            host.node.view(world.t + 1.0)
            assert capture(host.node) == before


def test_a_generators_state_is_part_of_it() -> None:
    world = steady_world(make_settings(nodes="AB"))
    world.start("A")
    node = world.hosts["A"].node
    assert node is not None
    double = restore(capture(node))
    assert [double.state.rng.random() for _ in range(5)] == [node.state.rng.random() for _ in range(5)]


def test_all_but_the_history_is_in_it() -> None:
    node = agent(recorded_world()).node
    double = restore(capture(node))
    assert vars(double).keys() == vars(node).keys() == {"state", "heeded", "is_unmoved"}
    assert double.state.groups == node.state.groups
    assert double.state.membership.peers["B"].groups == node.state.membership.peers["B"].groups
    assert node.state.history.merged()
    assert not double.state.history.merged()
    first, second = (one.state.history.add(0.0, Kind.FIT, "web", "") for one in (double, node))
    assert first.index == second.index


# ---------------------------------------------------------------------- the ring


def test_the_ring_stays_in_its_bounds_and_forgets_the_oldest() -> None:
    world = recorded_world(200.0, limit_bytes=40_000)
    ring = agent(world).ring
    assert len(ring.segments) == SEGMENTS
    assert (
        sum(segment.size for segment in ring.segments) <= 40_000 + SEGMENTS * 16_000
    )  # which each one's compressor may hold back
    again = replay(agent(world).trace())
    assert again.difference is None
    assert 0 < again.steps < len(agent(world).steps)


def test_what_the_core_has_not_looked_at_is_not_kept() -> None:
    """A flood of recordings neither costs anything nor pushes out what matters."""
    world = recorded_world()
    life = agent(world)
    heard = [event for _, events, _ in life.steps for event in events if isinstance(event, HeartbeatHeard)]
    before, now = life.trace(), life.steps[-1][0]
    for event in heard:
        life.step(now, event)
    assert life.trace() == before
    world.run(world.t + 1.0)
    assert replay(life.trace()).difference is None


def test_a_ring_can_be_taken_while_it_goes_on() -> None:
    with recording():
        world = steady_world(make_settings(nodes="AB", consistent=False), node_class=Recorded)  # type: ignore[arg-type]
        for name in "AB":
            world.start(name)
        counts = []
        for _ in range(5):
            world.run(world.t + 0.5)
            again = replay(agent(world).trace())
            assert again.difference is None
            counts.append(again.steps)
    assert counts == sorted(set(counts))


def test_what_cannot_be_written_down_ends_the_ring_and_not_the_agent() -> None:
    life = agent(recorded_world(limit_bytes=2_000))
    assert not life.ring.fault
    life.node.state.rng = object()  # type: ignore[assignment]
    now = life.steps[-1][0]
    for number in range(200):
        life.step(now, Noticed(Kind.RESTORED, "web", f"{number}"))
    assert "object cannot be part of a snapshot" in life.ring.fault
    with pytest.raises(TraceError, match="keeps no trace any more"):
        take(life.ring, saved_at=1.0)


# ---------------------------------------------------------------------- differences


def test_another_decision_is_found_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = agent(recorded_world()).trace()
    monkeypatch.setattr(NodeState, "slot_s", 0.05)
    genuine = NodeState.unfitness
    monkeypatch.setattr(NodeState, "unfitness", lambda self, name, now: genuine(self, name, now) or "it is too old")
    difference = replay(trace).difference
    assert difference is not None
    assert difference.event
    assert any("Take group=web" in text or "heartbeat" in text for text in difference.recorded)


def test_a_step_that_was_tampered_with_is_a_difference() -> None:
    trace = agent(recorded_world()).trace()

    def without_drop(_: int, step: entries.Entry) -> entries.Entry:
        decisions = tuple(one for one in step.decisions if not isinstance(one, Drop))
        return msgspec.structs.replace(step, decisions=decisions)

    difference = replay(rewritten(trace, without_drop)).difference
    assert difference is not None
    assert difference.recorded == ()
    assert [text.split()[:2] for text in difference.replayed] == [["Drop", "group=web"]]


def test_only_a_heartbeats_history_may_differ() -> None:
    world = recorded_world()
    send = next(one for _, _, actions in agent(world).steps for one in actions if isinstance(one, Send))
    other = msgspec.structs.replace(send, beat=msgspec.structs.replace(send.beat, records=()))
    assert stripped([other]) == stripped([send])
    other = msgspec.structs.replace(send, beat=msgspec.structs.replace(send.beat, standby=True))
    assert stripped([other]) != stripped([send])


# ---------------------------------------------------------------------- files


def test_a_file_survives_writing_and_reading() -> None:
    trace = agent(recorded_world()).trace()
    assert read(encode(trace)) == trace
    assert trace.header.node == "A"
    assert trace.is_of_this_core


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda data: b"", "it is not a trace"),
        (lambda data: b"\x7fELF" + data, "it is not a trace"),
        (lambda data: data.replace(b"trace 2\n", b"trace 9\n", 1), "it has layout 9, and this release reads layout 2"),
        (lambda data: data[:-1], "damaged or cut short"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged or cut short"),
        (lambda data: MAGIC + bytes(4), "makes no sense"),
    ],
)
def test_a_file_that_is_not_right_says_so(spoil: Callable[[bytes], bytes], complaint: str) -> None:
    data = encode(agent(recorded_world()).trace())
    with pytest.raises(TraceError, match=complaint):
        read(spoil(data))


def foreign(**fields: Any) -> Trace:
    header = Header("9.9", "0123456789abcdef", "sim", "A", 1.0)
    return Trace(**({"header": header, "state": zlib.compress(b"\x90"), "steps": ()} | fields))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((), []),
        (("settings",), None),
        (("groups",), [1]),
        (("groups", "web"), "Popen"),
        (("groups", "web", "state"), "dancing"),
        (("groups", "web", "lease"), {"ballot": 1}),
        (("rng",), "os.system"),
        (("rng",), [3, [1, 2, 3], None]),
        (("membership", "peers"), {"B": {"name": 7}}),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(where: tuple[str, ...], value: Any) -> None:
    state = {"": msgspec.msgpack.decode(capture(agent(recorded_world()).node))}
    *path, last = ("", *where)
    place: Any = state
    for step in path:
        place = place[step]
    place[last] = value
    with pytest.raises(TraceError, match="makes no sense"):
        foreign(state=zlib.compress(msgspec.msgpack.encode(state[""]))).node()


def test_steps_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TraceError, match="cut short"):
        list(foreign(steps=(zlib.compress(b"\0\0\0\x09x"),)).entries())
    with pytest.raises(TraceError, match="makes no sense"):
        list(foreign(steps=(zlib.compress(b"\0\0\0\x01x"),)).entries())
    with pytest.raises(TraceError, match="damaged"):
        list(foreign(steps=(b"not zlib",)).entries())


def test_what_cannot_be_encoded_as_a_node_is_said() -> None:
    node = agent(recorded_world()).node
    node.state.rng = object()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="object cannot be part of a snapshot"):
        capture(node)
