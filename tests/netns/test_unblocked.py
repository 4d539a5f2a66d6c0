"""Heartbeats go on, heard from outside, while what the agent needs from its host does not answer for seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from haagent.lab import Wishes
from tests.netns.ear import listening_to
from tests.support.observe import MakeLab, events, holder, other, serves, wait_whole
from trials.chaos.busy_kernel import Impossible, holding
from trials.chaos.slow_disk import hanging

pytestmark = pytest.mark.netns

INTERVAL_S = 0.5
BLOCKED_S = 3.0  # so long that one who waits for it misses several heartbeats


def _wishes(extra: Path | None = None) -> Wishes:
    return Wishes(interval=f"{INTERVAL_S}s", lease="4s", extra=str(extra) if extra else "")


def test_while_the_exec_of_a_hook_hangs(make_lab: MakeLab, tmp_path: Path) -> None:
    hook, extra = tmp_path / "hook", tmp_path / "extra.yaml"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    extra.write_text(f"groups: {{web: {{hooks: {{released: {hook}}}}}}}\n")
    lab = make_lab(nodes=2, has_witness=True, wishes=_wishes(extra))
    wait_whole(lab)
    mine = holder(lab)
    with listening_to(lab, mine) as ear:
        with hanging(hook):
            lab.run(mine, ["haagent", "failover", "web", "--to", other(lab, mine)])
            time.sleep(BLOCKED_S)
        lab.wait_for((tmp_path / "ran").exists, what="the hook has run")
        assert ear.longest_pause_s() < 2 * INTERVAL_S


def test_while_the_kernel_lets_nobody_touch_an_address(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, has_witness=True, wishes=_wishes())
    wait_whole(lab)
    mine = holder(lab)
    before = events(lab, mine)
    with listening_to(lab, mine) as ear:
        ear.longest_pause_s()
        try:
            with holding(BLOCKED_S):
                pass
        except Impossible as error:
            pytest.skip(f"the kernel cannot be held up here: {error}")
        assert ear.longest_pause_s() < 2 * INTERVAL_S
    wait_whole(lab, holders={"web": mine})
    assert serves(lab, mine)
    assert events(lab, mine) == before, "nothing has happened"
