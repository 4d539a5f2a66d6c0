"""The doctor's checks of this host alone, on one that is made of files and facts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from haagent.doctor import files, host, interfaces, network_managers, service, sysctls, time_services
from haagent.doctor.context import Subject
from haagent.doctor.finding import Severity
from haagent.kernel.facts import Link, Seen
from tests.support.bare_host import link, looked, only, put, seen, sysctl, told_by_agent

PROJECT = Path(__file__).parents[3]


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


class TestTimeServices:
    @pytest.mark.parametrize(
        ("file", "text", "said"),
        [
            ("/etc/chrony.conf", "pool 2.pool.example iburst\n#maxslewrate 200000\n", "chrony by 8.3 %"),
            ("/etc/chrony/chrony.conf", "maxslewrate 500\n", "chrony by 0.1 %"),
            ("/etc/systemd/timesyncd.conf", "[Time]\n#PollIntervalMinSec=16\n", "timesyncd by 5."),
            ("/etc/systemd/timesyncd.conf", "[Time]\nPollIntervalMinSec=2min\n", "timesyncd by 2."),
            ("/etc/ntpsec/ntp.conf", "tinker panic 0 step 0\nserver ntp.example minpoll 3\n", "ntpd by 1.6 %"),
            ("/etc/hosts", "", "no time service"),
        ],
    )
    def test_what_is_in_order(self, subject: Subject, file: str, text: str, said: str) -> None:
        put(subject, file, text)
        finding = only(time_services.time_services, subject)
        assert finding.severity is Severity.OK
        assert said in finding.what

    @pytest.mark.parametrize(
        ("file", "text", "said", "mend"),
        [
            ("/etc/chrony/conf.d/fast.conf", "MaxSlewRate 1e5\n", "chrony may steer", "`maxslewrate 83333`"),
            ("/etc/chrony.conf", "maxslewrate 500\nmaxslewrate 250000.0\n", "by 25.1 %", "`maxslewrate 83333`"),
            ("/etc/systemd/timesyncd.conf", "PollIntervalMinSec=16\n", "timesyncd may", "`PollIntervalMinSec=32`"),
            ("/etc/systemd/timesyncd.conf.d/a.conf", "PollIntervalMinSec = 31s\n", "10.1 %", "`PollIntervalMinSec=32`"),
        ],
    )
    def test_what_steers_further_than_leases_are_made_for(
        self, subject: Subject, file: str, text: str, said: str, mend: str
    ) -> None:
        put(subject, file, text)
        finding = only(time_services.time_services, subject)
        assert finding.severity is Severity.WARNING
        assert said in finding.what
        assert mend in finding.mend


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

    @pytest.mark.parametrize(("mtu", "severity"), [(1500, Severity.OK), (1280, Severity.OK), (1279, Severity.WARNING)])
    def test_datagrams_have_to_fit(self, subject: Subject, mtu: int, severity: Severity) -> None:
        put(subject, "/sys/class/net/eth0/mtu", f"{mtu}\n")
        assert only(interfaces.interfaces, subject).severity is severity

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
