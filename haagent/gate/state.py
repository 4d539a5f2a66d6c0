"""What the gate says of a group's addresses, for `status`."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any


class GateState(enum.StrEnum):
    OPEN = "open"
    SHUT = "shut"
    OFF = "off"  # the configuration says so
    UNAVAILABLE = "unavailable"  # this host cannot, and the reason is told


def gate_warnings(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Of groups, by what the activation tells of each."""
    lacking = {facts["gate"]["why"]: facts["gate"]["state"] for facts in groups.values()}
    for why, state in lacking.items():
        if state in ("off", "unavailable"):
            yield (
                f"There is no gate on this node: {why}. If its agent dies or hangs, it may go on answering for what it "
                "held until the addresses' lifetimes end, seconds after another node has taken over."
            )
    for name, facts in groups.items():
        if facts["gate"]["state"] == "shut" and facts["held"]:
            yield f"{name} is active here, but its gate is shut: no traffic arrives (`haagent events`)."
