"""Programs that do not start: they keep neither the loop nor the time limit waiting."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from haagent.processes import programs
from trials.chaos.slow_disk import hanging

TICK_S = 0.01
BLOCKED_S = 1.0


@pytest.fixture
def program(tmp_path: Path) -> Path:
    found = tmp_path / "program"
    found.write_text("#!/bin/sh\necho it runs\n")
    found.chmod(0o755)
    return found


def test_the_loop_goes_on_while_an_exec_hangs(program: Path) -> None:
    async def story() -> float:
        running = asyncio.ensure_future(programs.run([str(program)], env={}, timeout_s=2 * BLOCKED_S))
        longest, before = 0.0, time.monotonic()
        while not running.done():
            await asyncio.sleep(TICK_S)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        assert running.result() == programs.Ended(None, "")
        return longest

    with hanging(program):
        assert asyncio.run(story()) < BLOCKED_S


def test_it_runs_when_the_disk_answers_at_last(program: Path) -> None:
    async def story() -> programs.Ended:
        with hanging(program):
            running = asyncio.ensure_future(programs.run([str(program)], env={}, timeout_s=60))
            await asyncio.sleep(BLOCKED_S)
            assert not running.done()
        return await running

    assert asyncio.run(story()) == programs.Ended(0, "it runs\n")
