"""The operator's programs: run in order, told what happened, killed in time, and harmless when they fail."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from haagent.activation.hooks import Hooks
from haagent.config import HooksConfig
from haagent.core.messages import Ballot

ONE = Ballot(1, "A")


def hooks(tmp_path: Any, script: str, *, timeout_s: float = 10) -> tuple[Hooks, list[tuple[str, str]]]:
    program = tmp_path / "hook"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    notes: list[tuple[str, str]] = []
    spec = HooksConfig(taken=str(program), released=str(program), failed="", timeout_s=timeout_s)
    addresses = ["10.20.1.100/24", "fd00:20::100/64"]
    return Hooks(spec, group="web", node="A", addresses=addresses, note=lambda *note: notes.append(note)), notes


def test_hooks_run_in_order_and_are_told_what_happened(tmp_path: Any) -> None:
    async def story() -> None:
        running, notes = hooks(
            tmp_path,
            'echo "$HAAGENT_EVENT $HAAGENT_GROUP $HAAGENT_NODE $HAAGENT_BALLOT $HAAGENT_WHY $HAAGENT_ADDRESSES" >> '
            f"{tmp_path}/log",
        )
        running.add("taken", ONE, "")
        running.add("failed", ONE, "not configured: nothing runs")
        running.add("released", ONE, "asked")
        await running.finished()
        assert (tmp_path / "log").read_text().splitlines() == [
            "taken web A 1.A  10.20.1.100/24 fd00:20::100/64",
            "released web A 1.A asked 10.20.1.100/24 fd00:20::100/64",
        ]
        assert notes == [("hook", "hook taken done"), ("hook", "hook released done")]

    asyncio.run(story())


def test_a_hook_that_hangs_is_killed_with_its_children(tmp_path: Any) -> None:
    async def story() -> None:
        running, notes = hooks(tmp_path, "echo starting; sleep 600 & wait", timeout_s=0.2)
        running.add("taken", ONE, "")
        await running.finished()
        assert notes == [("hook_fail", "hook taken killed after 0.2 s: starting")]

    asyncio.run(story())


def test_a_hook_that_fails_or_is_missing_is_a_line_and_no_more(tmp_path: Any) -> None:
    async def story() -> None:
        running, notes = hooks(tmp_path, "echo no such route >&2; exit 3")
        running.add("taken", ONE, "")
        await running.finished()
        (tmp_path / "hook").unlink()
        running.add("taken", ONE, "")
        await running.finished()
        assert notes[0] == ("hook_fail", "hook taken ended with status 3: no such route")
        kind, text = notes[1]
        assert kind == "hook_fail"
        assert "cannot be started" in text
        assert "No such file" in text

    asyncio.run(story())


def test_what_a_hook_leaves_running_does_not_delay_the_next(tmp_path: Any) -> None:
    async def story() -> None:
        running, notes = hooks(tmp_path, f"sleep 30 & echo $! > {tmp_path}/pid")
        running.add("taken", ONE, "")
        async with asyncio.timeout(10):
            await running.finished()
        assert notes == [("hook", "hook taken done")]

    asyncio.run(story())
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
