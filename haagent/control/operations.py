"""Operators' orders: given to the core, then watched on the cluster's view until they have come true.

The core answers an order at once: accepted (it now travels with the heartbeats) or refused. Accepted is not done. So
these coroutines go on to compare the view with what was ordered, and tell the difference between *done*, *not yet*
and *it went elsewhere*. They only look; the order stands whether or not anyone waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from haagent.config.faults import nearest
from haagent.control.facade import Facade
from haagent.control.requests import Clear, Failover, Listener, Maintenance, Refusal, Standby, Unstandby
from haagent.core.settings import LEADER
from haagent.core.view import GroupView, MemberState, MemberView, View

Result = dict[str, object]

FAILED, USAGE, REFUSED = 1, 2, 4  # exit status

GAP_S = 0.5  # the new holder knows the outage when it serves; its word on it may come a few heartbeats later
UNATTENDED_S = 10.0  # how long an order stands that nobody waits for
KNOWN_S = 3.0  # how long `maintenance on` waits for a majority to have it: some intervals
LOOK_AGAIN_S = 1.0  # a change is announced; looking without one is the net under that


async def views(agent: Facade, for_s: float) -> AsyncIterator[View]:
    """The view now, after each change, and once more when the time is up."""
    loop = asyncio.get_running_loop()
    end = loop.time() + for_s
    yield agent.view()
    while (left := end - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left, LOOK_AGAIN_S)):
                await agent.wait_change()
        except TimeoutError:
            pass  # nothing changed: looked at all the same
        yield agent.view()


async def failover(agent: Facade, request: Failover, listener: Listener) -> Result:
    """Move a group. Judged by where the group is, not by whether the order still exists.

    A client that left is found out by writing to it, so that commands nobody waits for do not pile up.
    """
    before = agent.view()
    group = find_group(before, request.group or _only_group(before))
    find_member(before, request.to)
    if group.holder == request.to and group.active:
        return _moved(group, origin=request.to, already=True)
    wait_s = request.wait_s or UNATTENDED_S
    await _give(agent, what="move", group=group.name, node=request.to, force=request.force, wait_s=wait_s)
    if not request.wait_s:
        text = f"{group.name} is ordered to {request.to}; `haagent status` shows when it is there."
        return {"group": group.name, "to": request.to, "done": False, "text": text}
    arrived = await _arrival(agent, request, group, listener)
    return _moved(arrived, origin=group.holder, already=False)


async def _arrival(agent: Facade, request: Failover, before: GroupView, listener: Listener) -> GroupView:
    left_origin, said, now = not before.holder, "", before
    async for view in views(agent, request.wait_s):
        now = find_group(view, before.name)
        if now.holder == request.to and now.active:
            return await _with_gap(agent, now)
        left_origin = left_origin or now.holder != before.holder
        if left_origin and now.active and now.holder:
            # The order ended the tenure it named. It is spent, and will not bring the group here any more.
            where = "back on" if now.holder == before.holder else "now on"
            message = f"{now.name} did not move to {request.to}, it is {where} {now.holder} ({now.why})."
            raise Refusal(message, status=FAILED, details=_where(now))
        if (line := _progress(now)) != said or listener.is_leaving():
            said = line
            await listener.say(line)
    message = _with_why(f"{now.name} is not on {request.to} after {request.wait_s:g} s", now.why)
    more = f"`haagent events --group {now.name}` tells more."
    raise Refusal(f"{message} {more}", status=FAILED, details=_where(now))


async def _with_gap(agent: Facade, arrived: GroupView) -> GroupView:
    if arrived.gap_s is not None:
        return arrived
    async for view in views(agent, GAP_S):
        now = find_group(view, arrived.name)
        if now.holder != arrived.holder:
            break
        if now.gap_s is not None:
            return now
    return arrived


def _moved(group: GroupView, *, origin: str, already: bool) -> Result:
    if already:
        text = f"{group.name} is already on {group.holder}."
    else:
        came = f" from {origin}" if origin else ""
        outage = f"clients were without it for {(group.gap_s or 0) * 1000:.1f} ms"
        if group.gap_s is None:
            outage = "how long clients were without it is not known"
        text = f"{group.name} moved{came} to {group.holder}; {outage}."
    return {
        "group": group.name,
        "from": origin,
        "to": group.holder,
        "ballot": str(group.ballot) if group.ballot else None,
        "outage_ms": None if already or group.gap_s is None else round(group.gap_s * 1000, 3),
        "already": already,
        "done": True,
        "text": text,
    }


def _where(group: GroupView) -> Result:
    return {"group": group.name, "holder": group.holder, "active": group.active, "why": group.why}


def _progress(group: GroupView) -> str:
    holder = f"{group.holder} holds it" if group.holder else "nobody holds it"
    return f"{group.name}: {group.why or holder}"


async def standby(agent: Facade, request: Standby, listener: Listener) -> Result:
    find_member(agent.view(), request.node)
    text = await _give(agent, what="standby", node=request.node)
    result: Result = {"node": request.node, "standby": True, "holds": [], "done": True, "text": text}
    if not request.wait_s:
        return result | {"holds": held_by(agent.view(), request.node), "done": False}
    said: list[str] = []
    async for view in views(agent, request.wait_s):
        held = held_by(view, request.node)
        if not held and _is_in_standby(view, request.node):
            return result | {"text": f"{request.node} is in standby and holds nothing."}
        if held and (held != said or listener.is_leaving()):
            said = held
            await listener.say(f"{request.node} still holds {', '.join(held)}")
    raise _still_holds(agent.view(), request)


def _still_holds(view: View, request: Standby) -> Refusal:
    held = held_by(view, request.node)
    why = next((group.why for group in view.groups if group.name in held), "")
    message = f"{request.node} is in standby, but after {request.wait_s:g} s it still holds {', '.join(held)}"
    message = _with_why(message, why)
    if not held:
        message = f"{request.node} has not confirmed the standby within {request.wait_s:g} s. Look at `haagent status`."
    return Refusal(message, status=FAILED, details={"node": request.node, "holds": held})


def held_by(view: View, node: str) -> list[str]:
    return [group.name for group in view.groups if group.holder == node]


def _is_in_standby(view: View, node: str) -> bool:
    """A node that is away, or a witness, holds nothing as it is; it learns of the order when it is back."""
    return find_member(view, node).state is not MemberState.ONLINE


async def unstandby(agent: Facade, request: Unstandby) -> Result:
    find_member(agent.view(), request.node)
    text = await _give(agent, what="standby", node=request.node, on=False)
    return {"node": request.node, "standby": False, "text": text}


async def maintenance(agent: Facade, request: Maintenance) -> Result:
    text = await _give(agent, what="maintenance", on=request.on, force=request.force)
    result: Result = {"maintenance": request.on, "text": text}
    if not request.on:
        return result
    async for view in views(agent, KNOWN_S):
        if view.maintenance_known:
            return result
    unheard = agent.view().maintenance_unheard
    message = f"Maintenance is on, but too few nodes have said that they know of it: not {', '.join(unheard)}"
    why = "an agent that stops now releases what it holds, because the others may take it"
    raise Refusal(_with_why(message, why), status=FAILED, details={"maintenance": True, "unheard": list(unheard)})


async def clear(agent: Facade, request: Clear) -> Result:
    view = agent.view()
    names = [find_group(view, request.group).name] if request.group else [group.name for group in view.groups]
    text = await _give(agent, what="clear", group=request.group)
    return {"groups": [name for name in names if name != LEADER or request.group], "text": text}


async def _give(agent: Facade, **order: Any) -> str:
    answer = await agent.ask(**order)
    if answer.status:
        raise Refusal(_with_why(answer.text), status=answer.status)
    return _with_why(answer.text)


def _with_why(text: str, why: str = "") -> str:
    """As a sentence with its reason. The first letter stays: it may be a name."""
    return ": ".join(part.rstrip(". ") for part in (text, why) if part) + "."


def find_group(view: View, name: str) -> GroupView:
    for group in view.groups:
        if group.name == name:
            return group
    raise _unknown("group", name, (group.name for group in view.groups))


def _only_group(view: View) -> str:
    names = [group.name for group in view.groups if group.name != LEADER]
    if len(names) != 1:
        which = f"one of {', '.join(names)}" if names else "but this cluster has none"
        raise Refusal(f"Say which group to move: {which}.", status=USAGE)
    return names[0]


def find_member(view: View, name: str) -> MemberView:
    for member in view.members:
        if member.name == name:
            return member
    raise _unknown("node", name, (member.name for member in view.members))


def _unknown(kind: str, name: str, known: Iterable[str]) -> Refusal:
    names = list(known)
    near = nearest(name, names)
    hint = f"Did you mean `{near}`?" if near else f"There are {', '.join(names)}."
    return Refusal(f"This cluster has no {kind} `{name}`. {hint}", status=USAGE)
