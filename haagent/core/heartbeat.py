"""What a node says: its heartbeat, and the farewell to a group (`handover`)."""

from __future__ import annotations

import math

import msgspec

from haagent.core import outline
from haagent.core.messages import GroupBeat, Heartbeat
from haagent.core.node_state import NodeState


def heartbeat(state: NodeState, now: float, seq: int, *, stopping: bool = False) -> Heartbeat:
    settings = state.settings
    return Heartbeat(
        cluster=settings.cluster,
        node=settings.me,
        boot=state.boot,
        seq=seq,
        interval_ms=max(1, round(1000 * settings.interval_s)),
        # Rounded up: a voter must be bound for at least as long as the holder counts on.
        lease_ms=max(1, math.ceil(1000 * settings.lease_s - 1e-6)),
        standby=state.orders.is_standby(settings.me),
        heard=state.membership.next_echoes(),
        groups=tuple(group.beat(now) for group in state.groups.values()),
        orders=state.orders.to_send(now),
        version=settings.version,
        gateway=state.gateway,
        stopping=stopping,
        records=state.history.to_send(state.membership.alive(now)),
        recorded=state.history.stored(),
        config_hash=settings.config_hash,
        agreed=state.agreed if state.is_agreed else None,
        policy=settings.policy,
        heard_lease_ms=state.leases.longest_ms(now),
        told_lease_ms=state.leases_told.longest_ms(now),
        age_ms=max(1, round(1000 * (now - state.born))),
        doubled=state.membership.doubled(now),
        outline=outline.to_send(state, now),
        silent_ms=max(0, round(1000 * (state.silent_until - now))),
        former=tuple(
            GroupBeat(name, accepted=voter.accepted, addresses=voter.addresses)
            for name, voter in state.former.items()
            if voter.is_bound(now)
        ),
        parts=1,
        host=state.host,
    )


def with_word(beat: Heartbeat, word: GroupBeat) -> Heartbeat:
    """The same, but for what it says of one group."""
    groups = tuple(word if group.name == word.name else group for group in beat.groups)
    return msgspec.structs.replace(beat, groups=groups)


def let_go_for(beat: Heartbeat, group: str, down_s: float) -> Heartbeat:
    """A farewell as it is true when it goes out: the group has not been served for so long."""
    word = next(one for one in beat.groups if one.name == group)
    return with_word(beat, msgspec.structs.replace(word, down_ms=1000 * down_s))
