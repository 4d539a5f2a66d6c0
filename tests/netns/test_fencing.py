"""Fencing in a running cluster: by an agent of the distribution, by agents that refuse, hang and lie, and by hand."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from haagent.lab import Lab, Wishes
from tests.support.observe import (
    MakeLab,
    Measured,
    events,
    group,
    holder,
    member,
    other,
    refused,
    serves,
    serves_nothing,
    told,
    wait_whole,
)

pytestmark = pytest.mark.netns
MakeFenced = Callable[..., Lab]
PASSWORD = "correct horse battery"


@pytest.fixture
def make_fenced(make_lab: MakeLab, tmp_path: Path) -> MakeFenced:
    """Three voters; A and B are fenced by a program with this text, or by this agent."""

    def make(agent: str, **more: object) -> Lab:
        if agent.startswith("#!"):
            program = tmp_path / "fence_test"
            program.write_text(agent.replace("DIRECTORY", str(tmp_path)))
            program.chmod(0o700)
            agent = str(program)
        fenced = {name: {"fencing": {"agent": agent, **_options(name, tmp_path), **more}} for name in "AB"}
        extra = tmp_path / "extra.yaml"
        extra.write_text(yaml.safe_dump({"nodes": fenced}))
        lab = make_lab(nodes=2, has_witness=True, wishes=Wishes(extra=str(extra)))
        wait_whole(lab)
        return lab

    return make


def _options(name: str, directory: Path) -> dict[str, object]:
    (directory / f"{name}.status").write_text("on")
    secret = directory / f"{name}.secret"
    secret.write_text(f"# of the power switch\npassword={PASSWORD}\n")
    secret.chmod(0o600)
    written = {"type": "file", "status_file": str(directory / f"{name}.status")}
    return {"options": written, "options_file": str(secret)}


def _name_hosts(lab: Lab, directory: Path) -> None:
    """The agents' library looks up the name of its own host when it is loaded; a lab has no name service."""
    names = directory / "hosts"
    names.write_text("127.0.0.1 localhost A B\n")
    for name in "AB":
        lab.run(name, ["mount", "--bind", str(names), "/etc/hosts"])


def silent_ms(lab: Lab, name: str, member: str) -> float:
    heard = {one["name"]: one["last_heard_ms"] for one in lab.agents.status(name)["members"]}
    return float(heard[member])


def said(lab: Lab, name: str, kind: str) -> list[str]:
    return [one["text"] for one in events(lab, name) if (one["kind"], one["node"]) == (kind, name)]


@pytest.mark.skipif(not shutil.which("fence_dummy", path="/usr/sbin:/usr/bin"), reason="needs the package fence-agents")
def test_who_vanished_is_fenced_before_its_group_is_taken(
    make_fenced: MakeFenced, tmp_path: Path, measured: Measured
) -> None:
    """By `fence_dummy` of the distribution, with the library that all its agents use."""
    lab = make_fenced("fence_dummy")
    _name_hosts(lab, tmp_path)
    lost, next_one = holder(lab), other(lab, holder(lab))
    start_s = time.monotonic()
    lab.faults.crash(lost)
    lab.wait_for(lambda: serves(lab, next_one), what="the other serves")
    measured(
        "from the crash to the other's addresses, its fence included", f"{1000 * (time.monotonic() - start_s):.0f} ms"
    )
    assert (tmp_path / f"{lost}.status").read_text() == "off"
    assert (tmp_path / f"{next_one}.status").read_text() == "on"
    assert any(f"{lost} is down: fence_dummy has confirmed `off`" in text for text in said(lab, next_one, "fenced"))
    assert lab.agents.status(next_one)["fencing"]["nodes"][lost]["last"] == "done: Success: Powered OFF"
    lab.start(lost)
    wait_whole(lab, holders={"web": next_one})
    told(lab, next_one, "failover", "--to", lost)
    (tmp_path / f"{next_one}.status").unlink()  # a release needs no fence: the agent would find nothing
    lab.run(lost, ["haagent", "failover", "--to", next_one])
    assert not said(lab, lost, "fencing")


