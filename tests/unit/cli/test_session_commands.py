"""`haagent sessions ls`, `get`, `flush` and `stats` against a real door."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.cli import main
from tests.support.session_operator import BINARY, PATIENCE_S, PROGRAM, SOON_MS, Stage
from tests.support.small_agent import SmallAgent, running


class TestLooking:
    def test_ids_are_hashed_and_can_be_found_by_their_hash(self, stage: Stage) -> None:
        stage.fill()
        status, out, err = stage.run("ls")
        assert (status, err) == (0, "")
        assert out.splitlines()[0].split() == ["DB", "TYPE", "BYTES", "EXPIRES", "IN", "KEY"]
        assert len(out.splitlines()) == 7
        name = f"session:@{hashlib.sha256(b'session:one').hexdigest()[:12]}"
        assert name in out
        assert f"  @{hashlib.sha256(b'hash').hexdigest()[:12]}" in out, "what is no session's prefix is hidden too"
        for secret in ("one", "Ada", "hello", "hash\n"):
            assert secret not in out
        status, out, err = stage.run("get", name)
        assert (status, err) == (0, "")
        assert out.splitlines()[:2] == [f"key      {name}", "type     string"]
        assert out.splitlines()[2].startswith("size     5 bytes, ")
        assert "hello" not in out
        assert out.splitlines()[3].startswith("expires  in ")
        assert stage.run("get", name, "--reveal")[1].endswith("\n\nhello\n")
        assert stage.json("get", "session:one")["key"] == name

    def test_revealed_it_is_what_is_there(self, stage: Stage) -> None:
        stage.fill()
        listed = stage.json("ls", "--reveal")["sessions"]
        assert {one.get("key") for one in listed} == {  # type: ignore[attr-defined]
            *("session:one", "empty", "spring:session:sessions:1", "session:three", "hash", None)
        }
        one = stage.json("get", "session:one", "--reveal")
        assert one["expires_at"] == SOON_MS / 1000
        assert (one["type"], one["db"], one["value"], one["length"]) == ("string", 0, "hello", 5)
        spring = stage.json("get", "spring:session:sessions:1", "--reveal")
        assert spring["fields"] == 2
        assert spring["value"] == [
            {"field": "name", "value": "Ada"},
            {"field_base64": "AP8NChtbMzFt", "value_base64": "AP8NChtbMzFt"},
        ]
        assert stage.json("get", "empty", "--reveal")["value"] == ""
        assert stage.json("get", "empty")["expires_at"] is None
        assert "value" not in stage.json("get", "empty")
        binary = f"session:@{hashlib.sha256(b'session:' + BINARY).hexdigest()[:12]}"
        status, out, _ = stage.run("get", binary, "--reveal")
        assert status == 0
        assert "\x1b" not in out, "no value speaks to the terminal"
        assert "\\x00\\xff\\r\\n\\x1b[31m" in out

    def test_a_pattern_a_database_and_a_limit(self, stage: Stage) -> None:
        stage.fill()
        assert [one["db"] for one in stage.json("ls", "--db", "3")["sessions"]] == [3, 3]  # type: ignore[attr-defined]
        assert len(stage.json("ls", "--match", "session:*")["sessions"]) == 3  # type: ignore[arg-type]
        some = stage.json("ls", "--limit", "2")
        assert (len(some["sessions"]), some["more"]) == (2, True)  # type: ignore[arg-type]
        assert stage.json("ls", "--limit", "6")["more"] is False
        status, out, err = stage.run("ls", "--limit", "2")
        assert (status, len(out.splitlines())) == (0, 3)
        assert err == "There are more than these 2: `--limit 0` lists all.\n"
        assert stage.run("ls", "--match", "none*") == (0, "There are no such sessions.\n", "")
        assert stage.json("ls", "--match", "none*") == {"sessions": [], "more": False}

    def test_one_that_is_not_there(self, stage: Stage) -> None:
        for key in ("session:one", "session:@0123456789ab", "@0123456789ab"):
            assert stage.failure("get", key) == (
                1,
                "There is no such session in database 0. `haagent sessions ls` lists what there is.",
            )

    def test_many_are_listed_whole(self, stage: Stage) -> None:
        for first in range(0, 3000, 500):
            pairs = [word for number in range(first, first + 500) for word in (f"session:{number}", "x")]
            stage.ask("MSET", *pairs)
        keys = {one["key"] for one in stage.json("ls", "--limit", "0", "--reveal")["sessions"]}  # type: ignore[attr-defined]
        assert keys == {f"session:{number}" for number in range(3000)}


class TestFlush:
    def test_all_of_a_pattern_of_a_database(self, stage: Stage) -> None:
        stage.fill()
        assert stage.json("flush", "--match", "session:*", "--yes") == {"deleted": 3}
        assert len(stage.everything()) == 3
        assert stage.run("flush", "--db", "3", "--yes") == (0, "Deleted 1 session.\n", "")
        assert {db for db, _ in stage.everything()} == {0}
        assert stage.json("flush", "-y") == {"deleted": 2}
        assert stage.everything() == {}

    def test_nobody_can_be_asked(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        stage.fill()
        with open(os.devnull) as nobody:
            monkeypatch.setattr(sys, "stdin", nobody)
            assert stage.failure("flush") == (2, "Nobody can be asked here: add --yes.")
            assert stage.run("flush", "--json")[0] == 2
        assert len(stage.everything()) == 6

    @pytest.mark.parametrize(("answer", "status", "left"), [(b"n\n", 130, 6), (b"\n", 130, 6), (b"y\n", 0, 3)])
    def test_on_a_terminal_it_asks(self, stage: Stage, answer: bytes, status: int, left: int) -> None:
        stage.fill()
        ours, its = pty.openpty()
        words = ["sessions", "flush", "--match", "session:*", "--config", str(stage.config)]
        with subprocess.Popen([*PROGRAM, *words], stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            os.write(ours, answer)
            out, err = process.communicate(timeout=PATIENCE_S)
        os.close(ours)
        os.close(its)
        assert process.returncode == status
        assert b"Delete 3 sessions on all nodes? [y/N]:" in err
        assert out.strip() == (b"" if status else b"Deleted 3 sessions.")
        assert len(stage.everything()) == left


PEER = {"name": "B", "behind": 3, "linked": True, "in_sync": True, "queue": 3, "queue_bytes": 2048, "lag_ms": 1.25}
PEER |= {"ack_p50_ms": 0.4, "ack_p99_ms": 2.0, "last_full_sync": 125.0, "why": ""}
UNKNOWN = dict.fromkeys(("ack_p50_ms", "ack_p99_ms", "last_full_sync"))
AWAY = PEER | {"name": "C", "linked": False, "in_sync": False} | UNKNOWN


class TestStats:
    def test_a_table_of_the_peers(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        agent = SmallAgent()
        facts = {"serving": True, "listen": "127.0.0.1:6380", "starts": 1, "ready": True, "clients": 4, "keys": 7}
        agent.sessions = facts | {"bytes": 3 << 20, "peers": [PEER, AWAY]}
        agent.counted = {"sessions_joined": 2, "dropped_auth": 1}
        with running(agent, str(tmp_path)):
            assert main(["sessions", "stats", "--run-dir", str(tmp_path)]) == 0
            out = capsys.readouterr().out
            assert main(["sessions", "stats", "--run-dir", str(tmp_path), "--json"]) == 0
            told = json.loads(capsys.readouterr().out)
            redis = {"store": "redis", "master": "10.0.0.5:6379", "peers": []}
            agent.sessions = {"serving": True, "listen": "127.0.0.1:6380", "ready": True, "clients": 4} | redis
            assert main(["sessions", "stats", "--run-dir", str(tmp_path)]) == 0
            assert "ready, in Redis at 10.0.0.5:6379, 4 clients" in capsys.readouterr().out
            agent.sessions = {"serving": False, "listen": "127.0.0.1:6380", "starts": 3}
            assert main(["sessions", "stats", "--run-dir", str(tmp_path)]) == 0
            assert "not serving at 127.0.0.1:6380" in capsys.readouterr().out
            agent.sessions = {}
            assert main(["sessions", "stats", "--run-dir", str(tmp_path)]) == 2
            assert "A keeps no sessions" in capsys.readouterr().err
        assert out == (
            "Sessions on A: ready, 7 keys, 3.0 MiB, 4 clients at 127.0.0.1:6380.\n\n"
            "PEER  LINKED  IN SYNC  QUEUE  BYTES  LAG     ACK 50%  ACK 99%  COMPARED\n"
            "B     yes     yes      3      2048   1.2 ms  0.4 ms   2.0 ms   2 min 5 s ago\n"
            "C     no      no       3      2048   1.2 ms  -        -        never\n\n"
            "sessions_joined  2\n"
        )
        assert told["peers"][0] == PEER
        assert told["counters"] == {"sessions_joined": 2}
        assert main(["sessions", "stats", "--run-dir", str(tmp_path)]) == 3
        assert "The agent is not running here" in capsys.readouterr().err
