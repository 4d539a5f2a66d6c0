"""Discovery, and the shared contract: for arp, and for a cloud that is not immediate."""

from __future__ import annotations

import pytest

from haagent import backends
from haagent.backends import Backend, Immediate
from haagent.backends.arp import Arp, ArpOptions
from haagent.config import ConfigError, Duration, parse
from haagent.config.plugins import BACKENDS, CHECKS
from haagent.core.messages import Ballot
from haagent.plugins import finding
from tests.support.backend_contract import BackendContract, context
from tests.support.fakes import Cloud, CloudBackend, link, run_virtual
from tests.unit.config.test_config import SMALL


class TestArp(BackendContract):
    outlives_the_agent = False  # announcing ends with the process; the address itself is not the backend's

    def make(self) -> Backend:
        arp = Arp(context(), ArpOptions())
        arp.link_changed(link("lo", 1))
        return arp


class TestCloud(BackendContract):
    def setup_method(self) -> None:
        self.cloud = Cloud()

    def make(self) -> Backend:
        return CloudBackend(self.cloud)


def test_ours_come_through_the_door_of_everybody() -> None:
    assert backends.find("arp") is Arp
    assert "arp" in finding.kinds(BACKENDS)
    assert "link" in finding.kinds(CHECKS)
    with pytest.raises(finding.UnknownKind, match=r"no haagent.backends plug-in named `carp` is installed .*arp"):
        backends.find("carp")


def test_arp_needs_no_waiting_and_a_cloud_does() -> None:
    assert isinstance(Arp(context(), ArpOptions()), Immediate)
    assert not isinstance(CloudBackend(Cloud()), Immediate)


def test_arp_options_are_written_as_durations() -> None:
    def options(written: str) -> ArpOptions:
        file = SMALL + f"    backend: {{kind: arp, {written}}}\n"
        found: ArpOptions = parse(file.encode(), "").groups["web"].backend.options
        return found

    assert options("repeat: [500ms, 2s], refresh: 5m") == ArpOptions((Duration(0.5), Duration(2)), Duration(300))
    assert options("repeat: 2s").repeat == (2.0,)
    assert options("repeat: []").repeat == ()
    for wrong in ("repeat: [3s, 1s]", "refresh: 100ms"):
        with pytest.raises(ConfigError, match="write"):
            options(wrong)


def test_arp_repeats_after_1_3_7_seconds_and_then_each_minute() -> None:
    import asyncio

    async def story(now):  # type: ignore[no-untyped-def]
        arp = Arp(context(), ArpOptions())
        said: list[float] = []
        began = now()
        arp._announcer.send = lambda: bool(said.append(round(now() - began)) or True)  # type: ignore[method-assign]
        arp.take_now(Ballot(1, "A"))
        await asyncio.sleep(130)
        arp.announce()  # a rival was heard: the whole burst again
        await asyncio.sleep(8)
        arp.drop_now(Ballot(1, "A"))
        await asyncio.sleep(200)
        return said

    assert run_virtual(story) == [0, 1, 3, 7, 67, 127, 130, 131, 133, 137]
