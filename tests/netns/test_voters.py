"""Voters come and go while agents run, one at a time, and a client notices nothing of it. All read one file."""

from __future__ import annotations

import signal
import time

import pytest

from haagent.lab import Lab
from haagent.lab.plan import VIP4, VIP6
from tests.netns.test_config_live import Tree, rewrite
from tests.support.observe import (
    LEASE_MS,
    MakeLab,
    Measured,
    group,
    holder,
    noise_ms,
    refused,
    runs,
    told,
    wait_whole,
)

pytestmark = pytest.mark.netns
RUNS = runs(1)


def voters(lab: Lab, name: str) -> list[str]:
    found: list[str] = lab.agents.status(name)["voters"]
    return found


def with_nodes(lab: Lab, full: Tree, names: str) -> None:
    """The file has these of the nodes that the lab has made."""

    def change(tree: Tree) -> None:
        tree["nodes"] = {name: full[name] for name in names}
        tree["on_partition"] = "consistent"
        for one in tree["groups"].values():
            one["prefer"] = ["A", "B"]

    rewrite(lab, change)


def nodes_of(lab: Lab) -> Tree:
    found: Tree = {}
    rewrite(lab, lambda tree: found.update(tree["nodes"]))
    return found


def stop(lab: Lab, name: str) -> None:
    lab.agents.signal(name, signal.SIGTERM)
    lab.wait_for(lambda: lab.agents.tree(name).root is None, what=f"{name} has stopped")


def reload(lab: Lab, names: str) -> None:
    for name in names:
        told(lab, name, "reload")


def wait_voters(lab: Lab, on: str, expected: str) -> None:
    lab.wait_for(
        lambda: all(voters(lab, name) == [*expected] for name in on), what=f"the voters are {expected} on {on}"
    )


def test_voters_come_and_go_while_the_group_is_served(make_lab: MakeLab, measured: Measured) -> None:
    """Four, three, four and three again; then one is lost, and the set of that moment decides."""
    lab = make_lab(nodes=3, has_witness=True)
    wait_whole(lab)
    full, mine = nodes_of(lab), holder(lab)
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        quiet = (time.monotonic(), time.monotonic() + 0.5)
        wait_voters(lab, "ABCW", "ABCW")
        for _ in range(RUNS):
            stop(lab, "W")
            with_nodes(lab, full, "ABC")
            reload(lab, "ABC")
            wait_voters(lab, "ABC", "ABC")
            with_nodes(lab, full, "ABCW")
            lab.start("W")
            reload(lab, "ABC")
            wait_voters(lab, "ABCW", "ABCW")
            with_nodes(lab, full, "ABC")
            reload(lab, "ABC")
            wait_voters(lab, "ABCW", "ABC")
        stop(lab, "W")
        wait_whole(lab)
        changed_s = time.monotonic()
        lab.faults.crash("B" if mine == "A" else "A")
        lab.faults.boot("B" if mine == "A" else "A")
        wait_whole(lab)
    noise = noise_ms(probe, [quiet])
    changes = [probe.outage(vip, end_s=changed_s) for vip in (VIP4, VIP6)]
    lost = [probe.outage(vip, start_s=changed_s) for vip in (VIP4, VIP6)]
    measured(f"worst gap over {3 * RUNS} changes of the voters", f"{max(one.worst_ms for one in changes):.1f} ms")
    for one in (*changes, *lost):
        assert (one.answered_by, one.dual_ms) == ([mine], 0)
        assert one.worst_ms < LEASE_MS / 2 + noise + one.stall_ms
    assert holder(lab) == mine


def test_a_voter_replaced_in_one_edit_does_not_make_two_majorities(make_lab: MakeLab, measured: Measured) -> None:
    """C is replaced by W in one edit; B and W are started with it, A and C run with the file of before. Then the two
    halves are cut from each other: each is a majority of the voters that its own file names."""
    lab = make_lab(nodes=3, has_witness=True)
    wait_whole(lab)
    full = nodes_of(lab)
    stop(lab, "W")
    with_nodes(lab, full, "ABC")
    reload(lab, "ABC")
    wait_voters(lab, "ABC", "ABC")
    if holder(lab) != "A":
        told(lab, "A", "failover", "web", "--to", "A")
    with_nodes(lab, full, "ABW")
    status, complaint = refused(lab, "A", "reload")
    assert status == 2
    assert "add W, then remove C" in complaint
    with lab.probe() as probe:
        probe.wait_answer(by="A")
        stop(lab, "B")
        for name in "BW":
            lab.start(name)
        lab.wait_for(lambda: lab.agents.status("B")["members"] is not None, what="B answers")
        lab.wait_for(
            lambda: all(one["silent_ms"] == 0 for one in lab.agents.status("B")["members"]), what="B has its vote"
        )
        assert voters(lab, "B") == ["A", "B", "C"]
        assert any("one voter at a time" in text for text in lab.agents.status("B")["warnings"])
        for one in "AC":
            for other in "BW":
                lab.faults.cut(one, other)
        lab.wait_for(lambda: not lab.agents.status("B")["quorate"], what="B is cut off")
        lab.wait_for(lambda: not group(lab, "B")["holder"], what="the lease that B knew of is over")
        until = time.monotonic() + 3 * LEASE_MS / 1000
        lab.wait_for(lambda: time.monotonic() > until, what="three leases are over")
    measured("two answering", f"{max(one.dual_ms for one in probe.outages()):.1f} ms")
    assert all((one.answered_by, one.dual_ms) == (["A"], 0) for one in probe.outages())
