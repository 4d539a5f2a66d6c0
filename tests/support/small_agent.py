"""The smallest thing that satisfies `control.Host`: a two-node cluster that does what a test says it does.

It is not the core: it is the far side of the control socket, so that the socket and the commands can be tested with
every answer there is. It runs in a loop of its own thread, as the agent is another process to its clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from haagent import config
from haagent.agent import realtime
from haagent.agent.realtime import Scheduling
from haagent.control.server import ControlServer
from haagent.coordination.arbiter import slowness
from haagent.core.events import Answer, Asked
from haagent.core.group.transitions import GroupState
from haagent.core.messages import Ballot, Record
from haagent.core.view import GroupView, MemberState, MemberView, View
from haagent.guards import guards
from haagent.heartbeats import LinkStatus, part
from haagent.parts import Facts, Parts, Still
from haagent.status.report import Cluster

FILE = """
cluster: shop
heartbeat: {interfaces: [eth0], insecure: true}
nodes:
  A: {address: 10.20.1.10}
  B: {address: 10.20.1.11}
  W: {address: 10.20.1.12, witness: true}
groups:
  web: {addresses: [10.20.1.100/24, "fd00:20::100/64"], prefer: [A, B]}
"""
SINCE = 1_800_000_000.0


def member(name: str, state: MemberState = MemberState.ONLINE, **changes: Any) -> MemberView:
    me = name == "A"
    seen = MemberView(
        name=name,
        state=state,
        me=me,
        last_heard_s=None if me else 0.043,
        version="0.1.0",
        links=() if me else ("eth0",),
        boot=7,
        config_matches=True,
    )
    return msgspec.structs.replace(seen, **changes)


def group(name: str, **changes: Any) -> GroupView:
    on_a = GroupView(
        name=name,
        holder="A",
        state=GroupState.ACTIVE,
        active=True,
        since=SINCE,
        ballot=Ballot(12, "A"),
        lease_s=0.312,
        why="this node holds it: first in `prefer`",
        failures={},
        gap_s=None,
        moving_to="",
        eligible=True,
        why_not="",
    )
    return msgspec.structs.replace(on_a, **changes)


def whole_view(**changes: Any) -> View:
    fine = View(
        cluster="shop",
        node="A",
        leader="A",
        quorate=True,
        consistent=True,
        maintenance=False,
        stopping=False,
        members=(member("A"), member("B"), member("W", MemberState.WITNESS)),
        groups=(group("leader"), group("web")),
        history=(
            ("B", Record(1, SINCE - 1, "online", "", "A is online")),
            ("A", Record(1, SINCE, "taken", "web", "active here: first in `prefer`")),
        ),
    )
    return msgspec.structs.replace(fine, **changes)


ON_B = {"holder": "B", "state": GroupState.IDLE, "ballot": Ballot(13, "B"), "why": "B holds it: an operator's order"}
PLANNED_MOVE = (
    {"state": GroupState.YIELDING, "moving_to": "B", "why": "this node is handing it over to B"},
    {"holder": "", "state": GroupState.IDLE, "active": False, "moving_to": "", "why": "nobody holds it"},
    ON_B | {"active": False, "why": "B has the lease and is activating it"},
    ON_B | {"active": True, "gap_s": 0.0014},
)
FAILED_MOVE = (*PLANNED_MOVE[:3], {"holder": "A", "active": True, "why": "B failed to activate it"})


class SmallAgent:
    def __init__(self) -> None:
        self.config = config.parse(FILE.encode(), "haagent.yaml", node="A")
        self.counted = {"dropped_auth": 0, "dropped_malformed": 3}
        self.jitter_ms: float | None = 0.25
        self.scheduling = Scheduling()
        self.arbiter: dict[str, Any] | None = None
        self.now = whole_view()
        self.answer = (0, "done")
        self.asked: list[Asked] = []
        self.after: tuple[dict[str, Any], ...] = ()  # what becomes of `web` once an order was accepted
        self.reloaded: str | Exception = "2 keys changed"
        self.guarded: dict[str, Any] = {"arp": True, "outside": None, "groups": {}, "faults": []}
        self.fenced: dict[str, Any] = {"nodes": {}, "faults": []}
        self.fence_says: str | Exception = "Success: Powered OFF"
        self.sessions: dict[str, Any] = {}
        self.confirmed: list[tuple[str, str]] = []
        self._script: list[dict[str, Any]] = []
        self._changed = asyncio.Event()

    def view(self) -> View:
        return self.now

    def ask(self, **asked: Any) -> asyncio.Future[Answer]:
        self.asked.append(Asked(1, **asked))
        if self.answer[0] == 0:
            self._script = list(self.after)
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(Answer(1, *self.answer))
        return answer

    async def wait_change(self) -> None:
        if self._script:
            self.regroup(self._script.pop(0))  # what is watched goes on when it is looked at: no test depends on time
        else:
            await self._changed.wait()

    def status(self) -> Facts:
        """As the agent would: the real part for the core, and what this one says of all others."""
        return Parts(Cluster(self.config, self.view), _Canned(self)).status()

    def counters(self) -> dict[str, int]:
        return self.counted

    async def fence(self, node: str) -> str:
        said = self.fence_says
        if isinstance(said, Exception):
            raise said
        self.become(
            members=tuple(
                msgspec.structs.replace(each, state=MemberState.OFFLINE) if each.name == node else each
                for each in self.now.members
            )
        )
        return said

    async def confirm_down(self, node: str, how: str) -> bool:
        self.confirmed.append((node, how))
        return True

    async def reload(self) -> str:
        if isinstance(self.reloaded, Exception):
            raise self.reloaded
        return self.reloaded

    def regroup(self, changes: dict[str, Any]) -> None:
        groups = tuple(
            msgspec.structs.replace(each, **changes) if each.name == "web" else each for each in self.now.groups
        )
        self.become(groups=groups)

    def become(self, **changes: Any) -> None:
        """In the agent's own thread."""
        self.now = msgspec.structs.replace(self.now, **changes)
        self._changed.set()
        self._changed = asyncio.Event()

    def happen(self, node: str, record: Record) -> None:
        self.become(history=(*self.now.history, (node, record)))


