"""The text of `haagent status`: who is there, what is where, why, and what is wrong. For 80 columns.

Tables have the width of their content, and sentences are wrapped. Several addresses stand below one another, because a
cut-off address is worse than a long list.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from haagent.cli.style import BOLD, DIM, YELLOW, Style

Facts = dict[str, Any]

WIDTH = 80
STATE_COLUMN = 1  # of both tables


def status_text(facts: Facts, *, style: Style, now: float, width: int = WIDTH) -> str:
    """`now`: seconds of the epoch, to say for how long."""
    parts = [_head(facts, style, width), _members(facts, style)]
    if facts["groups"]:
        parts.append(_groups(facts, style, now))
        parts.append("\n".join([*(_why(group, width) for group in facts["groups"]), *_gates(facts, width)]))
    if facts["sessions"]:
        parts.append(_sessions(facts, width))
    if facts["warnings"]:
        parts.append("\n".join(_warning(text, style, width) for text in facts["warnings"]))
    return "\n\n".join(parts)


def _head(facts: Facts, style: Style, width: int) -> str:
    said = [
        "quorum" if facts["quorate"] else "no quorum",
        f"leader {facts['leader']}" if facts["leader"] else "no leader",
        f"on_partition {facts['on_partition']}",
        *_arbiter(facts["coordination"]),
    ]
    text = f"Cluster {facts['cluster']}, seen from {facts['node']}: {', '.join(said)}."
    lines = textwrap.wrap(text, width)
    return "\n".join(style.paint(line, BOLD) for line in lines)


def _arbiter(coordination: Facts | None) -> list[str]:
    if coordination is None:
        return []
    if not coordination["reachable"]:
        return [f"no leases from {coordination['kind']}"]
    return [f"leases from {coordination['kind']} ({coordination['round_trip_ms']:.1f} ms)"]


def _members(facts: Facts, style: Style) -> str:
    rows = [
        (
            member["name"],
            member["state"],
            member["address"],
            _heard(member),
            "-" if member["me"] else ",".join(member["links"]) or "none",
            member["version"],
        )
        for member in facts["members"]
    ]
    return table(("MEMBER", "STATE", "ADDRESS", "HEARD", "LINKS", "VERSION"), rows, style)


def _heard(member: Facts) -> str:
    ago, silent = member["last_heard_ms"], member["silent_ms"]
    if member["me"]:
        when = "here"
    elif ago is None:
        return "never"
    else:
        when = f"{ago:.0f} ms ago" if ago < 10_000 else f"{duration(ago / 1000)} ago"
    return f"{when}; just started, no vote for {silent / 1000:.1f} s" if silent else when


def _groups(facts: Facts, style: Style, now: float) -> str:
    rows: list[tuple[str, ...]] = []
    for group in facts["groups"]:
        addresses = group["addresses"] or ["-"]
        since, lease = group["since"], group["lease_ms"]
        rows.append(
            (
                group["name"],
                group["state"],
                group["holder"] or "nobody",
                "-" if since is None else duration(max(0.0, now - since)),
                "-" if lease is None else f"{lease:.0f} ms",
                addresses[0],
            )
        )
        rows += [("", "", "", "", "", address) for address in addresses[1:]]
    return table(("GROUP", "STATE", "HOLDER", "FOR", "LEASE", "ADDRESSES"), rows, style)


def _why(group: Facts, width: int) -> str:
    said = [group["why"] or "the nodes are deciding"]
    if group["failures"]:
        counts = ", ".join(f"{node} {count}" for node, count in group["failures"].items())
        said.append(f"failures: {counts} (`haagent clear {group['name']}` forgets them)")
    if group["penalties"]:
        said.append("failing checks weigh: " + ", ".join(f"{node} {sum_}" for node, sum_ in group["penalties"].items()))
    if not group["eligible"] and group["why_not"]:
        said.append(f"this node is not fit: {group['why_not']}")
    text = f"{group['name']}: {'; '.join(said)}."
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _gates(facts: Facts, width: int) -> list[str]:
    """What the kernel of the node that was asked lets through."""
    said = [f"{group['name']} {group['gate']['state']}" for group in facts["groups"] if group["gate"]["state"]]
    return textwrap.wrap(f"Gate on {facts['node']}: {', '.join(said)}.", width) if said else []


def _sessions(facts: Facts, width: int) -> str:
    sessions = facts["sessions"]
    if not sessions.get("ready"):
        return f"Sessions on {facts['node']}: not ready."
    clients = f"{sessions['clients']} clients at {sessions['listen']}"
    if sessions.get("store") == "redis":
        return textwrap.fill(f"Sessions on {facts['node']}: in Redis at {sessions['master']}; {clients}.", width)
    others = [peer["name"] for peer in sessions["peers"] if peer["linked"] and peer["in_sync"]]
    where = f"also on {', '.join(others)}" if others else "on this node alone"
    return textwrap.fill(f"Sessions on {facts['node']}: {sessions['keys']} keys, {where}; {clients}.", width)


def _warning(text: str, style: Style, width: int) -> str:
    wrapped = textwrap.wrap(f"! {text}", width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(style.paint(line, YELLOW) for line in wrapped)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    for cells in padded[1:]:
        cells[STATE_COLUMN] = style.state(cells[STATE_COLUMN])
    first, *others = ("  ".join(cells).rstrip() for cells in padded)
    return "\n".join([style.paint(first, DIM), *others])


def duration(seconds: float) -> str:
    """Two units at most: `42 s`, `3 min 5 s`, `2 h 4 min`, `12 d 3 h`."""
    whole = int(seconds)
    for size, unit, below, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
