"""The cluster under test: made, asked whether all is well again, and asked for its words when it is not."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml

from haagent.control.client import Client, ControlError
from haagent.lab import Lab, LabError, Measurement, Wishes
from haagent.lab.plan import CLIENT
from haagent.lab.state import changing
from trials.chaos import busy_kernel, clock, files
from trials.chaos.schedule import Chances, Mode
from trials.chaos.steered_agent import STEERED

GROUP = "web"  # held where the faults hit
SECOND = "db"  # held beside it, or apart from it where the two change addresses
OTHER = "10.20.1.101"  # of the second group in the beginning
SPARE = "C"  # a host that is no node
SETTLED_S = 20.0  # longer than a start, `alone_after` and the kernel's own removal of a left address together
LOG_LINES = 80

Holders = dict[str, str]  # node by group


class Cluster(msgspec.Struct, frozen=True):
    lab: Lab
    chances: Chances
    interval_s: float


@contextmanager
def cluster(name: str, mode: Mode, *, interval: str, only: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """A settled one; gone at the end, and with this process at the latest."""
    with tempfile.TemporaryDirectory(prefix="haagent-chaos-") as made:
        directory = Path(made)
        library = clock.compile_to(directory)
        wishes = Wishes(interval=interval, on_partition=mode.value, extra=_second_group(directory))
        directory.chmod(0o755)
        has_witness = mode is Mode.CONSISTENT
        with Lab.create(
            name=name, nodes=2, has_witness=has_witness, spares=1, wishes=wishes, command=None, dies_with_us=True
        ) as lab:
            _start(lab, clock.preloaded(STEERED, library) if library else STEERED)
            status = lab.agents.status("A")
            interval_s, lease_s = timing(lab)
            chances = Chances(
                mode=mode,
                lease_s=lease_s,
                has_guardian=status["pids"].get("guardian") is not None,
                has_clock=library is not None,
                has_rtnl=busy_kernel.is_possible(),
                only=only,
            )
            yield Cluster(lab, chances, interval_s)


def _second_group(directory: Path) -> str:
    """And a hook for the first, which does nothing."""
    hook, file = directory / "hook", directory / "extra.yaml"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    hooks = {"taken": str(hook), "released": str(hook)}
    second = {"addresses": [f"{OTHER}/24"], "interface": "eth0", "failback": "manual", "prefer": ["A", "B"]}
    file.write_text(yaml.safe_dump({"groups": {GROUP: {"hooks": hooks}, SECOND: second}}))
    return str(file)


def _start(lab: Lab, command: tuple[str, ...]) -> None:
    """Each agent with a file of its own."""
    files.give_each_its_own(lab)
    with changing(lab.directory) as now:
        now.command = tuple(files.OWN if word == "{config}" else word for word in command)
        now.plan = msgspec.structs.replace(now.plan, vips=(*now.plan.vips, OTHER))
    for node in lab.state().plan.nodes:
        lab.agents.start(node.name)
    lab.wait_ready()


def timing(lab: Lab) -> tuple[float, float]:
    """Interval and lease as the agents' own reading of their file has them."""
    from haagent.config import load

    heartbeat = load(str(lab.directory / "haagent.yaml"), node="A").heartbeat
    return heartbeat.interval_s, heartbeat.lease_s


def wait_settled(lab: Lab, probe: Measurement | None = None, *, within_s: float = SETTLED_S) -> Holders:
    """Who holds what, once all is well: every agent runs and no other, all agree, each address is on that one host and
    on no other, and a client is served by it. Else LabError with what is missing."""
    found: Holders = {}

    def is_settled() -> bool:
        nonlocal found
        began_s = time.monotonic()
        found = _agreed(lab)
        wanted = holders_by_address(lab, found)
        _placed(lab, wanted)
        if probe is not None:
            _served(probe, wanted, began_s)
        return True

    lab.wait_for(is_settled, what="the cluster is settled", within_s=within_s)
    return found


def _agreed(lab: Lab) -> Holders:
    """On one active holder of each group, all being awake, hearing each other, and fit to hold (a check that failed
    takes its time to believe in the recovery: until then nobody could take over)."""
    plan = lab.state().plan
    views = {node.name: lab.agents.status(node.name) for node in plan.nodes}
    for node in plan.nodes:
        offline = [one["name"] for one in views[node.name]["members"] if one["state"] == "offline"]
        if offline:
            raise LabError(f"{node.name} does not hear {', '.join(offline)}")
    groups = sorted({group["name"] for view in views.values() for group in view["groups"]})
    return {group: _holder(group, views, [node.name for node in plan.nodes if not node.witness]) for group in groups}


