"""Hosts whose clock is steered away from their counter: real agents, the real kernel's time-outs, a client.

The counters are those of `trials.chaos.steered_agent`; nobody touches the clock of this machine.
"""

from __future__ import annotations

import time

import pytest

from haagent.core.settings import SLEW
from haagent.lab import Lab
from haagent.lab.plan import VIP4, VIP6
from tests.netns.gate_sight import bind
from tests.support.observe import (
    MakeLab,
    Measured,
    events,
    holder,
    other,
    runs,
    spread,
    told,
    wait_whole,
)
from tests.support.standstill import never_two
from trials.chaos import steered_agent
from trials.chaos.steered_agent import STEERED

pytestmark = pytest.mark.netns


def steer(lab: Lab, names: str, slew: float) -> None:
    """From now on the hosts' clocks run so much faster than their counters."""
    steered_agent.steer([lab.state_directory(name) for name in names], slew)


def test_a_frozen_holders_gate_shuts_in_time_although_the_kernels_clock_is_slow(
    make_lab: MakeLab, measured: Measured
) -> None:
    """As slow as it may be, on all hosts. Their counters agree."""
    lab = make_lab(nodes=2, has_witness=True, command=STEERED)
    wait_whole(lab)
    steer(lab, "ABW", -0.99 * SLEW)
    wait_whole(lab)
    windows = []
    with lab.probe() as probe:
        for _ in range(runs(2)):
            mine = holder(lab)
            probe.wait_answer(by=mine)
            start_s = time.monotonic()
            lab.faults.freeze(mine)
            bind(lab, mine)  # whatever the addresses' lifetimes do
            probe.wait_answer(other_than=mine)
            windows.append((start_s, time.monotonic()))
            lab.faults.thaw(mine)
            wait_whole(lab, holders={"web": other(lab, mine)})
    each = [probe.outage(vip, start_s=start, end_s=end) for vip in (VIP4, VIP6) for start, end in windows]
    seen = [probe.outage(vip) for vip in (VIP4, VIP6)]
    measured("client without it", spread([one.worst_ms for one in each]))
    measured("two answered at once", f"{max(one.dual_ms for one in seen):g} ms")
    never_two(*(one.dual_ms for one in seen))
    for name in "ABW":
        assert lab.agents.status(name)["clock_slew_percent"] == pytest.approx(-9.9, abs=0.5)


@pytest.mark.parametrize("slew", [0.15, -0.15])
def test_a_node_whose_clock_is_steered_too_far_hands_over_and_is_back_afterwards(
    make_lab: MakeLab, measured: Measured, slew: float
) -> None:
    lab = make_lab(nodes=2, has_witness=True, command=STEERED)
    wait_whole(lab)
    mine = holder(lab)
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        start_s = time.monotonic()
        steer(lab, mine, slew)
        probe.wait_answer(other_than=mine)
    seen = [probe.outage(vip, start_s=start_s) for vip in (VIP4, VIP6)]
    measured("client without it", spread([one.worst_ms for one in seen]))
    never_two(*(one.dual_ms for one in seen))
    assert any("hardware counter" in text for text in told(lab, mine, "status")["warnings"])
    assert lab.agents.status(mine)["counters"]["clock_beyond"] == 1
    assert any(one["kind"] == "clock" for one in events(lab, other(lab, mine)))
    steer(lab, mine, 0.0)
    wait_whole(lab, holders={"web": other(lab, mine)})
    told(lab, mine, "failover", "web", "--to", mine)
    wait_whole(lab, holders={"web": mine})
    assert not any("hardware counter" in text for text in told(lab, mine, "status")["warnings"])
