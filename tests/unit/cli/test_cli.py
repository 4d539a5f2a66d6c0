"""The commands as an operator types them: exit status, what is on stdout and stderr, and what is imported for it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

import haagent.cli.program
from haagent.cli import main
from haagent.cli.commands import COMMANDS
from haagent.cli.program import cli
from haagent.config import ConfigError, Fault
from haagent.control.place import run_lock
from tests.support.small_agent import FILE, PLANNED_MOVE, SmallAgent, group, running


@pytest.fixture
def agent() -> SmallAgent:
    return SmallAgent()


@pytest.fixture
def run_dir(agent: SmallAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAAGENT_RUN_DIR", str(tmp_path))
    with running(agent, str(tmp_path)):
        yield str(tmp_path)


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def every_command() -> list[tuple[str, click.Command]]:
    context = click.Context(cli)
    found = []

    def walk(name: str, command: click.Command) -> None:
        found.append((name, command))
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                child = command.get_command(context, below)
                assert child is not None
                walk(f"{name} {below}", child)

    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        walk(name, command)
    return found


class TestHelp:
    def test_the_list_says_what_the_commands_say(self) -> None:
        listed = {name: what for family in COMMANDS.values() for name, (_, what) in family.items()}
        own = {name: command.get_short_help_str(200) for name, command in every_command() if name in listed}
        for name, what in listed.items():
            assert own[name], name
            assert what.endswith("."), name

    def test_every_command_takes_the_places_and_json(self) -> None:
        for name, command in every_command():
            taken = {option for param in command.params for option in param.opts}
            assert taken >= {"--run-dir", "--state-dir", "--json"}, name
            assert main([*name.split(), "--help"]) == 0

    @pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["status"], ["failover", "--help"]])
    def test_fast_commands_import_nothing_heavy(self, arguments: list[str], tmp_path: Path) -> None:
        code = (
            "import sys; from haagent.cli import main\n"
            f"main({arguments + (['--run-dir', str(tmp_path)] if arguments == ['status'] else [])!r})\n"
            "heavy = 'asyncio rich yaml msgspec scapy pyroute2 cryptography systemd logging'\n"
            "print(sorted(set(heavy.split()) & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "[]"


class TestExitStatus:
    def test_not_running_is_3(self, tmp_path: Path) -> None:
        done = program("status", "--run-dir", str(tmp_path))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("haagent: The agent is not running here")
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["statsu"], "Did you mean `status`?"),
            (["failover"], "Missing option '--to'. `haagent failover --help` shows what there is."),
            (["failover", "--to", "B", "--wait", "10"], "it needs a unit"),
            (["failover", "--to", "B", "--wait", "2h"], "wait for `1h` at most"),
            (["maintenance", "perhaps"], "perhaps"),
            (["status", "--watc"], "--watch"),
            (["check-config", "/nonexistent/file"], "/nonexistent/file"),
            (["init", "--nodes", "A", "--vip", "10.0.0.1/24", "--config", "/tmp/none/f"], "NAME=ADDRESS"),
        ],
    )
    def test_usage_is_2(self, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert says in err
        assert len(err.splitlines()) == 1

    def test_no_command_shows_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        assert "check-config" in capsys.readouterr().err

    def test_refused_is_4(self, agent: SmallAgent, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
        agent.answer = (4, "maintenance is on; end it with `haagent maintenance off` first")
        assert main(["failover", "--to", "B"]) == 4
        assert capsys.readouterr().err == f"haagent: {agent.answer[1]}.\n"
        assert main(["failover", "--to", "B", "--json"]) == 4
        out, err = capsys.readouterr()
        assert out == ""
        assert json.loads(err) == {"error": {"status": 4, "message": f"{agent.answer[1]}."}}

    def test_what_nobody_expected_is_1_and_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(haagent.cli.program, "with_options", lambda *_: 1 / 0)
        assert main(["status"]) == 1
        err = capsys.readouterr().err
        assert "ZeroDivisionError" in err
        assert len(err.splitlines()) == 1
        monkeypatch.setenv("HAAGENT_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            main(["status"])


class TestOptionsAnywhere:
    @pytest.mark.parametrize("before", [True, False])
    def test_before_and_after(self, agent: SmallAgent, tmp_path: Path, *, before: bool, capsys: Any) -> None:
        options = ["--run-dir", str(tmp_path), "--json", "--state-dir", "/nowhere"]
        with running(agent, str(tmp_path)):
            assert main([*options, "status"] if before else ["status", *options]) == 0
        assert json.loads(capsys.readouterr().out)["groups"][0]["holder"] == "A"

    def test_the_command_line_beats_the_environment(self, run_dir: str, capsys: Any) -> None:
        assert main(["status"]) == 0
        assert "Cluster shop, seen from A" in capsys.readouterr().out
        assert main(["--run-dir", "/nonexistent", "status"]) == 3


class TestOrders:
    def test_failover(self, agent: SmallAgent, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
        agent.after = PLANNED_MOVE
        assert main(["failover", "--to", "B"]) == 0
        out, err = capsys.readouterr()
        assert out == "web moved from A to B; clients were without it for 1.4 ms.\n"
        assert "handing it over to B" in err
        assert main(["failover", "web", "--to", "B", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["already"] is True

    def test_the_short_ones(self, agent: SmallAgent, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
        agent.answer = (0, "so be it")
        for words in ("unstandby B", "maintenance on", "clear", "clear web", "standby B --wait 0"):
            assert main(words.split()) == 0
            assert capsys.readouterr().out == "so be it.\n"
        assert [asked.what for asked in agent.asked] == ["standby", "maintenance", "clear", "clear", "standby"]

    def test_reload_lists_the_faults(self, agent: SmallAgent, run_dir: str, capsys: Any) -> None:
        agent.reloaded = ConfigError("f.yaml", [Fault(3, "cluster", "missing"), Fault(5, "nodes", "empty")])
        assert main(["reload"]) == 2
        err = capsys.readouterr().err
        assert "\nf.yaml:3: cluster: missing\nf.yaml:5: nodes: empty\n" in err
        assert main(["reload", "--json"]) == 2
        assert len(json.loads(capsys.readouterr().err)["error"]["faults"]) == 2


class TestEvents:
    def test_text_and_json(self, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["events"]) == 0
        assert "taken     active here: first in `prefer`" in capsys.readouterr().out
        assert main(["events", "--json", "-n", "1"]) == 0
        assert [event["kind"] for event in json.loads(capsys.readouterr().out)["events"]] == ["taken"]
        assert main(["events", "--json", "--severity", "warning"]) == 0
        assert json.loads(capsys.readouterr().out)["events"] == []

    def test_follow_ends_by_ctrl_c_with_0(self, run_dir: str) -> None:
        command = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())"]
        command += ["events", "--follow", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert json.loads(follower.stdout.readline())["kind"] == "online"
            assert json.loads(follower.stdout.readline())["kind"] == "taken"
            follower.send_signal(signal.SIGINT)
            _, err = follower.communicate(timeout=20)
        assert (follower.returncode, err.strip()) == (0, "")

    def test_a_reader_that_has_had_enough(self, run_dir: str) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", "events"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")


class TestStatusWatch:
    def test_again_when_something_has_changed(self, agent: SmallAgent, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())"]
        command += ["status", "--watch", "--json", "--run-dir", str(tmp_path)]
        with (
            running(agent, str(tmp_path)) as loop,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher,
        ):
            assert watcher.stdout is not None
            assert json.loads(watcher.stdout.readline())["maintenance"] is False
            loop.call_soon_threadsafe(lambda: agent.become(maintenance=True))
            assert json.loads(watcher.stdout.readline())["maintenance"] is True
            watcher.send_signal(signal.SIGINT)
            watcher.communicate(timeout=20)
        assert watcher.returncode == 0

    def test_on_a_terminal(self, agent: SmallAgent, run_dir: str) -> None:
        agent.now = msgspec.structs.replace(agent.now, groups=(group("web", why="as it should be"),))
        master, terminal = pty.openpty()
        command = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", "status", "-w"]
        with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as watcher:
            os.close(terminal)
            shown = b""
            while b"as it should be" not in shown:
                shown += os.read(master, 4096)
            watcher.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # EIO: the other side is closed
                while part := os.read(master, 4096):
                    shown += part
        os.close(master)
        assert watcher.returncode == 0
        assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")  # the cursor is back
        assert b"Traceback" not in shown


class TestConfigCommands:
    def test_init_writes_what_check_config_accepts(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "etc" / "haagent.yaml"
        words = ["--nodes", "A=10.20.1.10,B=10.20.1.11", "--vip", "10.20.1.100/24", "--interface", "eth0"]
        assert main(["init", *words, "--config", str(file)]) == 0
        assert "systemctl enable" in capsys.readouterr().out
        assert (file.parent / "cluster.key").stat().st_mode & 0o777 in (0o600, 0o400)
        assert main(["check-config", str(file)]) == 0
        assert "no faults" in capsys.readouterr().out
        assert main(["init", *words, "--config", str(file)]) == 2
        assert "--force" in capsys.readouterr().err
        assert main(["init", *words, "--config", str(file), "--force", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"files": [str(file)]}

    def test_check_config_lists_all_faults(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "f.yaml"
        file.write_text(FILE.replace("cluster: shop", "clutser: shop").replace("10.20.1.11", "10.20.1.311"))
        assert main(["check-config", str(file)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) >= 2
        assert all(line.startswith(f"{file}:") for line in lines)
        assert main(["check-config", str(file), "--json"]) == 2
        out, err = capsys.readouterr()
        assert (json.loads(out)["ok"], len(json.loads(out)["faults"]), err) == (False, len(lines), "")

    def test_check_config_lists_what_can_be_configured(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check-config", "--options"]) == 0
        text = capsys.readouterr().out
        assert "  heartbeat.interval: time between two heartbeats\n      a duration, 5ms to 60s [`100ms`]\n" in text
        assert "\n\nbackend arp\n" in text
        assert main(["check-config", "--options", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["options"][0]["key"] == "cluster"
        (link,) = (each for each in told["plug_ins"] if each["kind"] == "link")
        assert [option["key"] for option in link["options"]] == ["interface"]

    def test_keygen(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "k"
        assert main(["keygen", str(file)]) == 0
        first = file.read_text()
        assert main(["keygen", str(file)]) == 1
        assert file.read_text() == first
        assert first.splitlines()[-1] not in "".join(capsys.readouterr())
        assert main(["keygen", "-"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2


class TestRunAndRelease:
    def test_a_configuration_with_faults_is_2(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "f.yaml"
        file.write_text("cluster: shop\nnodes: {}\n")
        assert main(["run", "--config", str(file), "--run-dir", str(tmp_path)]) == 2
        assert f"{file}:" in capsys.readouterr().err

    def test_a_second_agent_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "f.yaml"
        file.write_text(FILE)
        with run_lock(str(tmp_path)):
            assert main(["run", "--config", str(file), "--node", "A", "--run-dir", str(tmp_path)]) == 1
            assert f"process {os.getpid()}" in capsys.readouterr().err
            assert main(["release", "--config", str(file), "--run-dir", str(tmp_path)]) == 4
            assert "haagent standby" in capsys.readouterr().err
