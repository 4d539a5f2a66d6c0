"""Failover and moves of a real cluster, as a client sees them: figures are printed, bounds are what the lease says.

A shared machine has pauses of its own. Where a bound is a matter of milliseconds, the worst gap of the same probe while
nothing was done, and how late the prober itself was, are added to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from haagent.lab import Lab, Measurement, Wishes
from haagent.lab.answers import UNANSWERED
from haagent.lab.plan import VIP4, VIP6
from tests.support.observe import (
    LEASE_MS,
    PATIENCE_S,
    MakeLab,
    Measured,
    addresses,
    assert_handed_over_once,
    ballots,
    events,
    group,
    holder,
    member,
    neighbours,
    noise_ms,
    other,
    runs,
    serves,
    serves_nothing,
    spread,
    told,
    wait_serves_nothing,
    wait_whole,
    watch_quietly,
)
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns
RUNS = runs(10)
STALL_S, RUNS_S = 0.25, 0.09
KILL_MS = 100  # from before the lab's `kill` until the process has got the signal
Window = tuple[float, float]


def set_apart(lab: Lab) -> None:
    """Hosts are machines of their own: the agents of the first, as many as there are processors, share none."""
    for node, processor in zip(lab.state().plan.nodes, sorted(os.sched_getaffinity(0)), strict=False):
        for process in lab.agents.tree(node.name).everybody:
            words = ["taskset", "--all-tasks", "--cpu-list", "--pid", str(processor), str(process.pid)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("apart", [False, True], ids=["on shared processors", "on processors of their own"])
def test_a_planned_move_takes_both_families_and_the_clients_tables_along(
    make_lab: MakeLab, measured: Measured, *, apart: bool
) -> None:
    """On one processor the successor waits until the holder has nothing more to do; two machines share none."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    if apart:
        set_apart(lab)
    agents_word, windows, calm = [], [], []
    with lab.probe() as probe:
        probe.wait_answer()
        for _ in range(runs(10)):
            origin = holder(lab)
            target = other(lab, origin)
            _, calm_s = watch_quietly()
            start_s = time.monotonic()
            answer = told(lab, origin, "failover", "--to", target)
            assert (answer["from"], answer["to"], answer["done"]) == (origin, target, True)
            agents_word.append(answer["outage_ms"])
            probe.wait_answer(by=target)
            end_s = time.monotonic()
            windows.append((start_s, end_s))
            calm.append((calm_s - (end_s - start_s), calm_s))  # as long a time in which nothing was moved
            assert serves(lab, target)
            wait_serves_nothing(lab, origin)
            mac = lab.state().plan.host(target).ports[0].mac
            known = neighbours(lab)
            assert (known[VIP4], known[VIP6]) == (mac, mac)
    for vip in (VIP4, VIP6):
        seen = [probe.outage(vip, start_s=start_s, end_s=end_s) for start_s, end_s in windows]
        assert_handed_over_once(seen)
        assert probe.outage(vip).dual_ms == 0
        measured(f"client without {vip}", spread([one.worst_ms for one in seen]))
        measured(f"noise, {vip}", spread([noise_ms(probe, [window], vip) for window in calm]))
    measured("as the agents measured it", spread(agents_word))


