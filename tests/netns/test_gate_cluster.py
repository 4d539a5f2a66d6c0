"""The gate in a whole cluster, on a real kernel.

Who answers is what the client's prober sees, a millisecond apart; what a process, `ip` or `nft` says is not believed.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from haagent.lab import Lab, Measurement, Wishes
from haagent.lab.plan import VIP4, VIP6
from tests.netns.gate_sight import Owner, asked, bind, tables
from tests.support.observe import (
    LEASE_MS,
    MakeLab,
    Measured,
    addresses,
    assert_handed_over_once,
    events,
    group,
    holder,
    noise_ms,
    other,
    runs,
    serves,
    serves_nothing,
    spread,
    told,
    wait_whole,
    watch_quietly,
)
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns


def test_a_killed_or_frozen_node_never_answers_beside_its_successor(make_lab: MakeLab, measured: Measured) -> None:
    """All processes of the holder are hit at once, and its addresses are made to stay: only the gate is left."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    windows, quiet = [], []
    with lab.probe() as probe:
        for number in (signal.SIGKILL, signal.SIGSTOP) * runs(1):
            probe.wait_answer()
            mine = holder(lab)
            quiet.append(watch_quietly())
            start_s = time.monotonic()
            lab.faults.kill(mine, whom="all") if number == signal.SIGKILL else lab.faults.freeze(mine)
            bind(lab, mine)
            probe.wait_answer(other_than=mine)
            windows.append((start_s, time.monotonic()))
            assert serves(lab, mine)
            if number == signal.SIGKILL:
                lab.start(mine)  # its next life takes over a host on which the addresses are
            else:
                lab.faults.thaw(mine)
            wait_whole(lab, holders={"web": other(lab, mine)})
            lab.wait_for(lambda mine=mine: serves_nothing(lab, mine), what="what was left is cleaned up")  # type: ignore[misc]
            probe.wait_answer(other_than=mine)
    _judge(probe, windows, measured, noise=noise_ms(probe, quiet))
    _release_what_the_dead_left(lab)


def _judge(probe: Measurement, windows: list[tuple[float, float]], measured: Measured, *, noise: float) -> None:
    for vip in (VIP4, VIP6):
        seen = [probe.outage(vip, start_s=start_s, end_s=end_s) for start_s, end_s in windows]
        measured(f"client without {vip}", spread([one.worst_ms for one in seen]))
        whole = probe.outage(vip)
        measured(f"two answered at once for {vip}", f"{whole.dual_ms:g} ms")
        never_two(whole.dual_ms)
        assert_handed_over_once(seen)
        assert max(one.worst_ms for one in seen) <= LEASE_MS + 50 + noise + max(one.stall_ms for one in seen)
    measured("noise", f"{noise:.1f} ms")


def _release_what_the_dead_left(lab: Lab) -> None:
    mine = holder(lab)
    for name in ("A", "B", "W"):
        lab.faults.kill(name, whom="all")
    bind(lab, mine)
    assert asked(lab, mine) == set()
    done = lab.run(mine, ["haagent", "release", "--config", str(lab.directory / "haagent.yaml")])
    assert "removed the gate's tables" in done.stdout
    assert serves_nothing(lab, mine)
    assert tables(lab, mine) == set()


def test_a_flush_on_every_node_is_not_noticed_by_anybody(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine = holder(lab)
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        quiet = watch_quietly()
        start_s = time.monotonic()
        for name in ("A", "B"):
            lab.run(name, ["nft", "flush ruleset"])
        bind(lab, other(lab, mine))  # gated where it is not held: it goes, and answers nobody meanwhile
        lab.wait_for(lambda: serves_nothing(lab, other(lab, mine)), what="the address that does not belong is gone")
        probe.wait_answer(by=mine)
    seen = probe.outages(start_s=start_s)
    measured("worst gap", f"{max(one.worst_ms for one in seen):.1f} ms, noise {noise_ms(probe, [quiet]):.1f} ms")
    assert all((one.dual_ms, one.answered_by) == (0, [mine]) for one in seen)
    assert {one["name"]: one["gate"]["state"] for one in told(lab, mine, "status")["groups"]} == {"web": "open"}
    assert group(lab, other(lab, mine))["gate"]["state"] == "shut"
    assert f"Gate on {mine}: web open." in lab.run(mine, ["haagent", "status"]).stdout


def test_without_a_gate_the_agent_works_and_warns(make_lab: MakeLab, tmp_path: Path) -> None:
    extra = tmp_path / "extra.yaml"
    extra.write_text("gate: off")
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    mine = holder(lab)
    assert tables(lab, mine) == set()
    assert group(lab, mine)["gate"] == {"state": "off", "why": "the configuration says `gate: off`"}
    assert any("no gate on this node" in text for text in told(lab, mine, "status")["warnings"])
    checked = lab.run(mine, ["haagent", "check-config", str(lab.directory / "haagent.yaml")])
    assert "gate: `off`" in checked.stdout
    theirs = other(lab, mine)
    told(lab, mine, "failover", "--to", theirs)
    wait_whole(lab, holders={"web": theirs})
    assert serves(lab, theirs)
    assert not {VIP4, VIP6} & addresses(lab, mine)


def test_a_host_whose_kernel_cannot_says_so_and_serves(make_lab: MakeLab) -> None:
    """A process of somebody else that owns tables of our name is the one obstacle that a namespace can be given."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    lab.faults.kill(theirs, whom="all")
    twin = Owner(lab, theirs)
    try:
        lab.start(theirs)
        lab.wait_for(lambda: group(lab, theirs)["gate"]["state"] == "unavailable", what=f"{theirs} says it has no gate")
        wait_whole(lab, holders={"web": mine})
        (blocked,) = [one for one in events(lab, mine) if (one["node"], one["kind"]) == (theirs, "blocked")]
        assert blocked in told(lab, mine, "events", "--severity", "error")["events"]
        assert "nothing can be served" in blocked["text"]
        assert any("nothing can be served" in text for text in told(lab, mine, "status")["warnings"])
        assert told(lab, theirs, "status")["counters"]["events_blocked"] == 1
        done = lab.run(mine, ["haagent", "failover", "--to", theirs, "--wait", "3s"], checks=False)
        assert done.returncode
        wait_whole(lab, holders={"web": mine})
    finally:
        twin.close()
    told(lab, mine, "clear")
    told(lab, mine, "failover", "--to", theirs)
    wait_whole(lab, holders={"web": theirs})
