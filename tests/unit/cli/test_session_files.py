"""`haagent sessions export` and `import`, between a real door, a file and a real Redis."""

from __future__ import annotations

import os
import pty
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from haagent.cli.door import StoreClient
from haagent.cli.session_file import BadFile, Entry, Writer, entries
from haagent.core.store.settings import StoreSettings
from tests.support.door import door, redis_server
from tests.support.session_operator import FILE, PATIENCE_S, PROGRAM, SOON_MS, Stage


def test_export_and_import_give_the_same(stage: Stage, tmp_path: Path) -> None:
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


def test_through_a_real_redis_and_back(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_what_is_there_stays_unless_it_is_meant(stage: Stage, tmp_path: Path) -> None:
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


def test_what_has_expired_is_left_out(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    with open(file, "wb") as opened:
        writer = Writer(opened)
        writer.add(Entry(0, b"old", 1, b"x"))
        writer.add(Entry(0, b"new", SOON_MS, b"x"))
        writer.end()
    assert stage.run("import", str(file)) == (0, "Imported 1 session; 1 expired.\n", "")
    assert list(stage.everything()) == [(0, b"new")]


def test_many_in_portions_and_a_key_that_changes_meanwhile(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in range(0, 3000, 500):
        pairs = [word for number in range(first, first + 500) for word in (f"session:{number}", f"{number}" * 100)]
        stage.ask("MSET", *pairs)
    before, file = stage.everything(), str(tmp_path / "saved")
    assert stage.json("export", file)["sessions"] == 3000
    stage.ask("FLUSHALL")
    own, interfered = StoreClient.ask_all, []

    def ask_all(self: StoreClient, commands: list[tuple[object, ...]]) -> list[object]:
        if commands[0] == ("MULTI",) and not interfered:  # an application is faster
            interfered.append(stage.ask("SET", commands[1][1], "newer"))  # type: ignore[arg-type]
        return own(self, commands)  # type: ignore[arg-type]

    monkeypatch.setattr(StoreClient, "ask_all", ask_all)
    assert stage.json("import", file) == {"imported": 2999, "kept": 1, "expired": 0, "refused": 0}
    after = stage.everything()
    assert [value for value, _ in after.values()].count(b"newer") == 1
    assert sum(after[key] == before[key] for key in before) == 2999


def test_a_file_that_is_there_is_not_replaced(stage: Stage, tmp_path: Path) -> None:
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
def test_a_bad_file_changes_nothing(stage: Stage, tmp_path: Path, damage: object, says: str) -> None:
    stage.fill()
    file = tmp_path / "saved"
    stage.run("export", str(file))
    stage.ask("FLUSHALL")
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert stage.failure("import", str(file)) == (2, f"{file} {says}.")
    assert stage.everything() == {}
    assert "cannot be read" in stage.failure("import", str(tmp_path / "none"))[1]


def test_every_flipped_bit_is_noticed(stage: Stage, tmp_path: Path) -> None:
    stage.ask("SET", "session:one", "hello")
    file = tmp_path / "saved"
    stage.run("export", str(file))
    data = file.read_bytes()
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with open(file, "rb") as opened, pytest.raises(BadFile):
            list(entries(opened))


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_in_the_middle_leaves_no_half_file(tmp_path: Path, ends: signal.Signals) -> None:
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


def test_progress_on_a_terminal(stage: Stage, tmp_path: Path) -> None:
    stage.fill()
    ours, its = pty.openpty()
    command = [*PROGRAM, "sessions", "export", str(tmp_path / "saved")]
    done = subprocess.run([*command, "--config", str(stage.config)], stderr=its, timeout=PATIENCE_S, check=True)
    assert done.returncode == 0
    assert os.read(ours, 100).startswith(b"\r4 of 6")
    os.close(ours)
    os.close(its)


def test_what_is_too_large_is_counted(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
