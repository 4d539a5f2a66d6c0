"""What a service manager, an operator and a failing host can do to the agent, on hosts with their own systemd."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from haagent.lab.measurement import Measurement
from haagent.lab.outage import Outage
from tests.support.standstill import never_two
from tests.system.cluster import GROUP, Cluster

VIP = "10.20.1.100"
Tell = Callable[[str, str], None]


class Scene:
    """A client that asks for the address every millisecond while something happens."""

    def __init__(self, cluster: Cluster, probe: Measurement, holder: str) -> None:
        self.cluster = cluster
        self.probe = probe
        self.holder = holder
        self.other = "B" if holder == "A" else "A"
        self.start_s = time.monotonic()
        self._cursor = self.host.check_output("journalctl -n 1 --show-cursor -o cat").rpartition("-- cursor: ")[2]

    @property
    def host(self) -> Any:
        """The one that held when it began."""
        return self.cluster.host(self.holder)

    @property
    def journal(self) -> str:
        """What the service of that host has said since."""
        return str(self.host.check_output("journalctl -u haagent -o cat --after-cursor=%s", self._cursor))

    def wait_moved(self) -> None:
        self.probe.wait_answer(by=self.other)

    def outage(self) -> Outage:
        return self.probe.outage(VIP, start_s=self.start_s)


@contextmanager
def scene(cluster: Cluster) -> Iterator[Scene]:
    holder = cluster.wait_whole()
    with cluster.stage.probe() as probe:
        probe.wait_answer(by=holder)
        yield Scene(cluster, probe, holder)


def wait_service_back(now: Scene, *, before: str) -> None:
    """Under systemd, as another process than before, and a member of the cluster."""

    def is_back() -> bool:
        return bool(now.host.service("haagent").is_running) and main_pid(now.host) not in ("0", before)

    now.cluster.wait_for(is_back, what=f"the service is back on {now.holder}", within_s=30.0)
    now.cluster.wait_whole()


def main_pid(host: Any) -> str:
    return str(host.check_output("systemctl show -P MainPID haagent"))


def tell(measured: Tell, what: str, seen: Outage) -> None:
    measured(what, f"{seen.worst_ms:.1f} ms, two answered for {seen.dual_ms:.0f} ms (noise {seen.gap_p99_ms:.1f} ms)")


def test_stop_hands_over_and_start_takes_nothing_back(cluster: Cluster, measured: Tell) -> None:
    with scene(cluster) as now:
        now.host.check_output("systemctl stop haagent")
        now.wait_moved()
        assert VIP not in now.host.interface("host0").addresses
        assert now.host.run("haagent status").rc == 3
        assert "haagent_gate" not in now.host.check_output("nft list tables")
        now.host.check_output("systemctl start haagent")
        assert cluster.wait_whole() == now.other
        assert "Stopped haagent.service" in now.journal
        assert "Failed" not in now.journal
    seen = now.outage()
    never_two(seen.dual_ms)
    assert seen.answered_by == [now.holder, now.other]
    tell(measured, "systemctl stop on the holder", seen)


def test_restart_of_the_holder_moves_it_once(cluster: Cluster, measured: Tell) -> None:
    with scene(cluster) as now:
        now.host.check_output("systemctl restart haagent")
        now.wait_moved()
        assert cluster.wait_whole() == now.other
    seen = now.outage()
    never_two(seen.dual_ms)
    assert seen.answered_by == [now.holder, now.other]
    tell(measured, "systemctl restart on the holder", seen)


@pytest.mark.parametrize("victim", ["guardian", "agent"])
def test_killed_it_comes_back_under_systemd_and_the_other_serves_meanwhile(
    cluster: Cluster, measured: Tell, victim: str
) -> None:
    with scene(cluster) as now:
        before, restarts = main_pid(now.host), "systemctl show -P NRestarts haagent"
        count = int(now.host.check_output(restarts))
        pid = str(cluster.status(now.holder)["pids"][victim])
        now.host.check_output("kill -KILL %s", pid)
        now.wait_moved()
        wait_service_back(now, before=before)
        assert cluster.holder(seen_from=now.holder) == now.other
        assert VIP not in now.host.interface("host0").addresses
        assert int(now.host.check_output(restarts)) == count + 1
    seen = now.outage()
    never_two(seen.dual_ms)
    assert seen.answered_by == [now.holder, now.other]
    tell(measured, f"kill -9 of the {victim}{' (the main process)' if victim == 'guardian' else ''}", seen)


def test_frozen_it_is_replaced_and_the_watchdog_ends_it(cluster: Cluster, measured: Tell) -> None:
    """Everything of the service is stopped at once, as by a stalled hypervisor: nothing of ours can act there."""
    with scene(cluster) as now:
        before = main_pid(now.host)
        now.host.check_output("systemctl kill --kill-whom=all --signal=STOP haagent")
        now.wait_moved()
        moved_s = time.monotonic()
        wait_service_back(now, before=before)
        assert "Watchdog timeout" in now.journal
        assert VIP not in now.host.interface("host0").addresses
    seen = now.probe.outage(VIP, start_s=now.start_s, end_s=moved_s)
    never_two(seen.dual_ms)
    assert seen.answered_by == [now.holder, now.other]
    assert now.outage().answered_by == [now.holder, now.other]
    tell(measured, "kill -STOP of everything", seen)


def test_a_host_that_is_lost_is_replaced_and_joins_again(cluster: Cluster, measured: Tell) -> None:
    with scene(cluster) as now:
        cluster.lose(now.holder)
        now.wait_moved()
        cluster.hosts[now.holder].boot()
        cluster.hosts[now.holder].wait_up()
        assert cluster.wait_whole() == now.other
    seen = now.outage()
    never_two(seen.dual_ms)
    assert seen.answered_by == [now.holder, now.other]
    tell(measured, "host lost (cable and power)", seen)


def test_a_host_that_reboots_causes_one_outage_not_two(cluster: Cluster, measured: Tell) -> None:
    with scene(cluster) as now:
        cluster.reboot(now.holder)
        assert cluster.wait_whole() == now.other
    seen = now.outage()
    never_two(seen.dual_ms)
    assert seen.answered_by == [now.holder, now.other]
    tell(measured, "reboot of the holder", seen)


def test_a_restart_of_the_network_manager_does_not_lose_the_address(cluster: Cluster, measured: Tell) -> None:
    """The roll-out has told it whose the address is."""
    with scene(cluster) as now:
        for verb in ("networkctl reload", "networkctl reconfigure host0", "systemctl restart systemd-networkd"):
            now.host.check_output(verb)
            now.probe.wait_answer(by=now.holder)
        cluster.wait_for(lambda: VIP in now.host.interface("host0").addresses, what="the address is there")
        assert cluster.wait_whole() == now.holder
    seen = now.outage()
    assert seen.answered_by == [now.holder]
    tell(measured, "systemd-networkd reloaded, reconfigured and restarted", seen)


def test_the_journal_tells_the_story(cluster: Cluster) -> None:
    holder = cluster.wait_whole()
    other = "B" if holder == "A" else "A"
    cluster.haagent(holder, "failover", GROUP, "--to", other)
    for name in (holder, other):
        text = cluster.host(name).check_output("journalctl -u haagent -o cat")
        assert f"node {name} of cluster shop" in text
        assert "active here" in text
        assert "Traceback" not in text
        key = (cluster.directory / "shop.key").read_text().splitlines()[-1]
        assert key not in text
    show = "systemctl show -P StatusText haagent"
    cluster.wait_for(
        lambda: re.fullmatch(rf"holds .*\b{GROUP}\b.*", cluster.host(other).check_output(show)), what="systemd is told"
    )
