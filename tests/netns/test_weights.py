"""Real agents whose checks have a weight: a group goes to where failing ones weigh less, and stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from haagent.core.group.handover import LIGHTER_S
from haagent.lab import Lab, Wishes
from tests.support.observe import MakeLab, events, group, holder, wait_whole

pytestmark = pytest.mark.netns
SPARE = {"spare": {"kind": "link", "interface": "spare", "weight": 20}}


def give(lab: Lab, name: str) -> None:
    lab.run(name, ["ip", "link", "add", "spare", "up", "type", "veth", "peer", "name", "end"])
    lab.run(name, ["ip", "link", "set", "end", "up"])


def wait_penalties(lab: Lab, penalties: dict[str, int]) -> None:
    def all_say_so() -> bool:
        return all(group(lab, name)["penalties"] == penalties for name in "AB")

    lab.wait_for(all_say_so, what=f"failing checks weigh {penalties}")


def test_a_group_is_where_failing_checks_weigh_least(make_lab: MakeLab, tmp_path: Path) -> None:
    extra = tmp_path / "extra.yaml"
    extra.write_text(yaml.safe_dump({"groups": {"web": {"checks": SPARE}}}))
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab, holders={"web": "A"})
    wait_penalties(lab, {"A": 20, "B": 20})
    assert holder(lab) == "A", "a node whose check with a weight fails is fit"

    give(lab, "B")
    wait_whole(lab, holders={"web": "B"})
    wait_penalties(lab, {"A": 20})
    assert "failing checks weigh: A 20" in lab.run("A", ["haagent", "status"]).stdout

    give(lab, "A")
    wait_penalties(lab, {})
    time.sleep(LIGHTER_S + 1)
    assert holder(lab) == "B", "equal penalties move nothing"

    lab.run("B", ["ip", "link", "delete", "spare"])
    wait_whole(lab, holders={"web": "A"})
    told = [(one["node"], one["text"]) for one in events(lab, "A") if one["group"] == "web"]
    assert ("A", "handing over to B: failing checks weigh 20 here and 0 there") in told
    assert ("B", "check spare, of weight 20, fails: spare does not exist") in told
    assert ("B", "handing over to A: failing checks weigh 20 here and 0 there") in told
