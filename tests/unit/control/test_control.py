"""The control socket: commands over it, and who may use it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haagent.config import ConfigError, Fault
from haagent.control import operations
from haagent.control.client import Client, ControlError
from haagent.control.place import AlreadyRunning, run_lock, running_pid
from haagent.control.server import _is_allowed
from haagent.core.events import Asked
from haagent.core.messages import Record
from haagent.core.view import MemberState
from haagent.parts import CannotReload
from tests.support.small_agent import FAILED_MOVE, ON_B, PLANNED_MOVE, SINCE, SmallAgent, group, member, running


def ask(run_dir: str, command: str, **arguments: Any) -> dict[str, Any]:
    with Client(run_dir) as client:
        return client.ask(command, **arguments)


def refused(run_dir: str, command: str, **arguments: Any) -> ControlError:
    with pytest.raises(ControlError) as caught:
        ask(run_dir, command, **arguments)
    return caught.value


class TestFailover:
    def test_moves_and_tells_the_outage(self, agent: SmallAgent, run_dir: str) -> None:
        agent.after, said = PLANNED_MOVE, []
        result = ask(run_dir, "failover", to="B", wait_s=5.0, progress=said.append)
        text = "web moved from A to B; clients were without it for 1.4 ms."
        assert result == {
            "group": "web",
            "from": "A",
            "to": "B",
            "ballot": "13.B",
            "outage_ms": 1.4,
            "already": False,
            "done": True,
            "text": text,
        }
        assert "web: this node is handing it over to B" in said
        assert agent.asked == [Asked(1, "move", "web", "B", on=True, force=False, wait_s=5.0)]

    def test_already_there_asks_nobody(self, agent: SmallAgent, run_dir: str) -> None:
        result = ask(run_dir, "failover", group="web", to="A")
        assert (result["already"], result["text"], agent.asked) == (True, "web is already on A.", [])

    def test_refusal_of_the_core_is_4(self, agent: SmallAgent, run_dir: str) -> None:
        agent.answer = (4, "B is offline; it cannot take web")
        error = refused(run_dir, "failover", to="B")
        assert (error.status, error.message) == (4, "B is offline; it cannot take web.")

    def test_ends_at_once_when_it_is_back_on_the_old_holder(self, agent: SmallAgent, run_dir: str) -> None:
        agent.after = FAILED_MOVE
        error = refused(run_dir, "failover", to="B", wait_s=60.0)
        assert error.status == 1
        assert error.message == "web did not move to B, it is back on A (B failed to activate it)."
        assert error.details["holder"] == "A"

    def test_says_what_is_known_at_the_deadline(self, agent: SmallAgent, run_dir: str) -> None:
        agent.after = PLANNED_MOVE[:1]
        error = refused(run_dir, "failover", to="B", wait_s=0.05)
        assert error.status == 1
        assert error.message.startswith("web is not on B after 0.05 s: this node is handing it over to B.")

    def test_does_not_wait_when_told_so(self, agent: SmallAgent, run_dir: str) -> None:
        assert ask(run_dir, "failover", to="B", wait_s=0.0)["done"] is False
        assert agent.asked[0].wait_s == 10.0

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            ({"to": "b"}, "no node `b`"),
            ({"group": "wbe", "to": "B"}, "Did you mean `web`?"),
            ({"to": "B", "wait_s": 1e9}, "not understood"),
            ({"to": "x" * 65}, "not understood"),
        ],
    )
    def test_words_that_mean_nothing_are_usage(self, run_dir: str, arguments: dict[str, Any], hint: str) -> None:
        error = refused(run_dir, "failover", **arguments)
        assert error.status == 2
        assert hint in error.message

    def test_the_group_must_be_named_when_there_are_several(self, agent: SmallAgent, run_dir: str) -> None:
        agent.become(groups=(group("leader"), group("db"), group("web")))
        error = refused(run_dir, "failover", to="B")
        assert (error.status, error.message) == (2, "Say which group to move: one of db, web.")


class TestOtherOrders:
    def test_standby_waits_until_the_node_holds_nothing(self, agent: SmallAgent, run_dir: str) -> None:
        agent.become(members=(member("A", MemberState.STANDBY), *agent.now.members[1:]), groups=(group("web"),))
        agent.after, said = ({}, ON_B), []
        result = ask(run_dir, "standby", node="A", wait_s=5.0, progress=said.append)
        assert result["text"] == "A is in standby and holds nothing."
        assert said == ["A still holds web"]

    def test_standby_that_cannot_move_its_group_fails(self, agent: SmallAgent, run_dir: str) -> None:
        error = refused(run_dir, "standby", node="A", wait_s=0.05)
        assert (error.status, error.details["holds"]) == (1, ["leader", "web"])

    def test_unstandby_and_maintenance_and_clear(self, agent: SmallAgent, run_dir: str) -> None:
        ask(run_dir, "unstandby", node="B")
        ask(run_dir, "maintenance", on=False, force=True)
        assert ask(run_dir, "clear")["groups"] == ["web"]
        words = [(asked.what, asked.on, asked.force) for asked in agent.asked]
        assert words == [("standby", False, False), ("maintenance", False, True), ("clear", True, False)]

    def test_maintenance_that_too_few_nodes_know_of(
        self, agent: SmallAgent, run_dir: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert ask(run_dir, "maintenance", on=True)["maintenance"] is True
        monkeypatch.setattr(operations, "KNOWN_S", 0.05)
        agent.now = msgspec.structs.replace(agent.now, maintenance_known=False, maintenance_unheard=("B",))
        error = refused(run_dir, "maintenance", on=True)
        assert (error.status, error.details["unheard"]) == (1, ["B"])
        assert "an agent that stops now releases what it holds" in error.message
        assert ask(run_dir, "maintenance", on=False)["maintenance"] is False

    def test_reload_refused_as_a_whole(self, agent: SmallAgent, run_dir: str) -> None:
        assert ask(run_dir, "reload") == {"text": "2 keys changed"}
        agent.reloaded = ConfigError("f.yaml", [Fault(3, "cluster", "missing", "write `cluster: ...`")])
        error = refused(run_dir, "reload")
        assert error.status == 2
        assert "f.yaml:3: cluster: missing" in error.message
        assert error.details["faults"][0]["line"] == 3

    def test_reload_that_a_part_cannot_prepare(self, agent: SmallAgent, run_dir: str) -> None:
        agent.reloaded = CannotReload("activation: no such interface")
        error = refused(run_dir, "reload")
        assert (error.status, error.message) == (
            1,
            "Refused; the running configuration stays: activation: no such interface",
        )

    def test_a_bug_in_an_answer_costs_that_answer_only(self, agent: SmallAgent, run_dir: str) -> None:
        agent.reloaded = RuntimeError("boom")
        assert refused(run_dir, "reload").status == 1
        assert ask(run_dir, "counters") == {"dropped_auth": 0, "dropped_malformed": 3}


class TestEvents:
    def test_newest_of_all_nodes(self, run_dir: str) -> None:
        told = ask(run_dir, "events")["events"]
        assert [(event["node"], event["kind"]) for event in told] == [("B", "online"), ("A", "taken")]
        assert [event["node"] for event in ask(run_dir, "events", last=1)["events"]] == ["A"]
        assert [event["node"] for event in ask(run_dir, "events", group="web")["events"]] == ["A"]
        assert refused(run_dir, "events", group="nix").status == 2

    def test_by_severity(self, agent: SmallAgent, tmp_path: Path) -> None:
        with running(agent, str(tmp_path)) as loop, Client(str(tmp_path)) as client:
            assert ask(str(tmp_path), "events", severity="warning")["events"] == []
            assert refused(str(tmp_path), "events", severity="fatal").status == 2
            stream = client.follow("events", follow=True, severity="warning")
            for index, kind in enumerate(
                ("online", "teleported", "failed", "lapsed"), start=7
            ):  # the second: of a newer release
                loop.call_soon_threadsafe(agent.happen, "B", Record(index, SINCE + index, kind, "web", "it is so"))
            told = [next(stream) for _ in range(2)]
            assert [(event["kind"], event["severity"]) for event in told] == [
                ("failed", "warning"),
                ("lapsed", "error"),
            ]
            told = ask(str(tmp_path), "events", last=3)["events"]
            assert [event["severity"] for event in told] == ["info", "warning", "error"]

    def test_follow_tells_each_once_also_after_a_restart(self, agent: SmallAgent, tmp_path: Path) -> None:
        with running(agent, str(tmp_path)) as loop, Client(str(tmp_path)) as client:
            stream = client.follow("events", follow=True)
            assert [next(stream)["text"] for _ in range(2)] == ["A is online", "active here: first in `prefer`"]
            again = Record(1, SINCE + 9, "online", "", "A is back")  # number 1 once more: another life
            loop.call_soon_threadsafe(agent.happen, "B", again)
            assert next(stream)["text"] == "A is back"


class TestWhoMay:
    def test_mode_of_the_socket(self, run_dir: str) -> None:
        assert stat.S_IMODE(os.stat(f"{run_dir}/haagent.sock").st_mode) == 0o660

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
    @pytest.mark.parametrize(
        ("uid", "gid", "groups", "is_allowed"),
        [
            (0, 0, [], True),
            (4000, 4000, [], False),
            (4000, 4001, [], True),
            (4000, 4000, [7, 4001], True),
        ],
    )
    def test_credentials_come_from_the_kernel(
        self, tmp_path: Path, uid: int, gid: int, groups: list[int], is_allowed: bool
    ) -> None:
        place = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place)
            listener.listen()
            os.chmod(place, 0o666)
            for directory in (tmp_path, *tmp_path.parents[:2]):
                os.chmod(directory, 0o755)
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    os.setgroups(groups)
                    os.setgid(gid)
                    os.setuid(uid)
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(place)
                        client.recv(1)
                os._exit(0)
            listener.settimeout(10)
            connection, _ = listener.accept()
            with connection:
                assert _is_allowed(connection, 4001) is is_allowed
            os.waitpid(child, 0)


class TestPlace:
    def test_one_agent_for_a_run_directory(self, tmp_path: Path) -> None:
        run_dir = str(tmp_path / "run")
        assert running_pid(run_dir) is None
        with run_lock(run_dir):
            assert running_pid(run_dir) == str(os.getpid())
            with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"), run_lock(run_dir):
                pass
        assert running_pid(run_dir) is None
        with run_lock(run_dir):
            pass

    def test_a_socket_left_by_a_crash_is_replaced(self, agent: SmallAgent, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "haagent.sock"))
        assert refused(str(tmp_path), "status").status == 3
        with running(agent, str(tmp_path)):
            assert ask(str(tmp_path), "status")["cluster"] == "shop"
        assert not (tmp_path / "haagent.sock").exists()

    def test_a_path_too_long_for_a_socket(self, agent: SmallAgent, tmp_path: Path) -> None:
        deep = tmp_path / ("x" * 120)
        deep.mkdir()
        with running(agent, str(deep)):
            assert ask(str(deep), "status")["cluster"] == "shop"

    def test_no_agent(self, tmp_path: Path) -> None:
        error = refused(str(tmp_path / "nowhere"), "status")
        assert error.status == 3
        assert "systemctl start haagent" in error.message


def test_an_agent_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haagent.control.client.ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / "haagent.sock"))
        frozen.listen()
        error = refused(str(tmp_path), "status")
    assert error.status == 1
    assert "frozen or overloaded" in error.message


@pytest.mark.parametrize("answer", [b"", b"{\n", b"[]\n", b'{"result": 1}\n', b'{"result"'])
def test_an_agent_that_answers_nonsense(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "haagent.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert refused(str(tmp_path), "status").status == 1
        thread.join()