class _Canned(Still):
    """All other parts."""

    name = "canned"

    def __init__(self, agent: SmallAgent) -> None:
        self._agent = agent

    def counters(self) -> dict[str, int]:
        return self._agent.counted

    def status(self) -> Facts:
        agent = self._agent
        links = [
            LinkStatus("eth0", is_up=True, why="", sent=9, received=8, overflowed=0, send_errors={}, receive_errors={})
        ]
        lease_s = agent.config.heartbeat.lease_s
        return {
            "groups": {"web": {"activation": {"took_ms": 0.8}}},
            "links": msgspec.to_builtins(links),
            "pids": {"agent": 4711},
            "jitter_ms": agent.jitter_ms,
            "clock_slew_percent": -8.3,
            "scheduling": msgspec.to_builtins(agent.scheduling),
            "coordination": agent.arbiter,
            "guards": agent.guarded,
            "fencing": agent.fenced,
            "sessions": agent.sessions,
            "warnings": [
                *part.warnings(agent.now, links, agent.counted, agent.config),
                *realtime.warnings(agent.jitter_ms, agent.scheduling, agent.config),
                *guards.warnings(agent.guarded),
                *(f"{fault}." for fault in agent.fenced["faults"]),
                *(slowness(agent.arbiter, lease_s) if agent.arbiter is not None else ()),
            ],
        }


async def _end(server: ControlServer) -> None:
    """And what is left, as when the agent's own loop ends: connections that came while the socket was closed."""
    await server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@contextlib.contextmanager
def running(agent: SmallAgent, run_dir: str) -> Iterator[asyncio.AbstractEventLoop]:
    """The agent's control socket is open while inside. The loop, to do things in the agent's thread."""
    loop = asyncio.new_event_loop()
    server = ControlServer(agent, run_dir=run_dir)
    unexpected: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unexpected.append(context))  # each would end the real agent
    thread = threading.Thread(target=loop.run_forever)
    loop.run_until_complete(server.open())
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        gc.collect()  # a task whose exception nobody took reports it when it goes
        assert unexpected == [], unexpected
