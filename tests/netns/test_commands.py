"""Every command of an operator, end to end: the program, the agent, the cluster, and what it leaves on the hosts."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from statistics import median

import pytest

from haagent.lab import Lab, Wishes
from haagent.lab.plan import VIP4, VIP6
from tests.support.observe import (
    MakeLab,
    Measured,
    addresses,
    ballots,
    events,
    group,
    holder,
    member,
    other,
    refused,
    said,
    serves,
    serves_nothing,
    told,
    wait_serves_nothing,
    wait_whole,
)
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns


def ended(lab: Lab, name: str) -> None:
    lab.wait_for(lambda: not lab.agents.processes(lab.state(), name), what=f"the agent of {name} has ended")


def test_standby_empties_a_node_and_unstandby_lets_it_return(make_lab: MakeLab, tmp_path: Path) -> None:
    extra = tmp_path / "extra.yaml"
    extra.write_text("groups: {web: {failback: {after: 300ms}}}")
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab, holders={"web": "A"})
    answer = told(lab, "B", "standby", "A")
    assert (answer["done"], answer["holds"]) == (True, [])
    wait_whole(lab, holders={"web": "B"})
    wait_serves_nothing(lab, "A")
    assert {member(lab, name, "A")["state"] for name in ("A", "B")} == {"standby"}
    status, complaint = refused(lab, "A", "failover", "--to", "A")
    assert (status, "A is in standby" in complaint) == (4, True)
    lab.agents.signal("A", signal.SIGTERM)  # the order outlives the agent
    ended(lab, "A")
    lab.start("A")
    lab.wait_for(lambda: member(lab, "B", "A")["state"] == "standby", what="A is back, in standby")
    told(lab, "A", "unstandby", "A")
    wait_whole(lab, holders={"web": "A"})  # it is preferred, and failback is on
    assert serves(lab, "A")
    told(lab, "A", "clear", "web")
    assert {"standby", "unstandby"} & {word for one in events(lab, "B") for word in one["text"].split()}


def test_maintenance_keeps_the_address_over_a_restart(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    told(lab, theirs, "maintenance", "on")
    lab.wait_for(lambda: told(lab, mine, "status")["maintenance"], what=f"{mine} knows of the maintenance")
    status, complaint = refused(lab, mine, "failover", "--to", theirs)
    assert (status, "maintenance" in complaint) == (4, True)
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        lab.agents.signal(mine, signal.SIGTERM)
        ended(lab, mine)
        assert serves(lab, mine)
        assert lab.run(mine, ["haagent", "release", "--config", str(lab.directory / "haagent.yaml")]).returncode == 0
        assert serves(lab, mine)  # maintenance protects from the unit's ExecStopPost, too
        probe.wait_answer(by=mine)
        lab.wait_for(lambda: member(lab, theirs, mine)["state"] == "offline", what=f"{theirs} misses {mine}")
        status, complaint = refused(lab, theirs, "maintenance", "off")
        assert (status, mine in complaint) == (4, True)
        lab.start(mine)
        wait_whole(lab, holders={"web": mine})
        told(lab, mine, "maintenance", "off")
        lab.wait_for(lambda: not told(lab, theirs, "status")["maintenance"], what=f"{theirs} knows of its end")
        wait_whole(lab, holders={"web": mine})
        told(lab, theirs, "failover", "--to", theirs)
        probe.wait_answer(by=theirs)
        wait_serves_nothing(lab, mine)
    seen = probe.outages()
    assert [one.answered_by for one in seen] == [[mine, theirs]] * len(seen)
    assert all(one.dual_ms == 0 for one in seen)
    measured("worst gap over a restart in maintenance and a move", f"{max(one.worst_ms for one in seen):.1f} ms")


def test_what_a_holder_left_that_did_not_hear_of_the_end_of_maintenance_is_left_alone(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(lease="4s"))  # `off` comes in time, on any machine
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    told(lab, mine, "maintenance", "on")
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        for each in (theirs, "W"):
            lab.faults.cut(mine, each)
        told(lab, theirs, "maintenance", "off")
        lab.agents.signal(mine, signal.SIGTERM)
        ended(lab, mine)
        assert serves(lab, mine)
        lab.wait_for(
            lambda: f"haagent confirm-down {mine}" in group(lab, theirs)["why"], what=f"{theirs} says what to do"
        )
        probe.wait_answer(by=mine)
        lab.faults.heal()
        lab.start(mine)
        lab.wait_for(lambda: member(lab, mine, theirs)["state"] == "online", what=f"{mine} hears of the end")
        wait_whole(lab)
        probe.wait_answer()
    assert all(one.dual_ms == 0 for one in probe.outages())


def test_maintenance_that_nobody_heard_leaves_nothing_in_place(make_lab: MakeLab, measured: Measured) -> None:
    """The holder is cut off, is told of the maintenance, and is stopped while its lease still runs."""
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(lease="4s"))
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        for each in (theirs, "W"):
            lab.faults.cut(mine, each)
        command = lab.start_on(mine, ["haagent", "maintenance", "on"])
        lab.wait_for(lambda: lab.agents.status(mine)["maintenance"], what=f"{mine} has the order")
        lab.agents.signal(mine, signal.SIGTERM)
        assert serves(lab, mine), "its lease still runs"
        ended(lab, mine)
        has_let_go = serves_nothing(lab, mine)
        probe.wait_answer(by=theirs)
        over_s = time.monotonic() + 4.0
        lab.wait_for(lambda: time.monotonic() > over_s, what="one more lease is over")
        lab.faults.heal()
        lab.start(mine)
        lab.wait_for(lambda: told(lab, theirs, "status")["maintenance"], what=f"{theirs} hears of the maintenance")
        told(lab, theirs, "maintenance", "off")
        wait_whole(lab, holders={"web": theirs})
        probe.wait_answer(by=theirs)
    seen = probe.outages()
    measured("two answering", f"{max(one.dual_ms for one in seen):g} ms")
    never_two(*(one.dual_ms for one in seen))
    assert [one.answered_by for one in seen] == [[mine, theirs]] * len(seen)
    assert has_let_go
    assert "no majority renewed the lease; releasing the group" in lab.agents.log(mine).read_text()
    assert b"too few nodes have said that they know of it" in command.communicate(timeout=20)[1]


def test_refusals_have_their_own_exit_status(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    assert refused(lab, mine, "failover", "--to", "W")[0] == 4
    assert refused(lab, mine, "standby", "W")[0] == 4
    assert refused(lab, mine, "failover", "--to", "Z")[0] == 2
    assert refused(lab, mine, "failover", "wep", "--to", theirs)[0] == 2
    already = told(lab, mine, "failover", "--to", mine)
    assert (already["already"], already["done"]) == (True, True)
    status, complaint = refused(lab, mine, "release", "--config", str(lab.directory / "haagent.yaml"))
    assert (status, "agent runs here" in complaint) == (4, True)
    lab.run(theirs, ["ip", "link", "set", "eth0", "down"])  # its check fails, and nobody hears it any more
    lab.wait_for(lambda: member(lab, mine, theirs)["state"] == "offline", what=f"{theirs} is offline")
    assert refused(lab, mine, "failover", "--to", theirs)[0] == 4
    lab.agents.signal(theirs, signal.SIGTERM)
    ended(lab, theirs)
    for words in (["status"], ["events"], ["failover", "--to", "A"], ["standby", "A"], ["reload"], ["clear"]):
        status, complaint = refused(lab, theirs, *words)
        assert (status, "not running" in complaint) == (3, True)


def test_the_history_is_one_and_outlives_its_nodes(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    told(lab, theirs, "failover", "--to", theirs)
    told(lab, mine, "failover", "--to", mine)

    def both() -> list[set[tuple[str, int]]]:
        return [{(one["node"], one["index"]) for one in events(lab, name)} for name in (mine, theirs)]

    lab.wait_for(lambda: both()[0] == both()[1], what="both tell the same history")
    written = [one for one in events(lab, mine) if one["node"] == mine]
    lab.faults.crash(mine)
    lab.wait_for(lambda: lab.agents.holder() == theirs, what=f"{theirs} has taken over")
    kept = events(lab, theirs)
    assert [one for one in kept if one["node"] == mine] == written
    assert [one["time"] for one in kept] == sorted(one["time"] for one in kept)
    assert {one["node"] for one in kept if one["kind"] == "taken" and one["group"] == "web"} == {mine, theirs}
    assert any(f"{mine} is offline" in one["text"] for one in kept)
    lab.start(mine)
    wait_whole(lab)
    missed = [one["index"] for one in kept if one["node"] == theirs]
    lab.wait_for(
        lambda: set(missed) <= {one["index"] for one in events(lab, mine) if one["node"] == theirs},
        what="its next life learns what it missed",
    )


def test_release_removes_what_a_dead_agent_left(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine = holder(lab)
    lab.faults.kill(mine, whom="all")
    lab.run(mine, ["ip", "address", "replace", f"{VIP4}/24", "dev", "eth0"])  # for ever: nothing else removes it
    lab.run(mine, ["ip", "address", "replace", f"{VIP6}/64", "dev", "eth0"])
    lab.run(mine, ["ip", "address", "add", "10.20.1.77/32", "dev", "eth0", "label", "eth0:ha"])
    own = lab.state().plan.host(mine).address
    done = lab.run(mine, ["haagent", "release", "--config", str(lab.directory / "haagent.yaml")])
    assert f"removed {VIP4}/24 from eth0" in done.stdout, said(done)
    assert serves_nothing(lab, mine)
    assert "10.20.1.77" not in addresses(lab, mine)
    assert own in addresses(lab, mine)
    again = lab.run(mine, ["haagent", "release", "--config", str(lab.directory / "haagent.yaml")])
    assert "nothing to remove" in again.stdout, said(again)


def test_looking_is_quick(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    before = ballots(lab)
    for words in (["status"], ["status", "--json"], ["--help"]):
        took_ms = []
        for _ in range(10):
            start_s = time.monotonic()
            lab.run("A", ["haagent", *words])
            took_ms.append(1000 * (time.monotonic() - start_s))
        measured(f"haagent {' '.join(words)}", f"{median(took_ms):.0f} ms (median of 10)")
        assert median(took_ms) < 1000
    assert ballots(lab) == before
    shown = lab.run("A", ["haagent", "status"]).stdout
    assert group(lab, "A")["why"] in " ".join(shown.split())
