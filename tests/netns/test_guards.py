"""The guards on real links: what the neighbours, the gateway and strangers say, and what the cluster makes of it."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest

from haagent.lab import Lab, Wishes
from haagent.lab.plan import CLIENT, VIP4, VIP6
from tests.support.observe import (
    LEASE_MS,
    MakeLab,
    Measured,
    addresses,
    events,
    gap_ms,
    group,
    holder,
    noise_ms,
    other,
    serves,
    serves_nothing,
    spread,
    wait_whole,
    watch_quietly,
)

pytestmark = pytest.mark.netns
ASKING = str(Path(__file__).parents[1] / "support" / "ask_neighbours.py")
STRANGER = str(Path(__file__).parents[1] / "support" / "stranger.py")
MAC = "02:00:00:00:00:66"
HEARTBEATS = "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; "


def stop_heartbeats(lab: Lab, *names: str) -> None:
    """Only these: everything else still passes between the hosts, as when a firewall was changed."""
    for name in names:
        lab.run(name, ["nft", HEARTBEATS + "add rule inet cut in udp dport 7265 drop"])


def let_heartbeats(lab: Lab, *names: str) -> None:
    for name in names:
        lab.run(name, ["nft", "delete table inet cut"])


def why(lab: Lab, name: str) -> str:
    return str(group(lab, name)["why"])


def told(lab: Lab, name: str, kind: str) -> list[str]:
    return [one["text"] for one in events(lab, name) if (one["kind"], one["node"]) == (kind, name)]


def test_what_the_neighbours_say_is_known_in_milliseconds(make_lab: MakeLab, measured: Measured) -> None:
    """A kernel answers for what it has, also on a busy machine: not one false `nobody`."""
    lab = make_lab(nodes=1, command=None)
    used, free = f"{VIP4}/24", "10.20.1.101/24"
    used6, free6 = f"{VIP6}/64", "fd00:20::101/64"
    for address in (used, used6):
        lab.run(CLIENT, ["ip", "address", "add", address, "dev", "eth0", "nodad"])
    asked = json.loads(lab.run("A", [sys.executable, ASKING, "50", used, free, used6, free6]).stdout)
    for address in (used, used6):
        assert all("still answered by 02:00:0a:14:01:01 on eth0" in word for _, word in asked[address])
        assert len(asked[address]) == 50
        measured(f"somebody has {address}: known after", spread([ms for ms, _ in asked[address]]))
    for address in (free, free6):
        assert {word for _, word in asked[address]} == {""}
        assert len(asked[address]) == 50
        measured(f"nobody has {address}: known after", spread([ms for ms, _ in asked[address]]))
        assert min(ms for ms, _ in asked[address]) >= 30


def test_an_address_that_still_answers_is_not_taken(make_lab: MakeLab, measured: Measured) -> None:
    """Two nodes that no longer hear each other, and both reach everybody: exactly one goes on serving."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        quiet = watch_quietly()
        stop_heartbeats(lab, mine, theirs)
        lab.wait_for(lambda: f"{VIP4} is still answered" in why(lab, theirs), what="the neighbours were asked")
        lab.wait_for(lambda: told(lab, theirs, "in_use"), what="that is told")
        assert serves(lab, mine)
        assert serves_nothing(lab, theirs)
        start_s = time.monotonic()
        lab.faults.crash(mine)
        probe.wait_answer(by=theirs)
        end_s = time.monotonic()
    noise = noise_ms(probe, [quiet])
    for vip in (VIP4, VIP6):
        assert probe.outage(vip).dual_ms == 0
        gone = probe.outage(vip, start_s=start_s, end_s=end_s)
        measured(f"from the host's end to the other's answer for {vip}", f"{gone.worst_ms:.0f} ms, noise {noise:.1f}")
        # Nothing is left to be waited for but the end of the answers: asked for ten times a second, believed in 30 ms.
        assert gap_ms(gone) <= LEASE_MS + noise


