"""The view of a node, and the sentences in it that say why each group is where it is."""

from __future__ import annotations

from haagent.core import agreement, clocks, election, maintenance, outline, twins
from haagent.core.group import arbitration, candidacy, choice, ownership
from haagent.core.group.state import Group
from haagent.core.group.transitions import GroupState
from haagent.core.history import legible
from haagent.core.membership import NEVER, Peer
from haagent.core.messages import Ballot, GroupBeat
from haagent.core.node_state import NodeState
from haagent.core.settings import LEADER
from haagent.core.view import GroupView, MemberState, MemberView, View


def view(state: NodeState, now: float) -> View:
    alive = state.membership.alive(now)
    return View(
        cluster=state.settings.cluster,
        node=state.settings.me,
        leader=election.holder(state.groups[LEADER], state, now)[0] if LEADER in state.groups else "",
        quorate=state.is_quorate(now),
        consistent=state.settings.consistent,
        maintenance=state.orders.in_maintenance,
        stopping=state.is_stopping,
        members=tuple(_member(state, name, now) for name in state.settings.voters),
        groups=tuple(_group(state, group, now) for group in state.groups.values()),
        history=state.history.merged(),
        arbiter=state.settings.arbiter,
        arbiter_fault=state.arbiter_fault if state.settings.arbiter else "",
        voters=state.voters,
        voters_differ=agreement.explain(state),
        maintenance_unheard=maintenance.unaware(state, now) if state.orders.in_maintenance else (),
        maintenance_known=not state.orders.in_maintenance or maintenance.is_known(state, now),
        clock_fault=clocks.explain(state),
        stands_down=twins.explain(state, now),
        doubled=() if state.stands_down else twins.names(state, now),
        at_odds=tuple(peer.name for peer in alive if not state.is_at_one(peer.beat)),
    )


def _member(state: NodeState, name: str, now: float) -> MemberView:
    settings = state.settings
    if name == settings.me:
        return MemberView(
            name=name,
            state=_state(state, name, is_alive=True),
            me=True,
            last_heard_s=0.0,
            version=settings.version,
            links=(),
            boot=state.boot,
            config_matches=True,
            silent_s=max(0.0, state.silent_until - now),
        )
    peer = state.membership.peers[name]
    theirs = peer.beat.outline if peer.beat is not None else None
    return MemberView(
        name=name,
        state=_state(state, name, is_alive=peer.is_alive(now)),
        me=False,
        last_heard_s=None if peer.heard_at == NEVER else now - peer.heard_at,
        version=legible(peer.beat.version) if peer.beat is not None else "",
        links=tuple(sorted(link for link, at in peer.links.items() if now < at + settings.dead_after_s)),
        boot=peer.boot or 0,
        config_matches=peer.beat is None or peer.beat.config_hash in ("", settings.config_hash),
        config_differs=tuple(outline.differences(settings.outline, theirs)) if theirs is not None else (),
        silent_s=max(0.0, peer.silent_ms / 1000 - (now - peer.heard_at)),
    )


def _state(state: NodeState, name: str, *, is_alive: bool) -> MemberState:
    if not is_alive:
        return MemberState.OFFLINE
    if name in state.settings.witnesses:
        return MemberState.WITNESS
    return MemberState.STANDBY if state.orders.is_standby(name) else MemberState.ONLINE


def _group(state: NodeState, group: Group, now: float) -> GroupView:
    name = group.name
    holder, peer = election.holder(group, state, now)
    theirs = peer.groups.get(name) if peer is not None else None
    is_mine = holder == state.settings.me
    said = {state.settings.me: group.beat(now)} | {other.name: beat for other, beat in state.beats(now, name)}
    ballot: Ballot | None
    left_s: float | None
    if is_mine:
        held_s = now - group.held_since
        gap_s = group.service.gap_s
        moving_to = group.handover.to if group.state is GroupState.YIELDING else ""
        ballot = group.attempt.ballot
        left_s = group.attempt.ends_at - now
    else:
        held_s = theirs.held_ms / 1000 + now - peer.told[name].heard_at if theirs and peer else 0.0
        gap_s = theirs.gap_ms / 1000 if theirs and theirs.gap_ms >= 0 else None
        moving_to = theirs.yield_to if theirs and theirs.held_ms else ""
        accepted = group.voter.accepted
        ballot = theirs.claim if theirs else accepted.ballot if accepted else None
        left_s = group.voter.bound_until - now if group.voter.is_bound(now) else None
    return GroupView(
        name=name,
        holder=holder,
        state=group.state,
        active=bool(group.state in (GroupState.ACTIVE, GroupState.YIELDING) or (theirs and theirs.active)),
        since=state.wall(now) - held_s if holder else None,
        ballot=ballot,
        lease_s=left_s if holder else None,
        why=_why(state, group, now, holder, peer, theirs),
        failures={node: said[node].failures for node in sorted(said) if said[node].failures},
        gap_s=gap_s if holder else None,
        moving_to=moving_to,
        eligible=not group.why_not(state.settings.me),
        why_not=group.why_not(state.settings.me),
        penalties={node: said[node].penalty for node in sorted(said) if said[node].penalty},
        withheld=ownership.explain(group, state, now),
    )


def _why(state: NodeState, group: Group, now: float, holder: str, peer: Peer | None, theirs: GroupBeat | None) -> str:
    if not holder:
        return _why_nobody(state, group, now)
    if holder == state.settings.me:
        return _why_mine(group)
    if holder == arbitration.holder(group, now) and (peer is None or not peer.is_alive(now)):
        return f"{state.settings.arbiter} gave the lease to {holder}, which this node does not hear"
    if theirs is None or peer is None or not theirs.held_ms:
        return f"{holder} held it when last heard; its lease has not run out yet"
    if not peer.is_alive(now):
        return f"{holder} is silent; its lease has not run out yet"
    if theirs.yield_to:
        return f"{holder} is handing it over to {theirs.yield_to}"
    if not theirs.active:
        return f"{holder} has the lease and is activating it"
    return f"{holder} holds it: {legible(theirs.cause)}" if theirs.cause else f"{holder} holds it"


def _why_mine(group: Group) -> str:
    match group.state:
        case GroupState.TAKING:
            return "this node has the lease and is activating it"
        case GroupState.YIELDING:
            return f"this node is handing it over to {group.handover.to}"
        case GroupState.DROPPING:
            return "this node is releasing it"
    return f"this node holds it: {group.cause}"


def _why_nobody(state: NodeState, group: Group, now: float) -> str:
    if group.state in (GroupState.WANTING, GroupState.CLAIMING):
        return f"this node is asking {state.settings.arbiter if state.is_arbitrated else 'the others'} for the lease"
    reasons = [obstacle] if (obstacle := candidacy.obstacle(group, state, now)) else []
    if not state.is_quorate(now) or state.orders.in_maintenance:
        return f"nobody holds it: {obstacle}"
    first, _ = choice.awaited(group, state, now)
    if first and not obstacle:
        reasons.append(f"it waits for {first}, the first choice, to start")
    for peer, beat in state.beats(now, group.name):
        if unfit := state.unfitness(peer.name, now):
            reasons.append(unfit)
        elif peer.name in group.settings.never:
            reasons.append(f"`never` names {peer.name}")
        elif not beat.eligible:
            reasons.append(f"{peer.name}: {legible(beat.why_not)}")
        elif beat.failures:
            reasons.append(f"{peer.name} failed {beat.failures} times and waits")
    if group.failures and not obstacle:
        reasons.append(f"this node failed {len(group.failures)} times and waits")
    return "nobody holds it: " + ("; ".join(reasons) if reasons else "an election is under way")
