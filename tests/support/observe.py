"""What the tests of a running cluster look at: the agents' words, the kernels' addresses, the client's tables.

Everything here asks somebody who knows and waits for a condition; nothing sleeps and hopes.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from haagent.lab import Lab, Measurement
from haagent.lab.outage import Outage
from haagent.lab.plan import CLIENT, VIP4, VIP6
from trials.chaos.cluster import addresses

MakeLab = Callable[..., Lab]
Measured = Callable[[str, str], None]

LEASE_MS = 350.0  # the default at 100 ms
QUIET_S = 0.25  # how long the machine's own noise is watched
PATIENCE_S = 20.0  # for conditions that normally take a fraction of a second


def runs(usual: int) -> int:
    """How often a fault is repeated: RUNS=50 in the environment for figures, a few times for a test."""
    return int(os.environ.get("RUNS", usual))


def told(lab: Lab, node: str, *words: str) -> dict[str, Any]:
    """What `haagent WORDS --json` prints on a node."""
    found: dict[str, Any] = json.loads(lab.run(node, ["haagent", *words, "--json"]).stdout)
    return found


def refused(lab: Lab, node: str, *words: str) -> tuple[int, str]:
    """Exit status and complaint of a command that must not succeed."""
    done = lab.run(node, ["haagent", *words], checks=False)
    assert done.returncode, f"`haagent {' '.join(words)}` was done: {done.stdout}"
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def group(lab: Lab, node: str, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in lab.agents.status(node)["groups"] if one["name"] == name)
    return found


def ballots(lab: Lab, name: str = "web") -> set[str]:
    """One, when nothing moves: every agent that runs names the tenure's ballot."""
    return {str(group(lab, node, name)["ballot"]) for node in running(lab)}


def member(lab: Lab, node: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in lab.agents.status(node)["members"] if one["name"] == name)
    return found


def running(lab: Lab) -> list[str]:
    return [name for name, host in lab.state().hosts.items() if host.agent is not None and host.agent.is_alive]


def wait_whole(lab: Lab, *, holders: dict[str, str] | None = None) -> None:
    """Every agent sees every running one and can vote, and all agree on who holds each group (on these, if given)."""

    def is_whole() -> bool:
        names = running(lab)
        views = [lab.agents.status(name) for name in names]
        seen = [{one["name"] for one in view["members"] if one["state"] != "offline"} for view in views]
        if any(not set(names) <= one for one in seen):
            return False
        if any(one["silent_ms"] for view in views for one in view["members"] if one["name"] in names):
            return False  # who has just started could not take anything yet
        placed = [{one["name"]: one["holder"] for one in view["groups"] if one["active"]} for view in views]
        return (
            bool(placed)
            and all(one == placed[0] for one in placed)
            and len(placed[0]) == len(views[0]["groups"])
            and all(lab.agents.holder(name) for name in placed[0])
            and (holders or {}).items() <= placed[0].items()
        )

    lab.wait_for(is_whole, what="the cluster is whole", within_s=PATIENCE_S)


def other(lab: Lab, name: str) -> str:
    """The first other node that may hold something."""
    return next(host.name for host in lab.state().plan.nodes if host.name != name and not host.witness)


def holder(lab: Lab, name: str = "web") -> str:
    found = lab.agents.holder(name)
    assert found is not None, f"nobody, or more than one, holds {name}"
    return found


def serves(lab: Lab, node: str, *vips: str) -> bool:
    return set(vips or (VIP4, VIP6)) <= addresses(lab, node)


def serves_nothing(lab: Lab, node: str) -> bool:
    return not {VIP4, VIP6} & addresses(lab, node)


def wait_serves_nothing(lab: Lab, node: str) -> None:
    """What a shut gate hides is removed a moment after the release was told."""
    lab.wait_for(lambda: serves_nothing(lab, node), what=f"{node} has no address any more")


def neighbours(lab: Lab) -> dict[str, str]:
    """What the client believes: address to MAC."""
    listed = json.loads(lab.run(CLIENT, ["ip", "-j", "neigh", "show", "dev", "eth0"]).stdout)
    return {entry["dst"]: entry.get("lladdr", "") for entry in listed}


def events(lab: Lab, node: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told(lab, node, "events", "--all")["events"]
    return found


def heartbeats_sent(lab: Lab, node: str) -> int:
    return sum(link["sent"] for link in lab.agents.status(node)["links"])


def assert_handed_over_once(seen: Sequence[Outage]) -> None:
    """Each time one answered, and then another."""
    assert {len(one.answered_by) for one in seen} == {2}, [one.answered_by for one in seen]


def noise_ms(probe: Measurement, windows: Sequence[tuple[float, float]], vip: str = VIP4) -> float:
    """The worst gap in windows in which nothing was done: what this machine adds by itself."""
    return max(probe.outage(vip, start_s=start_s, end_s=end_s).worst_ms for start_s, end_s in windows)


def gap_ms(seen: Outage) -> float:
    """The longest gap without what the prober itself was late: for so long nobody asked."""
    return max(0.0, seen.worst_ms - seen.stall_ms)


def watch_quietly() -> tuple[float, float]:
    """A window for `noise_ms`."""
    start_s = time.monotonic()
    time.sleep(QUIET_S)
    return start_s, time.monotonic()


def spread(figures_ms: Sequence[float]) -> str:
    return f"{min(figures_ms):.1f} / {median(figures_ms):.1f} / {max(figures_ms):.1f} ms (min, median, max)"


def said(done: subprocess.CompletedProcess[str]) -> str:
    return f"status {done.returncode}: {done.stdout}{done.stderr}"
