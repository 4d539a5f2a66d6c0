"""What `haagent sessions ...` says where there is no store, or not for it."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from haagent.cli import main
from haagent.control.place import run_lock
from tests.support.door import door
from tests.support.session_operator import FILE, Stage, in_loop
from tests.support.small_agent import SmallAgent, running


def test_sessions_are_not_configured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "haagent.yaml"
    config.write_text(FILE.replace("sessions: {%s}\n", ""))
    assert main(["sessions", "ls", "--config", str(config)]) == 2
    text = f"{config} has no `sessions:`, so its nodes keep none. docs/guide/sessions.md says how to begin."
    assert capsys.readouterr().err == f"haagent: {text}\n"


@pytest.mark.parametrize("words", [["ls"], ["flush", "--yes"]])
def test_a_redis_of_ones_own_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    config = tmp_path / "haagent.yaml"
    config.write_text(FILE % "store: redis, url: 'redis://127.0.0.1:1'")
    assert main(["sessions", *words, "--config", str(config)]) == 2
    assert "beside whatever else is there: use its tools" in capsys.readouterr().err


def test_no_agent_and_one_whose_store_is_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_store_that_is_not_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_passwords(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_stranger_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
