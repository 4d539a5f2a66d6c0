"""All fences of one node's view: who can be fenced, what is running, and what came of it.

One run per node at a time: several groups that wait for the same node share it, and so does the operator. A run does
not end with whoever asked for it. A take that was called off leaves it running, because an agent that was stopped
half-way leaves a host in no known state; and its result is told to the core in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from haagent.config import Config, FencingConfig, NodeConfig
from haagent.core.event_kinds import Kind, Remark
from haagent.core.events import Fenced
from haagent.fencing import agent
from haagent.fencing.agent import FenceError
from haagent.parts import Commit, Facts, Still

NET_S = 5.0  # beyond an agent's own time limit: for killing it, and its children


def faults_of(configs: Mapping[str, FencingConfig]) -> list[str]:
    """What on this host would keep each node's fence from working."""
    found = []
    for node, config in configs.items():
        try:
            agent.find(config.agent)
            if config.options_file:
                agent.options_in(config.options_file)
        except FenceError as error:
            found.append(f"{node} cannot be fenced from here: {error}")
    return found


def _configs(nodes: Mapping[str, NodeConfig]) -> dict[str, FencingConfig]:
    return {node.name: node.fencing for node in nodes.values() if node.fencing is not None}


class Fences(Still):
    name = "fencing"

    def __init__(
        self,
        nodes: Mapping[str, NodeConfig],
        *,
        me: str,
        post: Callable[[Fenced], None],
        note: Remark,
    ) -> None:
        self.faults: list[str] = []  # what would keep a fence from working, as it was at the start or the last reload
        self._me = me
        self._post, self._note = post, note
        self._configs = _configs(nodes)
        self._running: dict[str, asyncio.Task[str]] = {}
        self._last: dict[str, str] = {}

    async def open(self) -> None:
        """Look before it is needed: a missing program is found on an ordinary day."""
        self._tell(self._faults_of(self._configs))

    async def prepare(self, config: Config) -> Commit:
        wanted = _configs(config.nodes)
        faults = await asyncio.to_thread(self._faults_of, wanted)

        def apply() -> None:
            self._configs = wanted
            self._tell(faults)

        return Commit(apply)

    @property
    def timeout_s(self) -> float:
        """No run takes longer."""
        return max((config.timeout_s for config in self._configs.values()), default=0.0) + NET_S

    def _faults_of(self, configs: Mapping[str, FencingConfig]) -> list[str]:
        return faults_of({node: config for node, config in configs.items() if node != self._me})

    def _tell(self, found: list[str]) -> None:
        for fault in found:
            if fault not in self.faults:
                self._note(Kind.UNFENCED, fault)
        self.faults = found

    async def fence_all(self, nodes: Sequence[str]) -> None:
        """Before a take. Raises `FenceError` with all that was refused, in words for an operator."""
        refusals = [said for said in await asyncio.gather(*map(self._refusal, nodes)) if said]
        if refusals:
            raise FenceError(" And ".join(refusals))

    async def _refusal(self, node: str) -> str:
        try:
            await self.fence(node)
        except FenceError as error:
            confirm = f"`haagent confirm-down {node}` if you pulled the plug"
            return f"{node} vanished and could not be fenced: {error}; {confirm}"
        return ""

    async def fence(self, node: str) -> str:
        """Returns when the node is down, with what its agent said. Cancelled, it leaves the run alone."""
        config = self._configs.get(node)
        if config is None:
            raise FenceError(f"no fence is configured for {node}")
        run = self._running.get(node)
        if run is None:
            run = asyncio.get_running_loop().create_task(self._run(node, config))
            self._running[node] = run
            run.add_done_callback(lambda ended: self._ended(node, ended))
        return await asyncio.shield(run)

    def status(self) -> Facts:
        nodes = {
            node: {
                "agent": config.agent,
                "action": config.action,
                "timeout_s": config.timeout_s,
                "running": node in self._running,
                "last": self._last.get(node, ""),
            }
            for node, config in self._configs.items()
        }
        return {"fencing": {"nodes": nodes, "faults": self.faults}, "warnings": [f"{fault}." for fault in self.faults]}

    async def close(self) -> None:
        """This agent ends: whoever takes over will ask anew."""
        running = list(self._running.values())
        for run in running:
            run.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, node: str, config: FencingConfig) -> str:
        self._note(Kind.FENCING, f"fencing {node}: {config.agent} is asked to do `{config.action}`")
        try:
            said = await agent.run(node, config)
        except FenceError as error:
            self._last[node] = f"failed: {error}"
            self._note(Kind.UNFENCED, f"{node} is not fenced: {error}")
            raise
        self._last[node] = f"done: {said}" if said else "done"
        self._post(Fenced(node, f"{config.agent} has confirmed `{config.action}`"))
        return said

    def _ended(self, node: str, run: asyncio.Task[str]) -> None:
        self._running.pop(node, None)
        error = None if run.cancelled() else run.exception()
        if error is not None and not isinstance(error, FenceError):  # a refusal has been told; this is a bug
            asyncio.get_running_loop().call_exception_handler({"message": f"fencing {node} broke", "exception": error})
