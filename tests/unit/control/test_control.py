"""The control socket: commands over it, who may use it, and what a client cannot do to the agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
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
from haagent.control.place import AlreadyRunning, run_lock, running_pid, socket_path
from haagent.control.server import MAX_CLIENTS, MAX_LINE, ControlServer, _is_allowed
from haagent.core.events import Asked
from haagent.core.messages import Record
from haagent.core.view import MemberState
from haagent.parts import CannotReload
from tests.support.small_agent import FAILED_MOVE, ON_B, PLANNED_MOVE, SINCE, SmallAgent, group, member, running


@pytest.fixture
def agent() -> SmallAgent:
    return SmallAgent()


@pytest.fixture
def run_dir(agent: SmallAgent, tmp_path: Path):
    with running(agent, str(tmp_path)):
        yield str(tmp_path)


def ask(run_dir: str, command: str, **arguments: Any) -> dict[str, Any]:
    with Client(run_dir) as client:
        return client.ask(command, **arguments)


def refused(run_dir: str, command: str, **arguments: Any) -> ControlError:
    with pytest.raises(ControlError) as caught:
        ask(run_dir, command, **arguments)
    return caught.value


def raw(run_dir: str, data: bytes) -> list[dict[str, Any]]:
    """Whatever the agent answers until it closes, or until it has nothing more to say to a client that is done."""
    with socket.socket(socket.AF_UNIX) as connection, socket_path(run_dir) as path:
        connection.settimeout(10)
        connection.connect(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
    return [json.loads(line) for line in answer.splitlines()]


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


class TestHostileClients:
    @pytest.mark.parametrize(
        "line",
        [
            b"\n",
            b"null\n",
            b"[]\n",
            b'"status"\n',
            b"{}\n",
            b'{"command": 1}\n',
            b'{"command": "sing"}\n',
            b'{"command": "status", "x": 1}\n',
            b'{"command": "failover", "to": ["B"]}\n',
            b'{"command": "failover", "to": "B", "wait_s": NaN}\n',
            b'{"command": "failover", "to": "B", "wait_s": -1}\n',
            b'{"command": "events", "last": 1e99}\n',
            b"[" * 60_000 + b"\n",
            b'{"command":' * 5_000 + b"\n",
            b"\xff\xfe\x00\n",
        ],
    )
    def test_nonsense_is_answered_with_an_error(self, run_dir: str, line: bytes) -> None:
        answers = raw(run_dir, line)
        assert [answer["error"]["status"] for answer in answers] == [2]
        assert len(answers[0]["error"]["message"]) < 500
        assert ask(run_dir, "status")["cluster"] == "shop"

    def test_a_line_without_end_is_cut_off(self, run_dir: str) -> None:
        answers = raw(run_dir, b"x" * (40 * MAX_LINE))
        assert [answer["error"]["status"] for answer in answers] == [2]
        assert ask(run_dir, "status")["cluster"] == "shop"

    def test_random_bytes(self, run_dir: str) -> None:
        chance = random.Random(2)
        words = [b'{"command": "', b"status", b'"}', b"\n", b"[", b'{"to":', b"\x00", b"failover", b"\\u0000", b'"']
        for _ in range(300):
            pieces = [chance.choice([chance.choice(words), chance.randbytes(chance.randrange(40))]) for _ in range(9)]
            for answer in raw(run_dir, b"".join(pieces)):
                assert answer.keys() <= {"error", "result"}
        assert ask(run_dir, "status")["cluster"] == "shop"

    def test_too_many_clients_are_sent_away_and_room_returns(self, run_dir: str) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(MAX_CLIENTS):
                stack.enter_context(Client(run_dir)).ask("counters")
            assert "try again" in refused(run_dir, "counters").message
        # Closed clients are noticed one round of the loop later: ask until there is room.
        for _ in range(1000):
            with contextlib.suppress(ControlError):
                ask(run_dir, "counters")
                return
        pytest.fail("no room after all clients had left")

    def test_a_flood_of_connections(self, run_dir: str) -> None:
        with contextlib.ExitStack() as stack, socket_path(run_dir) as path:
            for _ in range(300):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                with contextlib.suppress(OSError):
                    connection.connect(path)
                    connection.sendall(b"?")
        for _ in range(1000):
            with contextlib.suppress(ControlError):
                ask(run_dir, "counters")
                return
        pytest.fail("no room after the flood")

    @pytest.mark.parametrize("turns", range(8))
    def test_who_comes_while_the_socket_is_closed_is_not_served(
        self, agent: SmallAgent, tmp_path: Path, turns: int
    ) -> None:
        async def left() -> int:
            server = ControlServer(agent, run_dir=str(tmp_path))
            await server.open()
            with socket.socket(socket.AF_UNIX) as connection, socket_path(str(tmp_path)) as path:
                connection.connect(path)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await server.close()
                for _ in range(8):
                    await asyncio.sleep(0)
                return len(asyncio.all_tasks())

        assert asyncio.run(left()) == 1

    def test_a_client_that_leaves_does_not_keep_its_place(self, agent: SmallAgent, run_dir: str) -> None:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as connection, socket_path(run_dir) as path:
                connection.connect(path)
                connection.sendall(b'{"command": "failover", "to": "B", "wait_s": 3600}\n')
        assert ask(run_dir, "counters")["dropped_malformed"] == 3


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
