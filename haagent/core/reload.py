"""Another configuration: groups come, go and change, and so do the nodes.

All changes live but for how long votes count, which the shell refuses. What a group loses is gone from the host before
the core hears of it; what it gains is served when `group.ownership` says so.
"""

from __future__ import annotations

from haagent.core import election
from haagent.core.event_kinds import Kind
from haagent.core.group import ownership
from haagent.core.group.state import Group
from haagent.core.membership import NEVER
from haagent.core.node_state import NodeState
from haagent.core.settings import GroupSettings, Settings


def add(state: NodeState, settings: GroupSettings, now: float, *, silent_until: float = NEVER) -> None:
    state.groups[settings.name] = Group.new(settings, now, floor=state.round, silent_until=silent_until)


def reconfigure(state: NodeState, now: float, settings: Settings) -> None:
    kept = {group.name: group for group in settings.groups}
    state.former = {name: voter for name, voter in state.former.items() if voter.is_bound(now)}
    for name, group in list(state.groups.items()):
        if name in kept:
            group.settings = kept[name]
            ownership.reconfigure(group)
            if group.lease is not None:
                group.lease.shorten(settings)
        else:
            _remove(state, now, group)
    # It may have been here before: no vote for one lease, as after a restart.
    silent_until = now + settings.silence_s(state.longest_lease_s(now))
    for name, added in kept.items():
        if name not in state.groups:
            add(state, added, now, silent_until=silent_until)
    state.settings, state.witnesses = settings, settings.witnesses
    state.membership.reconfigure(settings)
    state.orders.reconfigure(settings)
    state.note(Kind.RELOADED, "", f"configuration {settings.config_hash} is in force", now=now)
    state.urge()


def _remove(state: NodeState, now: float, group: Group) -> None:
    election.abandon(group, state, now)
    election.drop(group, state, now, "the group was removed from the configuration")
    if group.voter.is_bound(now):
        state.former[group.name] = group.voter
    del state.groups[group.name]
