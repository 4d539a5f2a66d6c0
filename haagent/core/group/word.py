"""What this node says of a group in its heartbeats."""

from __future__ import annotations

from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING, GroupState
from haagent.core.membership import NEVER
from haagent.core.messages import GroupBeat


def beat(group: Group, now: float) -> GroupBeat:
    lease, state, voter, service = group.lease, group.state, group.voter, group.service
    holds = state in HOLDING or state is GroupState.DROPPING
    return GroupBeat(
        name=group.name,
        promised=voter.promised,
        accepted=voter.accepted if voter.is_bound(now) else None,
        want=lease.ballot if lease and state is GroupState.WANTING else None,
        claim=lease.ballot if lease and (holds or state is GroupState.CLAIMING) else None,
        released=group.released,
        tenure=lease.tenure if lease and holds else None,
        active=state in (GroupState.ACTIVE, GroupState.YIELDING),
        eligible=not group.why_unfit,
        why_not=group.why_unfit,
        failures=len(group.failures),
        held_ms=max(1, int(1000 * (now - group.held_since))) if holds else 0,
        yield_to=group.handover.to,
        gap_ms=-1.0 if service.gap_s is None else 1000 * service.gap_s,
        down_ms=1000 * (now - group.drop_began) if group.drop_began > NEVER else -1.0,
        cause=group.cause if holds else "",
        leaving=state is GroupState.DROPPING,
        penalty=group.penalty,
    )
