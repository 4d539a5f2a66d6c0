"""The doctor's checks of what is between this host and the others."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from haagent.core.messages import Heartbeat
from haagent.core.wire import Cause
from haagent.doctor import firewall, heartbeats, neighbours
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, Severity
from haagent.doctor.listener import Hearing
from haagent.guards import frames
from tests.support.bare_host import MAC, looked, only, told_by_agent
from tests.support.layouts import LAYOUTS


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
