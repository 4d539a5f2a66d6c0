"""`process: {realtime: true}`: what the kernel says of a running agent, and of what it starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from haagent.lab import Lab, Wishes
from tests.support.observe import MakeLab, wait_whole

pytestmark = pytest.mark.netns

IN_REAL_TIME = os.SCHED_RR | os.SCHED_RESET_ON_FORK


def _scheduling(lab: Lab, name: str) -> dict[str, object]:
    found: dict[str, object] = lab.agents.status(name)["scheduling"]
    return found


def _agent(lab: Lab, name: str) -> int:
    return int(lab.agents.status(name)["pids"]["agent"])


def _policies(pid: int) -> dict[str, int]:
    """Of every thread, by its name; threads of one name are all of one kind here."""
    threads = [int(task) for task in os.listdir(f"/proc/{pid}/task")]
    return {str(thread): os.sched_getscheduler(thread) for thread in threads}


def test_it_is_in_force_where_it_was_asked_for_and_nowhere_else(make_lab: MakeLab, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nchrt -p $$ > {ran}.new && mv {ran}.new {ran}\n")
    hook.chmod(0o755)
    extra = tmp_path / "extra.yaml"
    extra.write_text(f"process: {{realtime: true}}\ngroups: {{web: {{hooks: {{taken: {hook}}}}}}}\n")
    lab = make_lab(nodes=1, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    assert _scheduling(lab, "A") == {"wanted": True, "realtime": True, "locked": True, "why_not": ""}
    agent = _agent(lab, "A")
    in_real_time = [thread for thread, policy in _policies(agent).items() if policy == IN_REAL_TIME]
    assert len(in_real_time) == 4, "the loop, and who asks the kernel for the gate, the addresses and the links"
    assert str(agent) in in_real_time
    locked = re.search(r"VmLck:\s+(\d+)", Path(f"/proc/{agent}/status").read_text())
    assert locked is not None
    assert int(locked[1]) > 10_000
    lab.wait_for(ran.exists, what="the hook has run")
    assert "SCHED_OTHER" in ran.read_text(), "what it starts is ordinary again"


def test_without_it_the_agent_is_an_ordinary_process(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1)
    wait_whole(lab)
    assert _scheduling(lab, "A") == {"wanted": False, "realtime": False, "locked": False, "why_not": ""}
    assert set(_policies(_agent(lab, "A")).values()) == {os.SCHED_OTHER}
