"""Two hosts with one name, and an agent that is told that it is in the past: real agents, a client, never two."""

from __future__ import annotations

import subprocess
import time

import pytest

from haagent.config import load_keys
from haagent.core import wire
from haagent.core.messages import Heartbeat
from haagent.lab import Lab, Wishes
from haagent.lab.plan import CLIENT, VIP4, VIP6
from tests.netns.test_hostile import GROUP, PORT, SCRIPT, capture
from tests.netns.test_voters import stop
from tests.support.observe import (
    LEASE_MS,
    MakeLab,
    Measured,
    addresses,
    events,
    holder,
    noise_ms,
    other,
    serves,
    serves_nothing,
    told,
    wait_whole,
    watch_quietly,
)
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns
TWIN = "C"  # the host of the second agent


def warned(lab: Lab, host: str, text: str) -> bool:
    return any(text in one for one in lab.agents.status(host)["warnings"])


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A, B and a witness; A holds; one more host is there."""
    made = make_lab(nodes=2, has_witness=True, spares=1, wishes=Wishes(on_partition="consistent"))
    wait_whole(made)
    if holder(made) != "A":
        told(made, "A", "failover", "web", "--to", "A")
        wait_whole(made, holders={"web": "A"})
    return made


def wait_told(lab: Lab, name: str) -> None:
    """All say so: the twin why it stands down, the others that there are two."""
    for host, text in [
        (TWIN, f"Another host uses the name {name} too"),
        *((on, f"use the name {name}:") for on in "ABW"),
    ]:
        lab.wait_for(lambda host=host, text=text: warned(lab, host, text), what=f"{host} says it")


def waits(lab: Lab, leases: float) -> None:
    until = time.monotonic() + leases * LEASE_MS / 1000
    lab.wait_for(lambda: time.monotonic() > until, what=f"{leases} leases are over")


def test_a_second_host_with_the_name_of_the_holder(lab: Lab, measured: Measured) -> None:
    """B and W hear both, and who knows it first tells the other: T stands down, and may not be heard any more before
    that one has heard enough. A with B is a majority, and T with W would be one when A is cut from W."""
    with lab.probe() as probe:
        probe.wait_answer(by="A")
        quiet = watch_quietly()
        lab.agents.start(TWIN, node="A")
        wait_told(lab, "A")
        lab.faults.cut("A", "W")
        waits(lab, 10)
        assert warned(lab, TWIN, "Another host uses the name A too")
        lab.faults.heal()
        wait_told(lab, "A")
        stop(lab, TWIN)
        lab.wait_for(lambda: not any(warned(lab, on, "the name A") for on in "ABW"), what="nobody warns any more")
    assert not addresses(lab, TWIN) & {VIP4, VIP6}
    noise = noise_ms(probe, [quiet])
    for one in probe.outages():
        never_two(one.dual_ms)
        assert one.answered_by == ["A"]
        assert one.worst_ms < LEASE_MS / 2 + noise + one.stall_ms
    measured("worst gap of a client", f"{max(one.worst_ms for one in probe.outages()):.1f} ms")
    assert {one["node"] for one in events(lab, "B") if one["kind"] == "twin"} & {"B", "W"}


def test_a_witness_that_was_cloned(lab: Lab, measured: Measured) -> None:
    """A with the clone would be a majority, and B with the witness is one, when they are cut from each other."""
    with lab.probe() as probe:
        probe.wait_answer(by="A")
        lab.agents.start(TWIN, node="W")
        wait_told(lab, "W")
        for one in ("A", TWIN):
            for another in ("B", "W"):
                lab.faults.cut(one, another)
        probe.wait_answer(by="B")
        waits(lab, 10)
        assert warned(lab, TWIN, "Another host uses the name W too")
    for one in probe.outages():
        never_two(one.dual_ms)
        assert one.answered_by == ["A", "B"]
    measured("client without it", f"{max(one.worst_ms for one in probe.outages()):.1f} ms")


def test_an_agent_that_is_told_that_it_was_put_back_ends_and_starts_again(
    make_lab: MakeLab, measured: Measured
) -> None:
    """It has not sent this heartbeat of its very life: as if others had heard it before it was put back."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    lost = holder(lab)
    heir = other(lab, lost)
    datagram = ahead_of(lab, lost)
    ended = root_of(lab, lost)
    with lab.probe() as probe:
        probe.wait_answer(by=lost)
        flood = lab.start_on(CLIENT, ["python3", SCRIPT, "flood", GROUP, PORT, "10", "0.2"])
        flood.communicate(f"{datagram.hex()}\n".encode(), timeout=10)
        assert ended.wait(10) == 1, "so that whatever has started it starts it again"
        lab.wait_for(lambda: not lab.agents.processes(lab.state(), lost), what=f"nothing of {lost} runs")
        assert serves_nothing(lab, lost)
        assert "put back to an earlier state" in lab.agents.log(lost).read_text()
        probe.wait_answer(by=heir)
        lab.start(lost)
        wait_whole(lab, holders={"web": heir})
    assert serves(lab, heir)
    for one in probe.outages():
        never_two(one.dual_ms)
        assert one.answered_by == [lost, heir]
    measured("client without it", f"{max(one.worst_ms for one in probe.outages()):.1f} ms")


def ahead_of(lab: Lab, name: str) -> bytes:
    """A heartbeat in the life of that node's agent, far above what it has sent."""
    headers = [(datagram, wire._HEADER.unpack_from(datagram)) for datagram in capture(lab, 0.5)]
    boot, seq = max(
        (header[5], header[6])
        for datagram, header in headers
        if datagram[wire._HEADER.size : wire._HEADER.size + header[-1]] == name.encode()
    )
    sealer = wire.Sealer(keys=load_keys((str(lab.directory / "cluster.key"),)), cluster="lab", node=name, boot=boot)
    (datagram,) = sealer.seal(Heartbeat("lab", name, boot, seq + 1000, 100, 350))
    return datagram


def root_of(lab: Lab, name: str) -> subprocess.Popen[bytes]:
    root = lab.agents.tree(name).root
    assert root is not None
    return next(child for child in lab._children if child.pid == root.pid)
