"""What this node knows, as the one dictionary that `status --json`, the text of `status` and other readers share.

Only facts and sentences; no layout. The state of a group is told for the cluster: on the holder it is what the holder
is doing, elsewhere whether the holder serves. `here` is the state on the node that was asked.

The warnings are computed here, once, so that a program reads the same ones as a person. Each says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from haagent import __version__
from haagent.core.group.transitions import GroupState
from haagent.core.settings import LEADER
from haagent.core.view import MemberState
from haagent.jitter import affordable_s, is_risky

if TYPE_CHECKING:
    from haagent.config import Config
    from haagent.control.host import Host
    from haagent.core.view import GroupView, MemberView, View
    from haagent.realtime import Scheduling

Facts = dict[str, Any]
SLOW = 0.25  # leases that an arbiter may take to answer: a renewal that fails can then be tried twice more

# Why a peer that does send may yet not be heard, by cause of the dropped datagrams. The first that counts is told.
DEAF_CAUSES = {
    "unknown_key": "Their heartbeats arrive sealed with another key: copy the key file to every node.",
    "auth": "Heartbeats arrive whose seal does not fit: copy the key file to every node.",
    "plaintext": "Heartbeats arrive in the clear: set `insecure` alike on every node.",
    "unknown_node": "Heartbeats arrive from a node that is not in this file: use the same file on every node.",
    "twin": "Another host uses this node's name: start each agent under its own name (`--node`).",
    "version": "Heartbeats arrive in another layout: run the same release on every node.",
    "foreign": "Heartbeats of another cluster arrive: use the same cluster name, or another group and port.",
}


def status(host: Host) -> Facts:
    view, config = host.view(), host.config
    members = [_member(member, config) for member in view.members]
    links = [_builtins(link) for link in host.links()]
    activations = {name: _builtins(facts) for name, facts in host.activations().items()}
    groups = [_group(group, view, config, activations) for group in view.groups if group.name != LEADER]
    counters = {name: count for name, count in sorted(host.counters.items()) if count}
    return {
        "cluster": view.cluster,
        "node": view.node,
        "version": __version__,
        "digest": config.digest,
        "leader": view.leader,
        "quorate": view.quorate,
        "on_partition": "consistent" if view.consistent else "available",
        "maintenance": view.maintenance,
        "stopping": view.stopping,
        "members": members,
        "groups": groups,
        "links": links,
        "sessions": {},  # this release has no session store
        "pids": {"guardian": None, "agent": None, "store": None} | dict(host.pids),
        "jitter_ms": None if host.jitter_ms is None else round(host.jitter_ms, 3),
        "scheduling": _builtins(host.scheduling),
        "counters": counters,
        "coordination": host.coordination(),
        "guards": dict(host.guards()),
        "fencing": dict(host.fences()),
        "warnings": [
            *warnings(view, links, counters, config),
            *timing_warnings(host.jitter_ms, host.scheduling, config),
            *arbiter_warnings(view, host.coordination(), config),
            *gate_warnings(groups),
            *guard_warnings(host.guards(), host.fences()),
        ],
    }


def _member(member: MemberView, config: Config) -> Facts:
    node = config.nodes.get(member.name)
    addresses = [str(address) for address in node.addresses] if node else []
    return {
        "name": member.name,
        "state": member.state.value,
        "address": addresses[0] if addresses else "",
        "addresses": addresses,
        "last_heard_ms": _ms(member.last_heard_s),
        "silent_ms": _ms(member.silent_s),
        "version": member.version,
        "links": list(member.links),
        "me": member.me,
        "config_matches": member.config_matches,
    }


def _group(group: GroupView, view: View, config: Config, activations: dict[str, Any]) -> Facts:
    configured = config.groups.get(group.name)
    return {
        "name": group.name,
        "holder": group.holder,
        "state": _state(group, view.node),
        "here": group.state.value,
        "active": group.active,
        "since": None if group.since is None else round(group.since, 3),
        "addresses": [str(address) for address in configured.addresses] if configured else [],
        "backend": configured.backend.kind if configured else "",
        "ballot": str(group.ballot) if group.ballot else None,
        "lease_ms": _ms(group.lease_s),
        "why": group.why,
        "failures": dict(sorted(group.failures.items())),
        "moving_to": group.moving_to,
        "outage_ms": None if group.gap_s is None else round(group.gap_s * 1000, 3),
        "eligible": group.eligible,
        "why_not": group.why_not,
        "gate": activations.get(group.name, {}).get("gate", {"state": "", "why": ""}),
        "activation": activations.get(group.name, {}),
    }


def _state(group: GroupView, me: str) -> str:
    if group.holder == me:
        return group.state.value
    if group.holder:
        return "active" if group.active else "taking"
    return "unheld" if group.state is GroupState.IDLE else group.state.value


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _builtins(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def warnings(view: View, links: Iterable[Facts], counters: dict[str, int], config: Config) -> Iterator[str]:
    """The worst first."""
    if view.stopping:
        yield "This agent is stopping: it hands over what it holds and takes nothing."
    if view.maintenance:
        yield "Maintenance is on: nothing moves, failures are not acted on. End it with `haagent maintenance off`."
    if not view.quorate and not view.arbiter:
        yield _no_quorum(view)
    yield from _unheard(view, counters, config)
    for group in view.groups:
        if group.name != LEADER and not group.holder:
            yield f"{group.name}: {group.why or 'nobody holds it'}."
    for link in links:
        if not link["is_up"]:
            yield f"Link {link['name']} carries no heartbeats: {link['why'] or 'it is down'}."
    yield from _differences(view)
    if config.heartbeat.insecure:
        yield "Heartbeats are not sealed (`insecure: true`): anyone on the link can move groups. For labs only."


def timing_warnings(jitter_ms: float | None, scheduling: Scheduling, config: Config) -> Iterator[str]:
    if scheduling.why_not:
        yield f"`process: {{realtime: true}}` is not wholly in force: {scheduling.why_not}."
    terms = {"lease_s": config.heartbeat.lease_s, "interval_s": config.heartbeat.interval_s}
    if jitter_ms is None or not is_risky(jitter_ms / 1000, **terms):
        return
    hurry = "" if scheduling.realtime else ", set `process: {realtime: true}`"
    yield (
        f"This agent was woken {jitter_ms:.0f} ms late at worst in the last minute, and loses what it holds when it is "
        f"{1000 * affordable_s(**terms):.0f} ms late. Give this host more processor time{hurry}, or use a longer lease."
    )


def arbiter_warnings(view: View, facts: Mapping[str, Any] | None, config: Config) -> Iterator[str]:
    if facts is None:
        return
    lease_ms = 1000 * config.heartbeat.lease_s
    if view.arbiter_fault and view.consistent:
        yield (
            f"No leases: {view.arbiter_fault}. What {view.node} holds is let go when its lease ends, and nothing is "
            "taken until it answers."
        )
    elif view.arbiter_fault:
        yield (
            f"No leases: {view.arbiter_fault}. The nodes' own votes decide until it answers; nodes that are cut from "
            "each other may then both hold."
        )
    elif (facts["worst_round_trip_ms"] or 0.0) > SLOW * lease_ms:
        yield (
            f"{view.arbiter} took {facts['worst_round_trip_ms']:.0f} ms to answer at worst in the last minute: a lease "
            f"of {lease_ms:.0f} ms needs it within {SLOW * lease_ms:.0f} ms. Make it faster, or the lease longer."
        )


def gate_warnings(groups: Iterable[Facts]) -> Iterator[str]:
    lacking = {group["gate"]["why"]: group["gate"]["state"] for group in groups}
    for why, state in lacking.items():
        if state in ("off", "unavailable"):
            yield (
                f"There is no gate on this node: {why}. If its agent dies or hangs, it may go on answering for what it "
                "held until the addresses' lifetimes end, seconds after another node has taken over."
            )
    for group in groups:
        if group["gate"]["state"] == "shut" and group["here"] == "active":
            yield f"{group['name']} is active here, but its gate is shut: no traffic arrives (`haagent events`)."


def guard_warnings(guards: Mapping[str, Any], fences: Mapping[str, Any]) -> Iterator[str]:
    outside = guards["outside"] or {}
    if outside.get("why_not_watched"):
        yield f"The gateway is not watched: {outside['why_not_watched']}."
    if outside.get("reachable") is False:
        asked = [f"gateway {each['address']}" for each in outside["gateways"]] + (
            ["the witness"] if "witness" in outside else []
        )
        yield f"This node does not reach {' or '.join(asked)}: if it alone does not, it lets go and takes nothing."
    for fault in (*guards["faults"], *fences["faults"]):
        yield f"{fault}."


def _no_quorum(view: View) -> str:
    heard = [member.name for member in view.members if member.state is not MemberState.OFFLINE]
    lost = [member.name for member in view.members if member.state is MemberState.OFFLINE]
    return (
        f"No quorum: {view.node} sees only {', '.join(heard) or 'itself'}, and groups are let go until a majority of "
        f"{len(view.members)} is back. Missing: {', '.join(lost) or 'votes of nodes that have just started'}."
    )


def _unheard(view: View, counters: dict[str, int], config: Config) -> Iterator[str]:
    peers = [member for member in view.members if not member.me]
    if not peers or any(member.last_heard_s is not None for member in peers):
        return
    cause = next((text for name, text in DEAF_CAUSES.items() if counters.get(f"dropped_{name}")), "")
    advice = f"Check that they run, the link, and that UDP port {config.heartbeat.port} is open both ways."
    yield f"No other node has been heard since this agent started. {cause or advice}"


def _differences(view: View) -> Iterator[str]:
    other = [member.name for member in view.members if not member.me and not member.config_matches]
    if other:
        verb = "run" if len(other) > 1 else "runs"
        yield (
            f"{', '.join(other)} {verb} another configuration than {view.node}: put the same file on every node, "
            "then `haagent reload` on each."
        )
    releases = {member.version for member in view.members if member.version}
    if len(releases) > 1:
        each = ", ".join(f"{member.name} {member.version}" for member in view.members if member.version)
        yield f"The nodes run different releases: {each}. Finish the upgrade."