def test_a_fence_that_refuses_stops_the_take_until_the_operator_says_so(make_fenced: MakeFenced) -> None:
    lab = make_fenced("#!/bin/sh\necho 2024-01-01 00:00:00,000 ERROR: login denied: $(tail -1) >&2\nexit 1\n")
    lost, next_one = holder(lab), other(lab, holder(lab))
    status, complaint = refused(lab, next_one, "confirm-down", lost)
    assert (status, complaint) == (4, f"haagent: {lost} is heard: it is not down.\n")
    lab.faults.crash(lost)
    lab.wait_for(lambda: said(lab, next_one, "failed"), what="the take has failed")
    reason = said(lab, next_one, "failed")[0]
    assert reason.startswith(f"fence: {lost} vanished and could not be fenced: ")
    assert f"ended with status 1: ERROR: login denied: password=***; `haagent confirm-down {lost}` if" in reason
    assert serves_nothing(lab, next_one)
    lab.wait_for(lambda: silent_ms(lab, "W", lost) > 1000, what="it has been silent for longer than two leases")
    answer = told(lab, "W", "confirm-down", lost)  # on any node
    assert (answer["node"], answer["down"]) == (lost, True)
    lab.wait_for(lambda: serves(lab, next_one), what="the other serves", within_s=3)
    assert group(lab, next_one)["holder"] == next_one
    everything = "".join(lab.agents.log(name).read_text() for name in "ABW")
    everything += "".join(one["text"] for one in events(lab, next_one))
    assert "login denied" in everything
    assert PASSWORD not in everything


def test_while_a_fence_hangs_the_lease_is_kept_and_nothing_is_served(make_fenced: MakeFenced, tmp_path: Path) -> None:
    """Killed at its time limit with everything that it started."""
    lab = make_fenced(
        "#!/bin/sh\necho $$ > DIRECTORY/pid\nsleep 1000 &\necho $! >> DIRECTORY/pid\nsleep 1000\n", timeout="4s"
    )
    lost, next_one = holder(lab), other(lab, holder(lab))
    lab.faults.crash(lost)
    lab.wait_for((tmp_path / "pid").exists, what="the fence runs")
    looks = []
    while not said(lab, next_one, "failed"):
        assert serves_nothing(lab, next_one)
        looks.append(group(lab, next_one))
    assert {one["ballot"] for one in looks if one["here"] == "taking"} == {looks[0]["ballot"]}
    assert all(one["lease_ms"] > 0 for one in looks if one["here"] == "taking")
    assert "killed after 4 s" in said(lab, next_one, "failed")[0]
    assert not [text for text in said(lab, "W", "offline") if text.startswith(next_one)], "its heartbeats went on"
    pids = (tmp_path / "pid").read_text().split()
    lab.wait_for(lambda: not any(_lives(pid) for pid in pids[:2]), what="the agent and its child are gone")


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_node_is_fenced_by_hand(make_fenced: MakeFenced, tmp_path: Path) -> None:
    lab = make_fenced(
        '#!/bin/sh\nread action; [ "$action" = action=off ] && kill -9 $(cat DIRECTORY/victims); echo gone\n'
    )
    mine, theirs = holder(lab), other(lab, holder(lab))
    victims = tmp_path / "victims"
    status, complaint = refused(lab, theirs, "fence", theirs, "--yes")
    assert (status, complaint) == (4, f"haagent: This is {theirs} itself: have another node fence it.\n")
    assert refused(lab, theirs, "fence", "W", "--yes")[0] == 4  # nothing is configured
    status, complaint = refused(lab, theirs, "fence", mine)  # nobody is there to say yes
    assert (status, complaint.splitlines()[0]) == (
        130,
        f"{mine} is online and holds web. Do `off` to it with {tmp_path}/fence_test? [y/N]: ",
    )
    victims.write_text("")
    status, complaint = refused(lab, theirs, "fence", mine, "--yes")
    assert (status, "its heartbeats still arrive" in complaint) == (1, True)  # it did nothing, and says that it did
    assert holder(lab) == mine
    victims.write_text(" ".join(str(process.pid) for process in lab.agents.processes(lab.state(), mine)))
    answer = told(lab, theirs, "fence", mine, "--yes")
    assert (answer["fenced"], answer["held"]) == (True, ["web"])
    lab.wait_for(lambda: serves(lab, theirs), what="the other serves")
    assert member(lab, theirs, mine)["state"] == "offline"


def test_what_would_keep_a_fence_from_working_is_said_on_an_ordinary_day(
    make_fenced: MakeFenced, tmp_path: Path
) -> None:
    lab = make_fenced("fence_nobody_has_this")
    assert [text for text in lab.agents.status("A")["warnings"] if "fence_nobody_has_this" in text] == [
        "B cannot be fenced from here: fence_nobody_has_this is not on this host: apt install fence-agents, or write "
        "its path."
    ]
    path = lab.directory / "haagent.yaml"
    path.write_text(path.read_text().replace("fence_nobody_has_this", "sh"))
    (tmp_path / "B.secret").chmod(0o640)
    lab.run("A", ["haagent", "reload"])
    assert any("do `chmod 600" in text for text in lab.agents.status("A")["warnings"])