def test_a_host_that_is_cut_off_is_replaced_within_the_lease(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    quiet, windows = [], []
    with lab.probe(asks_directly=False) as probe:
        probe.wait_answer()
        for _ in range(RUNS):
            quiet.append(watch_quietly())
            lost = holder(lab)
            start_s = time.monotonic()
            lab.faults.cut(lost)
            probe.wait_answer(other_than=lost)
            windows.append((start_s, time.monotonic()))
            lab.faults.heal()
            wait_whole(lab)
    noise = noise_ms(probe, quiet)
    for vip in (VIP4, VIP6):
        seen = [probe.outage(vip, start_s=start_s, end_s=end_s) for start_s, end_s in windows]
        late = max(one.stall_ms for one in seen)
        measured(f"client without {vip}, {RUNS} runs", spread([one.worst_ms for one in seen]))
        assert_handed_over_once(seen)
        assert max(one.worst_ms for one in seen) <= LEASE_MS + 50 + noise + late
    measured("noise", f"{noise:.1f} ms")


def test_a_minority_lets_go_before_the_majority_takes(make_lab: MakeLab, measured: Measured) -> None:
    """The client reaches everybody all the time, and asks both nodes directly: two answers would show."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    windows = []
    with lab.probe() as probe:
        probe.wait_answer()
        for run in range(RUNS):
            lost = holder(lab)
            start_s = time.monotonic()
            _isolate(lab, lost, way=run % 4)
            probe.wait_answer(other_than=lost)
            windows.append((start_s, time.monotonic()))
            lab.faults.heal()
            wait_whole(lab)
    for vip in (VIP4, VIP6):
        never_two(probe.outage(vip).dual_ms)
        seen = [probe.outage(vip, start_s=start_s, end_s=end_s) for start_s, end_s in windows]
        assert_handed_over_once(seen)
        measured(f"client without {vip}, {RUNS} runs", spread([one.worst_ms for one in seen]))
        margins = [_margin_ms(probe, vip, window) for window in windows]
        assert min(margins) > 0
        measured(f"from the last answer of one to the first of the other, {vip}", spread(margins))
        measured(f"two answered at once for {vip}", f"{probe.outage(vip).dual_ms:g} ms")


def _isolate(lab: Lab, name: str, *, way: int) -> None:
    """From the other nodes: both ways (every second time), deaf only, mute only."""
    for peer in (host.name for host in lab.state().plan.nodes if host.name != name):
        if way == 1:
            lab.faults.cut(peer, name, one_way=True)
        elif way == 3:
            lab.faults.cut(name, peer, one_way=True)
        else:
            lab.faults.cut(name, peer)


def _margin_ms(probe: Measurement, vip: str, window: Window) -> float:
    """From the last direct answer of who had it to the first of who has it now."""
    answers = _direct_answers(probe, vip, window)
    first = answers[0][1]
    last_s = max(at_s for at_s, name in answers if name == first)
    return 1000 * (min(at_s for at_s, name in answers if name != first) - last_s)


def _direct_answers(probe: Measurement, vip: str, window: Window) -> list[tuple[float, str]]:
    """Who answered when, whatever the client's tables say."""
    trace = next(trace for trace in probe.stop() if trace.address == vip)
    asked = [trace.start_s + sent / 1e6 for sent in trace.sent]
    return sorted(
        (at_s, name)
        for name, replied in trace.direct_replied.items()
        for at_s, reply in zip(asked, replied, strict=True)
        if reply != UNANSWERED and window[0] <= at_s <= window[1]
    )


def test_an_address_removed_behind_the_agents_back_returns(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine = holder(lab)
    before = ballots(lab)
    windows = []
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        quiet = watch_quietly()
        for vip in (f"{VIP4}/24", f"{VIP6}/64", f"{VIP4}/24"):
            start_s = time.monotonic()
            lab.run(mine, ["ip", "address", "del", vip, "dev", "eth0"])
            lab.wait_for(lambda: serves(lab, mine), what="both addresses are back")
            probe.wait_answer(by=mine)
            windows.append((start_s, time.monotonic()))
    noise = noise_ms(probe, [quiet])
    worst = [max(one.worst_ms for one in probe.outages(start_s=start, end_s=end)) for start, end in windows]
    late = max(probe.outage(VIP4, start_s=start, end_s=end).stall_ms for start, end in windows)
    measured("client without a removed address", f"{spread(worst)}, noise {noise:.1f} ms")
    assert max(worst) <= 100 + noise + late
    assert all(one.answered_by == [mine] for one in probe.outages())
    assert (holder(lab), ballots(lab)) == (mine, before)
    assert group(lab, mine)["activation"]["counters"]["restored"] == 3
    assert [one["node"] for one in events(lab, other(lab, mine)) if one["kind"] == "restored"] == [mine] * 3


def test_an_address_added_where_it_does_not_belong_goes(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    before = ballots(lab)
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        for vip in (f"{VIP4}/24", f"{VIP6}/64"):
            lab.run(theirs, ["ip", "address", "add", vip, "dev", "eth0"])
            lab.wait_for(lambda: serves_nothing(lab, theirs), what=f"{vip} is gone from {theirs}")
        probe.wait_answer(by=mine)
    dual = max(one.dual_ms for one in probe.outages())
    measured("two hosts had it", f"{dual:g} ms")
    assert dual <= 100
    assert (holder(lab), ballots(lab)) == (mine, before)
    removed = [one for one in events(lab, theirs) if one["kind"] == "removed"]
    assert [one["node"] for one in removed] == [theirs, theirs]


def test_a_graceful_stop_hands_over_at_once(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    windows = []
    with lab.probe() as probe:
        probe.wait_answer()
        quiet = watch_quietly()
        for _ in range(runs(4)):
            mine = holder(lab)
            start_s = time.monotonic()
            lab.agents.signal(mine, signal.SIGTERM)
            probe.wait_answer(other_than=mine)
            windows.append((start_s, time.monotonic()))
            lab.wait_for(
                lambda mine=mine: not lab.agents.processes(lab.state(), mine), what=f"the agent of {mine} ends"
            )
            assert serves_nothing(lab, mine)
            lab.start(mine)
            wait_whole(lab)
    noise = noise_ms(probe, [quiet])
    worst = [max(one.worst_ms for one in probe.outages(start_s=start, end_s=end)) for start, end in windows]
    measured("client without it at a graceful stop", f"{spread(worst)}, noise {noise:.1f} ms")
    late = max(probe.outage(VIP4, start_s=start, end_s=end).stall_ms for start, end in windows)
    # The peer is told: it has not waited for what would happen without a word.
    assert max(worst) <= LEASE_MS / 2 + noise + late
    assert all(one.dual_ms == 0 for one in probe.outages())


def test_a_killed_agent_is_replaced_and_cleans_up_in_its_next_life(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, theirs = holder(lab), other(lab, holder(lab))
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        quiet = watch_quietly()
        start_s = time.monotonic()
        lab.faults.kill(mine, whom="all")  # of its guardian, who would clean up, too
        probe.wait_answer(by=theirs)
        end_s = time.monotonic()
        # Nobody renews what the dead agent left: it goes by itself, and at the latest with the next life.
        lab.wait_for(lambda: serves_nothing(lab, mine), what="the dead agent's addresses have run out")
        lab.run(mine, ["ip", "address", "add", f"{VIP4}/24", "dev", "eth0"])
        lab.run(mine, ["ip", "address", "add", "10.20.1.77/32", "dev", "eth0", "label", "eth0:ha"])
        lab.start(mine)
        wait_whole(lab, holders={"web": theirs})
        lab.wait_for(lambda: serves_nothing(lab, mine), what="the next life has cleaned up")
    noise = noise_ms(probe, [quiet])
    late = max(one.stall_ms for one in probe.outages(start_s=start_s, end_s=end_s))
    for vip in (VIP4, VIP6):
        answers = _direct_answers(probe, vip, (start_s, end_s))
        taken_ms = 1000 * (min(at_s for at_s, name in answers if name == theirs) - start_s)
        measured(f"from SIGKILL to the other's first answer for {vip}", f"{taken_ms:.0f} ms")
        assert taken_ms <= LEASE_MS + 50 + noise + late + KILL_MS
    measured("two answered at once", f"{max(one.dual_ms for one in probe.outages()):g} ms")
    assert "10.20.1.77" not in addresses(lab, mine)
    removed = [one["text"] for one in events(lab, theirs) if (one["kind"], one["node"]) == ("removed", mine)]
    assert any("earlier life" in text for text in removed)
    assert any("10.20.1.77" in text for text in removed)


def test_a_survivor_that_stands_still_most_of_the_time_takes_over(make_lab: MakeLab, measured: Measured) -> None:
    """It never runs for as long as a lease; with the witness it is a majority all the same."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    lost, left = holder(lab), other(lab, holder(lab))
    lab.faults.kill(lost, whom="all")
    start_s = time.monotonic()
    stalls = 0
    while not serves(lab, left):  # asked of its kernel, also while it stands still
        assert time.monotonic() < start_s + PATIENCE_S, f"{left} has taken nothing in {stalls} stalls"
        lab.faults.thaw(left)
        time.sleep(RUNS_S)
        lab.faults.freeze(left)
        time.sleep(STALL_S)
        stalls += 1
    lab.faults.thaw(left)
    measured(f"a survivor stalled {STALL_S} s at a time takes over", f"after {stalls} stalls")
    wait_whole(lab, holders={"web": left})


TRANSPORTS = {
    "multicast4": "heartbeat: {group: 239.192.72.65}",
    "multicast6": 'heartbeat: {group: "ff15::1:7265"}',
    "unicast4": "heartbeat: {transport: unicast}",
    "unicast6": (
        "heartbeat: {transport: unicast}\n"
        "nodes:\n"
        "  A: {addresses: ['fd00:20::10', 'fd00:20:0:1::10']}\n"
        "  B: {addresses: ['fd00:20::11', 'fd00:20:0:1::11']}\n"
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_link_of_two_may_be_lost(
    make_lab: MakeLab, tmp_path_factory: pytest.TempPathFactory, transport: str
) -> None:
    extra = tmp_path_factory.mktemp("lab") / "extra.yaml"
    extra.write_text(TRANSPORTS[transport])
    lab = make_lab(nodes=2, links=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    _wait_links(lab, ["eth0", "eth1"])
    mine, before = holder(lab), ballots(lab)
    lab.faults.link("A", "down", link="eth1")  # the carrier goes
    _wait_links(lab, ["eth0"])
    lab.faults.link("A", "up", link="eth1")
    _wait_links(lab, ["eth0", "eth1"])
    # Silently, and on the link that also serves: only the heartbeats no longer pass.
    lab.run("A", ["nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }"])
    lab.run("A", ["nft", "add rule inet t c iifname eth0 udp dport 7265 drop"])
    lab.wait_for(lambda: member(lab, "A", "B")["links"] == ["eth1"], what="A hears B on eth1 only")
    assert not [one["text"] for one in events(lab, "B") if one["kind"] in ("offline", "dropped")]
    assert (holder(lab), ballots(lab)) == (mine, before)
    told(lab, mine, "failover", "--to", other(lab, mine))
    wait_whole(lab, holders={"web": other(lab, mine)})


def _wait_links(lab: Lab, wanted: list[str]) -> None:
    lab.wait_for(
        lambda: sorted(member(lab, "A", "B")["links"]) == sorted(member(lab, "B", "A")["links"]) == wanted,
        what=f"A and B hear each other on {wanted}",
    )


THREE_GROUPS = """
on_partition: available
groups:
  web: {prefer: [A]}
  db: {addresses: [10.20.1.101/24, "fd00:20::101/64"], interface: eth0, backend: arp, prefer: [B, C]}
  mail: {addresses: [10.20.1.102/24], interface: eth0, backend: arp, prefer: [C, A]}
"""


def test_several_groups_are_served_where_they_are_preferred(
    make_lab: MakeLab, measured: Measured, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Three nodes, `available`, each serves one group; the loss of one host moves its group and no other."""
    extra = tmp_path_factory.mktemp("lab") / "extra.yaml"
    extra.write_text(THREE_GROUPS)
    lab = make_lab(nodes=3, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    for name, node in (("web", "A"), ("db", "B"), ("mail", "C")):
        if holder(lab, name) != node:  # who started first may have taken it before the preferred one was there
            told(lab, node, "failover", name, "--to", node)
    wait_whole(lab, holders={"web": "A", "db": "B", "mail": "C"})
    assert serves(lab, "B", "10.20.1.101", "fd00:20::101")
    before = ballots(lab, "web") | ballots(lab, "mail")
    start_s = time.monotonic()
    lab.faults.crash("B")
    wait_whole(lab, holders={"web": "A", "db": "C", "mail": "C"})
    measured("all agree on the next holder after", f"{1000 * (time.monotonic() - start_s):.0f} ms")
    assert serves(lab, "C", "10.20.1.101", "fd00:20::101", "10.20.1.102")
    assert ballots(lab, "web") | ballots(lab, "mail") == before
    lab.faults.crash("C")
    wait_whole(lab, holders={"web": "A", "db": "A", "mail": "A"})
    assert serves(lab, "A", VIP4, VIP6, "10.20.1.101", "10.20.1.102")
