"""The gate in the pipeline: opened after the address, shut before it, and proof of silence when an address stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from ipaddress import ip_interface
from typing import Any

import pytest

from haagent.activation.pipeline import GroupPipeline
from haagent.activation.share import Share
from haagent.activation.steps import AddressStep, GateStep
from haagent.core.events import AnyEvent, Dropped, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.gate import GateError, GateState
from haagent.kernel.facts import Vip
from tests.support.fakes import FakeHost, no_hooks, run_virtual

ONE, TWO = Ballot(1, "A"), Ballot(2, "A")
VIP = Vip(address=ip_interface("10.20.1.100/24"), interface="eth0")
OTHER = Vip(address=ip_interface("10.20.1.101/24"), interface="eth0")


class FakeGate:
    """A gate in a dictionary. It writes into the same log as the host, so that the order of both shows."""

    def __init__(self, log: list[str], *, is_in_force: bool = True) -> None:
        self.is_in_force = is_in_force
        self.log = log
        self.until: dict[bytes, float] = {}
        self.gated: set[bytes] = set()
        self.refusing = ""
        self.counters: Counter[str] = Counter()

    def start(self, addresses: Iterable[bytes], *, adopting: Collection[bytes] = ()) -> None:
        self.gated = set(addresses) - set(adopting)
        self.log.append("gate starts")

    def guard(self, addresses: Iterable[bytes]) -> None:
        self.gated = set(addresses)

    def open(self, addresses: Sequence[bytes], until: float) -> None:
        self._ask("open")
        self.until.update(dict.fromkeys(addresses, until))
        self.gated.update(addresses)

    def rehearse(self) -> None:
        self._ask("rehearse")

    def renew(self, addresses: Sequence[bytes], until: float) -> None:
        self.until.update((address, until) for address in addresses if address in self.until)

    def shut(self, addresses: Sequence[bytes]) -> None:
        self._ask("shut")
        for address in addresses:
            self.until.pop(address, None)
        self.gated.update(addresses)

    def holds_back(self, addresses: Iterable[bytes]) -> bool:
        return self.is_in_force and all(one in self.gated and one not in self.until for one in addresses)

    def close(self, *, keeps: bool = False) -> None:
        self.log.append("kept" if keeps else "removed")
        if not keeps:
            self.gated.clear()

    def state(self, addresses: Sequence[bytes]) -> tuple[GateState, str]:
        is_open = any(address in self.until or address not in self.gated for address in addresses)
        return (GateState.OPEN if is_open else GateState.SHUT), ""

    def _ask(self, what: str) -> None:
        self.log.append(what)
        if self.refusing == what:
            raise GateError(f"cannot {what} the gate")


class Stage:
    def __init__(self, now: Callable[[], float], *, is_in_force: bool = True) -> None:
        self.now = now
        self.host = FakeHost("eth0")
        self.gate = FakeGate(self.host.log, is_in_force=is_in_force)
        self.said: list[AnyEvent] = []
        self.notes: list[str] = []
        self.group = GroupPipeline(
            "web",
            steps=(AddressStep(Share({1: VIP}), self.host, now), GateStep(Share({1: VIP}), self.gate)),
            hooks=no_hooks(),
            post=self.said.append,
            note=lambda _kind, text: self.notes.append(text),
            now=now,
        )

    def take(self, ballot: Ballot = ONE, lease_s: float = 3600) -> None:
        self.group.take(ballot, self.now() + lease_s)


def play(story: Callable[[Stage], Coroutine[Any, Any, None]], *, is_in_force: bool = True) -> None:
    run_virtual(lambda now: story(Stage(now, is_in_force=is_in_force)))


def test_the_address_comes_first_and_goes_last() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        stage.group.drop(ONE, "why")
        assert stage.host.log == ["add", "open", "shut"]
        assert stage.said == [Taken(group="web", ballot=ONE), Dropped(group="web", ballot=ONE)]
        await asyncio.sleep(0.02)
        assert stage.host.log == ["add", "open", "shut", "shut", "remove"]
        assert not stage.host.held
        await asyncio.sleep(60)
        assert stage.said.count(Dropped(group="web", ballot=ONE)) == 1

    play(story)


def test_a_move_that_is_prepared_only_opens_the_gate() -> None:
    async def story(stage: Stage) -> None:
        stage.gate.guard([VIP.packed])
        stage.group.prepare()
        assert stage.host.log == ["rehearse", "add"]
        assert stage.host.held
        assert not stage.group.is_open
        assert stage.group.is_hidden, "no comparison may take it for somebody else's"
        stage.take()
        assert stage.host.log == ["rehearse", "add", "open"]
        await asyncio.sleep(60)
        assert stage.host.held
        stage.group.prepare()  # to let it go: it stays as it is
        assert stage.host.log == ["rehearse", "add", "open", "rehearse"]

    play(story)


def test_what_was_prepared_in_vain_is_removed_and_a_late_take_adds_it_again() -> None:
    async def story(stage: Stage) -> None:
        stage.gate.guard([VIP.packed])
        stage.group.prepare()
        stage.group.prepare()
        await asyncio.sleep(1.1)
        assert stage.host.log == ["rehearse", "add", "rehearse", "shut", "remove"]
        assert not stage.host.held
        assert not stage.said
        stage.take()
        assert stage.host.log[-2:] == ["add", "open"]

    play(story)


@pytest.mark.parametrize("lacks", ["a gate", "a shut gate"])
def test_without_a_shut_gate_nothing_is_prepared(lacks: str) -> None:
    async def story(stage: Stage) -> None:
        if lacks == "a shut gate":
            stage.gate.gated.clear()
            stage.gate.until[VIP.packed] = stage.now() + 60  # left open by an earlier life
        stage.group.prepare()
        assert stage.host.log == ["rehearse"]

    play(story, is_in_force=lacks != "a gate")


def test_a_preparation_that_fails_is_told_and_the_take_goes_on() -> None:
    async def story(stage: Stage) -> None:
        stage.gate.refusing = "rehearse"
        stage.group.prepare()
        assert stage.notes == ["gate: the move was not prepared: cannot rehearse the gate"]
        stage.take()
        assert stage.said == [Taken(group="web", ballot=ONE)]

    play(story)


def test_the_end_of_the_agent_does_not_leave_what_the_gate_hides() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        stage.group.drop(ONE, "why")
        await stage.group.close()
        assert not stage.host.held

    play(story)


def test_renewals_reach_the_gate_and_a_repeated_take_does_too() -> None:
    async def story(stage: Stage) -> None:
        stage.take(lease_s=1)
        stage.group.renew(stage.now() + 2)
        assert stage.gate.until[VIP.packed] == stage.now() + 2
        stage.take(lease_s=3)
        assert stage.gate.until[VIP.packed] == stage.now() + 3
        stage.group.drop(ONE, "why")
        stage.group.renew(stage.now() + 4)
        assert not stage.gate.until

    play(story)


def test_behind_a_shut_gate_dropped_does_not_wait_for_the_address() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        stage.host.refusing["remove"] = "the kernel refuses"
        stage.group.drop(ONE, "why")
        assert stage.said[-1] == Dropped(group="web", ballot=ONE)
        await asyncio.sleep(0.02)
        assert stage.notes == [
            "address: the kernel refuses; the gate is shut, so no traffic arrives; trying again until it works"
        ]
        await asyncio.sleep(5)
        assert stage.host.log.count("remove") > 5  # loud once, and it does not give up
        assert len(stage.notes) == 1
        del stage.host.refusing["remove"]
        await asyncio.sleep(2)
        assert not stage.host.held
        asked = len(stage.host.log)
        await asyncio.sleep(60)
        assert len(stage.host.log) == asked
        assert stage.said.count(Dropped(group="web", ballot=ONE)) == 1

    play(story)


def test_a_new_take_ends_the_removal_of_what_is_left() -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        stage.host.refusing["remove"] = "the kernel refuses"
        stage.group.drop(ONE, "why")
        del stage.host.refusing["remove"]
        stage.take(TWO)
        await asyncio.sleep(60)
        assert stage.host.held
        assert stage.gate.until
        assert stage.said[-1] == Taken(group="web", ballot=TWO)

    play(story)


@pytest.mark.parametrize("lacks", ["gate", "proof"])
def test_without_a_shut_gate_dropped_waits_for_the_address(lacks: str) -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        stage.host.refusing["remove"] = "the kernel refuses"
        if lacks == "proof":
            stage.gate.refusing = "shut"
        stage.group.drop(ONE, "why")
        await asyncio.sleep(5)
        assert Dropped(group="web", ballot=ONE) not in stage.said
        del stage.host.refusing["remove"]
        stage.gate.refusing = ""
        await asyncio.sleep(2)
        assert stage.said[-1] == Dropped(group="web", ballot=ONE)

    play(story, is_in_force=lacks != "gate")


def test_a_gate_that_cannot_be_opened_fails_the_take_and_leaves_nothing() -> None:
    async def story(stage: Stage) -> None:
        stage.gate.refusing = "open"
        stage.take()
        assert stage.said == [TakeFailed(group="web", ballot=ONE, error="gate: cannot open the gate")]
        await asyncio.sleep(0.02)
        assert not stage.host.held
        assert not stage.gate.until

    play(story)
