"""Leases from a real etcd: what a client sees of moves, deaths, and everything that can happen to etcd itself.

The prober asks both nodes directly a thousand times a second: two that answer at once would show.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from haagent.config.coordination import USUAL_LEASE_S
from haagent.lab import Lab, Measurement, Wishes
from haagent.lab.plan import CLIENT, VIP4
from tests.netns.etcd_member import HOST, PROXY, Member, SlowWay, configured, cut_from_etcd, heal_etcd
from tests.support import false_etcd
from tests.support.observe import (
    MakeLab,
    Measured,
    ballots,
    events,
    gap_ms,
    holder,
    noise_ms,
    other,
    running,
    runs,
    serves_nothing,
    spread,
    told,
    wait_whole,
    watch_quietly,
)
from tests.support.standstill import never_two

pytestmark = [pytest.mark.netns, pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd on this host")]
LEASE_S = 1.0
FALSE = 2679  # the port of who is no etcd


def coordination(lab: Lab, node: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.agents.status(node)["coordination"]
    return found


def worst_round_trip_ms(lab: Lab) -> float:
    return max(coordination(lab, node)["worst_round_trip_ms"] for node in running(lab))


def warnings(lab: Lab, node: str) -> str:
    return " ".join(lab.agents.status(node)["warnings"])


def drops(lab: Lab, node: str) -> list[str]:
    """Of this node's own history: what it let go although nobody had asked for that."""
    own = [one for one in events(lab, node) if one["node"] == node and one["kind"] == "dropped"]
    return [one["text"] for one in own if "is ready" not in one["text"]]


def wait_reachable(lab: Lab, *, is_reachable: bool) -> None:
    lab.wait_for(
        lambda: all(coordination(lab, node)["reachable"] is is_reachable for node in running(lab)),
        what=f"etcd is {'' if is_reachable else 'not '}reached",
    )


def wait_nobody(lab: Lab) -> None:
    lab.wait_for(lambda: all(serves_nothing(lab, node) for node in running(lab)), what="nobody serves")


def wait_renewed(lab: Lab) -> None:
    """Every lease that is held has been asked for after this call."""
    since_s = time.monotonic()

    def is_renewed(node: str) -> bool:
        now_s = time.monotonic()
        held = [one for one in lab.agents.status(node)["groups"] if one["holder"] == node]
        return all(now_s + (one["lease_ms"] or 0.0) / 1000 - USUAL_LEASE_S > since_s for one in held)

    lab.wait_for(lambda: all(is_renewed(node) for node in running(lab)), what="every lease has been renewed")


def assert_never_two(probe: Measurement) -> None:
    never_two(*(one.dual_ms for one in probe.outages()))


@pytest.fixture
def over(tmp_path: Path) -> Path:
    return tmp_path / "etcd.yaml"


def test_groups_move_by_leases_from_etcd(make_lab: MakeLab, measured: Measured, over: Path) -> None:
    """Two nodes, `consistent`, no witness. What is announced in heartbeats need not be waited for in etcd either."""
    lab = make_lab(nodes=2, wishes=Wishes(lease=f"{LEASE_S}s", extra=configured(over, 2379)))
    member = Member(lab)
    member.start()
    wait_whole(lab)
    assert told(lab, "A", "status")["on_partition"] == "consistent"
    stored = json.loads(member.control("get", "/haagent/lab/web", "--print-value-only"))
    assert (stored["node"], stored["released"]) == (holder(lab), False)
    moves, kills, losses = [], [], []
    with lab.probe() as probe:
        probe.wait_answer()
        quiet = [watch_quietly()]
        for _ in range(runs(5)):
            origin = holder(lab)
            start_s = time.monotonic()
            told(lab, origin, "failover", "--to", other(lab, origin))
            probe.wait_answer(by=other(lab, origin))
            moves.append((start_s, time.monotonic()))
        for _ in range(runs(3)):
            lost = holder(lab)
            start_s = time.monotonic()
            lab.faults.kill(lost)
            probe.wait_answer(other_than=lost)
            kills.append((start_s, time.monotonic()))
            lab.start(lost)
            wait_whole(lab)
        round_trip_ms = worst_round_trip_ms(lab)  # before anybody is cut off from it
        for _ in range(runs(3)):
            lost = holder(lab)
            start_s = time.monotonic()
            lab.faults.cut(lost)
            probe.wait_answer(other_than=lost)
            losses.append((start_s, time.monotonic()))
            lab.faults.heal()
            wait_whole(lab)
    assert_never_two(probe)
    for what, windows in (("planned move", moves), ("agent killed", kills), ("host cut off", losses)):
        worst = [gap_ms(probe.outage(VIP4, start_s=start_s, end_s=end_s)) for start_s, end_s in windows]
        measured(f"{what}, lease {LEASE_S:g} s, client without it", spread(worst))
        # Neither a move nor a dead agent waits for a lease. Who waits for one asks again within an interval (100 ms),
        # and is given what any takeover here is given (`test_cluster`).
        bound_ms = 1000 * LEASE_S + 100 + round_trip_ms + 50 if what == "host cut off" else 500 * LEASE_S
        assert max(worst) <= bound_ms + noise_ms(probe, quiet)
    measured("round trip to etcd, at worst in a minute before the cuts", f"{round_trip_ms} ms")
    measured("round trip to etcd, at worst in the last minute", f"{worst_round_trip_ms(lab)} ms")


