"""A guided tour: a cluster starts, loses the host that serves, moves back as planned; and what a client saw of it.

Every figure is the client's own: the longest time between two answered requests, one request a millisecond. The first
row is the same measurement with no fault at all, because a shared machine has pauses of its own.
"""

from __future__ import annotations

import time

import msgspec

from haagent.lab.agents import executable
from haagent.lab.cluster import Lab, Tell
from haagent.lab.errors import LabError
from haagent.lab.measurement import Measurement
from haagent.lab.outage import Outage

QUIET_S = 1.5  # how long the noise is measured
AFTER_S = 0.3  # a window ends so long after the service is back, to see what follows
GROUP = "web"

Act = tuple[str, float, float]  # what was done, and the window of time in which the client saw its effect


class Seen(msgspec.Struct, frozen=True):
    """What was done, and what the client saw of it: one outage per address."""

    name: str
    outages: list[Outage]


def play(lab: Lab, tell: Tell) -> list[Seen]:
    """On a lab whose agents are ready."""
    first = _holder(lab)
    tell(f"\nThe cluster as {first} sees it (`haagent lab exec {first} haagent status`):\n")
    tell(_indented(lab.run(first, [*executable(), "status"]).stdout))
    vips = " and ".join(lab.state().plan.vips)
    tell(f"\nFrom now on the client asks for {vips} every millisecond.\n")
    with lab.probe() as probe:
        probe.wait_answer()
        acts = [_nothing(tell), _lose_host(lab, probe, tell, first), _move(lab, probe, tell, first)]
    return [Seen(name, probe.outages(start_s=start_s, end_s=end_s)) for name, start_s, end_s in acts]


def table(seen: list[Seen]) -> str:
    addresses = [outage.address for outage in seen[0].outages]
    lines = ["", "What the client went without, in ms:", ""]
    lines.append(f"  {'':24}" + "".join(f"{address:>16}" for address in addresses) + "   answered by")
    for row in seen:
        figures = "".join(f"{outage.worst_ms:>16.1f}" for outage in row.outages)
        who = ", then ".join(row.outages[0].answered_by) or "nobody"
        lines.append(f"  {row.name:24}{figures}   {who}")
    dual_ms = max(outage.dual_ms for row in seen for outage in row.outages)
    twice = f"Two hosts answered at once for {dual_ms:g} ms." if dual_ms else "At no time did two hosts answer at once."
    return "\n".join([*lines, "", f"{twice} The first row is this machine's own noise; read the others beside it."])


def next_steps(name: str, node: str) -> str:
    option = "" if name == "lab" else f" --name {name}"
    steps = {
        f"haagent lab exec{option} {node} haagent status": "what a node knows, and why",
        f"haagent lab exec{option} {node} haagent failover {GROUP} --to NODE": "a planned move",
        f"haagent lab kill{option} {node}": "kill an agent; or freeze, crash, cut, link, lose",
        f"haagent lab start{option} {node}": "and let it come back",
        f"haagent lab probe{option}": "measure while you do it in another terminal",
        f"haagent lab exec{option} client ip neigh": "what the client believes",
        f"haagent lab down{option}": "end it; nothing stays behind",
    }
    width = max(map(len, steps))
    return "\n".join(["", "Look around:", "", *(f"  {words:{width}}   {what}" for words, what in steps.items())])


def _nothing(tell: Tell) -> Act:
    tell("1. Nothing is done, to know this machine's own noise.")
    start_s = time.monotonic()
    time.sleep(QUIET_S)
    return "no fault", start_s, time.monotonic()


def _lose_host(lab: Lab, probe: Measurement, tell: Tell, name: str) -> Act:
    tell(f"2. Host {name} is lost: its cable is pulled and all its processes are killed.")
    start_s = time.monotonic()
    lab.faults.crash(name)
    probe.wait_answer(other_than=name, since_s=start_s, within_s=15.0)
    time.sleep(AFTER_S)
    end_s = time.monotonic()
    took_over = next(iter(probe.last().values())).by
    tell(f"   {took_over} has taken over. {name} boots again ...")
    lab.start(name)
    lab.wait_for(lambda: _is_back(lab, name, took_over), what=f"{name} is online again", within_s=15.0)
    return f"host {name} lost", start_s, end_s


def _move(lab: Lab, probe: Measurement, tell: Tell, name: str) -> Act:
    words = ["failover", GROUP, "--to", name]
    tell(f"3. {name} is back. A planned move: `haagent {' '.join(words)}`")
    start_s = time.monotonic()
    said = lab.run(name, [*executable(), *words]).stdout
    probe.wait_answer(by=name, within_s=10.0)
    time.sleep(AFTER_S)
    tell(_indented(said))
    return f"planned move to {name}", start_s, time.monotonic()


def _holder(lab: Lab) -> str:
    holder = lab.agents.holder(GROUP)
    if holder is None:
        raise LabError(f"no node holds {GROUP}; `haagent lab status` shows the agents, `haagent lab logs NODE` why")
    return holder


def _is_back(lab: Lab, name: str, other: str) -> bool:
    """Both ways: the cluster sees it, and it sees who holds."""
    states = {member["name"]: member["state"] for member in lab.agents.status(other)["members"]}
    groups = {group["name"]: group["holder"] for group in lab.agents.status(name)["groups"]}
    return states.get(name) == "online" and groups.get(GROUP) == other


def _indented(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.rstrip().splitlines())