def test_who_does_not_reach_its_gateway_lets_go_before_the_other_takes(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    ahead = []
    for _ in range(3):
        lost, other_one = holder(lab), other(lab, holder(lab))
        since = time.time()
        lab.faults.cut(lost)
        lab.wait_for(lambda lost=lost: serves_nothing(lab, lost), what="the isolated one has let go")  # type: ignore[misc]
        lab.wait_for(lambda other_one=other_one: serves(lab, other_one), what="the other serves")  # type: ignore[misc]
        ahead.append(1000 * (_at(lab, other_one, "taken", since) - _at(lab, lost, "dropped", since)))
        # By either: its gateway is asked every 50 ms, and the lease may end while the last question is still open.
        assert re.search("does not reach its gateway|no majority renewed", told(lab, lost, "dropped")[-1])
        lab.faults.heal()
        wait_whole(lab)
    measured("the isolated one lets go before the other takes by", spread(ahead))
    assert min(ahead) > 0


def _at(lab: Lab, name: str, kind: str, since: float) -> float:
    found = [one for one in events(lab, name) if (one["node"], one["kind"], one["group"]) == (name, kind, "web")]
    return next(float(one["time"]) for one in found if one["time"] >= since)


def test_a_gateway_that_is_away_for_all_moves_nothing(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine = holder(lab)
    lab.faults.cut(CLIENT)  # it is the gateway
    for name in "AB":
        lab.wait_for(lambda name=name: _reaches(lab, name) is False, what=f"{name} has noticed")  # type: ignore[misc]
    assert any("cannot reach" in text for text in lab.agents.status("A")["warnings"])
    assert (holder(lab), serves(lab, mine)) == (mine, True)
    lab.faults.heal()
    for name in "AB":
        lab.wait_for(lambda name=name: _reaches(lab, name) is True, what=f"{name} reaches it again")  # type: ignore[misc]
    assert holder(lab) == mine
    assert len(told(lab, mine, "taken")) <= 2  # web, and the leader


def _reaches(lab: Lab, name: str) -> bool | None:
    found: bool | None = lab.agents.status(name)["guards"]["outside"]["reachable"]
    return found


def test_the_gateway_is_followed_and_its_absence_is_said(
    make_lab: MakeLab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    extra = tmp_path_factory.mktemp("lab") / "extra.yaml"
    extra.write_text('guards: {probe: {icmp: "10.20.1.1"}}\n')
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    lab.run("A", ["ip", "route", "del", "default"])
    lab.wait_for(lambda: _gateways(lab, "A") == [], what="it is not watched any more")
    assert any("no default route on eth0" in text for text in lab.agents.status("A")["warnings"])
    assert _reaches(lab, "A") is True, "the third party is"
    lab.run("A", ["ip", "-6", "route", "add", "default", "via", "fd00:20::1", "dev", "eth0"])
    lab.wait_for(lambda: _gateways(lab, "A") == [("fd00:20::1", True)], what="the new one is asked")
    lab.run("A", ["ip", "route", "add", "default", "via", "10.20.1.99", "dev", "eth0"])
    lab.wait_for(lambda: _gateways(lab, "A") == [("10.20.1.99", False)], what="nobody is there")
    assert _reaches(lab, "A") is True, "the third party is"
    assert holder(lab)


def _gateways(lab: Lab, name: str) -> list[tuple[str, bool | None]]:
    found = lab.agents.status(name)["guards"]["outside"]["gateways"]
    return [(one["address"], one["reachable"]) for one in found]


def test_an_address_that_a_stranger_has_is_not_taken_in_the_first_place(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, command=None)
    lab.run(CLIENT, ["ip", "address", "add", f"{VIP6}/128", "dev", "eth0", "nodad"])
    lab = _with_agents(lab)
    lab.wait_for(lambda: f"{VIP6} is still answered by" in why(lab, "A"), what="the stranger was found")
    lab.wait_for(lambda: told(lab, "A", "in_use"), what="that is told")
    assert all(serves_nothing(lab, name) for name in "AB")
    lab.run(CLIENT, ["ip", "address", "del", f"{VIP6}/128", "dev", "eth0"])
    wait_whole(lab)
    assert serves(lab, holder(lab))


def _with_agents(lab: Lab) -> Lab:
    """The hosts were there first."""
    from haagent.lab.agents import AGENT
    from haagent.lab.state import changing

    with changing(lab.directory) as now:
        now.command = tuple(AGENT)
    for node in lab.state().plan.nodes:
        lab.start(node.name)
    return lab


def test_in_consistent_the_lease_decides_and_the_stranger_is_named(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, has_witness=True, command=None)
    lab.run(CLIENT, ["ip", "address", "add", f"{VIP4}/32", "dev", "eth0"])
    lab = _with_agents(lab)
    wait_whole(lab)
    mine, client = holder(lab), lab.state().plan.client.ports[0].mac
    lab.wait_for(lambda: told(lab, mine, "conflict"), what="the question before the take was answered")
    assert told(lab, mine, "conflict")[0].startswith(f"{client} on eth0 says that it has {VIP4}; ")


@pytest.mark.parametrize("has_witness", [False, True], ids=["available", "consistent"])
def test_a_stranger_is_answered_as_often_as_it_speaks(make_lab: MakeLab, *, has_witness: bool) -> None:
    """Whatever the policy: the lease is proved, so the stranger is wrong, and the neighbours hear it from us."""
    lab = make_lab(nodes=2, has_witness=has_witness)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    right = lab.state().plan.host(mine).ports[0].mac
    for vip in (VIP4, VIP6):
        lab.run(theirs, ["ping", "-c1", "-W2", vip])  # it is known there
        lab.run(CLIENT, [sys.executable, STRANGER, "announce", "eth0", vip, MAC, "30", "0.01"])
        lab.wait_for(lambda vip=vip: _known(lab, theirs, vip) == right, what="put right by the last word")  # type: ignore[misc]
        lab.run(CLIENT, [sys.executable, STRANGER, "probe", "eth0", vip, MAC])
    lab.wait_for(lambda: _counters(lab, mine).get("probes") == 2, what="the probes were seen")
    seen = _counters(lab, mine)
    assert seen["conflicts"] == 60
    assert 2 <= seen["defended"] <= 20, "not one for each of sixty frames"
    assert holder(lab) == mine
    said = [text for text in told(lab, mine, "conflict") if MAC in text]
    assert [text for text in said if VIP4 in text] == [
        f"{MAC} on eth0 says that it has {VIP4}; this node holds the lease and announces the address again",
        f"{MAC} on eth0 asks whether {VIP4} is free: it is not",
    ]
    assert len(said) == 4
    assert not _counters(lab, theirs), "what is not held there is no conflict there"


def _known(lab: Lab, name: str, vip: str) -> str:
    listed = json.loads(lab.run(name, ["ip", "-j", "neigh", "show", vip, "dev", "eth0"]).stdout)
    return str(listed[0].get("lladdr", "")) if listed else ""


def _counters(lab: Lab, name: str) -> dict[str, int]:
    found: dict[str, int] = lab.agents.status(name)["guards"]["groups"]["web"]["counters"]
    return found


def test_a_reload_changes_what_is_asked(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    path = lab.directory / "haagent.yaml"
    before = path.read_text()
    path.write_text(before + "guards: {gateway: 10.20.1.1}\n")
    for name in "AB":
        lab.run(name, ["haagent", "reload"])
    lab.wait_for(lambda: _gateways(lab, theirs) == [("10.20.1.1", True)], what="the written one is asked")
    stop_heartbeats(lab, mine, theirs)
    lab.wait_for(lambda: "is still answered" in why(lab, theirs), what="the neighbours were asked")
    path.write_text(before + "guards: {gateway: 10.20.1.1, probe: {icmp: 10.20.1.1}}\n")
    for name in "AB":
        lab.run(name, ["haagent", "reload"])
    lab.wait_for(lambda: "probe" in lab.agents.status(theirs)["guards"]["outside"], what="the third party too")
    lab.wait_for(lambda: "is still answered" in why(lab, theirs), what="the question goes on")
    assert {VIP4, VIP6} <= addresses(lab, mine)
    assert serves_nothing(lab, theirs)
    let_heartbeats(lab, mine, theirs)
    wait_whole(lab, holders={"web": mine})