def test_without_etcd_nobody_holds_in_consistent(make_lab: MakeLab, measured: Measured, over: Path) -> None:
    lab = make_lab(nodes=2, wishes=Wishes(lease=f"{LEASE_S}s", extra=configured(over, 2379)))
    member = Member(lab)
    member.start()
    wait_whole(lab)
    with lab.probe() as probe:
        probe.wait_answer()
        killed_s = time.monotonic()
        member.kill()
        wait_nobody(lab)
        wait_reachable(lab, is_reachable=False)
        assert "connection refused" in warnings(lab, "A")
        assert "no leases from etcd" in " ".join(lab.run("B", ["haagent", "status"]).stdout.split())
        restarted_s = time.monotonic()
        member.start()
        probe.wait_answer()
        measured("etcd restarted, served again after", f"{1000 * (time.monotonic() - restarted_s):.0f} ms")
        wait_whole(lab)

        member.freeze()
        wait_nobody(lab)
        wait_reachable(lab, is_reachable=False)
        thawed_s = time.monotonic()
        member.thaw()
        probe.wait_answer()
        measured(
            "etcd frozen for longer than a lease, served after the thaw",
            f"{1000 * (time.monotonic() - thawed_s):.0f} ms",
        )
        wait_whole(lab)

        alone = holder(lab)
        cut_s = time.monotonic()
        cut_from_etcd(lab, alone)
        probe.wait_answer(by=other(lab, alone))
        taken_s = time.monotonic()
        assert not coordination(lab, alone)["reachable"]
        cut_from_etcd(lab, other(lab, alone))
        wait_nobody(lab)
        for node in running(lab):
            heal_etcd(lab, node)
        wait_whole(lab)
    assert_never_two(probe)
    lost = probe.outage(VIP4, start_s=killed_s, end_s=restarted_s)
    assert lost.gaps[-1].start_s - killed_s <= LEASE_S
    measured("etcd killed, the holder let go after", f"{1000 * (lost.gaps[-1].start_s - killed_s):.0f} ms")
    moved = probe.outage(VIP4, start_s=cut_s, end_s=taken_s)
    measured("holder cut from etcd alone, client without it", f"{moved.worst_ms:.1f} ms")


def test_without_etcd_the_votes_decide_in_available(make_lab: MakeLab, measured: Measured, over: Path) -> None:
    lab = make_lab(nodes=2, wishes=Wishes(lease=f"{LEASE_S}s", on_partition="available", extra=configured(over, 2379)))
    member = Member(lab)
    member.start()
    wait_whole(lab)
    wait_reachable(lab, is_reachable=True)
    with lab.probe() as probe:
        probe.wait_answer()
        quiet = watch_quietly()
        origin, tenure = holder(lab), ballots(lab)
        start_s = time.monotonic()
        member.kill()
        wait_reachable(lab, is_reachable=False)
        time.sleep(2 * LEASE_S)  # a lease that nobody renewed would have ended
        assert (holder(lab), ballots(lab)) == (origin, tenure)
        assert "own votes decide" in warnings(lab, origin)
        told(lab, origin, "failover", "--to", other(lab, origin))
        probe.wait_answer(by=other(lab, origin))
        moved_s = time.monotonic()
        member.start()
        wait_reachable(lab, is_reachable=True)
        lab.wait_for(
            lambda: json.loads(member.control("get", "/haagent/lab/web", "--print-value-only"))["node"] != origin,
            what="etcd is bound to who holds it",
        )
        told(lab, origin, "failover", "--to", origin)
        probe.wait_answer(by=origin)
    assert_never_two(probe)
    worst = probe.outage(VIP4, start_s=start_s, end_s=moved_s).worst_ms
    measured("etcd killed and a move by votes, worst gap", f"{worst:.1f} ms")
    assert worst <= 500 * LEASE_S + noise_ms(probe, [quiet])
    assert [drops(lab, node) for node in running(lab)] == [[], []]


