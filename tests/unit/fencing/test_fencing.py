"""Fence agents: what they are told and how, what becomes of what they say, and that they cannot hold anything up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haagent.config import FencingConfig, NodeConfig, parse
from haagent.core.events import Fenced
from haagent.fencing import FenceError, Fences
from haagent.fencing.agent import find, last_words, options_in, run
from tests.support.small_agent import FILE

Program = Callable[..., FencingConfig]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """An agent with this shell text. `HERE` is a directory."""

    def make(text: str, **more: Any) -> FencingConfig:
        path = tmp_path / "fence_test"
        path.write_text("#!/bin/sh\n" + text.replace("HERE", str(tmp_path)))
        path.chmod(0o700)
        return FencingConfig(agent=str(path), **({"timeout_s": 10.0} | more))

    return make


def fenced(config: FencingConfig, node: str = "A") -> str:
    return asyncio.run(run(node, config))


def refusal(config: FencingConfig) -> str:
    with pytest.raises(FenceError) as caught:
        fenced(config)
    return str(caught.value)


def secret(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "options"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


class TestOneAgent:
    def test_it_is_told_everything_on_its_standard_input(self, program: Program, tmp_path: Path) -> None:
        config = program(
            'cat > HERE/told; echo "$#" > HERE/argv; env > HERE/env; echo Success: Powered OFF',
            options=(("ip", "10.9.0.1"), ("lanplus", "1"), ("port", "x = y # z")),
            options_file=secret(tmp_path, "# of the switch\n\npassword=a=b c\n"),
            action="reboot",
        )
        assert fenced(config) == "Success: Powered OFF"
        assert (tmp_path / "told").read_text() == (
            "action=reboot\nnodename=A\nip=10.9.0.1\nlanplus=1\nport=x = y # z\npassword=a=b c\n"
        )
        assert (tmp_path / "argv").read_text() == "0\n"
        assert "a=b c" not in (tmp_path / "env").read_text()

    def test_one_that_reads_nothing_does_no_harm(self, program: Program) -> None:
        assert fenced(program("exec true", options=(("key", "x" * 20_000),))) == ""

    def test_a_refusal_is_told_in_its_own_words(self, program: Program) -> None:
        config = program("echo 2024-05-06 07:08:09,123 ERROR: Unable to connect/login to fencing device >&2; exit 1")
        assert refusal(config) == (
            f"{config.agent} ended with status 1: ERROR: Unable to connect/login to fencing device"
        )

    def test_an_agent_that_dies_of_a_signal_has_fenced_nobody(self, program: Program) -> None:
        assert "ended by signal 15" in refusal(program("kill -TERM $$"))

    def test_one_that_hangs_is_killed_with_its_children(self, program: Program, tmp_path: Path) -> None:
        config = program("sleep 1000 & echo $! > HERE/child; sleep 1000", timeout_s=0.5)
        assert "killed after 0.5 s" in refusal(config)
        assert _ends((tmp_path / "child").read_text())

    def test_one_that_prints_without_end_is_bounded(self, program: Program) -> None:
        assert "killed after" in refusal(
            program("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", timeout_s=0.5)
        )

    def test_a_secret_that_it_repeats_is_struck_out(self, program: Program, tmp_path: Path) -> None:
        config = program(
            "while read line; do last=$line; echo \"Parse error: Ignoring unknown option '$line'\"; done; exit 1",
            options=(("ip", "10.9.0.1"), ("passwd", "hunter2")),
        )
        assert refusal(config).endswith("Parse error: Ignoring unknown option 'passwd=***'")
        config = program("tail -1; exit 1", options_file=secret(tmp_path, "community=s3cret\n"))
        assert refusal(config).endswith("community=***")
        assert "hunter2" not in repr(NodeConfig(name="A", fencing=FencingConfig("x", options=(("passwd", "hunter2"),))))

    def test_what_is_kept_of_it_is_short_and_printable(self) -> None:
        assert last_words("first\n\x1b[31mlast\x07\n \n", ()) == "[31mlast"
        assert len(last_words("x" * 5000, ())) == 100

    def test_one_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        assert "apt install fence-agents" in refusal(FencingConfig("fence_of_nobody"))
        not_executable = tmp_path / "fence_test"
        not_executable.write_text("exit 0")
        assert "is not on this host" in refusal(FencingConfig(str(not_executable)))
        not_executable.write_text("\x7fELF nonsense")
        not_executable.chmod(0o700)
        assert "cannot be started" in refusal(FencingConfig(str(not_executable)))
        assert find("sh").endswith("/sh")


def _ends(pid: str) -> bool:
    """It has been killed; it may take a moment to go."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid.strip()}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


