"""The gate without a kernel: what is composed, when it is said, and what happens when the kernel does not agree."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from haagent.gate import GateError, GateState, NoGate, encoding, gate, gate_warnings, ruleset
from haagent.gate.channel import Overtaken, Refused
from haagent.gate.elements import Elements
from haagent.gate.gate import Gate
from haagent.gate.prepared import Prepared
from haagent.gate.ruleset import families
from haagent.kernel.netlink import ACK, HEADER, split

FOUR, SIX, OTHER = (ip_address(text).packed for text in ("10.20.1.100", "fd00:20::100", "10.20.1.101"))


def sentences(messages: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(kind, family, address, milliseconds) of each message about an element of the key's sets."""
    for kind, _, _, _, message in split(messages):
        parts = dict(encoding.attributes(message))
        assert (parts[1], parts[2]) == (b"haagent_key\0", b"open\0")
        ((_, one),) = encoding.attributes(parts[3], 0)
        inner = dict(encoding.attributes(one, 0))
        assert inner.get(4) == inner.get(5), "time-out and end differ"
        ((_, address),) = encoding.attributes(inner[1], 0)
        yield kind & 0xFF, message[HEADER.size], address, int.from_bytes(inner.get(4, b""), "big")


class FakeKernel:
    """The sets of the key, with time. Takes the place of `Channel`; a batch is done as a whole or not at all."""

    port = 7

    def __init__(self) -> None:
        self.at = 1000.0
        self.ends: dict[tuple[int, bytes], float] = {}
        self.log: list[str] = []
        self.built: list[bytes] = []
        self.before_commit: list[Callable[[], None]] = []  # each is called once
        self.is_closed = False
        self.leftover: list[tuple[int, str]] = []
        self.refusing: list[Exception] = []  # to build

    def now(self) -> float:
        return self.at

    def commit(self, messages: bytes) -> None:
        if self.before_commit:
            self.before_commit.pop(0)()
        assert any(HEADER.unpack_from(message)[2] & ACK for *_, message in split(messages))
        ends = {key: end for key, end in self.ends.items() if end > self.at}
        words = []
        for kind, family, address, lasts_ms in sentences(messages):
            key = family, address
            if kind == encoding.DELSETELEM:
                if ends.pop(key, None) is None:
                    raise Refused(errno.ENOENT, "no such element")
                words.append("-")
            else:
                if key in ends:
                    raise Refused(errno.EEXIST, "it is there")
                ends[key] = self.at + lasts_ms / 1000
                words.append("+")
        self.ends = ends
        self.log.append("".join(words))

    def build(self, messages: list[bytes]) -> None:
        if self.refusing:
            raise self.refusing.pop(0)
        assert messages
        self.built += messages

    def named(self, *names: str) -> list[tuple[int, str]]:
        return [table for table in self.leftover if table[1] in names]

    def elements(self, family: int, table: str, name: str) -> set[bytes]:
        assert (table, name) == ("haagent_key", "open")
        return {address for (home, address), end in self.ends.items() if home == family and end > self.at}

    def close(self) -> None:
        self.is_closed = True
        self.ends.clear()

    def left_ms(self, address: bytes) -> int:
        """0: shut. All families say the same. The nearest ten: what is told is rounded down, to a millisecond."""
        left = {round(100 * (self.ends.get((family, address), 0.0) - self.at)) for family in families(address)}
        assert len(left) == 1, left
        return max(0, 10 * left.pop())


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


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernels: list[FakeKernel] = []
        self.next_refusals: list[Exception] = []
        self.leftover: list[tuple[int, str]] = []
        self.notes: list[tuple[str, str]] = []
        self.at = 1000.0
        monkeypatch.setattr(gate, "Channel", self.open_channel)
        self.gate = Gate(note=lambda *note: self.notes.append(note), now=self.now)

    def now(self) -> float:
        for kernel in self.kernels:
            kernel.at = self.at
        return self.at

    @property
    def kernel(self) -> FakeKernel:
        return self.kernels[-1]

    def open_channel(self) -> FakeKernel:
        kernel = FakeKernel()
        kernel.leftover, kernel.refusing = self.leftover, self.next_refusals
        self.kernels.append(kernel)
        return kernel

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0.001)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def run(stage: Stage, story: Callable[[], Coroutine[Any, Any, None]], *, adopting: Sequence[bytes] = ()) -> None:
    async def main() -> None:
        stage.gate.start([FOUR, SIX], adopting=adopting)
        try:
            await story()
        finally:
            stage.gate.close()

    asyncio.run(main())


