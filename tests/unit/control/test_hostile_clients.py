"""What a client of the control socket cannot do to the agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from haagent.control.client import Client, ControlError
from haagent.control.place import socket_path
from haagent.control.server import MAX_CLIENTS, MAX_LINE, ControlServer
from tests.support.small_agent import SmallAgent
from tests.unit.control.test_control import ask, refused


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
