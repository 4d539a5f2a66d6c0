"""A real etcd that is put back to a backup while somebody holds what the backup knows nothing of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from haagent.lab import Lab, Wishes
from tests.netns.etcd_member import Member, configured
from tests.support.observe import MakeLab, Measured, events, holder, other, serves, told, wait_whole
from tests.support.observe import member as seen_of
from tests.support.standstill import never_two

pytestmark = [pytest.mark.netns, pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd on this host")]
LEASE_S = 2.0


def has_noticed(lab: Lab, node: str) -> bool:
    return any(one["kind"] == "forgot" and one["node"] == node for one in events(lab, node))


@pytest.mark.parametrize("bumps", [True, False], ids=["with revisions that go on", "as it was"])
def test_nobody_takes_what_a_restored_etcd_has_forgotten(
    make_lab: MakeLab, measured: Measured, tmp_path: Path, *, bumps: bool
) -> None:
    """The backup says that A holds; since then B has taken it, and A does not hear B."""
    lab = make_lab(nodes=2, wishes=Wishes(lease=f"{LEASE_S}s", extra=configured(tmp_path / "etcd.yaml", 2379)))
    member, spare = Member(lab), Member(lab)
    member.start()
    wait_whole(lab)
    first = holder(lab)
    second = other(lab, first)
    backup = tmp_path / "backup"
    member.control("snapshot", "save", str(backup))
    member.restored(backup, data="restored")
    told(lab, first, "failover", "--to", second)
    wait_whole(lab, holders={"web": second})
    if bumps:
        spare.start(data="restored", aside=5)
        lab.wait_for(lambda: "true" in spare.control("endpoint", "health", "-w", "json", checks=False), what="it runs")
        spare.bump(member.revision + 1_000)
        spare.kill()
    with lab.probe() as probe:
        probe.wait_answer(by=second)
        lab.faults.cut("A", "B")
        lab.wait_for(lambda: seen_of(lab, first, second)["state"] == "offline", what=f"{first} hears nobody")
        member.kill()
        member.start(data="restored")
        lab.wait_for(lambda: has_noticed(lab, first), what=f"{first} has noticed")
        lab.wait_for(lambda: serves(lab, first) or serves(lab, second), what="it is served")
        lab.faults.heal()
        wait_whole(lab)
    seen = probe.outages()
    never_two(*(one.dual_ms for one in seen))
    measured("etcd restored, clients without an answer", f"{max(one.worst_ms for one in seen):.0f} ms")
