"""`haagent trace save` and `haagent replay`, as an operator uses them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from haagent.cli import main
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, AnyEvent, Asked, Noticed
from haagent.core.node import Node
from haagent.trace import Replay, Ring, Trace, TraceError, encode, read, replay, take
from haagent.trace import entry as entries
from tests.sim.world import World, make_settings, steady_world
from tests.support.recording import agent, recorded_world, rewritten
from tests.support.small_agent import SmallAgent, running


def saved(world: World, tmp_path: Path, name: str = "A") -> str:
    file = tmp_path / f"{name}.trace"
    file.write_bytes(encode(agent(world, name).trace()))
    return str(file)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_replay_prints_the_timeline_and_says_that_it_is_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, err = run(capsys, "replay", saved(recorded_world(), tmp_path))
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0].startswith("Trace of A in cluster sim, release ")
    assert any("web      taken     active here: nobody held it" in line for line in lines)
    assert any("web      dropped   B is ready" in line for line in lines)
    assert lines[-1].startswith("Same decisions: ")


def test_replay_shows_the_first_difference_and_ends_with_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = agent(recorded_world()).trace()

    def forget(number: int, step: entries.Entry) -> entries.Entry:
        return msgspec.structs.replace(step, decisions=()) if number == 3 else step

    file = tmp_path / "other.trace"
    file.write_bytes(encode(rewritten(trace, forget)))
    status, out, _ = run(capsys, "replay", str(file))
    assert status == 1
    assert "Other decisions, first at" in out
    assert "  recorded  nothing" in out
    status, out, _ = run(capsys, "replay", str(file), "--json")
    assert status == 1
    assert json.loads(out)["difference"]["recorded"] == []


def test_replay_says_that_another_core_has_decided(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = agent(recorded_world()).trace()
    header = msgspec.structs.replace(trace.header, release="9.9", core="0123456789abcdef")
    file = tmp_path / "other.trace"
    file.write_bytes(encode(msgspec.structs.replace(trace, header=header)))
    status, out, _ = run(capsys, "replay", str(file))
    assert status == 0, "it decides the same all the same"
    assert "It was decided by another core: release 9.9 (0123456789abcdef); this is" in out
    _, out, _ = run(capsys, "replay", str(file), "--json")
    assert json.loads(out)["core_matches"] is False


def test_a_trace_that_another_core_cannot_run_says_which_release_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Node, now: float, event: AnyEvent) -> list[AnyAction]:
        raise AttributeError("no attribute `new_thing`")

    trace = agent(recorded_world()).trace()
    monkeypatch.setattr(Node, "step", broken)
    with pytest.raises(AttributeError):  # a bug, where it is the very core that wrote it
        replay(trace)
    other = msgspec.structs.replace(trace, header=msgspec.structs.replace(trace.header, release="9.9", core="x"))
    with pytest.raises(TraceError, match=r"use release 9\.9"):
        replay(other)


def test_replay_tells_what_the_node_knew_at_an_instant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = saved(recorded_world(), tmp_path, "B")
    _, early, _ = run(capsys, "replay", file, "--at", "200ms")
    assert "web: here idle; nobody holds it: it has just started and waits" in early
    _, out, _ = run(capsys, "replay", file, "--at", "1500ms")
    assert "What B knew then: A online, B online, W witness; quorum." in out
    assert "web: here idle; A holds it" in out
    _, late, _ = run(capsys, "replay", file, "--at", "1h")
    assert "web: here active; this node holds it" in late
    _, clock, _ = run(capsys, "replay", file, "--at", "23:59:59")
    assert "What B knew then" in clock
    status, _, err = run(capsys, "replay", file, "--at", "noon")
    assert status == 2
    assert "write a time of day, 12:03:07.5, or a time since the beginning, 90s" in err
    assert run(capsys, "replay", file, "--at", "25:00:00")[0] == 2


def test_replay_of_nothing_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "replay", str(tmp_path / "none"))[0] == 2
    (tmp_path / "empty").touch()
    status, _, err = run(capsys, "replay", str(tmp_path / "empty"))
    assert status == 1
    assert "it is not a trace; `haagent trace save` writes one" in err


def test_a_refused_command_is_in_the_timeline() -> None:
    world = recorded_world()
    life = agent(world)
    life.step(world.t, Asked(99, "move", group="web", node="W"))
    life.step(world.t, Noticed(Kind.RESTORED, "web", "it was removed"))
    told = replay(life.trace()).timeline
    assert [(line.kind, line.text) for line in told[-2:]] == [
        ("refused", "W is a witness; it cannot take web"),
        ("restored", "it was removed"),
    ]


def test_times_are_the_wall_clocks() -> None:
    world = recorded_world()
    again: Replay = replay(agent(world).trace())
    assert again.first is not None
    assert again.last is not None
    assert again.last - again.first == pytest.approx(world.t, abs=0.2)


def test_a_fresh_ring_is_a_trace_without_steps() -> None:
    world = steady_world(make_settings(nodes="AB"))
    world.start("A")
    node = world.hosts["A"].node
    assert node is not None
    again = replay(read(encode(take(Ring(node), saved_at=1.0))))
    assert (again.steps, again.first, again.difference) == (0, None, None)


class TracedAgent(SmallAgent):
    """Answers the control socket as an agent does, with a trace of two recorded nodes."""

    def trace(self) -> Trace:
        return take(agent(recorded_world(20.0)).ring, saved_at=1.0)


def test_an_agents_trace_is_saved_through_its_socket(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("haagent.control.tracing.PIECE_BYTES", 1000)
    (tmp_path / "run").mkdir()
    with running(TracedAgent(), str(tmp_path / "run")):
        status, out, err = run(capsys, "trace", "save", "a.trace", "--run-dir", str(tmp_path / "run"))
        assert (status, err) == (0, "")
        assert out.startswith("wrote a.trace (")
        status, out, _ = run(capsys, "trace", "save", "--json", "--run-dir", str(tmp_path / "run"))
        answer = json.loads(out)
        assert answer["file"].startswith("haagent-A-2")
        assert answer["bytes"] == (tmp_path / answer["file"]).stat().st_size > 5000
        status, _, err = run(capsys, "trace", "save", "a.trace", "--run-dir", str(tmp_path / "run"))
        assert (status, "--force" in err) == (1, True)
    assert stat.S_IMODE((tmp_path / "a.trace").stat().st_mode) == 0o600
    assert run(capsys, "replay", "a.trace")[0] == 0
    assert run(capsys, "trace", "save", "--run-dir", str(tmp_path / "none"))[0] == 3
