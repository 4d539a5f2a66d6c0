"""The playbooks on hosts that an operator would have: from nothing, again, with a change, with a mistake, and away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from tests.system.cluster import GROUP, Cluster
from tests.system.hosts import NODES, Theatre

VIP = "10.20.1.100"


def test_from_nothing_to_a_running_cluster(theatre: Theatre) -> None:
    first = theatre.rolled_out
    assert first.holder in ("A", "B")
    failed = {name: counts["failed"] + counts["unreachable"] for name, counts in first.played.recap.items()}
    assert failed == dict.fromkeys(NODES, 0)
    assert not (first.directory / "shop.key").stat().st_mode & 0o077
    key = (first.directory / "shop.key").read_text().splitlines()[-1]
    assert key not in first.played.output


def test_a_check_of_hosts_with_nothing_says_what_would_be_done(theatre: Theatre) -> None:
    checked = theatre.rolled_out.checked
    assert checked.status == 0
    assert "not installed yet" in checked.output
    assert all(counts["changed"] for counts in checked.recap.values())  # the package would be copied


def test_the_address_is_served_from_one_host_and_from_its_own_user(cluster: Cluster) -> None:
    holder = cluster.wait_whole()
    for name in NODES:
        host = cluster.host(name)
        service = host.service("haagent")
        assert service.is_running
        assert service.is_enabled
        assert (VIP in host.interface("host0").addresses) == (name == holder)
        pids = cluster.status(name)["pids"]
        assert pids["guardian"] == int(host.check_output("systemctl show -P MainPID haagent"))
        for role in ("guardian", "agent"):
            assert host.process.get(pid=pids[role]).user == "haagent"
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    assert cluster.play("site.yml").changed == 0


def test_the_firewall_lets_in_heartbeats_and_nothing_more(cluster: Cluster) -> None:
    for name, own in cluster.hosts.items():
        chain = cluster.host(name).check_output("nft list chain inet filter input")
        assert "policy drop" in chain
        rules = [line for line in chain.splitlines() if 'comment "haagent"' in line]
        assert len(rules) == 1
        assert "udp dport 7265 accept" in rules[0]
        assert own.address in rules[0]


def test_no_file_says_more_than_it_must_to_anybody(cluster: Cluster) -> None:
    for name in NODES:
        host = cluster.host(name)
        seen = {line.split()[0]: tuple(line.split()[1:]) for line in host.check_output(_LIST_OURS).splitlines()}
        wanted = {
            "/etc/haagent": ("root", "root", "755"),
            "/etc/haagent/cluster.key": ("haagent", "haagent", "400"),
            "/etc/haagent/haagent.yaml": ("root", "root", "644"),
            "/etc/haagent/units.allow": ("root", "root", "644"),
            "/etc/nftables.d/haagent.nft": ("root", "root", "644"),
            "/etc/systemd/network/10-host0.network.d/haagent.conf": ("root", "root", "644"),
            "/var/cache/haagent.deb": ("root", "root", "644"),
            "/var/lib/haagent": ("haagent", "haagent", "750"),
            "/run/haagent": ("haagent", "haagent", "755"),
            "/run/haagent/haagent.sock": ("haagent", "haagent", "660"),
            "/usr/bin/haagent": ("root", "root", "755"),
            "/usr/lib/systemd/system/haagent.service": ("root", "root", "644"),
        }
        assert {path: seen.get(path) for path in wanted} == wanted
        of_package = [path for path in host.check_output("dpkg -L haagent").splitlines() if path in seen]
        assert len(of_package) > 100
        for path in of_package:
            assert seen[path][2] in ("644", "755"), path
        for path, (owner, group, mode) in seen.items():
            ours = path.startswith(("/var/lib/haagent", "/run/haagent", "/etc/haagent/cluster.key"))
            assert (owner, group) == (("haagent", "haagent") if ours else ("root", "root")), path
            assert not int(mode, 8) & 0o002, f"anybody could change {path}"
            if path.startswith("/var/lib/haagent/"):
                assert not int(mode, 8) & 0o077, f"others could read {path}"


def test_the_key_is_for_the_agent_alone(cluster: Cluster) -> None:
    for name in NODES:
        host = cluster.host(name)
        assert host.run("runuser -u admin -- cat /etc/haagent/cluster.key").rc != 0
        assert host.run("runuser -u admin -- haagent status").rc != 0  # not in the group haagent
        key = (cluster.directory / "shop.key").read_text().splitlines()[-1]
        assert key in host.file("/etc/haagent/cluster.key").content_string
        # /run/credentials is systemd's: a copy for the service, which nobody else can see
        places = "--exclude-dir=credentials /run /var/log /var/lib/haagent /etc/systemd"
        assert host.run(f"grep -rqsF %s {places}", key).rc == 1
        assert host.run("runuser -u admin -- ls /run/credentials/haagent.service").rc != 0
        assert (
            host.run("tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID haagent)/environ | grep -qF %s", key).rc == 1
        )


def test_the_service_may_do_little(cluster: Cluster, measured: Callable[[str, str], None]) -> None:
    for name in ("A", "W"):  # Debian 12 and 13
        host = cluster.host(name)
        exposure = host.check_output("systemd-analyze security --no-pager haagent.service").splitlines()[-1]
        figure = float(exposure.split(":")[1].split()[0])
        assert figure <= 2.5, exposure
        version = host.check_output("systemctl --version").split()[1]
        measured(f"systemd-analyze security haagent (systemd {version})", f"{figure}")
        verified = host.run("systemd-analyze verify --man=no /usr/lib/systemd/system/haagent.service")
        assert "haagent" not in verified.stderr, verified.stderr


_LIST_OURS = (
    "find /etc /run /usr /var/lib /var/cache -xdev -path '*haagent*' ! -path '/run/user/*' "
    "! -path '/var/lib/dpkg/*' ! -path '/etc/systemd/system/*' ! -path '*/systemd/*/invocation*' "
    "! -path '/run/credentials*' ! -type l -printf '%p %u %g %m\n' && find /run/haagent -printf '%p %u %g %m\n'"
)


def test_a_changed_configuration_is_applied_while_the_address_is_served(cluster: Cluster) -> None:
    holder = cluster.wait_whole()
    since = {name: cluster.host(name).check_output("systemctl show -P InvocationID haagent") for name in NODES}
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        cluster.variables["haagent_groups"] = {
            GROUP: {"addresses": [f"{VIP}/24", "fd00:20::100/64"], "prefer": ["B", "A"]}
        }
        seen = cluster.play("site.yml", "--check", "--diff", "--limit", "A")
        assert "+    prefer:" in seen.output
        assert "prefer" not in cluster.host("A").file("/etc/haagent/haagent.yaml").content_string
        assert cluster.play("site.yml").changed == 2 * len(NODES)  # the file, and the reload
        probe.wait_answer(by=holder)
    for name in NODES:
        host = cluster.host(name)
        assert "prefer" in host.file("/etc/haagent/haagent.yaml").content_string
        assert host.check_output("systemctl show -P InvocationID haagent") == since[name]
        assert "is in force" in host.check_output("journalctl -u haagent -o cat")
    assert probe.outage(VIP).answered_by == [holder]


def test_a_mistake_in_a_variable_reaches_no_host(cluster: Cluster) -> None:
    before = cluster.host("A").file("/etc/haagent/haagent.yaml").sha256sum
    played = cluster.play("site.yml", checks=False, haagent_heartbeat={"leese": "1s"})
    assert played.status
    assert "did you mean `lease`" in played.output
    for name in NODES:
        assert cluster.host(name).file("/etc/haagent/haagent.yaml").sha256sum == before
        assert cluster.host(name).service("haagent").is_running


def test_a_reload_of_a_broken_file_fails_and_changes_nothing(cluster: Cluster) -> None:
    holder = cluster.wait_whole()
    host = cluster.host(holder)
    good = host.file("/etc/haagent/haagent.yaml").content_string
    agent = cluster.status(holder)["pids"]["agent"]
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        host.check_output("echo 'gruops: {}' >> /etc/haagent/haagent.yaml")
        reloaded = host.run("systemctl reload haagent")
        assert reloaded.rc != 0
        probe.wait_answer(by=holder)
        said = host.check_output("journalctl -u haagent -o cat --since=-1min")
        assert "did you mean `groups`" in said
        assert host.service("haagent").is_running
        assert cluster.status(holder)["pids"]["agent"] == agent
        host.check_output("printf %%s %s > /etc/haagent/haagent.yaml", good)
        assert host.run("systemctl reload haagent").rc == 0
        probe.wait_answer(by=holder)
    assert probe.outage(VIP).answered_by == [holder]


def test_the_key_is_exchanged_without_a_gap(cluster: Cluster, measured: Callable[[str, str], None]) -> None:
    holder = cluster.wait_whole()
    old = cluster.host("A").file("/etc/haagent/cluster.key").sha256sum
    started = time.time()
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        cluster.play("rotate-key.yml")
        probe.wait_answer(by=holder)
    seen = probe.outage(VIP)
    assert seen.answered_by == [holder]
    measured("key exchanged, worst gap of the client", f"{seen.worst_ms:.1f} ms (noise {seen.gap_p99_ms:.1f} ms)")
    files = {cluster.host(name).file("/etc/haagent/cluster.key").sha256sum for name in NODES}
    assert len(files) == 1
    assert files != {old}
    key = (cluster.directory / "shop.key").read_text().splitlines()[-1]
    assert key in cluster.host("W").file("/etc/haagent/cluster.key").content_string
    assert os.listdir(cluster.directory).count("shop.key.next") == 0
    # nobody lost sight of anybody
    events = [event for event in cluster.haagent("A", "events")["events"] if event["time"] > started]
    assert not [event for event in events if event["kind"] in ("offline", "dropped", "taken")], events
    assert cluster.play("site.yml").changed == 0  # the controller and the hosts agree


def test_another_key_is_not_put_in_one_step(cluster: Cluster) -> None:
    key = cluster.directory / "shop.key"
    aside = key.rename(key.with_suffix(".aside"))
    played = cluster.play("site.yml", checks=False)
    aside.rename(key)
    assert played.status
    assert "rotate-key.yml" in played.output
    cluster.wait_whole()


def test_a_key_is_not_exchanged_on_some_nodes_alone(cluster: Cluster) -> None:
    played = cluster.play("rotate-key.yml", "--limit", "A,B", checks=False)
    assert played.status
    assert "would be cut off: W" in played.output
    assert not (cluster.directory / "shop.key.next").exists()


def test_a_planned_move_by_playbook(cluster: Cluster, measured: Callable[[str, str], None]) -> None:
    holder = cluster.wait_whole()
    other = "B" if holder == "A" else "A"
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        start_s = time.monotonic()
        played = cluster.play("failover.yml", haagent_to=other)
        probe.wait_answer(by=other)
    assert played.changed == 1
    assert "clients were without it" in played.output
    seen = probe.outage(VIP, start_s=start_s)
    assert seen.answered_by == [holder, other]
    measured("planned move by failover.yml", f"{seen.worst_ms:.1f} ms (noise {seen.gap_p99_ms:.1f} ms)")
    assert cluster.play("failover.yml", haagent_to=other).changed == 0


def test_a_check_changes_nothing(cluster: Cluster) -> None:
    holder = cluster.wait_whole()
    before = {name: _state(cluster.host(name)) for name in NODES}
    cluster.play("remove.yml", "--check", "--diff", "--limit", holder)
    played = cluster.play("rolling-update.yml", "--check", "--diff", haagent_restart=True)
    assert played.output.count("would be restarted") == len(NODES)
    cluster.play("failover.yml", "--check", "--diff", haagent_to="B" if holder == "A" else "A")
    played = cluster.play("rotate-key.yml", "--check", "--diff")
    assert "would be exchanged" in played.output
    assert not (cluster.directory / "shop.key.next").exists()
    assert {name: _state(cluster.host(name)) for name in NODES} == before
    assert cluster.wait_whole() == holder


def _state(host: Any) -> str:
    files = "find /etc /usr/bin /usr/lib/haagent /var/cache/haagent* -type f -printf '%p %T@\\n' | sort | md5sum"
    return str(host.check_output(f"systemctl show -P InvocationID haagent; {files}"))


def test_removal_leaves_nothing(last_cluster: Cluster) -> None:
    """One host first, whose share moves to the other; then all."""
    cluster = last_cluster
    holder = cluster.wait_whole()
    other = "B" if holder == "A" else "A"
    with cluster.stage.probe(interval_s=0.01) as probe:
        probe.wait_answer(by=holder)
        cluster.play("remove.yml", "--limit", holder)
        probe.wait_answer(by=other)
    assert cluster.play("remove.yml").recap[holder]["changed"] == 0
    for name in NODES:
        host = cluster.host(name)
        assert host.check_output(_LIST_OURS.partition(" && ")[0]) == ""
        assert host.check_output("find /etc/systemd/system /var/lib/systemd -name '*haagent*'") == ""
        assert not host.user("haagent").exists
        assert not host.group("haagent").exists
        assert not host.package("haagent").is_installed
        assert VIP not in host.interface("host0").addresses
        assert "haagent" not in host.check_output("nft list ruleset; cat /etc/nftables.conf")
