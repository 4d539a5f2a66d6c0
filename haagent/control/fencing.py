"""Fencing by hand: an operator has a node switched off, or says that it is off.

Both end in the same word to the cluster, and both are checked against the only thing that can contradict them: whether
the node is still heard.
"""

from __future__ import annotations

from haagent.control.facade import Facade
from haagent.control.operations import FAILED, REFUSED, Result, find_member, held_by, views
from haagent.control.requests import ConfirmDown, Fence, Listener, Refusal
from haagent.core.settings import LEADER
from haagent.core.view import MemberState, MemberView, View
from haagent.fencing import FenceError

SILENT_LEASES = 4  # so long after its fence says that a node is down it must have fallen silent
RECENT_LEASES = 2  # who was heard within this is not down
BY_OPERATOR = "the operator says so"


async def fence(agent: Facade, request: Fence, listener: Listener) -> Result:
    node, before = request.node, agent.view()
    life = find_member(before, node).boot
    if node == before.node:
        raise Refusal(f"This is {node} itself: have another node fence it.", status=REFUSED)
    config = agent.config.nodes[node].fencing
    if config is None:
        hint = f"Write `nodes: {{{node}: {{fencing: {{agent: fence_...}}}}}}`, or switch it off and `confirm-down` it."
        raise Refusal(f"No fence is configured for {node}. {hint}", status=REFUSED)
    held = _served_by(before, node)
    await listener.say(f"{config.agent} is asked to do `{config.action}` to {node}")
    try:
        said = await agent.fence(node)
    except FenceError as error:
        raise Refusal(f"{node} is not fenced: {error}.", status=FAILED, details={"node": node}) from error
    async for view in views(agent, SILENT_LEASES * agent.config.heartbeat.lease_s):
        member = find_member(view, node)
        if member.state is MemberState.OFFLINE or member.boot != life:
            await agent.confirm_down(node, f"{config.agent} has confirmed `{config.action}`, asked by an operator")
            text = f"{node} is fenced" + (f": {said}" if said else "")
            return {"node": node, "fenced": True, "held": held, "said": said, "text": f"{text.rstrip('.')}."}
    message = f"{config.agent} says that {node} is fenced, but its heartbeats still arrive."
    hint = f"Check its options: they may switch another host. `haagent status` shows {node}."
    raise Refusal(f"{message} {hint}", status=FAILED, details={"node": node, "said": said})


async def confirm_down(agent: Facade, request: ConfirmDown) -> Result:
    node, view = request.node, agent.view()
    member = find_member(view, node)
    if node == view.node:
        raise Refusal(f"This is {node} itself, and it runs.", status=REFUSED)
    if why := _sign_of_life(member, agent.config.heartbeat.lease_s):
        raise Refusal(f"{why}: it is not down.", status=REFUSED, details={"node": node})
    if not await agent.confirm_down(node, BY_OPERATOR):
        raise Refusal(f"{node} has just been heard again: it is not down.", status=REFUSED, details={"node": node})
    held = _served_by(view, node)
    what = f"{', '.join(held)} may be taken" if held else "what it held may be taken"
    return {"node": node, "down": True, "text": f"{node} counts as down until it is heard again; {what}."}


def _served_by(view: View, node: str) -> list[str]:
    return [group for group in held_by(view, node) if group != LEADER]


def _sign_of_life(member: MemberView, lease_s: float) -> str:
    if member.state is not MemberState.OFFLINE:
        return f"{member.name} is heard"
    if member.last_heard_s is not None and member.last_heard_s < RECENT_LEASES * lease_s:
        return f"{member.name} was heard {1000 * member.last_heard_s:.0f} ms ago"
    return ""
