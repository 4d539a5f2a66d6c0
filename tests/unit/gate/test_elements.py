"""The gate's messages and elements without a kernel: what is composed, and when it is said."""

from __future__ import annotations

import pytest

from haagent.core.settings import SLEW
from haagent.gate import GateError, encoding, ruleset
from haagent.gate.channel import Overtaken
from haagent.gate.elements import Elements
from haagent.gate.prepared import Prepared
from haagent.kernel.netlink import HEADER
from tests.support.fake_nftables import FOUR, OTHER, SIX, FakeKernel, sentences


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def elements(kernel: FakeKernel) -> Elements:
    made = Elements(kernel, kernel.now)  # type: ignore[arg-type]
    made.prepare((FOUR, SIX, OTHER))
    return made


class TestWhatIsSaid:
    def test_an_ipv4_address_opens_for_ip_and_for_arp(self) -> None:
        said = list(sentences(Prepared(FOUR).opening.lasting(0.35)))
        assert said == [(encoding.NEWSETELEM, family, FOUR, 350) for family in (encoding.IPV4, encoding.ARP)]

    def test_extending_takes_out_first_so_that_nothing_shut_is_opened(self) -> None:
        said = list(sentences(Prepared(SIX).extending.lasting(0.35)))
        assert [kind for kind, *_ in said] == [encoding.DELSETELEM, encoding.NEWSETELEM]

    @pytest.mark.parametrize(
        ("left_s", "said_ms"), [(0.3509, 350), (0.0019, 1), (1.0, 1000), (0.0004, 1), (1e9, 86_400_000)]
    )
    def test_time_is_rounded_down_to_a_millisecond(self, left_s: float, said_ms: int) -> None:
        assert [ms for *_, ms in sentences(Prepared(SIX).opening.lasting(left_s))] == [said_ms]

    def test_the_permanent_tables_flags_and_addresses(self) -> None:
        messages = list(ruleset.permanent([FOUR, SIX], flags=encoding.OWNED | encoding.PERSISTENT))
        tables = [one for one in messages if HEADER.unpack_from(one)[1] & 0xFF == encoding.NEWTABLE]
        assert len(tables) == 3
        assert all(dict(encoding.attributes(one))[2] == b"\0\0\0\6" for one in tables)
        gated = [one for one in messages if HEADER.unpack_from(one)[1] & 0xFF == encoding.NEWSETELEM]
        assert sorted(one[HEADER.size] for one in gated) == [encoding.IPV4, encoding.ARP, encoding.IPV6]

    def test_a_batch_names_the_generation_it_was_meant_for(self) -> None:
        assert b"\0\0\x30\x39" in encoding.batch(b"", generation=12345)
        assert len(encoding.batch(b"")) == 2 * (HEADER.size + 4)


