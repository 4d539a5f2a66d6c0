"""A running cluster is given another configuration or another key: applied as a whole, or refused as a whole.

All nodes of a lab read one file and one key file, as an operator's configuration management would have it.
"""

from __future__ import annotations

import base64
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from haagent.lab import Lab
from haagent.lab.plan import VIP4
from tests.support.observe import (
    MakeLab,
    Measured,
    ballots,
    events,
    group,
    heartbeats_sent,
    holder,
    refused,
    serves,
    told,
    wait_whole,
)

pytestmark = pytest.mark.netns
Tree = dict[str, Any]
DB = {"addresses": ["10.20.1.101/24", "fd00:20::101/64"], "interface": "eth0", "backend": "arp", "prefer": ["B", "A"]}


def rewrite(lab: Lab, change: Callable[[Tree], None]) -> None:
    path = lab.directory / "haagent.yaml"
    tree = yaml.safe_load(path.read_text())
    change(tree)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def reload_everywhere(lab: Lab) -> list[str]:
    return [told(lab, name, "reload")["text"] for name in ("A", "B")]


def wait_heartbeats(lab: Lab, name: str, count: int = 3) -> None:
    before = heartbeats_sent(lab, name)
    lab.wait_for(lambda: heartbeats_sent(lab, name) >= before + count, what=f"{name} sends {count} more heartbeats")


def moves(lab: Lab) -> list[tuple[str, str, str]]:
    kinds = {"taken", "dropped", "yielding", "offline", "conflict", "failed"}
    found = [one for one in events(lab, "A") if one["kind"] in kinds and one["group"] != "leader"]
    return [(one["node"], one["kind"], one["text"]) for one in found]


def test_a_file_with_faults_changes_nothing(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    before, tenure, file = moves(lab), ballots(lab), lab.directory / "haagent.yaml"
    good = file.read_text()
    digests = {name: told(lab, name, "status") for name in ("A", "B")}

    file.write_text(good.replace("prefer:", "perfer:").replace("backend: arp", "backend: art"))
    status, complaint = refused(lab, "A", "reload")
    assert status == 2
    lines = [line for line in complaint.splitlines() if line.startswith(f"{file}:")]
    assert len(lines) == 2
    assert "prefer" in complaint
    assert "arp" in complaint

    lab.agents.signal("B", signal.SIGHUP)
    lab.wait_for(
        lambda: "refused, nothing is changed" in lab.agents.log("B").read_text(), what="B has refused the file"
    )
    file.write_text("groups: [")  # not even YAML
    assert refused(lab, "A", "reload")[0] == 2
    file.unlink()
    assert refused(lab, "A", "reload")[0] == 2
    for name in ("A", "B"):
        wait_heartbeats(lab, name)
        assert told(lab, name, "status")["members"][0]["config_matches"] is True
        assert told(lab, name, "status")["groups"][0]["addresses"] == digests[name]["groups"][0]["addresses"]
    assert (moves(lab), ballots(lab)) == (before, tenure)

    file.write_text(good)
    assert all("unchanged" in text for text in reload_everywhere(lab))


def test_what_needs_a_restart_is_refused_as_a_whole(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    before, tenure = moves(lab), ballots(lab)

    def change(tree: Tree) -> None:
        tree["heartbeat"] |= {"interval": "200ms", "lease": "900ms"}
        tree["nodes"] |= {"C": {"address": "10.20.1.12"}, "D": {"address": "10.20.1.13"}}
        tree["groups"]["db"] = DB  # would be welcome by itself

    rewrite(lab, change)
    status, complaint = refused(lab, "A", "reload")
    assert status == 2
    for path in ("heartbeat.interval", "heartbeat.lease", "nodes"):
        assert path in complaint
    assert "restart" in complaint
    wait_heartbeats(lab, "A")
    assert [one["name"] for one in told(lab, "A", "status")["groups"]] == ["web"]
    assert (moves(lab), ballots(lab)) == (before, tenure)


def test_a_group_comes_and_goes_while_the_other_is_served(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    mine, tenure = holder(lab), ballots(lab)
    with lab.probe() as probe:
        probe.wait_answer(by=mine)
        rewrite(lab, lambda tree: tree["groups"].update(db=DB))
        assert all("is in force" in text for text in reload_everywhere(lab))
        wait_whole(lab)
        assert serves(lab, holder(lab, "db"), "10.20.1.101", "fd00:20::101")
        told(lab, "A", "failover", "db", "--to", "B" if holder(lab, "db") == "A" else "A")
        # An address more for the group that is held, by signal this time.
        rewrite(lab, lambda tree: tree["groups"]["web"]["addresses"].append("10.20.1.103/24"))
        for name in ("A", "B"):
            lab.agents.signal(name, signal.SIGHUP)
        lab.wait_for(lambda: serves(lab, mine, VIP4, "10.20.1.103"), what="the held group has one more address")
        rewrite(lab, lambda tree: tree["groups"].pop("db"))
        reload_everywhere(lab)
        lab.wait_for(lambda: not any(serves(lab, name, "10.20.1.101") for name in "AB"), what="db is gone")
        wait_whole(lab)
        probe.wait_answer(by=mine)
    worst = max(one.worst_ms for one in probe.outages())
    measured("worst gap of the group that stays, over four reloads", f"{worst:.1f} ms")
    assert all((one.answered_by, one.dual_ms) == ([mine], 0) for one in probe.outages())
    assert (holder(lab), ballots(lab)) == (mine, tenure)
    assert group(lab, mine)["addresses"][-1] == "10.20.1.103/24"


def test_keys_rotate_without_a_gap(make_lab: MakeLab, measured: Measured, tmp_path: Path) -> None:
    """old; old and new; new and old; new: at every step each node opens what the others seal."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    before, tenure = moves(lab), ballots(lab)
    old, new = str(lab.directory / "cluster.key"), tmp_path / "new.key"
    new.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    new.chmod(0o600)
    for files in ([old, str(new)], [str(new), old], [str(new)]):
        rewrite(lab, lambda tree, files=files: tree.update(key_file=files))
        for name in ("A", "B"):
            told(lab, name, "reload")
            wait_heartbeats(lab, "A")
            wait_heartbeats(lab, "B")
    assert (moves(lab), ballots(lab)) == (before, tenure)
    counters = [told(lab, name, "status")["counters"] for name in ("A", "B")]
    measured("datagrams dropped in three steps on two nodes", str(sum(sum(one.values()) for one in counters)))
    assert not any(cause in one for one in counters for cause in ("dropped_unknown_key", "dropped_auth"))

    # A key more in the same file: the configuration is the same, its keys are read again all the same.
    new.write_text(new.read_text() + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    assert all("keys were read again" in text for text in reload_everywhere(lab))
    new.chmod(0o644)
    status, complaint = refused(lab, "A", "reload")
    assert status == 2
    assert "chmod" in complaint
    wait_heartbeats(lab, "A")
    wait_heartbeats(lab, "B")
    assert (moves(lab), ballots(lab)) == (before, tenure)
