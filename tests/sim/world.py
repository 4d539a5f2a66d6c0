"""The worlds of tests: `haagent.simulate` with settings made from a few letters."""

from __future__ import annotations

from haagent.core.settings import LEADER, GroupSettings, NodeSettings, Settings
from haagent.simulate import Host, PlannedKill, Served, World, steady_world

__all__ = ["Host", "PlannedKill", "Served", "World", "make_settings", "steady_world"]


def make_settings(
    *,
    nodes: str = "ABC",
    witnesses: str = "",
    groups: dict[str, tuple[str, ...]] | None = None,
    consistent: bool = True,
    interval_s: float = 0.1,
    failback_after_s: float | None = None,
    alone_after_s: float = 5.0,
    arp_guard: bool = False,
) -> Settings:
    chosen = {"web": ("A", "B")} if groups is None else groups
    return Settings(
        cluster="sim",
        me=nodes[0],
        nodes=tuple(NodeSettings(name, name in witnesses) for name in nodes),
        groups=(
            GroupSettings(LEADER),
            *(GroupSettings(name, prefer, failback_after_s) for name, prefer in chosen.items()),
        ),
        interval_s=interval_s,
        lease_s=3.5 * interval_s,
        consistent=consistent,
        alone_after_s=alone_after_s,
        start_grace_s=1.0,
        failure_expiry_s=600.0,
        version="sim",
        arp_guard=arp_guard,
    )
