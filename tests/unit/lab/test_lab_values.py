"""The pure parts of the lab: plan, fault rules, outage arithmetic, probe bytes."""

from __future__ import annotations

import struct

import pytest

from haagent.kernel import echo
from haagent.lab.answers import UNANSWERED, Trace
from haagent.lab.damage import EVERYBODY, Cut, Damage, rules
from haagent.lab.echo import PAYLOAD, headers
from haagent.lab.errors import LabError
from haagent.lab.outage import measure
from haagent.lab.plan import draw
from tests.support import sample_histories


def trace(sent: list[int], replied: list[int], by: list[str] | None = None) -> Trace:
    """In milliseconds."""
    return Trace(
        address="10.20.1.100",
        interval_s=0.001,
        start_s=100.0,
        sent=[ms * 1000 for ms in sent],
        replied=[ms if ms == UNANSWERED else ms * 1000 for ms in replied],
        answered_by=by or ["A" if ms != UNANSWERED else "" for ms in replied],
    )


class TestOutage:
    def test_lost_probes(self) -> None:
        seen = measure(trace([0, 1, 2, 3, 4, 5], [0, 1, UNANSWERED, UNANSWERED, UNANSWERED, 5]))
        assert (seen.worst_ms, seen.probes, seen.answered) == (4.0, 6, 3)
        assert [(gap.start_s, gap.ms) for gap in seen.gaps] == [(100.001, 4.0)]

    def test_probes_that_the_kernel_kept_and_delivered_late_are_an_outage_too(self) -> None:
        seen = measure(trace([0, 1, 2, 3, 4, 5], [0, 50, 50, 50, 50, 50]))
        assert seen.worst_ms == 50.0

    def test_a_late_answer_does_not_hide_a_gap_nor_make_one(self) -> None:
        assert measure(trace([0, 1, 2, 3], [0, 9, 2, 3])).worst_ms == 9.0
        assert measure(trace([0, 1, 2, 3], [0, 1, 2, 3])).worst_ms == 1.0

    def test_silence_to_the_end(self) -> None:
        seen = measure(trace(list(range(100)), [0, 1, *[UNANSWERED] * 98]))
        assert seen.worst_ms == 98.0
        assert (seen.gaps[0].before, seen.gaps[0].after) == ("A", "")

    def test_what_was_just_sent_may_still_be_answered(self) -> None:
        assert measure(trace(list(range(10)), [*range(8), UNANSWERED, UNANSWERED])).worst_ms == 1.0

    def test_silence_from_the_start(self) -> None:
        assert measure(trace([0, 1, 2, 3], [UNANSWERED, UNANSWERED, UNANSWERED, 3])).worst_ms == 3.0

    def test_nobody_at_all(self) -> None:
        seen = measure(trace(list(range(100)), [UNANSWERED] * 100))
        assert (seen.worst_ms, seen.answered_by) == (99.0, [])
        assert measure(trace([], [])).worst_ms == 0.0

    def test_window_and_turns(self) -> None:
        whole = trace(list(range(8)), list(range(8)), by=list("AAABBBAA"))
        assert measure(whole).answered_by == ["A", "B", "A"]
        assert measure(whole, start_s=100.0025, end_s=100.0055).answered_by == ["B"]

    def test_two_who_answer(self) -> None:
        seen = sample_histories.trace({"A": [(0, 60)], "B": [(50, 100)]}, length=100)
        assert measure(seen).dual_ms == pytest.approx(8.8)
        assert measure(seen, start_s=sample_histories.START_S + 0.07).dual_ms == 0

    def test_the_prober_s_own_lateness(self) -> None:
        assert measure(trace([0, 1, 9, 10], [0, 1, 9, 10])).stall_ms == 7.0


class TestFaults:
    plan = draw(nodes=2, links=2)

    def test_rules_replace_the_former_ones(self) -> None:
        assert rules(self.plan, Damage()).startswith("table bridge haagent_lab\ndelete table bridge haagent_lab\n")

    def test_cut_covers_every_link(self) -> None:
        damage = Damage()
        damage.cut("A", "B", one_way=True)
        assert 'iifname { "A-eth0", "A-eth1" } oifname { "B-eth0", "B-eth1" } counter drop' in rules(self.plan, damage)
        assert 'iifname { "B-eth0"' not in rules(self.plan, damage)

    def test_cut_from_everybody(self) -> None:
        damage = Damage()
        damage.cut("A", EVERYBODY, one_way=False)
        text = rules(self.plan, damage)
        assert 'iifname { "A-eth0", "A-eth1" } counter drop' in text
        assert 'oifname { "A-eth0", "A-eth1" } counter drop' in text

    def test_heal(self) -> None:
        damage = Damage(losses={"A": 3.5})
        damage.cut("A", "B", one_way=False)
        damage.cut("A", "client", one_way=True)
        damage.heal("B", "A")
        assert damage.cuts == [Cut("A", "client")]
        assert damage.sentences() == ["nothing from A reaches client", "A loses 3.5 % of its frames each way"]
        damage.heal("A", EVERYBODY)
        assert damage.sentences() == []

    def test_a_host_cannot_be_cut_from_itself(self) -> None:
        with pytest.raises(LabError):
            Damage().cut("A", "A", one_way=False)


class TestPlan:
    def test_every_host_is_known_by_its_ttl(self) -> None:
        plan = draw(nodes=8, has_witness=True)
        assert len({host.ttl for host in plan.hosts}) == 10
        assert [host.name for host in plan.nodes] == [*"ABCDEFGH", "W"]
        assert plan.node("W").witness

    def test_interface_names_fit_the_kernel(self) -> None:
        assert all(len(port.cable) <= 15 for host in draw(nodes=2, links=2).hosts for port in host.ports)

    @pytest.mark.parametrize(("nodes", "links"), [(0, 1), (10, 1), (2, 3)])
    def test_refusals(self, nodes: int, links: int) -> None:
        with pytest.raises(LabError):
            draw(nodes=nodes, links=links)

    def test_a_spare_host_is_no_node_and_may_answer(self) -> None:
        plan = draw(nodes=2, has_witness=True, spares=1)
        assert [host.name for host in plan.nodes] == ["A", "B", "W"]
        assert [host.name for host in plan.servers] == ["A", "B", "W", "C"]
        assert len({host.ttl for host in plan.hosts}) == 5

    def test_without_ipv6(self) -> None:
        assert draw(nodes=2, has_ipv6=False).vips == ("10.20.1.100",)


class TestEcho:
    @staticmethod
    def folded(data: bytes) -> int:
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    @pytest.mark.parametrize("sequence", [0, 1, 0x7FFF, 0xFFFF])
    def test_checksum(self, sequence: int) -> None:
        message = echo.request(4, 0x4841, sequence, payload=PAYLOAD)
        assert self.folded(message) == 0xFFFF
        assert struct.unpack("!HH", message[4:8]) == (0x4841, sequence)

    def test_checksum_of_ipv6_covers_the_addresses(self) -> None:
        before, pseudo = headers(
            address="fd00:20::100", source="fd00:20::1", mac="02:00:00:00:00:01", source_mac="02:00:00:00:00:02"
        )
        message = echo.request(6, 7, 9, payload=PAYLOAD, pseudo=pseudo)
        assert self.folded(before[-32:] + struct.pack("!II", len(message), 58) + message) == 0xFFFF

    def test_ipv4_header_checksum(self) -> None:
        before, _ = headers(
            address="10.20.1.100", source="10.20.1.1", mac="02:00:00:00:00:01", source_mac="02:00:00:00:00:02"
        )
        assert self.folded(before[14:]) == 0xFFFF
