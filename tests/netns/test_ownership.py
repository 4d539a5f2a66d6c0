"""Addresses move between groups while one node after the other gets the new file: two never answer for one.

All agents of a lab read one file; what each has is what the file said when it was reloaded last.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from haagent.lab import Lab, Wishes
from haagent.lab.plan import VIP4, VIP6
from tests.netns.etcd_member import Member, configured
from tests.netns.test_config_live import Tree, rewrite
from tests.support.observe import MakeLab, Measured, group, runs, serves, told, wait_whole
from tests.support.standstill import never_two
from trials.chaos.cluster import addresses

pytestmark = pytest.mark.netns
OTHER = "10.20.1.101"


def write_groups(lab: Lab, **groups: tuple[str, list[str]]) -> None:
    """Each with its first choice and its addresses."""

    def change(tree: Tree) -> None:
        tree["groups"] = {
            name: {
                "addresses": [f"{one}/{64 if ':' in one else 24}" for one in wanted],
                "interface": "eth0",
                "prefer": [first],
            }
            for name, (first, wanted) in groups.items()
        }
        tree["on_partition"] = "consistent"

    rewrite(lab, change)


def reload(lab: Lab, *names: str) -> None:
    for name in names:
        told(lab, name, "reload")


def wait_serves(lab: Lab, node: str, *wanted: str) -> None:
    lab.wait_for(lambda: serves(lab, node, *wanted), what=f"{node} has {', '.join(wanted)}")


def wait_withheld(lab: Lab, node: str, name: str, address: str, by: str) -> None:
    """It is held without that address, and says who has it and what to do."""
    lab.wait_for(
        lambda: any(address in one and f"reload {by}" in one for one in group(lab, node, name)["withheld"]),
        what=f"{node} serves {name} without {address}",
    )
    assert address not in addresses(lab, node)


def move_rename_and_swap(lab: Lab, witness: tuple[str, ...]) -> None:
    # One address moves to a group that is held elsewhere.
    write_groups(lab, web=("B", [VIP6]), db=("A", [OTHER, VIP4]))
    reload(lab, "A", *witness)
    wait_withheld(lab, "A", "db", VIP4, by="B")
    wait_serves(lab, "A", OTHER)
    wait_serves(lab, "B", VIP4, VIP6)
    reload(lab, "B")
    wait_serves(lab, "A", OTHER, VIP4)
    # Two change places.
    write_groups(lab, web=("B", [VIP4]), db=("A", [OTHER, VIP6]))
    reload(lab, "B")
    wait_withheld(lab, "B", "web", VIP4, by="A")
    assert not serves(lab, "B", VIP6)
    reload(lab, "A", *witness)
    wait_serves(lab, "A", OTHER, VIP6)
    wait_serves(lab, "B", VIP4)
    # A group has another name.
    write_groups(lab, www=("A", [VIP4]), db=("A", [OTHER, VIP6]))
    reload(lab, "A")
    lab.wait_for(lambda: "reload B" in group(lab, "A", "www")["why"], what="A waits for B")
    wait_serves(lab, "B", VIP4)
    reload(lab, *witness, "B")
    lab.wait_for(lambda: lab.agents.holder("www") is not None, what="it is held")
    # And back to the beginning, for the next round.
    begin(lab, witness)


def begin(lab: Lab, witness: tuple[str, ...]) -> None:
    write_groups(lab, web=("B", [VIP4, VIP6]), db=("A", [OTHER]))
    reload(lab, "A", "B", *witness)
    wait_whole(lab)
    for name, node in (("web", "B"), ("db", "A")):
        if lab.agents.holder(name) != node:
            told(lab, node, "failover", name, "--to", node)
    wait_whole(lab, holders={"web": "B", "db": "A"})


def test_an_address_has_one_owner_while_files_differ(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    begin(lab, ("W",))
    with lab.probe() as probe:
        probe.wait_answer(by="B")
        for _ in range(runs(2)):
            move_rename_and_swap(lab, ("W",))
    measured("two answering", f"{max(one.dual_ms for one in probe.outages()):.1f} ms")
    never_two(*(one.dual_ms for one in probe.outages()))


@pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd on this host")
def test_an_address_has_one_owner_by_leases_from_etcd(make_lab: MakeLab, measured: Measured, tmp_path: Path) -> None:
    lab = make_lab(nodes=2, wishes=Wishes(lease="1s", extra=configured(tmp_path / "etcd.yaml", 2379)))
    Member(lab).start()
    wait_whole(lab)
    begin(lab, ())
    with lab.probe() as probe:
        probe.wait_answer(by="B")
        for _ in range(runs(1)):
            move_rename_and_swap(lab, ())
    measured("two answering", f"{max(one.dual_ms for one in probe.outages()):.1f} ms")
    never_two(*(one.dual_ms for one in probe.outages()))
