"""A lease is shortened on one node after the other, and a voter loses its memory meanwhile: two never answer, and a
long lease that was only tried costs nothing later."""

from __future__ import annotations

import os
import time

import pytest

from haagent.lab import Lab, Wishes
from tests.netns.test_config_live import Tree, rewrite
from tests.support.observe import MakeLab, Measured, holder, member, other, serves, told, wait_whole
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns

LONG_S, SHORT_S = 10.0, 0.35
TRIED_S = float(os.environ.get("TRIED_S", "4"))  # a minute, for who has the time


def write_short(lab: Lab) -> None:
    """An agent has it from its next start on."""

    def change(tree: Tree) -> None:
        tree["heartbeat"]["lease"] = f"{1000 * SHORT_S:.0f}ms"

    rewrite(lab, change)


def restart(lab: Lab, name: str, *, forgets: bool = False) -> None:
    lab.faults.kill(name, whom="all")
    if forgets:
        (lab.state_directory(name) / "memory.json").unlink()
    lab.start(name)


def waits(lab: Lab, seconds: float) -> None:
    until = time.monotonic() + seconds
    lab.wait_for(lambda: time.monotonic() > until, what=f"{seconds:g} s are over", within_s=2 * seconds)


def test_a_voter_that_forgot_a_long_lease_does_not_vote_while_it_runs(make_lab: MakeLab, measured: Measured) -> None:
    """W alone renews the lease of A; what B once granted is over. W gets the new file first, and loses its memory."""
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(lease=f"{LONG_S:g}s"))
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        lab.faults.cut(mine, theirs)
        waits(lab, 1.1 * LONG_S)
        assert serves(lab, mine)
        lab.faults.cut(mine, "W")
        write_short(lab)
        restart(lab, "W", forgets=True)
        probe.wait_answer(by=theirs, within_s=3 * LONG_S)
        lab.faults.heal()
        wait_whole(lab, holders={"web": theirs})
    seen = probe.outages()
    measured("two answering", f"{max(one.dual_ms for one in seen):g} ms")
    never_two(*(one.dual_ms for one in seen))
    assert [one.answered_by for one in seen] == [[mine, theirs]] * len(seen)


def test_a_long_lease_that_was_tried_once_costs_nothing_later(make_lab: MakeLab, measured: Measured) -> None:
    """W is restarted, and its vote is needed at once."""
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(lease=f"{TRIED_S:g}s"))
    lab.wait_ready(within_s=3 * TRIED_S)
    write_short(lab)
    for name in "WBA":
        restart(lab, name)
        waits(lab, 1.1 * TRIED_S)
        wait_whole(lab)
    waits(lab, 2.05 * TRIED_S)
    mine, theirs = holder(lab), other(lab, holder(lab))
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        restart(lab, "W")
        for name in (mine, theirs):
            lab.wait_for(lambda name=name: member(lab, "W", name)["state"] == "online", what=f"W hears {name}")
        lab.faults.crash(mine)
        probe.wait_answer(by=theirs, within_s=2 * TRIED_S)
    seen = probe.outages()
    measured(f"client without it, after a lease of {TRIED_S:g} s", f"{max(one.worst_ms for one in seen):.0f} ms")
    never_two(*(one.dual_ms for one in seen))
    assert all(one.worst_ms < 1000 * TRIED_S / 2 for one in seen)
    assert told(lab, theirs, "status")["quorate"]
