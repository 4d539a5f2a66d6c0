"""Many groups at once, and nodes that all start at once: each group ends where it belongs, and stays there."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import yaml

from haagent.lab import Lab, Wishes
from tests.support.observe import MakeLab, Measured, events, group, holder, runs, wait_whole
from tests.support.standstill import never_two

pytestmark = pytest.mark.netns

MANY = 128  # with `web`, and as many as a configuration may have
HOLD_S = 60 * float(os.environ.get("MINUTES", "0.1"))


def many(tmp_path: Path, on_partition: str) -> Wishes:
    """Every other one is preferred on B."""
    groups = {
        f"g{number:03}": {"addresses": [f"10.21.0.{number}/32"], "prefer": ["A", "B"] if number % 2 else ["B", "A"]}
        for number in range(1, MANY)
    }
    extra = tmp_path / "many.yaml"
    extra.write_text(yaml.safe_dump({"on_partition": on_partition, "groups": groups}))
    return Wishes(extra=str(extra))


def tenures(lab: Lab, name: str) -> dict[str, tuple[str, str]]:
    """Of every group that is active, as this node sees it."""
    seen = lab.agents.status(name)["groups"]
    return {one["name"]: (one["holder"], str(one["ballot"])) for one in seen if one["active"]}


def is_whole(lab: Lab) -> bool:
    """Not asked more often than an operator's page would: a view of so many groups is work for the agent."""
    time.sleep(0.3)
    seen = tenures(lab, "A")
    return len(seen) == MANY and seen == tenures(lab, "B")


@pytest.mark.parametrize("on_partition", ["available", "consistent"])
def test_many_groups_start_at_once_where_they_are_preferred_and_hold(
    make_lab: MakeLab, measured: Measured, tmp_path: Path, on_partition: str
) -> None:
    is_consistent = on_partition == "consistent"
    lab = make_lab(nodes=2, has_witness=is_consistent, wishes=many(tmp_path, on_partition))
    lab.wait_for(lambda: is_whole(lab), what="both agree that all groups are active", within_s=20.0)
    before = tenures(lab, "A")
    wanted = {name: "B" if name != "web" and int(name[1:]) % 2 == 0 else "A" for name in before}
    assert {name: held_by for name, (held_by, _) in before.items()} == wanted
    with lab.probe() as probe:
        end_s = time.monotonic() + HOLD_S
        lab.wait_for(lambda: time.monotonic() >= end_s, what="a while", within_s=2 * HOLD_S)
        assert tenures(lab, "A") == tenures(lab, "B") == before
    outages = probe.outages()
    never_two(*(outage.dual_ms for outage in outages))
    taken = [one["time"] for one in events(lab, "A") if one["kind"] == "taken" and one["group"] != "leader"]
    assert len(taken) == MANY
    measured(f"{MANY} groups were taken within", f"{1000 * (max(taken) - min(taken)):.0f} ms")


def test_whoever_is_up_first_leaves_the_group_to_its_first_choice(make_lab: MakeLab, measured: Measured) -> None:
    """Two nodes and a witness start in any order within a second, as after a power cut."""
    lab = make_lab(nodes=2, has_witness=True)
    wait_whole(lab)
    chance = random.Random("cold starts")
    orders = []
    for _ in range(runs(3)):
        for name in "ABW":
            lab.faults.kill(name, whom="all")
        names = chance.sample("ABW", 3)
        for name in names:
            lab.start(name)
            if name != names[-1]:
                time.sleep(0.4 * chance.random())
        wait_whole(lab)
        orders.append("".join(names))
        assert holder(lab) == "A", orders
        assert group(lab, "A")["why"] == "this node holds it: nobody held it and this node is the first choice"
    measured("the first choice held after starts in the order", " ".join(orders))
