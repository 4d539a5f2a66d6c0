"""`transport: both`: one way fails altogether and nobody notices; and from one transport to another without a gap."""

from __future__ import annotations

from functools import partial

import pytest

from haagent.lab import Lab, Wishes
from haagent.lab.plan import SWITCH
from tests.netns.test_config_live import Tree, rewrite, wait_heartbeats
from tests.support.observe import MakeLab, ballots, events, holder, member, other, running, told, wait_whole

pytestmark = pytest.mark.netns
OWN = {"A": "10.20.1.10", "B": "10.20.1.11", "W": "10.20.1.12"}
CALM = "200ms"  # a busy machine's own pauses are no fault then
# In the switch, so that whoever sends does not notice.
CUTS = {"multicast": "ip daddr 239.0.0.0/8", "unicast": "ip daddr != 239.0.0.0/8 udp dport 7265"}


def ways(name: str, transport: str) -> list[str]:
    """What a node calls its links."""
    return [OWN[name], "eth0"] if transport == "both" else ["eth0"]


def wait_heard(lab: Lab, links: dict[str, list[str]]) -> None:
    """Every node hears every other over these links, and no other."""

    def are_heard() -> bool:
        pairs = [(name, peer) for name in running(lab) for peer in running(lab) if name != peer]
        return all(member(lab, name, peer)["links"] == links[name] for name, peer in pairs)

    lab.wait_for(are_heard, what=f"all hear each other over {links}")


def use(transport: str, tree: Tree) -> None:
    tree["heartbeat"]["transport"] = transport


def not_believed(lab: Lab) -> dict[tuple[str, str], int]:
    counters = {name: lab.agents.status(name)["counters"] for name in running(lab)}
    return {
        (name, key): count
        for name, counted in counters.items()
        for key, count in counted.items()
        if key.startswith("dropped_")
    }


def noticed(lab: Lab) -> list[str]:
    return [one["text"] for one in events(lab, "W") if one["kind"] in ("offline", "dropped", "doubled", "link_down")]


@pytest.mark.parametrize("cut", CUTS)
def test_one_way_of_two_may_be_cut(make_lab: MakeLab, cut: str) -> None:
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(transport="both", interval=CALM))
    wait_whole(lab)
    wait_heard(lab, {name: ways(name, "both") for name in OWN})
    before, disbelief, told_before = ballots(lab), not_believed(lab), noticed(lab)
    wait_heartbeats(lab, "A", 20)
    assert not_believed(lab) == disbelief, "a copy that came the other way is nothing to be refused"
    lab.run(SWITCH, ["nft", "add table bridge t; add chain bridge t c { type filter hook forward priority 1; }"])
    lab.run(SWITCH, ["nft", f"add rule bridge t c {CUTS[cut]} drop"])
    wait_heard(lab, {name: ["eth0"] if cut == "unicast" else [OWN[name]] for name in OWN})
    wait_heartbeats(lab, "A", 10)
    assert noticed(lab) == told_before
    assert (ballots(lab), not_believed(lab)) == (before, disbelief)
    first = holder(lab)
    told(lab, first, "failover", "--to", other(lab, first))
    wait_whole(lab, holders={"web": other(lab, first)})
    lab.faults.kill(other(lab, first))
    wait_whole(lab, holders={"web": first})
    assert any("its guardian released everything" in text for text in noticed(lab)), "its last words went both ways"
    lab.run(SWITCH, ["nft", "delete table bridge t"])
    wait_heard(lab, {name: ways(name, "both") for name in OWN})


def test_from_multicast_to_unicast_and_back_by_way_of_both(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(interval=CALM))
    wait_whole(lab)
    before, told_before, disbelief = ballots(lab), noticed(lab), not_believed(lab)
    for transport in ("both", "unicast", "both", "multicast"):
        rewrite(lab, partial(use, transport))
        for name in OWN:  # one after the other, as an operator does it
            told(lab, name, "reload")
            wait_heartbeats(lab, name, 5)
        wait_heard(lab, {name: ways(name, transport) for name in OWN})
    assert (ballots(lab), noticed(lab), not_believed(lab)) == (before, told_before, disbelief)
