"""The guards of a node against a link that is a list, in virtual time: what the core is told, and when."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_interface

import pytest

from haagent.config import GuardsConfig, ProbeConfig
from haagent.core.events import GatewayChanged, Guarded
from haagent.guards import guards as room
from haagent.guards.frames import Heard, read_arp
from haagent.kernel.facts import Link
from tests.support.guarded_link import GATEWAY, MINE, OWN, ROUTER, THEIRS, VIP, Spec, Stage, Wire, play

ANSWERED = "10.20.1.100 is still answered by 02:00:00:00:00:02 on eth0"


@pytest.fixture(autouse=True)
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "Sniffer", Wire)


def test_nobody_answers_is_known_after_thirty_milliseconds() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        began = stage.now()
        stage.guards.watch("web", on=True)
        assert [read_arp(frame) for frame in stage.wire.said if frame[38:42] == VIP.packed] == [
            Heard(VIP.packed, MINE, is_probe=True, is_marked=True)
        ]
        await asyncio.sleep(0.05)
        said = [(at - began, event) for at, event in stage.posted if isinstance(event, Guarded)]
        assert said == [(pytest.approx(0.03, abs=0.005), Guarded("web", ""))]

    play(story)


def test_somebody_answers_and_then_nobody() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        stage.answering[VIP.packed] = THEIRS
        stage.guards.watch("web", on=True)
        await asyncio.sleep(0.5)
        assert stage.words(Guarded) == [Guarded("web", ANSWERED)]
        assert stage.notes == [], "a heartbeat that is merely late is no line of history"
        await asyncio.sleep(2.0)
        del stage.answering[VIP.packed]
        await asyncio.sleep(0.2)
        assert stage.words(Guarded) == [Guarded("web", ANSWERED), Guarded("web", "")]
        assert [text for _, _, text in stage.notes] == [
            f"not taken while it is in use: {ANSWERED}",
            "nobody answers for its addresses any more",
        ]

    play(story)


def test_it_stops_asking_when_it_is_told_to() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin(GuardsConfig(gateway="off"))
        stage.guards.watch("web", on=True)
        await asyncio.sleep(0.2)
        stage.guards.watch("web", on=False)
        asked = len(stage.wire.said)
        stage.wire.hear(VIP.packed, THEIRS)
        await asyncio.sleep(1.0)
        assert (len(stage.wire.said), stage.words(Guarded)) == (asked, [Guarded("web", "")])

    play(story)


def test_our_own_frames_and_other_nodes_questions_are_no_answers() -> None:
    async def story(stage: Stage) -> None:
        stage.links.learn(Link(2, "eth1", b"\2\0\0\0\0\3", is_up=True, has_carrier=True, is_ethernet=True))
        await stage.begin()
        stage.guards.watch("web", on=True)
        stage.wire.hear(VIP.packed, MINE)
        stage.wire.hear(VIP.packed, b"\2\0\0\0\0\3")
        stage.wire.hear(VIP.packed, THEIRS, is_probe=True, is_marked=True)
        stage.wire.hear(VIP.packed, THEIRS, is_probe=True)
        await asyncio.sleep(0.1)
        assert stage.words(Guarded) == [Guarded("web", "")]

    play(story)


def test_where_there_are_no_neighbours_nobody_is_waited_for() -> None:
    async def story(stage: Stage) -> None:
        stage.links.learn(Link(1, "eth0", b"", is_up=True, has_carrier=True, is_ethernet=False))
        await stage.begin(GuardsConfig(gateway="off"))
        stage.guards.watch("web", on=True)
        stage.guards.watch("gone", on=True)
        assert stage.words(Guarded) == [Guarded("web", ""), Guarded("gone", "")]

    play(story)


def test_a_question_that_cannot_be_asked_is_no_silence() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin(GuardsConfig(gateway="off"))
        stage.wire.fault = "eth0 has no carrier"
        stage.guards.watch("web", on=True)
        await asyncio.sleep(1.0)
        assert (stage.words(Guarded), stage.wire.said) == ([], [])
        stage.wire.fault = ""
        await asyncio.sleep(0.1)
        assert stage.words(Guarded) == [Guarded("web", "")]

    play(story)


def test_a_stranger_is_answered_and_named_while_the_group_is_held() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        stage.wire.hear(VIP.packed, THEIRS)
        assert stage.notes == [], "it is not held here: whoever says so may well have it"
        stage.held.add("web")
        began = stage.now()
        for _ in range(50):
            stage.wire.hear(VIP.packed, THEIRS)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert [at - began for at in stage.defences] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.011)
        assert [kind for kind, _, _ in stage.notes] == ["conflict"]
        assert stage.guards.counters() == {"conflicts": 50, "defended": 6}
        stage.wire.hear(VIP.packed, THEIRS)
        stage.held.clear()  # let go before the answer is due
        await asyncio.sleep(0.5)
        assert len(stage.defences) == 6 or stage.defences[-1] - began < 1.01

    play(story)


def test_a_probe_is_told_and_a_node_of_a_cluster_is_not() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        stage.held.add("web")
        stage.wire.hear(VIP.packed, THEIRS, is_probe=True, is_marked=True)
        assert stage.notes == []
        for _ in range(3):
            stage.wire.hear(VIP.packed, THEIRS, is_probe=True)
        assert stage.notes == [
            ("conflict", "web", "02:00:00:00:00:02 on eth0 asks whether 10.20.1.100 is free: it is not")
        ]
        await asyncio.sleep(0.3)
        assert stage.defences == [], "the kernel has answered"

    play(story)


def test_each_take_asks_once_and_does_not_wait() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin(GuardsConfig(gateway="off"), counts=False)
        stage.guards.ask_once("web")
        assert [read_arp(frame) for frame in stage.wire.said] == [
            Heard(VIP.packed, MINE, is_probe=True, is_marked=True)
        ]
        await asyncio.sleep(1.0)
        assert (len(stage.wire.said), stage.posted) == (1, [])

    play(story)


def test_the_gateway_is_reached_and_asked_at_its_own_address() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        await asyncio.sleep(3.5)
        assert stage.words(GatewayChanged) == [GatewayChanged(True)]
        asked = [frame for frame in stage.wire.said if frame[38:42] == GATEWAY.packed]
        assert [frame[:6] for frame in asked] == [b"\xff" * 6, ROUTER, ROUTER, ROUTER]
        assert {frame[28:32] for frame in asked} == {OWN.packed}
        assert stage.wire.listens == {VIP, GATEWAY}

    play(story)


def test_a_silent_peer_makes_it_a_matter_of_milliseconds() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        await asyncio.sleep(2.3)
        del stage.answering[GATEWAY.packed]
        overdue_at = stage.now() + 0.15
        stage.guards.expect(overdue_at)
        await asyncio.sleep(0.3)
        (_, first), (lost_at, second) = stage.posted
        assert (first, second) == (GatewayChanged(True), GatewayChanged(False))
        assert lost_at - overdue_at == pytest.approx(0.06, abs=0.01)
        assert stage.notes == [("unreached", "", "gateway 10.20.1.1 on eth0 cannot be reached")]
        stage.answering[GATEWAY.packed] = THEIRS  # another router has taken over
        await asyncio.sleep(0.2)
        assert stage.words(GatewayChanged)[-1] == GatewayChanged(True)
        assert stage.notes[1:] == [("reached", "", "gateway 10.20.1.1 on eth0 answers again")]

    play(story)


def test_peers_that_are_heard_cost_no_question() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        await asyncio.sleep(2.3)
        asked = len(stage.wire.said)
        for _ in range(6):
            stage.guards.expect(stage.now() + 0.15)
            await asyncio.sleep(0.1)
        assert len(stage.wire.said) == asked
        await asyncio.sleep(0.2)
        assert len(stage.wire.said) == asked + 1, "the peer fell silent; one answer is enough"

    play(story)


def test_without_a_default_route_nothing_is_watched_and_that_is_said() -> None:
    async def story(stage: Stage) -> None:
        stage.routed = None
        await stage.begin()
        await asyncio.sleep(5.0)
        stage.guards.watch("web", on=True)
        assert stage.words(GatewayChanged) == []
        text = "no default route on eth0: write `gateway: ADDRESS` of a router there, or `gateway: off`"
        assert stage.notes == [("unwatched", "", f"the gateway is not watched: {text}")]
        assert stage.guards.status()["guards"]["outside"]["why_not_watched"] == text
        stage.routed = GATEWAY
        await asyncio.sleep(1.1)
        assert stage.words(GatewayChanged) == [GatewayChanged(True)]
        assert stage.guards.status()["guards"]["outside"]["why_not_watched"] == ""

    play(story)


def test_a_route_that_goes_with_its_interface_is_not_forgotten() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        await asyncio.sleep(1.5)
        stage.routed = None
        stage.wire.fault = "eth0 is down"
        stage.links.learn(Link(1, "eth0", MINE, is_up=False, has_carrier=False, is_ethernet=True))
        del stage.answering[GATEWAY.packed]
        await asyncio.sleep(10.0)
        assert stage.words(GatewayChanged) == [GatewayChanged(True), GatewayChanged(False)]

    play(story)


def test_a_route_that_goes_for_good_is() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        await asyncio.sleep(1.5)
        stage.routed = None
        await asyncio.sleep(5.0)
        assert stage.words(GatewayChanged) == [GatewayChanged(True), GatewayChanged(None)]

    play(story)


@pytest.mark.parametrize(("gateway", "why"), [("8.8.8.8", "not on a link"), ("10.99.0.1", "tells no route")])
def test_a_gateway_that_is_no_neighbour_is_refused_in_words(gateway: str, why: str) -> None:
    async def story(stage: Stage) -> None:
        await stage.begin(GuardsConfig(gateway=gateway))
        await asyncio.sleep(3.0)
        assert stage.posted == []
        assert len(stage.notes) == 1
        assert why in stage.notes[0][2]

    play(story)


def test_an_address_of_a_group_is_nobodys_gateway_and_no_source() -> None:
    async def story(stage: Stage) -> None:
        stage.routed = VIP
        await stage.begin()
        assert "no default route" in stage.guards.status()["guards"]["outside"]["why_not_watched"]
        assert stage.guards._uplink is not None
        assert stage.guards._uplink._own(VIP) == ""

    play(story)


def test_the_probe_counts_as_much_as_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stage: Stage) -> None:
        reached = {"it": True}

        async def ask(_wanted: ProbeConfig) -> bool:
            await asyncio.sleep(0.001)
            return reached["it"]

        monkeypatch.setattr("haagent.guards.probe.answers", ask)
        await stage.begin(GuardsConfig(probe=ProbeConfig(tcp="10.0.0.1:443", timeout_s=0.175)))
        await asyncio.sleep(2.5)
        del stage.answering[GATEWAY.packed]
        await asyncio.sleep(5.0)
        assert stage.words(GatewayChanged) == [GatewayChanged(True)]
        outside = stage.guards.status()["guards"]["outside"]
        assert outside["probe"] == outside["witness"] == {"tcp": "10.0.0.1:443", "reachable": True}
        reached["it"] = False
        began = stage.now()
        stage.guards.hurry()
        await asyncio.sleep(0.3)
        assert stage.words(GatewayChanged)[-1] == GatewayChanged(False)
        assert stage.posted[-1][0] - began == pytest.approx(0.175, abs=0.01)
        assert stage.notes[-1][2] == "gateway 10.20.1.1 on eth0 and probe 10.0.0.1:443 cannot be reached"

    play(story)


def test_a_reload_goes_on_asking_what_was_asked() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin()
        stage.answering[VIP.packed] = THEIRS
        stage.guards.watch("web", on=True)
        await asyncio.sleep(0.1)
        first = stage.wire
        specs = (Spec("web"), Spec("db", addresses=(ip_interface("10.20.1.101/24"),)))
        await stage.reload(specs)
        assert first.is_closed
        assert ip_address("10.20.1.101") in stage.wire.listens
        assert stage.words(Guarded)[-1] == Guarded("web", ANSWERED)
        del stage.answering[VIP.packed]
        await asyncio.sleep(0.1)
        assert stage.words(Guarded)[-1] == Guarded("web", "")
        before = stage.wire
        await stage.reload(specs)
        assert stage.wire is before, "nothing has changed"
        await stage.reload(specs, GuardsConfig(arp=False, gateway="off"))
        assert stage.words(GatewayChanged)[-1] == GatewayChanged(None)

    play(story)


def test_in_consistent_the_gateway_is_not_even_asked() -> None:
    async def story(stage: Stage) -> None:
        await stage.begin(counts=False)
        await asyncio.sleep(2.0)
        assert (stage.wire.said, stage.posted, stage.guards.looks_outside) == ([], [], False)

    play(story)
