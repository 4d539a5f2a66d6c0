"""`haagent sessions ...` against a real door, and an export from it against a real Redis."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.cli import main
from haagent.cli.door import Door
from haagent.cli.session_file import BadFile, Entry, Writer, entries
from haagent.control.place import run_lock
from haagent.core.store.settings import StoreSettings
from haagent.sessions.store.server import Server
from tests.support.door import Talk, door, read, redis_server
from tests.support.small_agent import SmallAgent, running

FILE = """
cluster: shop
heartbeat: {interfaces: [eth0], insecure: true}
nodes: {A: {address: 10.20.1.10}, B: {address: 10.20.1.11}}
groups: {web: {addresses: [10.20.1.100/24]}}
sessions: {%s}
"""
SOON_MS = 4_000_000_000_000  # in 2096
PROGRAM = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())"]
PATIENCE_S = 60.0
BINARY = b"\x00\xff\r\n\x1b[31m"


class Stage:
    """A store, and the words of the operator at its node."""

    def __init__(self, place: Path, where: int | str, capsys: pytest.CaptureFixture[str], extra: str = "") -> None:
        self.where, self._capsys, self._place = where, capsys, place
        self.config = place / f"{len(list(place.iterdir()))}.yaml"
        written = f"socket: {where}" if isinstance(where, str) else f"listen: '127.0.0.1:{where}'"
        self.config.write_text(FILE % f"{written}{extra}")
        self.talk = Talk(where) if not extra else None

    def run(self, command: str, *words: str) -> tuple[int, str, str]:
        places = ("--config", str(self.config), "--run-dir", str(self._place / "run"))
        status = main(["sessions", command, *words, *(places if command != "stats" else places[2:])])
        return status, *self._capsys.readouterr()

    def json(self, command: str, *words: str) -> dict[str, object]:
        status, out, err = self.run(command, *words, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    def failure(self, command: str, *words: str) -> tuple[int, str]:
        status, out, err = self.run(command, *words)
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return status, err.removeprefix("haagent: ").rstrip("\n")

    def ask(self, *words: bytes | str) -> object:
        assert self.talk is not None
        return read(self.talk.ask(*words))

    def fill(self) -> None:
        """Everything that there can be: kinds, databases, ends, and bytes that are no text."""
        self.ask("SET", "session:one", "hello", "PXAT", str(SOON_MS))
        self.ask("SET", b"session:" + BINARY, BINARY)
        self.ask("SET", "empty", "")
        self.ask("HSET", "spring:session:sessions:1", "name", "Ada", BINARY, BINARY)
        self.ask("PEXPIREAT", "spring:session:sessions:1", str(SOON_MS + 1))
        self.ask("SELECT", "3")
        self.ask("SET", "session:three", "x" * 70_000)
        self.ask("HSET", "hash", "a", "1")
        self.ask("SELECT", "0")

    def everything(self) -> dict[tuple[int, bytes], tuple[object, object]]:
        """As another program sees it."""
        found = {}
        for db in range(16):
            self.ask("SELECT", str(db))
            for key in self.ask("KEYS", "*"):  # type: ignore[attr-defined]
                value = self.ask("GET", key) if self.ask("TYPE", key) == b"string" else self.ask("HGETALL", key)
                if isinstance(value, list):
                    value = dict(zip(value[::2], value[1::2], strict=True))
                found[db, key] = (value, self.ask("PEXPIRETIME", key))
        self.ask("SELECT", "0")
        return found


@pytest.fixture
def stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    with door() as server:
        yield Stage(tmp_path, server.door.port, capsys)


def in_loop(server: Server, work: object) -> None:
    """Done in the thread of the door."""
    done = threading.Event()

    def run() -> None:
        work()  # type: ignore[operator]
        done.set()

    server._work.get_loop().call_soon_threadsafe(run)
    assert done.wait(PATIENCE_S)


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


class TestFiles:
    def test_export_and_import_give_the_same(self, stage: Stage, tmp_path: Path) -> None:
        stage.fill()
        before, file = stage.everything(), str(tmp_path / "saved")
        status, out, err = stage.run("export", file)
        assert (status, err) == (0, "")
        size = os.stat(file).st_size
        assert out == f"wrote {file}: 6 sessions, {size} bytes. Guard it like a password.\n"
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
        stage.ask("FLUSHALL")
        assert stage.json("import", file) == {"imported": 6, "kept": 0, "expired": 0, "refused": 0}
        assert stage.everything() == before
        assert stage.run("import", file) == (0, "Imported 0 sessions; 6 there already.\n", "")

    def test_through_a_real_redis_and_back(
        self, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.fill()
        before, files = stage.everything(), [str(tmp_path / name) for name in ("ours", "its")]
        with redis_server() as path:
            redis = Stage(tmp_path, path, capsys)
            stage.run("export", files[0])
            assert redis.json("import", files[0])["imported"] == 6
            assert redis.everything() == before
            assert redis.json("import", files[0], "--replace")["imported"] == 6
            assert redis.everything() == before
            assert {one["key"] for one in redis.json("ls")["sessions"]} == {  # type: ignore[attr-defined]
                one["key"]
                for one in stage.json("ls")["sessions"]  # type: ignore[attr-defined]
            }
            assert redis.json("export", files[1])["sessions"] == 6
            assert redis.json("flush", "--match", "session:*", "--yes") == {"deleted": 3}
            assert redis.json("flush", "--yes") == {"deleted": 3}
            assert redis.talk is not None
            redis.talk.close()
        stage.ask("FLUSHALL")
        assert stage.json("import", files[1])["imported"] == 6
        assert stage.everything() == before

    def test_what_is_there_stays_unless_it_is_meant(self, stage: Stage, tmp_path: Path) -> None:
        stage.fill()
        before, file = stage.everything(), str(tmp_path / "saved")
        stage.run("export", file)
        stage.ask("SET", "session:one", "newer")
        stage.ask("DEL", "spring:session:sessions:1")
        stage.ask("SET", "spring:session:sessions:1", "of another kind")
        stage.ask("DEL", "empty")
        assert stage.json("import", file) == {"imported": 1, "kept": 5, "expired": 0, "refused": 0}
        assert stage.ask("GET", "session:one") == b"newer"
        assert stage.ask("GET", "empty") == b""
        assert stage.json("import", file, "--replace")["imported"] == 6
        assert stage.everything() == before

    def test_what_has_expired_is_left_out(self, stage: Stage, tmp_path: Path) -> None:
        file = tmp_path / "saved"
        with open(file, "wb") as opened:
            writer = Writer(opened)
            writer.add(Entry(0, b"old", 1, b"x"))
            writer.add(Entry(0, b"new", SOON_MS, b"x"))
            writer.end()
        assert stage.run("import", str(file)) == (0, "Imported 1 session; 1 expired.\n", "")
        assert list(stage.everything()) == [(0, b"new")]

    def test_many_in_portions_and_a_key_that_changes_meanwhile(
        self, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for first in range(0, 3000, 500):
            pairs = [word for number in range(first, first + 500) for word in (f"session:{number}", f"{number}" * 100)]
            stage.ask("MSET", *pairs)
        before, file = stage.everything(), str(tmp_path / "saved")
        assert stage.json("export", file)["sessions"] == 3000
        stage.ask("FLUSHALL")
        own, interfered = Door.ask_all, []

        def ask_all(self: Door, commands: list[tuple[object, ...]]) -> list[object]:
            if commands[0] == ("MULTI",) and not interfered:  # an application is faster
                interfered.append(stage.ask("SET", commands[1][1], "newer"))  # type: ignore[arg-type]
            return own(self, commands)  # type: ignore[arg-type]

        monkeypatch.setattr(Door, "ask_all", ask_all)
        assert stage.json("import", file) == {"imported": 2999, "kept": 1, "expired": 0, "refused": 0}
        after = stage.everything()
        assert [value for value, _ in after.values()].count(b"newer") == 1
        assert sum(after[key] == before[key] for key in before) == 2999

    def test_a_file_that_is_there_is_not_replaced(self, stage: Stage, tmp_path: Path) -> None:
        file = tmp_path / "saved"
        file.write_text("mine")
        assert stage.failure("export", str(file))[0] == 1
        assert file.read_text() == "mine"
        assert stage.run("export", str(file), "--force")[0] == 0
        assert stage.run("import", str(file))[0] == 0
        assert "cannot be written" in stage.failure("export", str(tmp_path / "none" / "saved"))[1]
        assert stage.failure("export", str(tmp_path), "--force")[0] == 1

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (lambda data: b"", "holds no sessions; name a file that `haagent sessions export` has written"),
            (lambda data: b"%PDF-1.4", "holds no sessions; name a file that `haagent sessions export` has written"),
            (lambda data: data[:-1], "is cut short; take another copy"),
            (lambda data: data[: len(data) // 2], "is cut short; take another copy"),
            (lambda data: data[:-40] + data[-32:], "is cut short; take another copy"),
            (lambda data: data + b"x", "is damaged; take another copy"),
            (lambda data: data.replace(b"hello", b"HELLO"), "is damaged; take another copy"),
            (
                lambda data: data.replace(b"sessions 1\n", b"sessions 2\n"),
                "was written by another release, in a form that this one does not know; import it with that one",
            ),
        ],
    )
    def test_a_bad_file_changes_nothing(self, stage: Stage, tmp_path: Path, damage: object, says: str) -> None:
        stage.fill()
        file = tmp_path / "saved"
        stage.run("export", str(file))
        stage.ask("FLUSHALL")
        file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
        assert stage.failure("import", str(file)) == (2, f"{file} {says}.")
        assert stage.everything() == {}
        assert "cannot be read" in stage.failure("import", str(tmp_path / "none"))[1]

    def test_every_flipped_bit_is_noticed(self, stage: Stage, tmp_path: Path) -> None:
        stage.ask("SET", "session:one", "hello")
        file = tmp_path / "saved"
        stage.run("export", str(file))
        data = file.read_bytes()
        for at in range(len(data)):
            file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with open(file, "rb") as opened, pytest.raises(BadFile):
                list(entries(opened))

    @pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_end_in_the_middle_leaves_no_half_file(self, tmp_path: Path, ends: signal.Signals) -> None:
        """Against a store that stops in the middle of its answer."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE_S)
            config = tmp_path / "haagent.yaml"
            config.write_text(FILE % f"listen: '127.0.0.1:{listener.getsockname()[1]}'")
            file = tmp_path / "out" / "saved"
            file.parent.mkdir()
            command = [*PROGRAM, "sessions", "export", str(file), "--config", str(config)]
            with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
                client, _ = listener.accept()
                with client:
                    assert b"PING" in client.recv(1000)
                    client.sendall(b"+PONG\r\n")
                    assert b"INFO" in client.recv(1000)
                    assert len(list(file.parent.iterdir())) == 1, "it has begun"
                    process.send_signal(ends)
                    _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert err.decode().lstrip() == f"haagent: stopped; {file} is as it was before.\n"
        assert list(file.parent.iterdir()) == []

    def test_progress_on_a_terminal(self, stage: Stage, tmp_path: Path) -> None:
        stage.fill()
        ours, its = pty.openpty()
        command = [*PROGRAM, "sessions", "export", str(tmp_path / "saved")]
        done = subprocess.run([*command, "--config", str(stage.config)], stderr=its, timeout=PATIENCE_S, check=True)
        assert done.returncode == 0
        assert os.read(ours, 100).startswith(b"\r4 of 6")
        os.close(ours)
        os.close(its)

    def test_what_is_too_large_is_counted(
        self, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.fill()
        file = str(tmp_path / "saved")
        stage.run("export", file)
        with door(store=StoreSettings(max_value_bytes=1024)) as small:
            other = Stage(tmp_path, small.door.port, capsys)
            status, out, _ = other.run("import", file)
            assert (status, out) == (1, "Imported 5 sessions; 1 refused, being too large.\n")
            assert (3, b"session:three") not in other.everything()
            before = other.everything()
            other.ask("HSET", "cart", "a", "1")
            big = tmp_path / "big"
            with open(big, "wb") as opened:
                writer = Writer(opened)
                writer.add(Entry(0, b"session:one", SOON_MS, b"x" * 2000))
                writer.add(Entry(0, b"cart", SOON_MS, {b"name": b"x" * 1021}))
                writer.add(Entry(0, b"fits", SOON_MS, {b"name": b"x" * 1020}))
                writer.end()
            status, out, _ = other.run("import", str(big), "--replace")
            assert (status, out) == (1, "Imported 1 session; 2 refused, being too large.\n")
            fits = {(0, b"fits"): ({b"name": b"x" * 1020}, SOON_MS)}
            assert other.everything() == before | {(0, b"cart"): ({b"a": b"1"}, -1)} | fits
        with door(store=StoreSettings(max_memory=1000)) as full:
            other = Stage(tmp_path, full.door.port, capsys)
            status, text = other.failure("import", file)
            assert (status, text.split(" (")[0]) == (1, "The session store is full")
            assert text.endswith("Before that, 4 sessions were imported; a second run goes on.")
            assert {db for db, _ in other.everything()} == {0}


class TestErrors:
    def test_sessions_are_not_configured(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = tmp_path / "haagent.yaml"
        config.write_text(FILE.replace("sessions: {%s}\n", ""))
        assert main(["sessions", "ls", "--config", str(config)]) == 2
        text = f"{config} has no `sessions:`, so its nodes keep none. docs/guide/sessions.md says how to begin."
        assert capsys.readouterr().err == f"haagent: {text}\n"

    @pytest.mark.parametrize("words", [["ls"], ["flush", "--yes"]])
    def test_a_redis_of_ones_own_is_left_alone(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
    ) -> None:
        config = tmp_path / "haagent.yaml"
        config.write_text(FILE % "store: redis, url: 'redis://127.0.0.1:1'")
        assert main(["sessions", *words, "--config", str(config)]) == 2
        assert "beside whatever else is there: use its tools" in capsys.readouterr().err

    def test_no_agent_and_one_whose_store_is_away(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        held = socket.socket()  # a port that nobody else gets, and where nobody listens
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        stage = Stage(tmp_path, port, capsys, extra=" ")
        status, text = stage.failure("ls")
        assert status == 3
        assert text == (
            f"The session store does not answer at 127.0.0.1:{port} (Connection refused): the agent is not running "
            "here. Start it with `systemctl start haagent`."
        )
        (tmp_path / "run").mkdir()
        with run_lock(str(tmp_path / "run")), running(SmallAgent(), str(tmp_path / "run")):
            status, text = stage.failure("ls")
        held.close()
        assert status == 1
        assert text.endswith("though the agent runs. `haagent status` says why; a witness keeps no sessions.")

    def test_a_store_that_is_not_ready(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with door() as server:
            stage = Stage(tmp_path, server.door.port, capsys)
            in_loop(server, lambda: server.door.load(is_loading=True))
            for words in (
                ["ls"],
                ["get", "x"],
                ["flush", "--yes", "--match", "*"],
                ["export", str(tmp_path / "saved")],
            ):
                status, text = stage.failure(*words)
                assert status == 1
                assert text.startswith("The session store is not ready: ")
            assert not (tmp_path / "saved").exists()

    def test_passwords(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        secret = tmp_path / "secret"
        secret.write_text("right\n")
        secret.chmod(0o600)
        with door(password="right") as server:
            extra = f", password_file: {secret}"
            stage = Stage(tmp_path, server.door.port, capsys, extra=extra)
            assert stage.run("ls") == (0, "There are no sessions.\n", "")
            secret.write_text("wrong\n")
            status, text = stage.failure("ls")
            assert status == 4
            assert f"takes another password than the one in {secret}" in text
            status, text = Stage(tmp_path, server.door.port, capsys, extra=" ").failure("ls")
            assert (status, "wants a password" in text) == (4, True)
            secret.chmod(0o644)
            assert stage.failure("ls")[0] == 2

    def test_a_stranger_answers(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                client, _ = listener.accept()
                client.recv(1000)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.close()

            thread = threading.Thread(target=answer)
            thread.start()
            stage = Stage(tmp_path, listener.getsockname()[1], capsys, extra=" ")
            status, text = stage.failure("ls")
            thread.join()
        assert (status, text.endswith("is no session store.")) == (1, True)


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