def _overtake() -> None:
    raise Overtaken("another program has just changed the rules")


class TestGate:
    def test_it_opens_is_renewed_and_shuts(self, stage: Stage) -> None:
        async def story() -> None:
            assert stage.gate.state([FOUR]) == (GateState.SHUT, "")
            stage.gate.open([FOUR, SIX], 1000.35)
            assert stage.gate.state([FOUR, SIX]) == (GateState.OPEN, "")
            assert not stage.gate.holds_back([FOUR])
            stage.at = 1000.1
            stage.gate.renew([FOUR, SIX], 1000.45)
            await stage.until(lambda: stage.kernel.left_ms(FOUR) == 350)
            stage.at = 1000.5
            assert stage.gate.state([FOUR, SIX]) == (GateState.SHUT, "")
            stage.gate.shut([FOUR, SIX])
            assert stage.gate.holds_back([FOUR, SIX])
            assert (stage.kernel.left_ms(FOUR), stage.kernel.left_ms(SIX)) == (0, 0)

        run(stage, story)
        assert not stage.notes

    def test_a_rehearsal_changes_nothing_and_waits_for_nobody(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.rehearse()
            assert stage.kernel.log == ["++--"], "nobody's address, for ARP and for IPv4"
            assert not stage.kernel.ends
            stage.gate.open([FOUR], 1000.35)
            before = dict(stage.kernel.ends)
            stage.kernel.before_commit.append(_overtake)
            stage.gate.rehearse()
            stage.gate.rehearse()
            assert stage.kernel.ends == before
            with stage.gate._lock:  # a renewal is under way
                stage.gate.rehearse()
            assert stage.kernel.log == ["++--", "++", "++--"]

        run(stage, story)
        assert not stage.notes

    def test_renewing_opens_nothing(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.renew([FOUR], 1000.35)
            stage.gate.open([SIX], 1000.35)
            stage.gate.renew([SIX], 1000.4)
            await stage.until(lambda: stage.kernel.left_ms(SIX) == 400)
            assert stage.kernel.left_ms(FOUR) == 0

        run(stage, story)

    def test_renewals_of_one_turn_are_one_batch_and_close_ones_wait(self, stage: Stage) -> None:
        async def story() -> None:
            for address in (FOUR, SIX):
                stage.gate.open([address], 1000.35)
            stage.at = 1000.1
            for address in (FOUR, SIX):
                stage.gate.renew([address], 1000.45)
            await stage.until(lambda: len(stage.kernel.log) == 3)
            assert stage.kernel.log[2] == "--++-+"
            stage.at = 1000.11  # a seventh of what is left has to pass, which is more than 10 ms
            stage.gate.renew([FOUR], 1000.46)
            await asyncio.sleep(0.01)
            assert len(stage.kernel.log) == 3
            await stage.until(lambda: len(stage.kernel.log) == 4)  # and yet it is done in time

        run(stage, story)

    def test_a_gate_that_shut_during_a_lease_is_opened_again_by_the_loop(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.at = 1000.5
            stage.gate.renew([FOUR], 1000.85)
            await stage.until(lambda: stage.kernel.left_ms(FOUR) == 350)

        run(stage, story)
        assert stage.gate.counters["lapsed"] == 1
        assert [kind for kind, _ in stage.notes] == ["gate"]
        assert "opened again" in stage.notes[0][1]

    def test_a_lease_that_is_over_is_not_opened_again(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.gate.renew([FOUR], 1000.4)
            stage.at = 1000.5
            await asyncio.sleep(0.05)
            assert stage.kernel.left_ms(FOUR) == 0

        run(stage, story)
        assert not any(stage.gate.counters.values())

    def test_a_kernel_that_refuses_to_shut_loses_the_socket(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.gate.open([SIX], 1000.35)
            first = stage.kernel

            def refuse() -> None:
                raise Refused(errno.ENOMEM, "no memory")

            first.before_commit.append(refuse)
            stage.gate.shut([FOUR])
            assert first.is_closed
            assert stage.kernel is not first
            assert (stage.kernel.left_ms(FOUR), stage.kernel.left_ms(SIX)) == (0, 350)
            assert stage.gate.holds_back([FOUR])

        run(stage, story)
        assert [kind for kind, _ in stage.notes] == ["gate"]
        assert "no memory" in stage.notes[0][1]

    def test_shutting_while_a_renewal_waits_for_a_firewall_is_done_afterwards(self, stage: Stage) -> None:
        is_waiting, may_go_on = threading.Event(), threading.Event()

        def wait_for_the_firewall() -> None:
            is_waiting.set()
            may_go_on.wait(10)

        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.kernel.before_commit.append(wait_for_the_firewall)
            stage.gate.renew([FOUR], 1000.4)
            await stage.until(is_waiting.is_set)
            with pytest.raises(GateError, match="under way"):
                stage.gate.shut([FOUR])
            may_go_on.set()
            await stage.until(lambda: stage.gate.holds_back([FOUR]))
            assert stage.kernel.left_ms(FOUR) == 0

        run(stage, story)

    def test_what_is_adopted_stays_open_until_it_is_decided(self, stage: Stage) -> None:
        async def story() -> None:
            assert stage.gate.state([FOUR])[0] == GateState.OPEN
            assert not stage.gate.holds_back([FOUR])
            before = len(stage.kernel.built)
            stage.gate.shut([FOUR])
            assert stage.gate.holds_back([FOUR])
            assert len(stage.kernel.built) == before + 2  # gated for ip and for arp

        run(stage, story, adopting=[FOUR])

    def test_what_a_dead_life_left_is_not_adopted_open(self, stage: Stage) -> None:
        stage.leftover = [(encoding.IPV4, ruleset.GATE)]

        async def story() -> None:
            assert stage.gate.state([FOUR])[0] == GateState.SHUT

        run(stage, story, adopting=[FOUR])

    def test_without_nf_tables_the_agent_works_and_says_what_is_missing(self, stage: Stage) -> None:
        stage.next_refusals += [Refused(errno.EOPNOTSUPP, "a table"), Refused(errno.EOPNOTSUPP, "no tables for arp")]

        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.gate.renew([FOUR], 1000.4)
            stage.gate.shut([FOUR])
            stage.gate.guard([FOUR])
            assert not stage.gate.holds_back([FOUR])
            assert stage.gate.state([FOUR]) == (GateState.UNAVAILABLE, "no tables for arp")

        run(stage, story)
        assert [kind for kind, _ in stage.notes] == ["gate"]
        assert "only the addresses' lifetimes protect" in stage.notes[0][1]

    def test_tables_that_another_process_owns_stop_every_take(self, stage: Stage) -> None:
        stage.leftover = [(encoding.IPV4, ruleset.GATE)]
        stage.next_refusals += [Refused(errno.EPERM, "another process owns the table")] * 2

        async def story() -> None:
            with pytest.raises(GateError, match="owns"):
                stage.gate.open([FOUR], 1000.35)
            stage.gate.open([FOUR], 1000.35)  # it has ended
            assert stage.kernel.left_ms(FOUR) == 350

        run(stage, story)
        assert [kind for kind, _ in stage.notes] == ["blocked"]
        assert "nothing can be served" in stage.notes[0][1]

    def test_a_gate_that_shut_and_cannot_be_made_again_is_graver_than_one_that_was(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.next_refusals += [Refused(errno.ENOMEM, "no room for a table")] * 2

            def refuse() -> None:
                raise Refused(errno.ENOMEM, "no memory")

            stage.kernel.before_commit.append(refuse)
            stage.gate.shut([FOUR])

        run(stage, story)
        assert [kind for kind, _ in stage.notes] == ["gate", "blocked"]
        assert "cannot be made again" in stage.notes[1][1]

    def test_a_reload_changes_what_is_gated(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.gate.guard([SIX, OTHER])
            assert stage.kernel.left_ms(FOUR) == 0
            assert stage.gate.holds_back([SIX, OTHER])
            assert stage.gate.state([FOUR])[0] == GateState.OPEN  # not ours any more: nothing is held back

        run(stage, story)

    def test_off_is_off(self) -> None:
        off = NoGate()
        off.open([FOUR], 1.0)
        off.shut([FOUR])
        assert not off.holds_back([FOUR])
        assert off.state([FOUR])[0] == GateState.OFF


def _facts(state: str, *, why: str = "", here: str = "active") -> dict[str, Any]:
    return {"held": here == "active", "gate": {"state": state, "why": why}}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (_facts("open"), ""),
        (_facts("shut", here="idle"), ""),
        (_facts(""), ""),  # an agent that has not opened yet
        (_facts("off", why="the configuration says `gate: off`"), "no gate on this node: the configuration says"),
        (_facts("unavailable", why="no module"), "no gate on this node: no module"),
        (_facts("shut"), "active here, but its gate is shut"),
    ],
)
def test_status_warns_of_what_is_not_as_it_should_be(facts: dict[str, Any], said: str) -> None:
    told = list(gate_warnings({"web": facts}))
    assert len(told) == bool(said)
    assert all(said in text for text in told)
