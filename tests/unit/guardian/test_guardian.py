"""The guardian over agents that are stand-ins: how it ends, what it passes on, what it says for the dead."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from haagent.cli import _names_run
from haagent.control.place import running_pid
from haagent.guardian import process
from tests.unit.guardian.test_channel import NOWHERE, PATIENCE_S, udp

PROLOGUE = """
import json, os, signal, socket, sys, time
from haagent.guardian import guarded, messages

def leave(channel, kind, *parts, descriptors=()):
    for message in messages.messages(kind, parts):
        socket.send_fds(channel, [message], list(descriptors))

def ready(**facts):
    print(json.dumps({"guardian": os.getppid(), "agent": os.getpid(), **facts}), flush=True)
"""


class Pair:
    """A guardian whose agent is this piece of Python, with `channel` and `port` (of the test's ear) to use."""

    def __init__(self, body: str, *, port: int = 0, setup: str = "", epilogue: str = "") -> None:
        body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
        program = f"{PROLOGUE}\nport = {port}\n{textwrap.dedent(setup)}\ndef agent(channel):\n{body}\n"
        program += f"\nstatus = guarded(agent)\n{epilogue}\nsys.exit(status)\n"
        words = [sys.executable, "-c", program]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.facts = json.loads(line) if line.startswith("{") else {}
        self._agent = -1
        with contextlib.suppress(ProcessLookupError, KeyError):  # it has ended already, or said nothing
            self._agent = os.pidfd_open(self.facts["agent"])

    def kill_agent(self) -> None:
        if self._agent >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._agent, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Exit status, and what was said on stderr."""
        try:
            _, said = self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()
            self.kill_agent()
            self.process.communicate()
            if self._agent >= 0:
                os.close(self._agent)
        return self.process.returncode, said


INTRODUCED = f"""
ear = ("127.0.0.1", port)
mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
leave(channel, messages.ADDRESSES, {NOWHERE!r})
leave(channel, messages.LINKS, (ear,), descriptors=[mouth.fileno()])
leave(channel, messages.WORDS, b"goodbye", b"all")
leave(channel, messages.HELLO, "A", 0.35, False)
"""


class TestGuardian:
    @pytest.mark.parametrize("status", [0, 1, 2])
    def test_the_agents_exit_status_is_its_own(self, status: int) -> None:
        assert Pair(f"return {status}").end() == (status, "")

    def test_a_signal_before_the_agent_is_ready_ends_both_as_asked(self) -> None:
        pair = Pair("ready(); time.sleep(60)")
        pair.process.send_signal(signal.SIGTERM)
        assert pair.end() == (-signal.SIGTERM, "")

    def test_signals_are_passed_on(self) -> None:
        pair = Pair(
            INTRODUCED
            + """
signal.signal(signal.SIGHUP, lambda *_: ready(reloaded=True))
def stop(*_):
    leave(channel, messages.VOID)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
ready()
while True:
    time.sleep(60)
"""
        )
        pair.process.send_signal(signal.SIGHUP)
        assert pair.process.stdout is not None
        assert json.loads(pair.process.stdout.readline())["reloaded"]
        pair.process.send_signal(signal.SIGTERM)
        assert pair.end() == (0, "")

    def test_a_reload_before_the_agent_is_ready_does_not_kill_it(self) -> None:
        pair = Pair("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); ready(); time.sleep(60)")
        pair.process.send_signal(signal.SIGHUP)
        pair.process.send_signal(signal.SIGTERM)
        assert pair.end() == (0, "")

    def test_the_last_words_are_said_when_the_agent_was_killed(self) -> None:
        with udp() as ear:
            pair = Pair(INTRODUCED + "ready(); time.sleep(60)", port=ear.getsockname()[1])
            pair.kill_agent()
            assert [ear.recv(100), ear.recv(100), ear.recv(100)] == [b"goodbye", b"all", b"goodbye"]  # and again
            status, said = pair.end()
        assert status == 1
        assert "the agent has died; it held no address, the peers were told after" in said
        assert "was ended by SIGKILL" in said
        assert "node=A event=guardian" in said

    def test_they_are_said_as_well_when_it_ended_by_a_fault_of_its_own(self) -> None:
        with udp() as ear:
            pair = Pair(INTRODUCED + "ready(); return 1", port=ear.getsockname()[1])
            assert ear.recv(100) == b"goodbye"
            assert pair.end()[0] == 1

    def test_a_clean_end_leaves_nothing_to_be_said(self) -> None:
        with udp() as ear:
            pair = Pair(INTRODUCED + "leave(channel, messages.VOID); ready(); return 0", port=ear.getsockname()[1])
            assert pair.end() == (0, "")
            ear.setblocking(False)
            with pytest.raises(BlockingIOError):
                ear.recv(100)

    def test_nothing_is_said_while_an_address_is_still_there(self) -> None:
        setup = """
            from haagent.guardian import watch
            class Kernel:
                def strike(self, unwanted):
                    raise watch.Refused("cannot remove 192.0.2.77/24: Operation not permitted")
            watch.LEAST_S, watch.Kernel = 0.05, Kernel
        """
        with udp() as ear:
            pair = Pair(INTRODUCED + "ready(); time.sleep(60)", port=ear.getsockname()[1], setup=setup)
            pair.kill_agent()
            status, said = pair.end()
            ear.setblocking(False)
            with pytest.raises(BlockingIOError):
                ear.recv(100)
        assert status == 1
        assert said.count("cannot remove 192.0.2.77/24") == 1
        assert "giving up" in said

    def test_it_keeps_the_lock_until_it_has_done_its_work(self, tmp_path: Path) -> None:
        body = f"""
            from haagent.control.place import run_lock
            with run_lock({str(tmp_path)!r}, pid=os.getppid()) as lock:
                leave(channel, messages.HELLO, "A", 0.35, False, descriptors=[lock])
                ready()
                time.sleep(60)
        """
        pair = Pair(body)
        assert running_pid(str(tmp_path)) == str(pair.facts["guardian"]) == str(pair.process.pid)
        pair.process.send_signal(signal.SIGSTOP)
        pair.kill_agent()
        assert running_pid(str(tmp_path)) is not None
        pair.process.send_signal(signal.SIGCONT)
        assert pair.end()[0] == 1
        assert running_pid(str(tmp_path)) is None

    def test_it_stays_small(self) -> None:
        """Nothing of ours but the guardian's own side, and nothing of others but the standard library."""
        epilogue = "if 'guard' in open('/proc/self/comm').read(): print(json.dumps(sorted(sys.modules)))"
        pair = Pair("ready(); return 0", epilogue=epilogue)
        assert pair.process.stdout is not None
        loaded = json.loads(pair.process.stdout.read())
        pair.end()
        tops = {name.partition(".")[0] for name in loaded}
        assert not tops & {"click", "msgspec", "yaml", "asyncio", "logging", "cryptography", "scapy", "pyroute2"}
        ours = {name for name in loaded if name.startswith("haagent")}
        parts = ("cleanup", "kernel", "messages", "process", "watch")
        assert ours == {
            "haagent",
            "haagent.kernel",
            "haagent.kernel.netlink",
            "haagent.guardian",
            *(f"haagent.guardian.{part}" for part in parts),
        }

    @pytest.mark.parametrize("is_ours", [True, False])
    def test_names_and_whom_systemd_watches(self, *, is_ours: bool) -> None:
        setup = "import os; os.environ['WATCHDOG_PID'] = str(os.getpid()) if IS_OURS else '1'"
        pair = Pair(
            """
            names = [open(f"/proc/{pid}/comm").read().strip() for pid in (os.getppid(), os.getpid())]
            ready(names=names, watched=os.environ["WATCHDOG_PID"])
            return 0
            """,
            setup=setup.replace("IS_OURS", str(is_ours)),
        )
        assert pair.end() == (0, "")
        assert pair.facts["names"][1] == "haagent-agent"
        assert pair.facts["watched"] == (str(pair.facts["agent"]) if is_ours else "1")


def test_its_lines_are_in_the_form_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    line = json.loads(process.line(process.WARNING, 'of "A"', "A", as_json=True))
    assert (line["level"], line["node"], line["event"], line["text"]) == ("warning", "A", "guardian", 'of "A"')
    assert process.line(process.ERROR, "it ended", "A", as_json=False).endswith('event=guardian text="it ended"')
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert process.line(process.ERROR, "it ended", "A", as_json=True) == "<3>it ended"


def test_what_an_agent_starts_is_neither_spared_nor_preferred() -> None:
    body = """
        import subprocess
        child = subprocess.Popen(["sleep", "60"])
        mine, before = open("/proc/self/oom_score_adj").read(), open(f"/proc/{child.pid}/oom_score_adj").read()
        process.as_ordinary(child.pid)
        after, nice = open(f"/proc/{child.pid}/oom_score_adj").read(), os.getpriority(os.PRIO_PROCESS, child.pid)
        child.kill()
        child.wait()
        ready(scores=[int(mine), int(before), int(after)], nice=nice)
        return 0
    """
    pair = Pair(body, setup="from haagent.guardian import process")
    assert pair.end() == (0, "")
    mine, before, after = pair.facts["scores"]
    assert mine == before
    assert (after, pair.facts["nice"]) == (max(0, after), max(0, os.getpriority(os.PRIO_PROCESS, 0)))


@pytest.mark.parametrize(
    ("words", "is_run"),
    [
        ("run", True),
        ("--json --run-dir /r run --node A", True),
        ("--run-dir run status", False),
        ("--run-dir=/r run", True),
        ("lab up --name run", False),
        ("--help", False),
        ("", False),
    ],
)
def test_which_command_becomes_two_processes(words: str, is_run: bool) -> None:
    assert _names_run(words.split()) is is_run


def test_a_faulty_configuration_still_ends_with_2(tmp_path: Path) -> None:
    program = "import sys; from haagent.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "run", "--config", str(tmp_path / "none.yaml"), "--run-dir", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert "guardian" not in done.stderr
