"""The doctor's checks on hosts that are made of files and facts; tests/netns/test_doctor.py has the real ones."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from haagent import __version__
from haagent.cli import main
from haagent.config import parse, write_key
from haagent.core.messages import Heartbeat
from haagent.core.wire import Cause
from haagent.doctor import (
    examination,
    files,
    firewall,
    heartbeats,
    host,
    interfaces,
    neighbours,
    network_managers,
    service,
    sysctls,
    timing,
)
from haagent.doctor.context import Subject
from haagent.doctor.examination import CHECKS, Check, examine
from haagent.doctor.finding import Finding, Severity, ok
from haagent.doctor.listener import Hearing
from haagent.guards import frames
from haagent.kernel.facts import Link, Seen
from tests.support.layouts import LAYOUTS

PROJECT = Path(__file__).parents[3]
CONFIG = """
cluster: shop
key_file: {key}
nodes:
  A: {{address: 10.20.1.10}}
  B: {{address: 10.20.1.11}}
heartbeat: {{interfaces: [eth0], interval: 100ms}}
groups:
  web: {{addresses: [10.20.1.100/24, "fd00:20::100/64"], interface: eth0}}
"""
MAC = bytes.fromhex("020000000001")
Look = Callable[[Subject], Iterator[Finding] | AsyncIterator[Finding]]


def link(name: str, index: int, *, is_up: bool = True, has_carrier: bool = True, is_ethernet: bool = True) -> Link:
    return Link(index, name, MAC, is_up=is_up, has_carrier=has_carrier, is_ethernet=is_ethernet)


def seen(address: str, prefix: int, index: int) -> Seen:
    return Seen(ip_address(address).packed, prefix, index, tag=0, label="", valid_s=None, raw=b"")


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """Node A, on a host that has nothing but eth0, and no agent."""
    key = tmp_path / "cluster.key"
    write_key(str(key))
    config = parse(CONFIG.format(key=key).encode(), "shop.yaml", node="A", is_member=True)
    made = Subject(config, state_dir=str(tmp_path / "state" / "of" / "agent"), root=tmp_path / "root")
    (tmp_path / "root").mkdir()
    made.links = {"eth0": link("eth0", 2)}
    made.addresses = (seen("10.20.1.10", 24, 2), seen("fd00:20::10", 64, 2))
    made.is_privileged = True
    return made


def put(subject: Subject, path: str, text: str) -> None:
    file = subject.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def sysctl(subject: Subject, name: str, value: int, *, interface: str = "eth0", family: str = "ipv4") -> None:
    put(subject, f"/proc/sys/net/{family}/conf/{interface}/{name}", f"{value}\n")


def looked(check: Look, subject: Subject) -> list[Finding]:
    async def look() -> list[Finding]:
        found = check(subject)
        return list(found) if isinstance(found, Iterator) else [finding async for finding in found]

    return asyncio.run(look())


def only(check: Look, subject: Subject) -> Finding:
    (finding,) = looked(check, subject)
    return finding


def told_by_agent(**more: Any) -> dict[str, Any]:
    facts = {
        "node": "A",
        "version": __version__,
        "pids": {"agent": None},
        "links": [{"name": "eth0", "is_up": True, "why": ""}],
        "members": [
            {"name": "A", "me": True, "state": "online", "links": [], "config_matches": True, "version": __version__},
            {
                "name": "B",
                "me": False,
                "state": "online",
                "links": ["eth0"],
                "config_matches": True,
                "version": "0.0.9",
            },
        ],
        "groups": [{"name": "web", "holder": "B", "gate": {"state": "shut", "why": ""}}],
        "counters": {},
        "jitter_ms": 1.5,
        "warnings": [],
    }
    return facts | more


class TestExamination:
    def test_each_check_has_a_name_of_its_own(self) -> None:
        names = [check.name for check in CHECKS]
        assert len(set(names)) == len(names)

    def test_all_of_them_can_look_at_a_bare_host(self, tmp_path: Path) -> None:
        bare = Subject(None, root=tmp_path, is_usual_place=False)
        found = asyncio.run(examine(bare))
        assert all(finding.severity is not Severity.ERROR for finding in found)
        assert {finding.check for finding in found} >= {"configuration", "kernel", "jitter"}

    def test_what_hangs_is_told_and_the_others_are_not_lost(self, subject: Subject) -> None:
        async def hangs(_: Subject) -> AsyncIterator[Finding]:
            yield ok("so far")
            await asyncio.sleep(60)

        async def fails(_: Subject) -> AsyncIterator[Finding]:
            raise PermissionError(13, "Permission denied", "/proc/x")
            yield ok("never")

        checks = (Check("slow", hangs, limit_s=0.01), Check("broken", fails), Check("key", files.key))
        found = asyncio.run(examine(subject, checks))
        told = [(finding.check, finding.severity) for finding in found]
        assert told[:2] == [("slow", Severity.WARNING), ("broken", Severity.INFO)]
        assert ("slow", Severity.OK) in told
        assert ("key", Severity.OK) in told

    def test_the_worst_comes_first_and_says_what_to_do(self, subject: Subject) -> None:
        subject.links = {}
        sysctl(subject, "disable_ipv6", 1, family="ipv6")
        checks = tuple(check for check in examination.CHECKS if check.name in ("state-dir", "interfaces", "ipv6"))
        found = asyncio.run(examine(subject, checks))
        order = list(Severity)
        assert [order.index(one.severity) for one in found] == sorted(order.index(one.severity) for one in found)
        assert all(one.why and one.mend for one in found if one.severity in (Severity.ERROR, Severity.WARNING))


class TestFiles:
    def test_a_key_is_named_by_a_number_that_does_not_give_it_away(self, subject: Subject) -> None:
        assert subject.config is not None
        finding = looked(files.key, subject)[0]
        assert finding.severity is Severity.OK
        secret = Path(subject.config.key_files[0]).read_text().splitlines()[-1]
        assert secret[:8] not in finding.what

    @pytest.mark.skipif(os.geteuid() != 0, reason="another user is told less")
    def test_a_key_that_others_can_read(self, subject: Subject) -> None:
        assert subject.config is not None
        Path(subject.config.key_files[0]).chmod(0o644)
        finding = only(files.key, subject)
        assert (finding.severity, finding.mend) == (Severity.ERROR, f"do `chmod 600 {subject.config.key_files[0]}`")

    def test_a_file_that_the_agent_has_not_read(self, subject: Subject) -> None:
        assert subject.config is not None
        subject.agent = told_by_agent(digest="other")
        assert "reload" in looked(files.configuration, subject)[0].mend
        subject.agent = told_by_agent(digest=subject.config.digest)
        assert [one.severity for one in looked(files.configuration, subject)] == [Severity.OK]

    def test_the_state_directory_need_not_be_there_yet(self, subject: Subject) -> None:
        assert only(files.state_dir, subject).severity is Severity.OK

    def test_a_full_disk(self, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        full = SimpleNamespace(f_flag=0, f_bavail=10, f_frsize=4096, f_files=100, f_favail=50)
        monkeypatch.setattr(os, "statvfs", lambda _: full)
        assert "40 KiB left" in only(files.state_dir, subject).what


class TestHost:
    @pytest.mark.parametrize(
        ("release", "severity", "said"),
        [
            ("4.19.0-6-amd64", Severity.ERROR, "too old"),
            ("5.10.0-8-amd64", Severity.INFO, "shut by itself"),
            ("6.1.0-40-amd64", Severity.INFO, "flush ruleset"),
            ("6.12.0", Severity.OK, "kernel 6.12.0"),
        ],
    )
    def test_what_a_kernel_lacks(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch, release: str, severity: Severity, said: str
    ) -> None:
        monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
        finding = looked(host.kernel, subject)[-1]
        assert finding.severity is severity
        assert any(said in one.what for one in looked(host.kernel, subject))

    def test_an_agent_without_its_capabilities(self, subject: Subject) -> None:
        subject.agent = told_by_agent(pids={"agent": 77})
        put(subject, "/proc/77/status", "Name:\thaagent-agent\nCapEff:\t0000000000001000\n")
        finding = only(host.privileges, subject)
        assert finding.severity is Severity.ERROR
        assert "lacks CAP_NET_RAW" in finding.what
        put(subject, "/proc/77/status", "CapEff:\t0000000000003000\n")
        assert only(host.privileges, subject).severity is Severity.OK

    def test_multicast_in_a_cloud(self, subject: Subject) -> None:
        assert only(host.cloud, subject).severity is Severity.OK
        put(subject, "/sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
        found = looked(host.cloud, subject)
        assert [one.severity for one in found] == [Severity.ERROR, Severity.WARNING]
        assert "unicast" in found[0].mend
        assert all("AWS" in one.what for one in found)


class TestInterfaces:
    @pytest.mark.parametrize(
        ("there", "said"),
        [
            ({"lo": link("lo", 1), "ens3": link("ens3", 2)}, "no interface eth0"),
            ({"eth0": link("eth0", 2, is_up=False)}, "eth0 is down"),
            ({"eth0": link("eth0", 2, has_carrier=False)}, "no carrier"),
        ],
    )
    def test_one_that_cannot_work(self, subject: Subject, there: dict[str, Link], said: str) -> None:
        subject.links = there
        finding = only(interfaces.interfaces, subject)
        assert finding.severity is Severity.ERROR
        assert said in finding.what

    @pytest.mark.parametrize(
        ("own", "severity", "said"),
        [
            (seen("10.20.1.10", 24, 2), Severity.OK, ""),
            (seen("10.20.1.10", 16, 2), Severity.WARNING, "another prefix length"),
            (seen("10.99.1.10", 24, 2), Severity.INFO, "in no subnet"),
        ],
    )
    def test_addresses_that_do_not_fit(self, subject: Subject, own: Seen, severity: Severity, said: str) -> None:
        subject.addresses = (own, seen("fd00:20::10", 64, 2), seen("10.20.1.10", 32, 1))
        finding = only(interfaces.addresses, subject)
        assert finding.severity is severity
        assert said in finding.what

    def test_the_nodes_own_address_has_to_be_here(self, subject: Subject) -> None:
        subject.addresses = (seen("10.20.1.99", 24, 2), seen("fd00:20::10", 64, 2))
        assert looked(interfaces.addresses, subject)[0].severity is Severity.ERROR

    def test_ipv6_switched_off(self, subject: Subject) -> None:
        sysctl(subject, "disable_ipv6", 1, family="ipv6")
        finding = only(interfaces.ipv6, subject)
        assert (finding.severity, "disable_ipv6=0" in finding.mend) == (Severity.ERROR, True)


class TestSysctls:
    def test_two_interfaces_in_one_subnet(self, subject: Subject) -> None:
        subject.links = {"eth0": link("eth0", 2), "eth1": link("eth1", 3)}
        subject.addresses = (*subject.addresses, seen("10.20.1.20", 24, 3))
        sysctl(subject, "rp_filter", 1, interface="all")
        finding = only(sysctls.rp_filter, subject) if os.geteuid() else looked(sysctls.rp_filter, subject)[-1]
        assert finding.severity is Severity.WARNING
        assert "eth0 and eth1" in finding.what
        assert finding.mend.startswith("sysctl -w net/ipv4/conf/eth0/rp_filter=2;")  # the higher one counts
        assert "arp_ignore" in only(sysctls.arp, subject).what

    @pytest.mark.parametrize(("value", "severity"), [(0, Severity.OK), (1, Severity.OK), (8, Severity.ERROR)])
    def test_arp_that_is_not_answered(self, subject: Subject, value: int, severity: Severity) -> None:
        sysctl(subject, "arp_ignore", value, interface="all")
        finding = only(sysctls.arp, subject)
        assert finding.severity is severity
        if severity is Severity.ERROR:
            assert "net/ipv4/conf/all/arp_ignore=1 net/ipv4/conf/eth0/arp_ignore=1" in finding.mend

    def test_promote_secondaries_is_the_agents_affair(self, subject: Subject) -> None:
        assert only(sysctls.promote_secondaries, subject).severity is Severity.INFO
        subject.agent = told_by_agent()
        assert only(sysctls.promote_secondaries, subject).severity is Severity.WARNING
        sysctl(subject, "promote_secondaries", 1)
        assert only(sysctls.promote_secondaries, subject).severity is Severity.OK


class TestNetworkManagers:
    def put_networkd(self, subject: Subject, file: str) -> None:
        put(subject, "/run/systemd/netif/links/2", f"ADMIN_STATE=configured\nNETWORK_FILE={file}\n")
        put(subject, file, "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")

    def install(self, subject: Subject, snippet: str, path: str) -> None:
        place = subject.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / "systemd" / "network" / snippet, place)

    def test_none(self, subject: Subject) -> None:
        assert only(network_managers.network_manager, subject).severity is Severity.OK

    def test_networkd_and_the_snippet_that_we_ship(self, subject: Subject) -> None:
        self.put_networkd(subject, "/etc/systemd/network/10-lan.network")
        finding = only(network_managers.network_manager, subject)
        assert finding.severity is Severity.WARNING
        assert "/etc/systemd/network/10-lan.network.d/haagent.conf" in finding.mend
        self.install(subject, "networkd.conf", "/etc/systemd/network/10-lan.network.d/haagent.conf")
        assert only(network_managers.network_manager, subject).severity is Severity.OK

    def test_a_drop_in_of_etc_hides_the_same_name_elsewhere(self, subject: Subject) -> None:
        self.put_networkd(subject, "/usr/lib/systemd/network/10-lan.network")
        self.install(subject, "networkd.conf", "/run/systemd/network/10-lan.network.d/k.conf")
        assert only(network_managers.network_manager, subject).severity is Severity.OK
        put(subject, "/etc/systemd/network/10-lan.network.d/k.conf", "[Network]\nKeepConfiguration=no\n")
        assert only(network_managers.network_manager, subject).severity is Severity.WARNING

    def test_netplan(self, subject: Subject) -> None:
        self.put_networkd(subject, "/run/systemd/network/10-netplan-eth0.network")
        assert "netplan apply" in only(network_managers.network_manager, subject).mend

    def test_networkd_that_leaves_the_interface_alone(self, subject: Subject) -> None:
        put(subject, "/run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n")
        assert only(network_managers.network_manager, subject).severity is Severity.OK

    def test_network_manager_and_the_snippet_that_we_ship(self, subject: Subject) -> None:
        put(subject, "/run/NetworkManager/devices/2", "[device]\nmanaged=true\nconnection-uuid=1234\n")
        assert only(network_managers.network_manager, subject).severity is Severity.INFO
        self.install(subject, "NetworkManager.conf", "/etc/NetworkManager/conf.d/90-haagent.conf")
        assert only(network_managers.network_manager, subject).severity is Severity.OK


class TestFirewall:
    def rules(self, *expressions: object, policy: str = "drop") -> list[dict[str, Any]]:
        names = {"family": "inet", "table": "filter"}
        chain = {**names, "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}
        return [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "filter"}},
            {"chain": chain},
            *({"rule": {**names, "chain": "input", "expr": [expression]}} for expression in expressions),
        ]

    def match(self, right: object) -> dict[str, Any]:
        left = {"payload": {"protocol": "udp", "field": "dport"}}
        return {"match": {"op": "==", "left": left, "right": right}}

    @pytest.mark.parametrize(
        ("right", "is_named"),
        [(7265, True), (22, False), ({"set": [22, 7265]}, True), ({"range": [7000, 8000]}, True), (True, False)],
    )
    def test_whether_a_rule_names_the_port(self, right: object, is_named: bool) -> None:
        suspects = list(firewall._suspects(self.rules(self.match(right)), 7265))
        assert suspects == ([] if is_named else [("inet filter input", False)])

    def test_rules_of_iptables_cannot_be_read(self) -> None:
        assert list(firewall._suspects(self.rules({"xt": None}), 7265)) == [("inet filter input", True)]

    def test_a_chain_that_accepts_is_none(self) -> None:
        assert not list(firewall._suspects(self.rules(policy="accept"), 7265))

    def test_an_agent_without_a_gate(self, subject: Subject) -> None:
        group = {"name": "web", "holder": "B", "gate": {"state": "unavailable", "why": "no netfilter"}}
        subject.agent = told_by_agent(groups=[group])
        assert "no netfilter" in only(firewall.gate, subject).what


class TestHeartbeats:
    def heard(self, subject: Subject, **facts: Any) -> list[Finding]:
        hearing = Hearing(has_opener=True, links={"eth0": set()})
        for name, value in facts.items():
            setattr(hearing, name, value)
        return list(heartbeats._heard(subject, hearing))

    def test_the_agent_hears_everybody(self, subject: Subject) -> None:
        subject.agent = told_by_agent()
        assert only(heartbeats.heartbeats, subject).severity is Severity.OK
        assert "0.0.9" in only(heartbeats.peers, subject).what

    def test_the_agent_misses_somebody(self, subject: Subject) -> None:
        facts = told_by_agent(counters={"dropped_unknown_key": 9})
        facts["members"][1] |= {"state": "offline", "links": [], "config_matches": False}
        subject.agent = facts
        found = looked(heartbeats.heartbeats, subject)
        assert ["B is not heard" in found[0].what, "9 datagrams" in found[1].what] == [True, True]
        assert looked(heartbeats.peers, subject)[0].severity is Severity.WARNING

    def test_a_link_of_several_that_is_silent(self, subject: Subject) -> None:
        links = [{"name": name, "is_up": True, "why": ""} for name in ("eth0", "eth1")]
        subject.agent = told_by_agent(links=links)
        assert "not heard over eth1" in only(heartbeats.heartbeats, subject).what

    def test_nobody_is_heard(self, subject: Subject) -> None:
        (finding,) = self.heard(subject)
        assert finding.severity is Severity.WARNING
        assert "7265" in finding.mend

    def test_this_host_does_not_even_hear_itself(self, subject: Subject) -> None:
        finding = self.heard(subject, deaf={"eth0"})[0]
        assert (finding.severity, "firewall" in finding.what) == (Severity.ERROR, True)

    def test_another_key(self, subject: Subject) -> None:
        found = self.heard(subject, dropped={(Cause.UNKNOWN_KEY, "10.20.1.11"): 15, (Cause.FOREIGN, "10.20.1.77"): 9})
        assert ["10.20.1.11" in one.what for one in found] == [True, False]
        assert found[0].severity is Severity.ERROR

    def test_heard_of_one_of_two_links(self, subject: Subject) -> None:
        beat = Heartbeat("shop", "B", boot=1, seq=1, interval_ms=100, lease_ms=350)
        found = self.heard(subject, beats={"B": beat}, links={"eth0": {"B"}, "eth1": set()})
        assert [one.severity for one in found] == [Severity.OK, Severity.WARNING]


class TestNeighbours:
    @pytest.mark.parametrize("address", ["10.20.1.100", "fd00:20::100"])
    def test_the_question_is_what_scapy_would_write(self, address: str) -> None:
        asked = ip_address(address)
        assert neighbours.question(MAC, asked) == frames.question(LAYOUTS, asked, MAC)


class TestService:
    def test_one_that_does_not_start(self, subject: Subject) -> None:
        facts = {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "NRestarts": "9"}
        found = list(service._judge(subject, facts | {"UnitFileState": "disabled"}))
        assert [one.severity for one in found] == [Severity.ERROR, Severity.WARNING]

    def test_one_that_runs(self, subject: Subject) -> None:
        facts = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "NRestarts": "0"}
        assert [one.severity for one in service._judge(subject, facts)] == [Severity.OK]

    def test_what_the_agent_says_of_itself(self, subject: Subject) -> None:
        subject.agent = told_by_agent(warnings=["Maintenance is on."], version="0.0.9")
        found = looked(service.agent, subject)
        assert [one.severity for one in found] == [Severity.WARNING, Severity.WARNING, Severity.OK]
        subject.agent, subject.agent_fault = None, "it does not answer"
        assert only(service.agent, subject).severity is Severity.ERROR


class TestTiming:
    @pytest.mark.parametrize(
        ("worst_s", "severity"), [(0.001, Severity.OK), (0.1, Severity.WARNING), (0.3, Severity.ERROR)]
    )
    def test_late_against_the_lease(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch, worst_s: float, severity: Severity
    ) -> None:
        async def measured() -> float:
            return worst_s

        monkeypatch.setattr(timing, "_measure", measured)
        monkeypatch.setattr(timing, "AFTER_S", 0.0)
        assert only(timing.jitter, subject).severity is severity


class TestCommand:
    def test_a_configuration_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--config", str(tmp_path / "none.yaml"), "--json"]) == 2
        assert json.loads(capsys.readouterr().err)["error"]["status"] == 2

    def test_errors_are_status_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = tmp_path / "none.key"
        file = tmp_path / "haagent.yaml"
        file.write_text(CONFIG.format(key=key))
        chosen = tuple(check for check in CHECKS if check.name in ("configuration", "key"))
        monkeypatch.setattr("haagent.doctor.examination.examine.__defaults__", (chosen,))
        places = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
        assert main(["doctor", "--config", str(file), "--node", "A", "--json", *places]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["ok"], told["node"], told["counts"]["error"]) == (False, "A", 1)
        assert told["findings"][0]["check"] == "key"
        assert "haagent keygen" in told["findings"][0]["mend"]
        assert main(["doctor", "--config", str(file), "--node", "A", *places]) == 1
        assert capsys.readouterr().out.startswith("error    key: ")
