"""When this node tries to take a group: what keeps it from trying, and when its turn comes."""

from __future__ import annotations

from haagent.core import reserved
from haagent.core.group import arbitration, caution, choice, ownership
from haagent.core.group.state import Group
from haagent.core.membership import NEVER
from haagent.core.messages import GroupBeat, Heartbeat
from haagent.core.node_state import NodeState


def hear(group: Group, state: NodeState, now: float, sender: Heartbeat, beat: GroupBeat) -> None:
    if beat.claim is not None:
        group.candidacy.claims[sender.node] = now + min(sender.lease_ms / 1000, state.longest_credible_lease_s)
        if beat.held_ms:
            group.candidacy.courteous_until = NEVER
    else:
        group.candidacy.claims.pop(sender.node, None)


def let_others(group: Group, now: float, *, wait_s: float) -> None:
    group.candidacy.not_before = max(group.candidacy.not_before, now + wait_s)


def hurry(group: Group, now: float) -> None:
    """Whoever was waited for is down."""
    group.candidacy.not_before = min(group.candidacy.not_before, now)
    group.candidacy.courteous_until = min(group.candidacy.courteous_until, now)


def obstacle(group: Group, state: NodeState, now: float) -> str:
    """Why this node would not take the group at present; empty: it would."""
    me = state.settings.me
    if unfit := state.unfitness(me, now):
        return unfit
    if group.why_not(me) and (me in group.settings.never or not is_forced(group, state, now)):
        return group.why_not(me)
    was_ours = group.was_found or group.service.by == me
    if state.orders.in_maintenance and not was_ours:
        return "maintenance is on"
    if keeper := reserved.keeper(state, group.name):
        is_there = reserved.is_there(state, state.left[group.name])
        who = keeper if is_there else f"another {keeper}"
        is_known = keeper in state.membership.peers
        word = f"confirm-down {keeper}" if is_there and is_known else "maintenance off --force"
        return (
            f"{who} had it in maintenance, and may have left it in place: start the agent there, or make sure that "
            f"the host is down and use `haagent {word}`"
        )
    if not state.may_vote_on(group, now):
        return "it has just started and waits for votes of its earlier life to run out"
    if now < state.listen_until:
        return "it was not running for a while and listens first"
    if not state.may_act_alone(now):
        return "it hears no other node and waits for alone_after"
    if why := state.isolation(now):
        return why
    if not is_successor(group, state, now) and (why := caution.obstacle(group, state, now)):
        return why
    if why := ownership.obstacle(group, state, now):
        return why
    if state.settings.arbiter:
        return state.arbiter_fault if state.settings.consistent else ""
    if not state.is_quorate(now):
        heard, total = len(state.voters_heard(now)), len(state.agreed.voters)
        return f"it sees {heard} of {total} voters and needs {state.majority}"
    return ""


def is_forced(group: Group, state: NodeState, now: float) -> bool:
    order = state.orders.move(now, group.name)
    return order is not None and order.forced and order.target == state.settings.me


def reckon(group: Group, state: NodeState, now: float) -> None:
    """Set when our turn comes (`try_at`), as things are now."""
    mine = group.candidacy
    mine.try_at = float("inf")
    is_chosen = is_successor(group, state, now)
    is_settled = group.voter.is_bound(now) and not is_chosen
    if is_settled or obstacle(group, state, now):
        mine.free_since = now
        return
    if is_chosen:
        mine.try_at = now
        return
    # A claim that we heard while we had no vote to give (restart silence) counts as well: in `available` its
    # holder may be declared dead, and leave the electorate, before its lease ends.
    spent_at = max([group.voter.bound_until, group.arbitration.bound_until, *mine.claims.values()])
    is_held = holder_elsewhere(group, state, now) or is_claimed(group, now)
    if is_held or arbitration.holder(group, now):
        mine.free_since = now
        return
    if _has_promised(group, state, now):
        mine.try_at = now + state.slot_s
        return
    first, until = choice.awaited(group, state, now)
    if first:
        mine.free_since, mine.try_at = now, until
        return
    # The patience counts from when the group became free, not from when we came to look.
    mine.free_since = min(now, max(mine.free_since, spent_at))
    wait_s = patience_s(group, state, now) + choice.hesitation_s(group, state, now)
    mine.try_at = max(mine.not_before, mine.courteous_until, mine.free_since + wait_s)


def is_successor(group: Group, state: NodeState, now: float) -> bool:
    """A holder is about to let go in our favour (rule 4 of `election`)."""
    me = state.settings.me
    for _, beat in state.beats(now, group.name):
        if beat.yield_to == me and (beat.claim is not None or _is_free_after(group, state, now, beat)):
            return True
    return False


def _is_free_after(group: Group, state: NodeState, now: float, beat: GroupBeat) -> bool:
    """Its release is the last word on the group that we know of."""
    if beat.released is None:
        return False
    promises = [group.voter.promised]
    promises += [other.promised for _, other in state.beats(now, group.name)]
    return all(promised is None or promised <= beat.released for promised in promises)


def _has_promised(group: Group, state: NodeState, now: float) -> bool:
    """Our vote is with somebody's present want: let it win."""
    promised = group.voter.promised
    return promised is not None and promised in [beat.want for _, beat in state.beats(now, group.name)]


def is_claimed(group: Group, now: float) -> bool:
    """Somebody has claimed it lately enough to hold it still, whether or not it hears us."""
    return any(now < end for end in group.candidacy.claims.values())


def holder_elsewhere(group: Group, state: NodeState, now: float) -> str:
    """A living peer that says it holds the group."""
    for peer, beat in state.beats(now, group.name):
        if beat.claim is not None and beat.held_ms > 0:
            return peer.name
    return ""


def patience_s(group: Group, state: NodeState, now: float) -> float:
    """Rule 3 of `election`: a slot for each node that is before us."""
    me, ranked = state.settings.me, choice.ranked(group, state, now)
    rank = ranked.index(me) if me in ranked else len(ranked)
    return rank * state.slot_s


def explain(group: Group, state: NodeState, now: float) -> str:
    if group.was_found:
        return "it was active here before the agent restarted"
    for peer, beat in state.beats(now, group.name):
        if beat.yield_to == state.settings.me:
            return f"{peer.name} handed it over"
    last = group.service
    if not last.by:
        first = choice.expected(group, state, now)
        if first == state.settings.me:
            return "nobody held it and this node is the first choice"
        is_there = state.membership.peers[first].is_alive(now)
        return f"nobody held it, and {first}, the first choice, {'has not taken it' if is_there else 'is not there'}"
    if last.by == state.settings.me:
        return "nobody else took it" if last.at > NEVER else "it was active here before the agent restarted"
    has_let_go = last.by in group.voter.released and last.by in state.membership.alive_names(now)
    return f"{last.by} released it" if has_let_go else f"{last.by} is gone"


def due(group: Group) -> list[float]:
    mine = group.candidacy
    return [*mine.claims.values(), group.arbitration.bound_until, mine.not_before, mine.courteous_until, mine.try_at]
