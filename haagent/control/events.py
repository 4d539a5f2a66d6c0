"""The history of all nodes, as this node has stored it, told once or told on as it grows.

A record is known by its node, number and wall clock: a node that restarts numbers from one again. The order between
nodes is as good as their clocks; a record that arrives late (a node was cut off) is told when it arrives.
"""

from __future__ import annotations

import asyncio

from haagent.control.facade import Facade
from haagent.control.operations import find_group
from haagent.control.requests import Events, Listener
from haagent.core.event_kinds import severity_of
from haagent.core.messages import Record

Event = dict[str, object]
Known = tuple[str, int, float]

COALESCE_S = 0.1  # a burst of changes is looked at once
LOOK_S = 5.0  # how soon a follower that has left is noticed while nothing happens


async def tell(agent: Facade, request: Events, listener: Listener) -> Event:
    """The newest events as the result; to a follower each as a line of its own."""
    view = agent.view()
    if request.group:
        find_group(view, request.group)
    told = [_event(node, record) for node, record in view.history if _is_wanted(record, request)]
    told = told[-request.last :] if request.last else told
    if not request.follow:
        return {"events": told}
    for event in told:
        await listener.tell(event)
    await _follow(agent, request, listener, seen={_key(node, record) for node, record in view.history})
    return {"events": []}


async def _follow(agent: Facade, request: Events, listener: Listener, *, seen: set[Known]) -> None:
    while not listener.is_leaving():
        present = agent.view().history
        fresh = [(node, record) for node, record in present if _key(node, record) not in seen]
        if not fresh:
            await _change(agent)
            continue
        # What the nodes have forgotten is forgotten here too: the set stays as small as the history.
        seen = {_key(node, record) for node, record in present}
        for node, record in fresh:
            if _is_wanted(record, request):
                await listener.tell(_event(node, record))


async def _change(agent: Facade) -> None:
    try:
        async with asyncio.timeout(LOOK_S):
            await agent.wait_change()
            await asyncio.sleep(COALESCE_S)
    except TimeoutError:
        pass  # nothing happened; the caller looks whether anyone still listens


def _is_wanted(record: Record, request: Events) -> bool:
    return request.group in ("", record.group) and severity_of(record.kind).reaches(request.severity)


def _key(node: str, record: Record) -> Known:
    return (node, record.index, record.wall)


def _event(node: str, record: Record) -> Event:
    return {
        "time": round(record.wall, 3),
        "node": node,
        "index": record.index,
        "kind": record.kind,
        "severity": severity_of(record.kind).value,
        "group": record.group,
        "text": record.text,
    }