def test_a_false_endpoint_is_refused_whatever_it_answers(make_lab: MakeLab, over: Path) -> None:
    """With a true one beside it nothing changes; alone it is an etcd that is away. No agent ends."""
    lab = make_lab(nodes=2, wishes=Wishes(lease=f"{LEASE_S}s", extra=configured(over, FALSE, 2379)))
    member = Member(lab)
    member.start()
    false = lab.start_on(CLIENT, [sys.executable, false_etcd.__file__, HOST, str(FALSE)])
    assert false.stdout is not None
    assert false.stdout.readline() == b"ready\n"
    wait_whole(lab)
    member.kill()
    wait_nobody(lab)
    wait_reachable(lab, is_reachable=False)

    def is_through(node: str) -> bool:
        """It has had every answer."""
        return bool(lab.agents.status(node)["counters"].get("etcd_refused", 0) > 3 * len(false_etcd.ANSWERS))

    lab.wait_for(lambda: all(is_through(node) for node in ("A", "B")), what="all the answers have come", within_s=60.0)

    def is_named() -> bool:
        """Some of its answers are as good as etcd's, so for a moment it counts as one that is there."""
        fault = coordination(lab, "A")["fault"]
        assert not fault or fault.isprintable()
        return f"{HOST}:{FALSE}: " in fault

    lab.wait_for(is_named, what="the fault names the false endpoint")
    member.start()
    wait_reachable(lab, is_reachable=True)
    wait_whole(lab)


def test_a_change_of_etcds_leader_is_survived_with_the_usual_lease(
    make_lab: MakeLab, measured: Measured, over: Path
) -> None:
    lab = make_lab(nodes=2, wishes=Wishes(extra=configured(over, 2379, 2380, 2381)))
    members = [Member(lab, number, of=3) for number in range(3)]
    for member in members:
        member.start()
    wait_whole(lab)
    with lab.probe(asks_directly=False) as probe:
        probe.wait_answer()
        tenure, start_s = ballots(lab), time.monotonic()
        leader = next(member for member in members if member.is_leader)
        leader.kill()
        lab.wait_for(lambda: any(each.is_leader for each in members if each is not leader), what="another leads")
        measured("etcd had no leader for at most", f"{1000 * (time.monotonic() - start_s):.0f} ms")
        leader.start()
        lab.wait_for(lambda: "true" in leader.control("endpoint", "health", "-w", "json", checks=False), what="all run")
        # One change is survived. The next one comes when the leases have been renewed, not in the middle of the first.
        wait_renewed(lab)
        frozen = next(member for member in members if member.is_leader)
        frozen.freeze()
        lab.wait_for(lambda: any(each.is_leader for each in members if each is not frozen), what="another leads")
        wait_reachable(lab, is_reachable=True)
        frozen.thaw()
        assert ballots(lab) == tenure
    assert [drops(lab, node) for node in running(lab)] == [[], []]


def test_a_slow_etcd_is_told_and_a_too_slow_one_costs_the_leases(
    make_lab: MakeLab, measured: Measured, over: Path
) -> None:
    lab = make_lab(nodes=2, wishes=Wishes(lease=f"{LEASE_S}s", extra=configured(over, PROXY)))
    Member(lab).start()
    way = SlowWay(lab)
    wait_whole(lab)
    with lab.probe() as probe:
        probe.wait_answer()
        origin, tenure = holder(lab), ballots(lab)
        way.delay(0.15)
        lab.wait_for(lambda: "took" in warnings(lab, origin), what="the delay is told")
        time.sleep(2 * LEASE_S)
        assert (ballots(lab), drops(lab, origin)) == (tenure, [])
        measured(
            "renewals through a way of 150 ms each way take", f"{coordination(lab, origin)['round_trip_ms']:.0f} ms"
        )
        way.delay(0.6)
        wait_nobody(lab)
        wait_reachable(lab, is_reachable=False)
        way.delay(0.0)
        probe.wait_answer()
        wait_whole(lab)
    assert_never_two(probe)