def _holder(name: str, views: dict[str, dict[str, Any]], may_hold: list[str]) -> str:
    told = {}
    for node, view in views.items():
        group = next((one for one in view["groups"] if one["name"] == name), {})
        if node in may_hold and not group.get("eligible"):
            raise LabError(f"{node} is not fit for {name}: {group.get('why_not')}")
        told[node] = str(group.get("holder")), bool(group.get("active")) and group.get("state") == "active"
    holders = {holder for holder, is_active in told.values() if is_active}
    if len(holders) != 1 or not all(is_active for _, is_active in told.values()):
        named = ", ".join(f"{node}: {holder}" for node, (holder, _) in told.items())
        raise LabError(f"the nodes name as holder of {name}: {named}")
    return holders.pop()


def holders_by_address(lab: Lab, holders: Holders) -> dict[str, str]:
    """As the nodes' files have it, which must agree."""
    first, *others = (_groups(lab, node.name) for node in lab.state().plan.nodes)
    if any(other != first for other in others):
        raise LabError("the nodes' files differ")
    return {address: holders[group] for group, listed in first.items() for address in listed}


def _groups(lab: Lab, name: str) -> dict[str, set[str]]:
    groups = files.read(lab, name)["groups"]
    return {group: {one.partition("/")[0] for one in about["addresses"]} for group, about in groups.items()}


def exchanged(groups: dict[str, Any]) -> dict[str, list[str]]:
    """The addresses of the two groups when the first of each have changed places."""
    one, other = (groups[name]["addresses"] for name in (GROUP, SECOND))
    return {GROUP: [other[0], *one[1:]], SECOND: [one[0], *other[1:]]}


def changing_places(lab: Lab) -> tuple[str, ...]:
    groups = files.read(lab, lab.state().plan.nodes[0].name)["groups"]
    return tuple(groups[name]["addresses"][0].partition("/")[0] for name in (GROUP, SECOND))


def _placed(lab: Lab, holders: dict[str, str]) -> None:
    """Level: asked from each kernel."""
    plan = lab.state().plan
    for host in plan.servers:
        if not host.runs_agent and lab.agents.tree(host.name).everybody:
            raise LabError(f"there is still an agent on {host.name}")
        has = set(plan.vips) & addresses(lab, host.name)
        if has != {address for address, holder in holders.items() if holder == host.name}:
            raise LabError(f"{host.name} has {sorted(has) or 'no address'}, with the holders {holders}")


def _served(probe: Measurement, holders: dict[str, str], since_s: float) -> None:
    for address, last in probe.last().items():
        if last.at_s <= since_s or last.by != holders[address]:
            raise LabError(f"{address} was answered by {last.by} last, {time.monotonic() - last.at_s:.3f} s ago")


def arrange(lab: Lab, *, apart: bool) -> Holders:
    """The second group is held where the first is, or not there."""
    found = wait_settled(lab)
    if SECOND in found and (found[GROUP] != found[SECOND]) is not apart:
        move(lab, SECOND, away_from=found[SECOND])
        lab.wait_for(lambda: lab.agents.holder(SECOND) not in (None, found[SECOND]), what=f"{SECOND} has moved")
        found = wait_settled(lab)
    return found


def move(lab: Lab, group: str, *, away_from: str) -> None:
    """Given, not waited for: the campaign goes on. It may be refused, when the other node is not well."""
    other = next(node.name for node in lab.state().plan.nodes if node.name != away_from and not node.witness)
    with suppress(ControlError), Client(str(lab.run_directory(away_from))) as client:
        client.ask("failover", wait_s=0.0, group=group, to=other, force=False)


def addresses(lab: Lab, name: str) -> set[str]:
    """All of a host, without prefix."""
    listed = json.loads(lab.run(name, ["ip", "-j", "address"]).stdout)
    return {info["local"] for link in listed for info in link["addr_info"]}


def words(lab: Lab) -> dict[str, str]:
    """What every agent logged last, and what the client believes."""
    logs = {host.name: lab.agents.tail(host.name, LOG_LINES) for host in lab.state().plan.servers}
    return logs | {CLIENT: lab.run(CLIENT, ["ip", "neigh"], checks=False).stdout}
