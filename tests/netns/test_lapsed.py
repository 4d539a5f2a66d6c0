"""An agent that stood still for longer than its lease: the history of every node says so."""

from __future__ import annotations

import pytest

from haagent.lab import Lab
from tests.support.observe import MakeLab, group, holder, other, told, wait_whole

pytestmark = pytest.mark.netns
TRIES = 10


def test_an_agent_that_hung_beyond_its_lease_says_so(make_lab: MakeLab) -> None:
    """What it does first afterwards is chance: if it reads a heartbeat, the core lets go, late and orderly."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    for _ in range(TRIES):
        mine = holder(lab)
        theirs = other(lab, mine)
        lab.faults.freeze(mine, whom="agent")
        lab.wait_for(lambda: group(lab, theirs)["here"] == "active", what=f"{theirs} has taken over")  # noqa: B023
        lab.faults.thaw(mine)
        wait_whole(lab, holders={"web": theirs})
        if found := _hangs(lab, mine, of=mine):
            break
        assert any("ms too late" in one["text"] for one in told(lab, mine, "events", "--all")["events"])
    (hung,) = found
    assert hung["severity"] == "error"
    assert "neither renewed nor dropped" in hung["text"]
    assert "hung or was starved of processor time" in hung["text"]
    assert any("hung" in warning for warning in told(lab, mine, "status")["warnings"])
    assert told(lab, mine, "status")["counters"]["lapsed"] in (1, 2), "it may have been the leader too"
    lab.wait_for(lambda: _hangs(lab, theirs, of=mine), what=f"{theirs} knows that {mine} hung")


def _hangs(lab: Lab, node: str, *, of: str) -> list[dict[str, str]]:
    known = told(lab, node, "events", "--all", "--severity", "warning")["events"]
    return [one for one in known if (one["node"], one["kind"], one["group"]) == (of, "lapsed", "web")]