class TestElements:
    def test_opening_ends_with_the_lease(self, kernel: FakeKernel, elements: Elements) -> None:
        elements.open({FOUR: 1000.35, SIX: 1000.35})
        assert (kernel.left_ms(FOUR), kernel.left_ms(SIX)) == (350, 350)
        assert kernel.log == ["+++"]

    @pytest.mark.parametrize("slew", [-SLEW, 0.0, SLEW])
    def test_it_ends_with_the_lease_at_the_latest_however_the_kernels_clock_is_steered(
        self, kernel: FakeKernel, elements: Elements, slew: float
    ) -> None:
        kernel.slew = slew
        elements.open({FOUR: 1000.35})
        kernel.at = 1000.1
        elements.extend({FOUR: 1000.45})
        assert all(1000.45 - 0.35 * 2 * SLEW <= end <= 1000.45 for end in kernel.ends.values())

    def test_a_lease_that_is_over_opens_nothing(self, kernel: FakeKernel, elements: Elements) -> None:
        with pytest.raises(GateError, match="lease ended"):
            elements.open({FOUR: 999.0})
        assert not kernel.log

    def test_what_is_open_already_is_given_the_new_end(self, kernel: FakeKernel, elements: Elements) -> None:
        elements.open({FOUR: 1000.35})
        kernel.at = 1000.1
        elements.open({FOUR: 1000.45, SIX: 1000.45})
        assert (kernel.left_ms(FOUR), kernel.left_ms(SIX)) == (350, 350)
        assert kernel.log == ["++", "--++", "+"], "and nothing that the kernel refuses"

    def test_what_was_thought_to_be_open_and_is_not_is_opened(self, kernel: FakeKernel, elements: Elements) -> None:
        elements.open({FOUR: 1000.35})
        kernel.ends.clear()
        elements.open({FOUR: 1000.45, SIX: 1000.45})
        assert (kernel.left_ms(FOUR), kernel.left_ms(SIX)) == (450, 450)

    def test_all_that_is_renewed_goes_in_one_batch(self, kernel: FakeKernel, elements: Elements) -> None:
        elements.open({FOUR: 1000.35, SIX: 1000.35, OTHER: 1000.35})
        kernel.at = 1000.1
        assert elements.extend({FOUR: 1000.45, SIX: 1000.45, OTHER: 1000.4}) == []
        assert kernel.log[1:] == ["--++-+--++"]
        assert (kernel.left_ms(FOUR), kernel.left_ms(OTHER)) == (350, 300)

    def test_a_renewal_that_comes_too_late_opens_nothing(self, kernel: FakeKernel, elements: Elements) -> None:
        elements.open({FOUR: 1000.35, SIX: 1000.9})
        kernel.at = 1000.5
        assert elements.extend({FOUR: 1000.8, SIX: 1000.8}) == [FOUR]
        assert (kernel.left_ms(FOUR), kernel.left_ms(SIX)) == (0, 300)
        assert FOUR not in elements.told

    def test_a_process_that_was_stopped_before_it_spoke_does_not_outlive_the_lease(
        self, kernel: FakeKernel, elements: Elements
    ) -> None:
        elements.open({FOUR: 1000.35})
        kernel.at = 1000.1

        def wake_up_late() -> None:
            kernel.at = 1010.0

        kernel.before_commit.append(wake_up_late)
        assert elements.extend({FOUR: 1000.45}) == [FOUR]
        assert kernel.left_ms(FOUR) == 0

    @pytest.mark.parametrize("is_open", [True, False])
    def test_what_was_said_late_is_corrected_at_once(
        self, kernel: FakeKernel, elements: Elements, *, is_open: bool
    ) -> None:
        if is_open:
            elements.open({FOUR: 1000.35})

        def be_slow() -> None:
            kernel.at += 0.2

        kernel.before_commit.append(be_slow)
        if is_open:
            assert elements.extend({FOUR: 1000.4}) == []
        else:
            elements.open({FOUR: 1000.4})
        assert max(kernel.ends.values()) <= 1000.4

    def test_other_programs_changes_are_waited_out_and_the_time_is_computed_anew(
        self, kernel: FakeKernel, elements: Elements
    ) -> None:
        elements.open({FOUR: 1000.35})

        def overtake() -> None:
            kernel.at += 0.1
            raise Overtaken("by a firewall")

        kernel.before_commit += [overtake, overtake]
        assert elements.extend({FOUR: 1000.35}) == []
        assert kernel.left_ms(FOUR) == 150

    def test_a_lease_that_ends_while_others_change_rules_opens_nothing(
        self, kernel: FakeKernel, elements: Elements
    ) -> None:
        def overtake() -> None:
            kernel.at += 0.5
            raise Overtaken("by a firewall")

        kernel.before_commit.append(overtake)
        with pytest.raises(GateError, match="lease ended"):
            elements.open({FOUR: 1000.35, SIX: 1000.9})
        assert kernel.left_ms(FOUR) == 0
        assert FOUR not in elements.told

    def test_a_process_that_was_stopped_before_it_opened_does_not_outlive_the_lease(
        self, kernel: FakeKernel, elements: Elements
    ) -> None:
        def wake_up_late() -> None:
            kernel.at = 1010.0

        kernel.before_commit.append(wake_up_late)
        with pytest.raises(GateError, match="lease ended"):
            elements.open({FOUR: 1000.35})
        assert kernel.left_ms(FOUR) == 0
        assert FOUR not in elements.told

    def test_endless_changes_are_an_error(self, kernel: FakeKernel, elements: Elements) -> None:
        def overtake() -> None:
            raise Overtaken("by a firewall")

        kernel.before_commit += [overtake] * 100
        with pytest.raises(GateError, match="other programs"):
            elements.open({FOUR: 1000.35})
        assert not elements.told

    def test_closing_what_is_open_and_what_has_gone_by_itself(self, kernel: FakeKernel, elements: Elements) -> None:
        elements.open({FOUR: 1000.35, SIX: 1000.9})
        kernel.at = 1000.5
        elements.close([FOUR, SIX, OTHER])
        assert (kernel.left_ms(FOUR), kernel.left_ms(SIX)) == (0, 0)
        assert not elements.told
