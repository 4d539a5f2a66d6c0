"""The witness is in the wrong hands, with the cluster's key, and says for a while what it likes: a client notices not
much of it, two never answer, and when it is over nobody has to erase anything. MINUTES=10 for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from haagent.lab import Lab, LabError, Wishes
from tests.support.observe import (
    LEASE_MS,
    MakeLab,
    Measured,
    holder,
    member,
    noise_ms,
    other,
    told,
    wait_whole,
    watch_quietly,
)
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns

RAGES_S = 60 * float(os.environ.get("MINUTES", "0.1"))
HEALTHY_WITHIN_S = 5.0
FORGIVEN_WITHIN_S = 65.0  # it is believed that it may have heard a lease of a minute, and forgotten that


def is_healthy(lab: Lab) -> bool:
    """All but for the witness' vote."""
    for name in "ABW":
        view = lab.agents.status(name)
        states = {one["name"]: one["state"] for one in view["members"]}
        faults = [f"{one['name']} is not served" for one in view["groups"] if not (one["holder"] and one["active"])]
        faults += [f"{other} is {state}" for other, state in states.items() if state not in ("online", "witness")]
        faults += [text for text in view["warnings"] if text]
        faults += [f"the voters are {view['voters']}"] * (view["voters"] != [*"ABW"])
        faults += ["it is not quorate"] * (not view["quorate"]) + ["there is maintenance"] * view["maintenance"]
        if faults:
            raise LabError(f"{name} says: {'; '.join(faults)}")
    return True


def revive(lab: Lab, name: str) -> None:
    """As systemd does with an agent that has ended."""
    if lab.agents.tree(name).root is None:
        lab.start(name)


@pytest.mark.parametrize(
    ("transport", "is_beside"),
    [("unicast", False), ("multicast", True)],
    ids=["in place of its agent, and tells each something else", "beside its agent"],
)
def test_a_witness_in_the_wrong_hands(
    make_lab: MakeLab, measured: Measured, transport: str, *, is_beside: bool
) -> None:
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(transport=transport))
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    if not is_beside:
        lab.agents.signal("W", signal.SIGTERM)
        lab.wait_for(lambda: lab.agents.tree("W").root is None, what="its agent has stopped")
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        quiet = watch_quietly()
        hostile = begin(lab, transport)
        over_s = time.monotonic() + RAGES_S
        while time.monotonic() < over_s:
            if is_beside:
                revive(lab, "W")
            assert hostile.poll() is None, hostile.communicate()
            time.sleep(0.2)
        sent = int(hostile.communicate(timeout=10)[0])
        revive(lab, "W")
        over_s = time.monotonic()
        lab.wait_for(partial(is_healthy, lab), what="all is well", within_s=HEALTHY_WITHIN_S)
        healthy_s = time.monotonic() - over_s
        assert holder(lab) == mine
    noise = noise_ms(probe, [quiet])
    outages = probe.outages()
    never_two(*(one.dual_ms for one in outages))
    worst = max(one.worst_ms for one in outages)
    measured(
        f"{sent} heartbeats in {RAGES_S:.0f} s ({transport})",
        f"client without it for {worst:.1f} ms at most, all well after {healthy_s:.1f} s",
    )
    assert sent > 20 * RAGES_S
    assert all(one.worst_ms < LEASE_MS + noise + one.stall_ms for one in outages)
    lab.wait_for(lambda: not member(lab, "W", "W")["silent_ms"], what="W votes again", within_s=FORGIVEN_WITHIN_S)
    lab.faults.crash(mine)
    lab.wait_for(lambda: lab.agents.holder() == theirs, what=f"{theirs} has its vote")
    for words in (["status"], ["events", "--all"]):
        assert lab.run(theirs, ["haagent", *words]).returncode == 0
    assert told(lab, theirs, "events", "--all")["events"]


def begin(lab: Lab, transport: str) -> subprocess.Popen[bytes]:
    config = str(lab.directory / "haagent.yaml")
    return lab.start_on("W", [sys.executable, "-m", "tests.netns.hostile_member", config, "7", transport])
