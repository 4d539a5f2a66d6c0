"""Reloads under way while groups move: whoever is to let go lets go at once, however slow the hooks of before are."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import yaml

from haagent.lab import Lab
from haagent.lab.configuration import Wishes
from tests.support.observe import MakeLab, Measured, events, holder, other, runs, told, wait_whole

pytestmark = pytest.mark.netns


def rewrite(lab: Lab, turn: int) -> None:
    """Every group is another than before; `web`, which is probed, comes last."""
    path, slow = lab.directory / "haagent.yaml", lab.directory / "slow"
    slow.write_text("#!/bin/sh\nsleep 4\n")
    slow.chmod(0o755)
    tree = yaml.safe_load(path.read_text())
    web = tree["groups"].pop("web")
    groups = {
        name: {"addresses": [f"10.20.1.{10 * number + turn % 2}/24"], "interface": "eth0", "prefer": ["A", "B"]}
        for number, name in enumerate(("one", "two", "three"), 12)
    }
    tree["groups"] = {**groups, "web": web}
    for group in tree["groups"].values():
        group["hooks"] = {"taken": str(slow), "released": str(slow), "timeout": f"{10 + turn % 2}s"}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.mark.parametrize("lease", ["", "6s"])
def test_groups_move_while_a_reload_waits_for_slow_hooks(
    make_lab: MakeLab, measured: Measured, tmp_path: Path, lease: str
) -> None:
    lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(lease=lease))
    wait_whole(lab)
    rewrite(lab, 0)
    for node in lab.state().plan.nodes:
        told(lab, node.name, "reload")
    wait_whole(lab)
    chance, moves = random.Random(2026), 0
    with lab.probe() as probe:
        probe.wait_answer()
        for turn in range(1, 1 + runs(6)):
            origin = holder(lab)
            rewrite(lab, turn)
            reloads = [lab.start_on(node.name, ["haagent", "reload"]) for node in lab.state().plan.nodes]
            time.sleep(chance.uniform(0.0, 0.8))  # a command takes 0.2 s to start: before, while and after it commits
            for name in ("web", "one"):  # an order may come to nothing on a busy machine; it must not come to harm
                lab.run(origin, ["haagent", "failover", name, "--to", other(lab, origin)], checks=False)
            for reload in reloads:
                assert reload.wait(20) == 0, reload.communicate()
            wait_whole(lab)
            moves += holder(lab) != origin
    outages = probe.outages()
    assert moves > runs(6) / 2
    measured(
        f"worst gap, {runs(6)} reloads and moves, lease {lease or '350ms'}", f"{max(o.worst_ms for o in outages)} ms"
    )
    assert [one.dual_ms for one in outages] == [0.0, 0.0]
    told_kinds = {one["kind"] for node in "AB" for one in events(lab, node)}
    assert not told_kinds & {"lapsed", "stuck", "failed", "restored", "removed"}, told_kinds


def test_a_hundred_held_groups_change_in_one_turn(make_lab: MakeLab, measured: Measured) -> None:
    """Each of them is taken anew with its new configuration, and nobody notices."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    path = lab.directory / "haagent.yaml"
    tree = yaml.safe_load(path.read_text())
    for turn in range(3):
        for number in range(100):
            hooks = {"timeout": f"{10 + turn}s"}
            address = f"10.20.{2 + turn // 2}.{number + 1}/16"  # at last each has another one
            tree["groups"][f"g{number}"] = {
                "addresses": [address],
                "interface": "eth0",
                "prefer": ["A"],
                "hooks": hooks,
            }
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        for node in "AB":
            told(lab, node, "reload")
        wait_whole(lab)
    facts = lab.agents.status("A")
    measured("the agent was woken late at worst", f"{facts['jitter_ms']} ms")
    assert {one["holder"] for one in facts["groups"] if one["name"] != "web"} == {"A"}
    assert "failed" not in {one["kind"] for one in events(lab, "A")}
