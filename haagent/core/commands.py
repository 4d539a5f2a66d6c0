"""Operators' commands: refused with the reason, or turned into an order that every node will know."""

from __future__ import annotations

from haagent.core import election, placement, reserved, twins
from haagent.core.event_kinds import Kind
from haagent.core.events import Answer, Asked
from haagent.core.group import choice
from haagent.core.group.state import Group
from haagent.core.limits import MAX_WAIT_MS
from haagent.core.messages import Ballot, Order
from haagent.core.node_state import NodeState
from haagent.core.registers import MAINTENANCE

DONE, REFUSED = 0, 4


def answer(state: NodeState, now: float, asked: Asked) -> Answer:
    status, text = _decide(state, now, asked)
    if status == DONE:
        what = " ".join(filter(None, [asked.what, asked.group, asked.node and f"to {asked.node}"]))
        state.note(Kind.ASKED, asked.group, f"operator: {what if asked.on else what + ' off'}; {text}", now=now)
        state.urge()
    return Answer(asked.id, status, text)


def _decide(state: NodeState, now: float, asked: Asked) -> tuple[int, str]:
    if state.stands_down:
        return REFUSED, f"no other node listens to this one: {twins.explain(state, now)}"
    if (asked.group or asked.what == "move") and asked.group not in state.groups:
        return REFUSED, f"there is no group `{asked.group}`; groups: {', '.join(state.groups)}"
    if (asked.node or asked.what in ("move", "standby")) and asked.node not in state.settings.voters:
        return REFUSED, f"there is no node `{asked.node}`; nodes: {', '.join(state.settings.voters)}"
    match asked.what:
        case "move":
            return _move(state, state.groups[asked.group], now, asked)
        case "standby":
            return _standby(state, now, asked)
        case "maintenance":
            return _maintenance(state, now, asked)
        case "clear":
            groups = [asked.group] if asked.group else list(state.groups)
            for group in groups:
                state.order(now, f"clear/{group}")
            return DONE, f"failures of {', '.join(groups)} are forgotten"
    return REFUSED, f"there is no command `{asked.what}`"


def _move(state: NodeState, group: Group, now: float, asked: Asked) -> tuple[int, str]:
    name, target = asked.group, asked.node
    if state.orders.in_maintenance:
        return REFUSED, "maintenance is on; end it with `haagent maintenance off` first"
    if unfit := state.unfitness(target, now):
        return REFUSED, f"{unfit}; it cannot take {name}"
    if target in group.settings.never:
        return REFUSED, f"{target} never holds {name}: the configuration names it in `never`"
    holder, _ = election.holder(group, state, now)
    if not holder:
        return REFUSED, f"nobody holds {name} now, so there is nothing to move; see `haagent status`"
    if holder == target:
        return DONE, f"{name} is already on {target}"
    ballot = _ballot_of(state, group, now, holder)
    if ballot is None:
        return REFUSED, f"{name} is just changing hands; try again in a moment"
    why_not = _why_ineligible(state, group, now, target)
    if why_not and not asked.force:
        return REFUSED, f"{target} is not fit to hold {name}: {why_not}; `--force` moves it all the same"
    if not asked.force and (better := _better_than(state, group, now, target)):
        return REFUSED, f"{better}; `--force` moves it all the same"
    state.orders.give(
        now,
        f"move/{name}",
        wall=state.wall(now),
        target=target,
        ballot=ballot,
        forced=asked.force,
        ttl_s=min(asked.wait_s, MAX_WAIT_MS / 1000),
    )
    return DONE, f"asked {holder} to hand {name} over to {target}"


def _ballot_of(state: NodeState, group: Group, now: float, holder: str) -> Ballot | None:
    if holder == state.settings.me:
        return group.attempt.ballot
    return next((beat.claim for peer, beat in state.beats(now, group.name) if peer.name == holder), None)


def _why_ineligible(state: NodeState, group: Group, now: float, target: str) -> str:
    if target == state.settings.me:
        return group.why_unfit
    for peer, beat in state.beats(now, group.name):
        if peer.name == target:
            return "" if beat.eligible else beat.why_not or "a check fails"
    return f"{target} does not know the group; is its configuration the same?"


def _better_than(state: NodeState, group: Group, now: float, target: str) -> str:
    """Whom the target would hand it on to at once."""
    found = choice.candidates(group, state, now)
    better = placement.lighter(group.settings, target, found)
    if better is None:
        return ""
    theirs = placement.penalty(target, found)
    return f"the failing checks of {target} weigh {theirs}, and those of {better.name} {better.penalty}"


def _standby(state: NodeState, now: float, asked: Asked) -> tuple[int, str]:
    node = asked.node
    if node in state.settings.witnesses:
        return REFUSED, f"{node} is a witness: it never holds anything"
    already = state.orders.is_standby(node) == asked.on
    state.order(now, f"standby/{node}", on=asked.on)  # given anew in any case: the others may know a newer one
    where = "in standby" if asked.on else "back from standby"
    return DONE, f"{node} is {'already ' if already else ''}{where}"


def _maintenance(state: NodeState, now: float, asked: Asked) -> tuple[int, str]:
    already = state.orders.in_maintenance == asked.on
    away = "" if asked.on else ", ".join(_away(state, now))
    if away and not already and not asked.force:
        return REFUSED, (
            f"{away} held something when it was last heard and is offline, or on another host now: its addresses may "
            "still be in place. Start its agent there, or make sure that the host is down and use `--force`"
        )
    # Given anew if it is so already: the others may know a newer one.
    forced = asked.force and bool(away)
    state.orders.give(now, MAINTENANCE, wall=state.wall(now), on=asked.on, forced=forced)
    if already:
        return DONE, f"maintenance is already {'on' if asked.on else 'off'}"
    return DONE, f"maintenance is {'on: nothing moves until it is off' if asked.on else 'off'}"


def _away(state: NodeState, now: float) -> list[str]:
    """Who had something, and may have left it in place."""
    groups = state.groups.values()
    had = {group.service.by for group in groups} | {reserved.keeper(state, name) for name in state.left}
    elsewhere = {reserved.keeper(state, name) for name, one in state.left.items() if not reserved.is_there(state, one)}
    return sorted((had - {*state.membership.alive_names(now)} | elsewhere) - {""})


def describe(order: Order) -> str:
    """An order that came from another node, for the history."""
    kind, _, name = order.key.partition("/")
    match kind:
        case "down":
            return f"{order.writer} says that {name} is {'down for certain' if order.on else 'back'}"
        case "standby":
            return f"{order.writer} put {name} {'in' if order.on else 'back from'} standby"
        case "move":
            return f"{order.writer} asks to move {name} to {order.target}" if order.on else f"the move of {name} is off"
        case "clear":
            return f"{order.writer} cleared the failures of {name}"
    return f"{order.writer} switched maintenance {'on' if order.on else 'off'}"
