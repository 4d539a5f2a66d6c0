"""The cluster under test: made, asked whether all is well again, and asked for its words when it is not."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from haagent.lab import Lab, LabError, Measurement, Wishes
from haagent.lab.agents import AGENT
from haagent.lab.plan import CLIENT
from trials.chaos import clock
from trials.chaos.schedule import Chances, Mode

GROUP = "web"
SETTLED_S = 20.0  # longer than a start, `alone_after` and the kernel's own removal of a left address together
LOG_LINES = 80


class Cluster(msgspec.Struct, frozen=True):
    lab: Lab
    chances: Chances
    interval_s: float


@contextmanager
def cluster(name: str, mode: Mode, *, interval: str, only: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """A settled one; gone at the end, and with this process at the latest."""
    with tempfile.TemporaryDirectory(prefix="haagent-chaos-") as directory:
        library = clock.compile_to(Path(directory))
        Path(directory).chmod(0o755)
        wishes = Wishes(interval=interval, on_partition=mode.value)
        command = clock.preloaded(AGENT, library) if library else AGENT
        has_witness = mode is Mode.CONSISTENT
        with Lab.create(
            name=name, nodes=2, has_witness=has_witness, wishes=wishes, command=command, dies_with_us=True
        ) as lab:
            lab.wait_ready()
            status = lab.agents.status("A")
            interval_s, lease_s = timing(lab)
            chances = Chances(
                mode=mode,
                lease_s=lease_s,
                has_guardian=status["pids"].get("guardian") is not None,
                has_clock=library is not None,
                only=only,
            )
            yield Cluster(lab, chances, interval_s)


def timing(lab: Lab) -> tuple[float, float]:
    """Interval and lease as the agents' own reading of their file has them."""
    from haagent.config import load

    heartbeat = load(str(lab.directory / "haagent.yaml"), node="A").heartbeat
    return heartbeat.interval_s, heartbeat.lease_s


def wait_settled(lab: Lab, probe: Measurement | None = None, *, within_s: float = SETTLED_S) -> str:
    """The holder, once all is well: every agent runs, all agree, the address is on that one host and on no other, and
    a client is served by it. Else LabError with what is missing."""
    found = ""

    def is_settled() -> bool:
        nonlocal found
        began_s = time.monotonic()
        found = _agreed(lab)
        _placed(lab, found)
        if probe is not None:
            probe.wait_answer(by=found, since_s=began_s, within_s=0.0)
        return True

    lab.wait_for(is_settled, what="the cluster is settled", within_s=within_s)
    return found


def _agreed(lab: Lab) -> str:
    """On one active holder, all being awake, hearing each other, and fit to hold (a check that failed takes its time to
    believe in the recovery: until then nobody could take over)."""
    nodes = lab.state().plan.nodes
    views = {node.name: lab.agents.status(node.name) for node in nodes}
    for node in nodes:
        offline = [one["name"] for one in views[node.name]["members"] if one["state"] == "offline"]
        if offline:
            raise LabError(f"{node.name} does not hear {', '.join(offline)}")
        group = _group(views[node.name])
        if not node.witness and not group["eligible"]:
            raise LabError(f"{node.name} is not fit: {group['why_not']}")
    said = {name: _holder(view) for name, view in views.items()}
    holders = {holder for holder, is_active in said.values() if is_active}
    if len(holders) != 1 or not all(is_active for _, is_active in said.values()):
        raise LabError(f"the nodes name as holder: {', '.join(f'{name}: {one[0]}' for name, one in said.items())}")
    return holders.pop()


def _holder(view: dict[str, Any]) -> tuple[str, bool]:
    group = _group(view)
    return str(group["holder"]), bool(group["active"]) and group["state"] == "active"


def _group(view: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in view["groups"] if one["name"] == GROUP)
    return found


def _placed(lab: Lab, holder: str) -> None:
    """Level: asked from each kernel."""
    plan = lab.state().plan
    for node in plan.nodes:
        has = set(plan.vips) & addresses(lab, node.name)
        wanted = set(plan.vips) if node.name == holder else set()
        if has != wanted:
            raise LabError(f"{holder} holds, and {node.name} has {sorted(has) or 'no address'}")


def addresses(lab: Lab, name: str) -> set[str]:
    """All of a host, without prefix."""
    listed = json.loads(lab.run(name, ["ip", "-j", "address"]).stdout)
    return {info["local"] for link in listed for info in link["addr_info"]}


def words(lab: Lab) -> dict[str, str]:
    """What every agent logged last, and what the client believes."""
    logs = {node.name: lab.agents.tail(node.name, LOG_LINES) for node in lab.state().plan.nodes}
    return logs | {CLIENT: lab.run(CLIENT, ["ip", "neigh"], checks=False).stdout}