class TestSecretsInAFile:
    def test_lines_and_comments(self, tmp_path: Path) -> None:
        assert options_in(secret(tmp_path, "# x\n  a=1  \nb=\nc==\n")) == (("a", "1"), ("b", ""), ("c", "="))

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
    def test_one_that_others_can_read_is_refused(self, tmp_path: Path, mode: int) -> None:
        with pytest.raises(FenceError, match="chmod 600"):
            options_in(secret(tmp_path, "a=1\n", mode))

    @pytest.mark.parametrize("text", ["password\n", "=x\n", "a b=c\n", "x" * 20_000])
    def test_nonsense_is_refused_without_being_repeated(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(FenceError) as caught:
            options_in(secret(tmp_path, text))
        assert text.strip() not in str(caught.value)

    def test_what_is_no_file_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo", 0o600)
        for path in (tmp_path / "fifo", tmp_path / "missing", tmp_path):
            with pytest.raises(FenceError):
                options_in(str(path))


class Stage:
    def __init__(self, *nodes: NodeConfig) -> None:
        self.posted: list[Fenced] = []
        self.notes: list[tuple[str, str]] = []
        known = {node.name: node for node in nodes}
        self.nodes = nodes
        self.fences = Fences(known, me="B", post=self.posted.append, note=lambda *note: self.notes.append(note))

    def reload(self, *nodes: NodeConfig) -> None:
        config = msgspec.structs.replace(
            parse(FILE.encode(), "f.yaml", node="A"), nodes={one.name: one for one in nodes}
        )
        asyncio.run(self.fences.prepare(config)).apply()

    def states(self) -> dict[str, Any]:
        nodes: dict[str, Any] = self.fences.status()["fencing"]["nodes"]
        return nodes

    def play(self, story: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await story()
            finally:
                await self.fences.close()

        asyncio.run(whole())


def node(name: str, config: FencingConfig | None) -> NodeConfig:
    return NodeConfig(name=name, fencing=config)


class TestFences:
    def test_success_is_told_to_the_core(self, program: Program) -> None:
        stage = Stage(node("A", program("exit 0")))

        async def story() -> None:
            await stage.fences.fence_all(["A"])

        stage.play(story)
        agent = stage.states()["A"]["agent"]
        assert stage.posted == [Fenced("A", f"{agent} has confirmed `off`")]
        assert stage.notes == [("fencing", f"fencing A: {agent} is asked to do `off`")]

    def test_all_must_be_down_and_all_that_are_not_are_named(self, program: Program) -> None:
        config = program("read action; read name; case $name in nodename=A) exit 0;; *) echo no; exit 3;; esac")
        stage = Stage(node("A", config), node("C", config), node("D", config))

        async def story() -> None:
            with pytest.raises(FenceError) as caught:
                await stage.fences.fence_all(["A", "C", "D"])
            text = str(caught.value)
            assert "C vanished and could not be fenced: " in text
            assert "`haagent confirm-down D` if you pulled the plug" in text
            assert "A vanished" not in text

        stage.play(story)
        assert [event.node for event in stage.posted] == ["A"]

    def test_who_waits_for_the_same_node_shares_the_run(self, program: Program, tmp_path: Path) -> None:
        stage = Stage(node("A", program("echo >> HERE/runs; sleep 0.2")))

        async def story() -> None:
            await asyncio.gather(*(stage.fences.fence("A") for _ in range(5)))

        stage.play(story)
        assert len((tmp_path / "runs").read_text()) == 1
        assert len(stage.posted) == 1

    def test_a_run_goes_on_when_nobody_waits_any_more(self, program: Program) -> None:
        stage = Stage(node("A", program("sleep 0.2")))

        async def story() -> None:
            waiting = asyncio.get_running_loop().create_task(stage.fences.fence_all(["A"]))
            await asyncio.sleep(0.05)
            waiting.cancel()
            assert stage.states()["A"]["running"]
            async with asyncio.timeout(20):
                while not stage.posted:
                    await asyncio.sleep(0.01)

        stage.play(story)
        assert stage.states()["A"] | {"agent": ""} == {
            "agent": "",
            "action": "off",
            "timeout_s": 10.0,
            "running": False,
            "last": "done",
        }

    def test_the_end_of_the_agent_ends_what_runs(self, program: Program, tmp_path: Path) -> None:
        stage = Stage(node("A", program("echo $$ > HERE/pid; exec sleep 1000")))

        async def story() -> None:
            waiting = asyncio.get_running_loop().create_task(stage.fences.fence("A"))
            async with asyncio.timeout(20):
                while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                    await asyncio.sleep(0.01)
            await stage.fences.close()
            assert waiting.cancelled() or waiting.cancel()

        stage.play(story)
        assert stage.posted == []
        assert _ends((tmp_path / "pid").read_text())

    def test_a_node_without_a_fence_cannot_be_fenced(self) -> None:
        stage = Stage(node("A", None))

        async def story() -> None:
            with pytest.raises(FenceError, match="no fence is configured for A"):
                await stage.fences.fence("A")

        stage.play(story)

    def test_what_would_keep_it_from_working_is_found_before_and_told_once(self, program: Program) -> None:
        stage = Stage(node("A", FencingConfig("fence_of_nobody")), node("B", FencingConfig("fence_of_nobody")))
        stage.reload(*stage.nodes)
        stage.reload(*stage.nodes)
        assert len(stage.fences.faults) == 1, "nobody fences itself"
        assert stage.notes == [("unfenced", fault) for fault in stage.fences.faults]
        stage.reload(node("A", program("exit 0")))
        assert stage.fences.faults == []
