"""A lab at a glance: what runs, what every agent believes, which faults are in force."""

from __future__ import annotations

from typing import Any

from haagent.lab.cluster import Lab
from haagent.lab.errors import LabError
from haagent.lab.plan import Host
from haagent.lab.state import HostState, LabState

Facts = dict[str, Any]


def look(lab: Lab) -> Facts:
    now = lab.state()
    return {
        "name": now.name,
        "directory": str(lab.directory),
        "addresses": list(now.plan.vips),
        "hosts": [_look_at(lab, now, host) for host in now.plan.hosts],
        "faults": now.damage.sentences(),
    }


def _look_at(lab: Lab, now: LabState, host: Host) -> Facts:
    known = now.hosts[host.name]
    facts: Facts = {
        "name": host.name,
        "address": host.address,
        "ttl": host.ttl,
        "witness": host.witness,
        "up": known.keeper.is_alive and not known.crashed,
    }
    if host.runs_agent and now.command:
        facts["agent"] = _state_of(known)
        facts["pid"] = known.agent.pid if known.agent is not None else None
        facts["sees"] = _view_of(lab, host.name) if facts["agent"] == "running" else None
    return facts


def _state_of(known: HostState) -> str:
    if known.crashed:
        return "host lost"
    if known.agent is None or not known.agent.is_alive:
        return "ended"
    return "frozen" if known.agent.is_frozen else "running"


def _view_of(lab: Lab, name: str) -> Facts | None:
    try:
        status = lab.agents.status(name)
    except LabError:
        return None
    return {
        "members": {member["name"]: member["state"] for member in status.get("members", [])},
        "holders": {group["name"]: group["holder"] for group in status.get("groups", [])},
    }


def sentences(facts: Facts) -> list[str]:
    lines = [f"lab {facts['name']} in {facts['directory']}", f"address {' and '.join(facts['addresses'])}", ""]
    for host in facts["hosts"]:
        if "agent" not in host:
            lines.append(f"  {host['name']:7} {host['address']:12} {'up' if host['up'] else 'down'}")
            continue
        pid = f" (pid {host['pid']})" if host["agent"] in ("running", "frozen") else ""
        lines.append(f"  {host['name']:7} {host['address']:12} agent {host['agent']}{pid}{_seen(host)}")
    lines += ["", *(f"fault: {fault}" for fault in facts["faults"] or ["none"])]
    return lines


def _seen(host: Facts) -> str:
    if host["agent"] != "running":
        return ""
    if host["sees"] is None:
        return ", does not answer"
    members = ", ".join(f"{name} {state}" for name, state in host["sees"]["members"].items())
    holders = ", ".join(f"{group} on {holder or 'nobody'}" for group, holder in host["sees"]["holders"].items())
    return f"; sees {members}; {holders}"
