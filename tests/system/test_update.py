"""`rolling-update.yml` while a client asks: one host after the other, and not one further than the first trouble."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support.standstill import never_two
from tests.system.cluster import Cluster
from tests.system.hosts import NODES, Theatre
from tests.system.packages import BROKEN, NEXT

VIP = "10.20.1.100"


def versions(cluster: Cluster) -> dict[str, str]:
    return {name: cluster.host(name).check_output("dpkg-query -W -f '${Version}' haagent") for name in NODES}


def test_it_does_not_begin_while_a_node_is_missing(cluster: Cluster, theatre: Theatre) -> None:
    before = versions(cluster)
    host = cluster.host("W")
    host.check_output("systemctl stop haagent")
    played = cluster.play("rolling-update.yml", checks=False, haagent_deb=str(theatre.packages.next))
    host.check_output("systemctl start haagent")
    assert played.status
    assert "Put the hosts in order" not in played.output
    assert versions(cluster) == before
    cluster.wait_whole()


def test_a_fault_stops_it_and_a_good_package_ends_it(cluster: Cluster, theatre: Theatre) -> None:
    """The first host gets an agent that does not start. The next run begins with it."""
    holder, before = cluster.wait_whole(), versions(cluster)
    first = "B" if holder == "A" else "A"
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        broken = str(theatre.packages.broken)
        played = cluster.play("rolling-update.yml", checks=False, haagent_deb=broken, haagent_wait=3)
        assert played.status
        assert versions(cluster) == before | {first: BROKEN}
        probe.wait_answer(by=holder)
        for name in {*NODES} - {first}:
            assert cluster.host(name).service("haagent").is_running
        members = {one["name"]: one["state"] for one in cluster.status(holder)["members"]}
        assert members[first] != "online"
        assert members["W"] == "witness"
        played = cluster.play("rolling-update.yml", "--limit", first, haagent_deb=str(theatre.packages.present))
        assert cluster.wait_whole() == holder
        probe.wait_answer(by=holder)
    assert versions(cluster) == before
    assert probe.outage(VIP).answered_by == [holder]


def test_an_upgrade_moves_the_address_once(
    cluster: Cluster, theatre: Theatre, measured: Callable[[str, str], None]
) -> None:
    holder = cluster.wait_whole()
    other = "B" if holder == "A" else "A"
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        start_s = time.monotonic()
        played = cluster.play("rolling-update.yml", haagent_deb=str(theatre.packages.next))
        assert cluster.wait_whole() == other
        probe.wait_answer(by=other)
    assert versions(cluster) == dict.fromkeys(NODES, NEXT)
    assert all(cluster.status(name)["members"][0]["version"] == NEXT for name in NODES)
    assert not any(cluster.host(name).file("/var/cache/haagent.updating").exists for name in NODES)
    assert played.changed
    seen = probe.outage(VIP, start_s=start_s, threshold_ms=20.0)
    never_two(seen.dual_ms)
    assert seen.answered_by == [holder, other]
    outages = ", ".join(f"{gap.ms:.1f} ms ({gap.before} to {gap.after})" for gap in seen.gaps) or "none above 20 ms"
    tell = f"{outages}; worst {seen.worst_ms:.1f} ms, asked every 10 ms (noise {seen.gap_p99_ms:.1f} ms)"
    measured("rolling-update.yml over three hosts", tell)
    assert cluster.play("rolling-update.yml", "--limit", other, haagent_deb=str(theatre.packages.next)).changed == 0
