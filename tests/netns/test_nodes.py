"""The nodes change one at a time by `haagent node`, each with a file of its own, while hosts fail and a client asks."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from haagent.lab import Lab, Measurement
from haagent.lab.agents import AGENT
from haagent.lab.plan import VIP4, VIP6
from haagent.lab.state import changing
from tests.netns.test_voters import stop, wait_voters
from tests.support.observe import (
    LEASE_MS,
    PATIENCE_S,
    MakeLab,
    Measured,
    holder,
    noise_ms,
    refused,
    told,
    wait_whole,
    watch_quietly,
)

pytestmark = pytest.mark.netns
OWN_FILE = tuple(word.replace("{config}", "{run}/../haagent.yaml") for word in AGENT)
TITLE = "# the nodes of the lab\n"
AT_ONCE = ("--wait", "0")


def file_of(lab: Lab, name: str) -> Path:
    return lab.directory / name / "haagent.yaml"


def started(make_lab: MakeLab, first: str, *, nodes: int = 5, **top: Any) -> Lab:
    """A lab of five hosts; agents run on the first, and know of no more."""
    lab = make_lab(nodes=nodes, command=None)
    with changing(lab.directory) as now:
        now.command = OWN_FILE
    tree = yaml.safe_load((lab.directory / "haagent.yaml").read_text()) | top
    tree["nodes"] = {name: tree["nodes"][name] for name in first}
    tree["groups"]["web"]["prefer"] = [*first]
    for name in first:
        file_of(lab, name).parent.mkdir(exist_ok=True)
        file_of(lab, name).write_text(TITLE + yaml.safe_dump(tree, sort_keys=False))
        lab.start(name)
    wait_whole(lab)
    return lab


def add(lab: Lab, name: str, on: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """As an operator does it: on the first node and, when something has happened, on the others; then the new host."""
    address = lab.state().plan.node(name).address
    first, others = on[0], on[1:]
    told(lab, first, "node", "add", name, "--address", address, *AT_ONCE)
    meanwhile()
    for other in others:
        told(lab, other, "node", "add", name, "--address", address, *AT_ONCE)
    file_of(lab, name).parent.mkdir(exist_ok=True)
    file_of(lab, name).write_text(file_of(lab, first).read_text())
    lab.start(name)
    agree(lab, on + name)


def remove(lab: Lab, name: str, on: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    told(lab, on[0], "standby", name)
    first, others = on[0], on[1:]
    told(lab, first, "node", "remove", name, *AT_ONCE)
    meanwhile()
    for other in others:
        told(lab, other, "node", "remove", name, *AT_ONCE)
    agree(lab, on)
    stop(lab, name)


def agree(lab: Lab, names: str) -> None:
    for name in names:
        told(lab, name, "node", "wait", "--wait", "20s")
    wait_among(lab, names)


def wait_among(lab: Lab, names: str) -> None:
    """As `wait_whole`, of these nodes: others may be on their way in or out."""

    def is_whole() -> bool:
        views = [lab.agents.status(name) for name in names]
        seen = [one for view in views for one in view["members"] if one["name"] in names]
        held = {group["holder"] if group["active"] else "" for view in views for group in view["groups"]}
        return (
            len(held) == 1 and "" not in held and not any(one["silent_ms"] or one["state"] == "offline" for one in seen)
        )

    lab.wait_for(is_whole, what=f"{names} are whole", within_s=PATIENCE_S)


class Faults:
    """Each is over when these nodes are whole again, and is remembered with its window and its own bound."""

    def __init__(self, lab: Lab, measured: Measured) -> None:
        self._lab, self._measured = lab, measured
        self.names = "AB"
        self.seen: list[tuple[str, float, float, float]] = []

    @contextmanager
    def window(self, what: str, bound_ms: float) -> Iterator[str]:
        """Gives the holder."""
        start_s = time.monotonic()
        yield holder(self._lab)
        self.seen.append((what, start_s, time.monotonic(), bound_ms))

    def lose_host(self) -> None:
        with self.window("host of the holder lost", LEASE_MS) as name:
            self._lab.faults.crash(name)
            self._lab.wait_for(lambda: self._lab.agents.holder() not in (None, name), what="another one holds")
            self._lab.start(name)
            wait_among(self._lab, self.names)

    def kill_agent(self) -> None:
        with self.window("agent of the holder killed", LEASE_MS) as name:
            self._lab.faults.kill(name)
            self._lab.wait_for(lambda: self._lab.agents.tree(name).root is None, what="its guardian has ended")
            self._lab.start(name)
            wait_among(self._lab, self.names)

    def cut_off(self) -> None:
        with self.window("holder cut from the other nodes", LEASE_MS) as name:
            others = [one for one in self._lab.state().hosts if one not in (name, "client", "switch")]
            for one in others:
                self._lab.faults.cut(name, one)
            self._lab.wait_for(lambda: self._lab.agents.holder() not in (None, name), what="another one holds")
            self._lab.faults.heal()
            wait_among(self._lab, self.names)

    def freeze(self) -> None:
        with self.window("holder frozen", LEASE_MS) as name:
            self._lab.faults.freeze(name)
            self._lab.wait_for(lambda: self._lab.agents.holder() not in (None, name), what="another one holds")
            self._lab.faults.thaw(name)
            wait_among(self._lab, self.names)

    def judge(self, probe: Measurement, quiet: tuple[float, float]) -> None:
        noise = noise_ms(probe, [quiet])
        for vip in (VIP4, VIP6):
            assert probe.outage(vip).dual_ms == 0
        start_s = quiet[0]
        for what, since_s, until_s, bound_ms in self.seen:
            for vip in (VIP4, VIP6):
                calm = probe.outage(vip, start_s=start_s, end_s=since_s)
                assert calm.worst_ms < LEASE_MS / 2 + noise + calm.stall_ms, f"before: {what}"
                hit = probe.outage(vip, start_s=since_s, end_s=until_s)
                self._measured(f"{what}, {vip}", f"{hit.worst_ms:.1f} ms")
                assert hit.worst_ms < bound_ms + LEASE_MS / 2 + noise + hit.stall_ms, what
            start_s = until_s


def set_policy(lab: Lab, names: str, policy: str) -> None:
    """Every agent starts anew with it; in maintenance, so that what is served stays."""
    told(lab, names[0], "maintenance", "on")
    for name in names:
        text = file_of(lab, name).read_text()
        file_of(lab, name).write_text(text.replace("on_partition: available", f"on_partition: {policy}"))
        stop(lab, name)
    for name in names:
        lab.start(name)
    wait_whole(lab)
    told(lab, names[0], "maintenance", "off")
    agree(lab, names)


def test_two_three_five_and_three_voters_with_faults_meanwhile(make_lab: MakeLab, measured: Measured) -> None:
    lab = started(make_lab, "AB", on_partition="available")
    faults = Faults(lab, measured)
    with lab.probe() as probe:
        probe.wait_answer(by=holder(lab))
        quiet = watch_quietly()
        add(lab, "C", "AB", faults.kill_agent)
        faults.names = "ABC"
        with faults.window("from available to consistent", 0):
            set_policy(lab, "ABC", "consistent")
        add(lab, "D", "ABC", faults.lose_host)
        add(lab, "E", "ABCD", faults.cut_off)
        assert [lab.agents.status(name)["voters"] for name in "ABCDE"] == [[*"ABCDE"]] * 5
        remove(lab, "E", "ABCD", faults.freeze)
        remove(lab, "D", "ABC", faults.lose_host)
        wait_voters(lab, "ABC", "ABC")
    assert file_of(lab, "A").read_text().startswith(TITLE)
    faults.judge(probe, quiet)


def test_one_command_waits_until_all_the_others_have_done_the_same(make_lab: MakeLab) -> None:
    lab = started(make_lab, "ABC", nodes=4)
    address = lab.state().plan.node("D").address
    shown = lab.run("A", ["haagent", "node", "add", "D", "--address", address, "--dry-run"]).stdout
    assert f"+  D: {{address: {address}}}" in shown
    assert [len(lab.agents.status(name)["members"]) for name in "ABC"] == [3, 3, 3]
    waiting = lab.start_on("A", ["haagent", "node", "add", "D", "--address", address, "--wait", "60s", "--json"])
    lab.wait_for(lambda: len(lab.agents.status("A")["members"]) == 4, what="A has the new file")
    status, complaint = refused(lab, "A", "node", "add", "E", "--address", "10.20.1.19")
    assert status == 4
    assert "one at a time" in complaint or "finish that change" in complaint
    lab.wait_for(
        lambda: [one["config_differs"] for one in lab.agents.status("B")["members"]][:1] == [["nodes.D"]],
        what="B can say in what A's file differs",
    )
    for name in "BC":
        told(lab, name, "node", "add", "D", "--address", address, *AT_ONCE)
    file_of(lab, "D").parent.mkdir(exist_ok=True)
    file_of(lab, "D").write_text(file_of(lab, "A").read_text())
    assert waiting.poll() is None
    lab.start("D")
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    assert json.loads(out)["voters"] == [*"ABCD"]
    assert not lab.agents.status("B")["warnings"]
    lab.agents.signal("D", signal.SIGTERM)
    lab.wait_for(lambda: lab.agents.tree("D").root is None, what="D has stopped")
    for name in "ABC":
        told(lab, name, "node", "remove", "D", *AT_ONCE)
    told(lab, "B", "node", "wait", "--wait", "20s")
    wait_voters(lab, "ABC", "ABC")
