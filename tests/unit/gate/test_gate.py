"""The gate without a kernel: what it tells it from a thread, and what happens when the kernel does not agree."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from haagent.core.settings import SLEW
from haagent.gate import GateError, GateState, NoGate, encoding, gate, gate_warnings, ruleset
from haagent.gate.channel import Overtaken, Refused
from haagent.gate.gate import Gate
from tests.support.fake_nftables import FOUR, OTHER, SIX, FakeKernel


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernels: list[FakeKernel] = []
        self.next_refusals: list[Exception] = []
        self.next_commits: list[Callable[[], None]] = []
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
        kernel.before_commit, self.next_commits = self.next_commits, []
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


def _refuse() -> None:
    raise Refused(errno.ENOMEM, "no memory")


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

    def test_the_kernel_is_told_again_where_no_renewal_comes(self, stage: Stage) -> None:
        """What is left is less then, and so is that by which it is told less."""

        async def story() -> None:
            stage.kernel.slew = 0.0
            stage.gate.open([FOUR], 1000.35)
            assert stage.kernel.left_ms(FOUR) == pytest.approx(350 * (1 - SLEW), abs=5), "a frozen agent's gate"
            stage.at = 1000.2
            await stage.until(lambda: len(stage.kernel.log) == 2)
            assert stage.kernel.left_ms(FOUR) == pytest.approx(150 * (1 - SLEW), abs=5)
            stage.at = 1000.332
            await stage.until(lambda: len(stage.kernel.log) == 3)
            assert stage.kernel.left_ms(FOUR) == 20
            await asyncio.sleep(0.03)
            assert len(stage.kernel.log) == 3, "and then there is nothing to gain"

        run(stage, story)
        assert not stage.notes

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

    def test_a_gate_that_could_not_be_made_again_is_made_as_soon_as_the_kernel_lets_us(self, stage: Stage) -> None:
        """Of the groups that go on being held nobody takes one again."""

        async def story() -> None:
            stage.gate.open([FOUR], 1000.35)
            stage.gate.open([OTHER], 1000.45)
            stage.kernel.before_commit.append(refuse)
            stage.next_refusals += [GateError("no memory"), GateError("no memory")]
            stage.gate.shut([FOUR])
            stage.gate.renew([OTHER], 1000.55)
            await stage.until(lambda: stage.gate.state([OTHER]) == (GateState.OPEN, ""))
            assert (stage.kernel.left_ms(FOUR), stage.kernel.left_ms(OTHER)) == (0, 550)
            assert [kind for kind, _ in stage.notes] == ["gate", "blocked"], "each once"

        def refuse() -> None:
            raise Refused(errno.ENOMEM, "no memory")

        run(stage, story)

    def test_a_take_that_makes_the_gate_again_opens_what_is_held(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([OTHER], 1000.45)
            stage.gate.open([FOUR], 1000.35)
            stage.kernel.before_commit.append(_refuse)
            stage.next_refusals += [GateError("no memory")]
            stage.gate.shut([FOUR])
            assert stage.gate.state([OTHER]) == (GateState.UNAVAILABLE, "no memory")
            stage.gate.open([SIX], 1000.35)  # before it is tried again
            assert (stage.kernel.left_ms(SIX), stage.kernel.left_ms(OTHER)) == (350, 450)

        run(stage, story)

    def test_what_could_not_be_opened_again_is_with_the_next_renewal(self, stage: Stage) -> None:
        async def story() -> None:
            stage.gate.open([OTHER], 1000.45)
            stage.gate.open([FOUR], 1000.35)
            stage.kernel.before_commit.append(_refuse)
            stage.next_refusals += [GateError("no memory")]
            stage.gate.shut([FOUR])
            stage.next_commits += [_refuse]
            stage.gate.open([SIX], 1000.35)
            assert (stage.kernel.left_ms(SIX), stage.kernel.left_ms(OTHER)) == (350, 0)
            stage.gate.renew([OTHER], 1000.55)
            await stage.until(lambda: stage.gate.state([OTHER]) == (GateState.OPEN, ""))
            assert stage.kernel.left_ms(OTHER) == 550

        run(stage, story)
        assert ("blocked", "the gate could not be opened again: no memory") in stage.notes

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
